"""Bytes that one object of ours keeps, beside what people would keep without it."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from collections.abc import Awaitable, Callable
from typing import Any

from benchmarks import ours
from benchmarks.by_hand.on_asyncio import guarded, suspending_step
from benchmarks.settings import Settings
from benchmarks.table import Row, Table
from rio_chain import Balancer, Task

MANY = 1_000
Make = Callable[[], Awaitable[Any]]


async def kept(make: Make, samples: int) -> list[float]:
    """Bytes for each of many, that are all alive at the same time."""
    found = []
    await make()
    for _ in range(samples):
        gc.collect()
        tracemalloc.start()
        held = [await make() for _ in range(MANY)]
        gc.collect()
        found.append(tracemalloc.get_traced_memory()[0] / MANY)
        tracemalloc.stop()
        del held
    return found


async def waiting(samples: int) -> list[Row]:
    """Runs that wait in a step and don't go on: a task by hand, a post of ours, a post in the queue."""

    async def waits(value: int) -> int:
        await asyncio.sleep(3600)
        return value

    chain = ours.chain_of(waits)
    rows = []

    async def by_hand() -> asyncio.Task[int]:
        task = asyncio.create_task(guarded(waits, 1))
        tasks.append(task)
        await asyncio.sleep(0)
        return task

    tasks: list[asyncio.Task[int]] = []
    rows.append(Row("a run under way: by hand, a task", await kept(by_hand, samples)))
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    for name, workers in (("a run under way: rio_chain, post", 10 * MANY * (samples + 1)), ("a post in the queue", 1)):
        balancer = Balancer(workers=workers, buffer=10 * MANY * (samples + 1))

        async def post(balancer: Balancer = balancer) -> object:
            ticket = balancer.post(chain(1))
            await asyncio.sleep(0)
            return ticket

        rows.append(Row(name, await kept(post, samples)))
        await balancer.aclose(grace=0)
    return rows


async def measured(samples: int) -> Table:
    chain = ours.chain_of(suspending_step)

    async def task() -> object:
        return Task(suspending_step).timeout(1000).retry(3)

    async def request() -> object:
        return chain(1)

    async def outcome() -> object:
        return await chain(1)

    async def looked_at() -> object:
        found = await chain(1)
        return found, found.result, list(found)

    makes: dict[str, Make] = {
        "a Task with a timeout and retries": task,
        "a Request": request,
        "an Outcome of 4 tasks": outcome,
        "an Outcome of 4 tasks, all Responses read": looked_at,
    }
    rows = [Row(name, await kept(make, samples)) for name, make in makes.items()]
    return Table("memory: what one object keeps", [*rows, *await waiting(samples)], unit="bytes")


def tables(settings: Settings) -> list[Table]:
    return [asyncio.run(measured(settings.either(5, 1)))]
