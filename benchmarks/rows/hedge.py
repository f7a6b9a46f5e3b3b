"""A hedge that is not needed, one that is, and two calls at once. Beside the same by hand, and the chain without it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from types import ModuleType
from typing import Any

import trio

from benchmarks import ours
from benchmarks.by_hand import on_asyncio, on_threads, on_trio
from benchmarks.measure import Case, on_loop, plain
from benchmarks.settings import Settings
from benchmarks.table import Table
from rio_chain import Balancer, Budget, Chain, Quantile, Task

AfterStart = Callable[[Any], Any]


def late_first(step: Callable[[int], Awaitable[int]], pause: Callable[[float], Awaitable[object]]) -> AfterStart:
    """A step of which every other call hangs."""
    calls = count()

    async def late(value: int) -> int:
        if next(calls) % 2 == 0:
            await pause(1)
        return await step(value)

    return late


def late_first_blocking(value: int) -> int:
    """The same as a blocking function; it comes back soon, as a thread can't be stopped."""
    if next(_blocking) % 2 == 0:
        time.sleep(0.004)
    return value


_blocking = count()


class Steady(Quantile):
    """One whose value is half a second, and stays so, whatever it learns."""

    def add(self, seconds: float) -> None:  # noqa: ARG002 - as Quantile
        super().add(0.5)


def chains(function: Callable[[int], Any]) -> dict[str, Chain[[int], Any]]:
    task = Task(function)
    return {
        "rio_chain, no hedge": task,
        "rio_chain, .replica(2, after=1000)": task.replica(2, after=1000),
        "rio_chain, .replica(2, after=Quantile())": task.replica(2, after=Steady()),
        "rio_chain, no hedge, .budget": task.budget(Budget()),
        "rio_chain, .replica(2, after=1000).budget": task.replica(2, after=1000).budget(Budget()),
        "rio_chain, .replica(2)": task.replica(2),
    }


def barred(table: Table, most: float) -> Table:
    table.bar("rio_chain, .replica(2, after=1000)", "rio_chain, no hedge", most)
    table.bar("rio_chain, .replica(2, after=Quantile())", "rio_chain, no hedge", 1.6)
    table.bar("rio_chain, .replica(2, after=1000).budget", "rio_chain, no hedge, .budget", 1.6)
    table.bar("rio_chain, .replica(2)", "by hand, 2 at once", 2.0)
    table.bar("rio_chain, a hedge that fires", "by hand, a hedge that fires", 2.0)
    return table


async def on_a_loop(name: str, loop: ModuleType, settings: Settings) -> Table:
    step = loop.suspending_step
    late = late_first(step, trio.sleep if name == "trio" else asyncio.sleep)
    cases = [
        Case("by hand, second after 1 s", lambda: loop.staggered(step, 1, 1)),
        *(Case(which, ours.awaited(chain)) for which, chain in chains(step).items()),
        Case("by hand, 2 at once", lambda: loop.at_once(step, 1)),
        Case("by hand, a hedge that fires", lambda: loop.staggered(late, 1, 0.001)),
        Case("rio_chain, a hedge that fires", ours.awaited(Task(late).replica(2, after=1))),
    ]
    rows = await on_loop(cases, settings.effort)
    return barred(Table(f"{name}: a hedged call", rows, "rio_chain, no hedge"), 1.5 if name == "trio" else 1.2)


def on_a_pool(settings: Settings) -> Table:
    step = ours.blocking_step
    fires = Task(late_first_blocking).replica(2, after=1)

    def blocking(chain: Chain[[int], Any]) -> Callable[[], None]:
        return lambda: ours.read(balancer.run(chain(1)))

    with ThreadPoolExecutor(8) as pool, Balancer("thread", max_abandoned=1_000) as balancer:
        cases = [
            Case("by hand, second after 1 s", lambda: on_threads.staggered(pool, step, 1, 1)),
            *(Case(which, blocking(chain)) for which, chain in chains(step).items()),
            Case("by hand, 2 at once", lambda: on_threads.at_once(pool, step, 1)),
            Case("by hand, a hedge that fires", lambda: on_threads.staggered(pool, late_first_blocking, 1, 0.001)),
            Case("rio_chain, a hedge that fires", blocking(fires)),
        ]
        rows = plain(cases, settings.effort)
    return barred(Table("threads: a hedged call", rows, "rio_chain, no hedge"), 1.2)


def tables(settings: Settings) -> list[Table]:
    return [
        asyncio.run(on_a_loop("asyncio", on_asyncio, settings)),
        trio.run(on_a_loop, "trio", on_trio, settings),
        on_a_pool(settings),
    ]
