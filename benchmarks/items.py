"""Many items through one ``each``: time and memory for each item. ``python -m benchmarks.items``.

The values are folded as they come, so what grows with the number of items is what the library keeps of them: nothing.
"""

from __future__ import annotations

import asyncio
import time
import tracemalloc
from collections.abc import AsyncIterator, Callable, Iterator
from operator import add
from typing import Any

import trio

from rio_chain import Chain, Task, each, reduce

SIZES = 10_000, 100_000
LIMIT = 100
LONG = 3_600_000
"""Milliseconds: more than any of them takes."""


async def on_asyncio(x: int) -> int:
    await asyncio.sleep(0)
    return x


async def on_trio(x: int) -> int:
    await trio.lowlevel.checkpoint()
    return x


def on_threads(x: int) -> int:
    return x


def numbers(n: int) -> Iterator[int]:
    yield from range(n)


async def async_numbers(n: int) -> AsyncIterator[int]:
    for i in range(n):
        yield i


SOURCES: dict[str, Task[[int], Any]] = {
    "range": Task(range).inline(),
    "generator": Task(numbers),
    "async generator": Task(async_numbers),
}
BODIES: dict[str, Callable[[int], Any]] = {"asyncio": on_asyncio, "trio": on_trio, "thread": on_threads}


def timed(chain: Chain[[int], Any], n: int, executor: str) -> float:
    """Seconds."""
    began = time.perf_counter()
    total = chain(n).run(executor=executor, deadline=LONG).unwrap()
    assert total == n * (n - 1) // 2
    return time.perf_counter() - began


def peak(chain: Chain[[int], Any], n: int, executor: str) -> int:
    """Bytes, above what was in use before."""
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        timed(chain, n, executor)
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()


def main() -> None:
    print(f"each(limit={LIMIT}) >> reduce(add): time for an item, and the most memory in use")
    for executor, body in BODIES.items():
        for source, task in SOURCES.items():
            chain = task >> each(Task(body), limit=LIMIT) >> reduce(add, 0)
            timed(chain, LIMIT, executor)
            cells = [
                f"{n:7}: {timed(chain, n, executor) / n * 1e6:6.1f} us {peak(chain, n, executor) / 1024:6.0f} KiB"
                for n in SIZES
            ]
            print(f"  {executor:8} {source:16} {'   '.join(cells)}", flush=True)


if __name__ == "__main__":
    main()
