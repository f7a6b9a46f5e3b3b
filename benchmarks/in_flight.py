"""One sample of ``benchmarks.rows.flight``: ``python -m benchmarks.in_flight WHO CHAINS SLOTS`` prints JSON."""

from __future__ import annotations

import asyncio
import contextlib
import json
import resource
import sys
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import trio

from benchmarks import ours
from benchmarks.by_hand import on_asyncio, on_trio
from rio_chain import Balancer

NAP = 0.01
"""Seconds."""
One = Callable[[int], Awaitable[object]]


async def asyncio_nap(value: int) -> int:
    await asyncio.sleep(NAP)
    return value


async def trio_nap(value: int) -> int:
    await trio.sleep(NAP)
    return value


def thread_nap(value: int) -> int:
    time.sleep(NAP)
    return value


async def in_a_group(chains: int, one: One) -> None:
    async with asyncio.TaskGroup() as group:
        for value in range(chains):
            group.create_task(one(value))  # type: ignore[arg-type]


async def in_a_nursery(chains: int, one: One) -> None:
    async with trio.open_nursery() as nursery:
        for value in range(chains):
            nursery.start_soon(one, value)


async def asyncio_by_hand(chains: int, slots: int) -> None:
    semaphore = asyncio.Semaphore(slots)

    async def one(value: int) -> None:
        async with semaphore:
            await on_asyncio.guarded(asyncio_nap, value)

    await in_a_group(chains, one)


async def trio_by_hand(chains: int, slots: int) -> None:
    limiter = trio.CapacityLimiter(slots)

    async def one(value: int) -> None:
        async with limiter:
            await on_trio.guarded(trio_nap, value)

    await in_a_nursery(chains, one)


async def rio_chain_here(nap: ours.Step, group: Callable[..., Awaitable[None]], chains: int, slots: int) -> None:
    chain = ours.chain_of(nap)
    async with Balancer(workers=slots, buffer=chains) as balancer:

        async def one(value: int) -> None:
            ours.read(await balancer.arun(chain(value)))

        await group(chains, one)


async def aiometered(chains: int, slots: int) -> None:
    import aiometer  # noqa: PLC0415 - a peer may be missing

    async def one(value: int) -> int:
        return await on_asyncio.guarded(asyncio_nap, value)

    async with aiometer.amap(one, range(chains), max_at_once=slots) as found:
        async for _ in found:
            pass


def on_threads(chains: int, slots: int) -> None:
    def whole(value: int) -> int:
        for _ in range(3):
            value = ours.bridge(thread_nap(value))
        return thread_nap(value)

    with ThreadPoolExecutor(slots) as pool:
        list(pool.map(whole, range(chains)))


def rio_chain_on_threads(chains: int, slots: int) -> None:
    chain = ours.chain_of(thread_nap)
    with Balancer("thread", workers=slots, threads=slots, buffer=chains) as balancer:
        for ticket in [balancer.post(chain(value)) for value in range(chains)]:
            ours.read(ticket.wait())


def with_uvloop(work: Awaitable[None]) -> None:
    import uvloop  # noqa: PLC0415 - a peer may be missing

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(work)  # type: ignore[arg-type]


WHO: dict[str, Callable[[int, int], Any]] = {
    "asyncio by hand": lambda n, k: asyncio.run(asyncio_by_hand(n, k)),
    "asyncio rio_chain": lambda n, k: asyncio.run(rio_chain_here(asyncio_nap, in_a_group, n, k)),
    "uvloop by hand": lambda n, k: with_uvloop(asyncio_by_hand(n, k)),
    "uvloop rio_chain": lambda n, k: with_uvloop(rio_chain_here(asyncio_nap, in_a_group, n, k)),
    "trio by hand": lambda n, k: trio.run(trio_by_hand, n, k),
    "trio rio_chain": lambda n, k: trio.run(rio_chain_here, trio_nap, in_a_nursery, n, k),
    "aiometer": lambda n, k: asyncio.run(aiometered(n, k)),
    "thread by hand": on_threads,
    "thread rio_chain": rio_chain_on_threads,
}


STATUS = Path("/proc/self/status")


def memory(entry: str) -> int:
    """KiB: ``VmRSS`` now, ``VmHWM`` at most so far."""
    if STATUS.exists():
        return next(int(line.split()[1]) for line in STATUS.read_text().splitlines() if line.startswith(entry))
    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return size // 1024 if sys.platform == "darwin" else size


def forget_peak() -> None:
    """Importing takes more for a moment than is in use afterwards, so the peak is counted from here. Linux alone."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def main(who: str, chains: int, slots: int) -> dict[str, float] | None:
    fly = WHO[who]
    try:
        fly(10, slots)  # what is imported and made only once is there, and counted in ``before``
    except ImportError:
        return None
    forget_peak()
    before, began = memory("VmRSS"), time.perf_counter()
    fly(chains, slots)
    wall = time.perf_counter() - began
    return {"wall": wall, "growth": (memory("VmHWM") - before) / chains}


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))))
