"""To write and to compile a chain, deep or wide, against its nodes."""

from __future__ import annotations

import time

from benchmarks.growth.fit import head, line
from benchmarks.rows.plans import compile_time, deep, wide

REPEATS = 3


def report(most: int) -> None:
    """Print the tables: microseconds for each node, so linear growth is an exponent of 0."""
    sizes = [size for size in (100, 1_000, 10_000, 100_000) if size <= most]
    print(head("nodes of a chain (us each)", sizes))
    for name, make in (("deep", deep), ("wide", wide)):
        written, compiled = [], []
        for size in sizes:
            chains, took = [], []
            for _ in range(REPEATS):
                began = time.perf_counter()
                chains.append(make(size))
                took.append(time.perf_counter() - began)
            written.append(min(took) / size * 1e6)
            compiled.append(min(map(compile_time, chains)) / size * 1e6)
        print(line(f"{name}, to write", sizes, written))
        print(line(f"{name}, to compile", sizes, compiled), flush=True)
