"""Calls from other threads into a loop: 4 guarded steps that suspend, one at a time, from 1 thread and from 4."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import trio

from benchmarks import ours
from benchmarks.by_hand import on_asyncio, on_trio
from benchmarks.measure import Case, plain
from benchmarks.settings import Settings
from benchmarks.table import Table
from rio_chain import Balancer

EACH = 25
"""Calls of one thread in a row."""


def from_threads(number: int, pool: ThreadPoolExecutor, call: Callable[[], Any]) -> Callable[[], None]:
    def many() -> None:
        for _ in range(EACH):
            call()

    def case() -> None:
        for future in [pool.submit(many) for _ in range(number)]:
            future.result()

    return case


def table(title: str, calls: dict[str, Callable[[], Any]], settings: Settings) -> Table:
    """The first of the calls is the base."""
    with ThreadPoolExecutor(4) as pool:
        cases = [
            Case(f"{name}, {number} thread{'s' * (number > 1)}", from_threads(number, pool, call), number * EACH)
            for number in (1, 4)
            for name, call in calls.items()
        ]
        return Table(title, plain(cases, settings.effort), cases[0].name)


def into_asyncio(settings: Settings) -> Table:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    chain = ours.chain_of(on_asyncio.suspending_step)

    def by_hand() -> None:
        asyncio.run_coroutine_threadsafe(on_asyncio.guarded(on_asyncio.suspending_step, 1), loop).result()

    try:
        with Balancer("asyncio") as balancer:
            calls: dict[str, Callable[[], Any]] = {
                "run_coroutine_threadsafe": by_hand,
                "rio_chain, balancer.run": lambda: ours.read(balancer.run(chain(1))),
                "rio_chain, request.run": lambda: ours.read(chain(1).run()),
            }
            return table("from threads into asyncio", calls, settings)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def into_trio(settings: Settings) -> Table:
    chain = ours.chain_of(on_trio.suspending_step)
    ready: list[trio.lowlevel.TrioToken] = []
    started = threading.Event()

    async def host() -> None:
        ready.append(trio.lowlevel.current_trio_token())
        started.set()
        await trio.to_thread.run_sync(done.wait)

    done = threading.Event()
    thread = threading.Thread(target=trio.run, args=(host,))
    thread.start()
    started.wait()

    def by_hand() -> None:
        trio.from_thread.run(on_trio.guarded, on_trio.suspending_step, 1, trio_token=ready[0])

    try:
        with Balancer("trio") as balancer:
            calls = {
                "trio.from_thread.run": by_hand,
                "rio_chain, balancer.run": lambda: ours.read(balancer.run(chain(1))),
            }
            return table("from threads into trio", calls, settings)
    finally:
        done.set()
        thread.join()


def tables(settings: Settings) -> list[Table]:
    return [into_asyncio(settings), into_trio(settings)]
