"""One ``each`` over many items, 100 at once: time for an item. The by-hand code gives the same sum."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from operator import add
from types import ModuleType

import trio

from benchmarks import ours
from benchmarks.by_hand import on_asyncio, on_trio
from benchmarks.measure import Case, on_loop, plain
from benchmarks.settings import Settings
from benchmarks.table import Table
from rio_chain import Chain, Task, each, reduce

LIMIT = 100
GATHERED = "by hand, all at once through a semaphore, guarded"
LONG = 3_600_000
"""Milliseconds."""


async def asyncio_workers(number: int) -> int:
    inputs, total = iter(range(number)), 0

    async def worker(inputs: Iterator[int]) -> None:
        nonlocal total
        for value in inputs:
            total += await on_asyncio.suspending_step(value)

    async with asyncio.TaskGroup() as group:
        for _ in range(LIMIT):
            group.create_task(worker(inputs))
    return total


async def trio_workers(number: int) -> int:
    inputs, total = iter(range(number)), 0

    async def worker(inputs: Iterator[int]) -> None:
        nonlocal total
        for value in inputs:
            total += await on_trio.suspending_step(value)

    async with trio.open_nursery() as nursery:
        for _ in range(LIMIT):
            nursery.start_soon(worker, inputs)
    return total


def chain_over(body: Callable[[int], object], shape: ours.Shape) -> Chain[[int], int]:
    return Task(range).inline() >> each(ours.with_policies(body, shape), limit=LIMIT) >> reduce(add, 0)


async def on_a_loop(name: str, loop: ModuleType, workers: Callable[[int], Awaitable[int]], settings: Settings) -> Table:
    number = settings.either(5_000, 1_000)
    shapes: tuple[ours.Shape, ...] = ("bare", "guarded")

    def case(chain: Chain[[int], int]) -> Callable[[], Awaitable[None]]:
        async def total() -> None:
            assert (await chain(number)).unwrap() == number * (number - 1) // 2

        return total

    mine = [Case(f"rio_chain, each {shape}", case(chain_over(loop.suspending_step, shape)), number) for shape in shapes]
    gathered = Case(GATHERED, lambda: loop.gathered(loop.suspending_step, number, LIMIT), number)
    cases = [Case("by hand, 100 standing workers, bare", lambda: workers(number), number), gathered, *mine]
    table = Table(f"{name}: {number:,} items, for each", await on_loop(cases, settings.effort), cases[0].name)
    table.bar("rio_chain, each guarded", GATHERED, 0.6)
    return table


def on_threads(settings: Settings) -> Table:
    number = settings.either(2_000, 500)
    chain = chain_over(ours.blocking_step, "bare")

    def run() -> None:
        assert chain(number).run(executor="thread", deadline=LONG).unwrap() == number * (number - 1) // 2

    with ThreadPoolExecutor(40) as pool:
        cases = [
            Case("by hand, ThreadPoolExecutor.map", lambda: sum(pool.map(ours.blocking_step, range(number))), number),
            Case("rio_chain, each bare", run, number),
        ]
        return Table(f"threads: {number:,} items, for each", plain(cases, settings.effort), cases[0].name)


def tables(settings: Settings) -> list[Table]:
    return [
        asyncio.run(on_a_loop("asyncio", on_asyncio, asyncio_workers, settings)),
        trio.run(on_a_loop, "trio", on_trio, trio_workers, settings),
        on_threads(settings),
    ]
