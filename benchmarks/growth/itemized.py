"""One ``each`` against its items: time for each, and the most memory in use, which does not grow."""

from __future__ import annotations

from operator import add

from benchmarks.growth.fit import head, line
from benchmarks.items import BODIES, LIMIT, SOURCES, peak, timed
from rio_chain import Task, each, reduce

TRACED = 100_000
"""At most so many items with tracemalloc, which makes them several times slower."""


def report(most: int) -> None:
    """Print the tables."""
    sizes = [size for size in (1_000, 10_000, 100_000, 1_000_000) if size <= most]
    print(head("items of an each (us each)", sizes))
    chains = {
        executor: SOURCES["generator"] >> each(Task(body), limit=LIMIT) >> reduce(add, 0)
        for executor, body in BODIES.items()
    }
    for executor, chain in chains.items():
        timed(chain, LIMIT, executor)
        print(line(executor, sizes, [timed(chain, size, executor) / size * 1e6 for size in sizes]), flush=True)
    small = [size for size in sizes if size <= TRACED]
    print(head("items of an each (peak, KiB)", small))
    for executor, chain in chains.items():
        print(line(executor, small, [peak(chain, size, executor) / 1024 for size in small]), flush=True)
