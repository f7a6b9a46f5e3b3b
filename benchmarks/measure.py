"""Taking samples of several cases in turn, so that a noisy machine is noisy for all of them alike."""

from __future__ import annotations

import gc
import random
import statistics
import time
from collections.abc import Awaitable, Callable

REPEATS = 7


class Row:
    """The samples of one case, in microseconds per chain."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.samples: list[float] = []

    @property
    def median(self) -> float:
        return statistics.median(self.samples)

    def line(self, base: float) -> str:
        low, high = min(self.samples), max(self.samples)
        return f"  {self.name:38} {self.median:8.2f} us  [{low:7.2f} .. {high:7.2f}]  {self.median / base:5.2f}x"


async def loops(cases: dict[str, Callable[[], Awaitable[object]]], number: int) -> dict[str, Row]:
    """Each case ``number`` times in a row, in a new order each round."""
    rows = {name: Row(name) for name in cases}
    for case in cases.values():
        await case()
    for _ in range(REPEATS):
        for name in random.sample(list(cases), len(cases)):
            case = cases[name]
            gc.collect()
            began = time.perf_counter()
            for _ in range(number):
                await case()
            rows[name].samples.append((time.perf_counter() - began) / number * 1e6)
    return rows


def plain(cases: dict[str, Callable[[int], object]], number: int) -> dict[str, Row]:
    """Each case is told to do ``number`` chains."""
    rows = {name: Row(name) for name in cases}
    for case in cases.values():
        case(10)
    for _ in range(REPEATS):
        for name in random.sample(list(cases), len(cases)):
            gc.collect()
            began = time.perf_counter()
            cases[name](number)
            rows[name].samples.append((time.perf_counter() - began) / number * 1e6)
    return rows


def table(title: str, rows: dict[str, Row], base: str) -> str:
    """The rows with their ratio to the case ``base``."""
    return "\n".join([title, *(row.line(rows[base].median) for row in rows.values())])
