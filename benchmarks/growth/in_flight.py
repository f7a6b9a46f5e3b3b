"""Memory of requests that are under way, and of those that wait, against their number."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc

from benchmarks import ours
from benchmarks.growth.fit import head, line
from rio_chain import Balancer


async def for_each(number: int, workers: int) -> float:
    """Bytes for each of so many posts, of which ``workers`` wait in their first step."""
    over = asyncio.Event()

    async def waits(value: int) -> int:
        await over.wait()
        return value

    chain = ours.chain_of(waits, "bare")
    async with Balancer(workers=workers, buffer=number) as balancer:
        ours.read(await balancer.arun(ours.chain_of(ours.instant_step)(1)))  # what is made only once is there
        gc.collect()
        tracemalloc.start()
        tickets = [balancer.post(chain(value)) for value in range(number)]
        for _ in range(3):
            await asyncio.sleep(0)
        found = tracemalloc.get_traced_memory()[0] / number
        tracemalloc.stop()
        over.set()
        for ticket in tickets:
            await ticket
    return found


def report(most: int) -> None:
    """Print the table."""
    sizes = [size for size in (1_000, 3_000, 10_000, 30_000, 100_000) if size <= most]
    print(head("requests (bytes each)", sizes))
    for name in ("under way", "in the line"):
        found = [asyncio.run(for_each(size, size if name == "under way" else 1)) for size in sizes]
        print(line(name, sizes, found), flush=True)
