"""What the process holds when nothing runs, and whether that grows."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import statistics
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from math import sqrt
from pathlib import Path

from attrs import frozen

from rio_chain.executors._process_resources import descriptors

MIB = 2**20
M_ARENA_MAX = -8
"""Of malloc.h."""
STATM = Path("/proc/self/statm")
SLACK = 4.0
"""Mebibytes that memory may grow in any case: stacks of idle threads, and what an allocator does not give back."""
SHARE = 0.02
"""So much of itself it may grow as well."""
SPARE = 300
"""Objects of one type that may be more in the end. Pools grow to as many as were ever in use at once, and every
asyncio loop keeps up to a hundred timers that were cancelled, with all that their contexts hold.
"""
STEEP = 3.0
"""A slope is significant when it is so many times its standard error."""
FEW = 3
"""Fewer points than this have no slope."""


@frozen
class Sample:
    """One measurement. ``workers`` are idle threads that are kept for the next call; ``threads`` are all others."""

    threads: int
    workers: int
    descriptors: int
    tasks: int
    objects: int
    own: Mapping[str, int]
    """How many of each type of rio_chain there are."""
    resident: float
    """Mebibytes; 0 where the system does not say."""

    def line(self) -> str:
        """As text."""
        return (
            f"{self.threads} threads (and {self.workers} idle workers), {self.descriptors} descriptors, "
            f"{self.tasks} tasks, {self.objects} objects ({sum(self.own.values())} of rio_chain), "
            f"RSS {self.resident:.1f} MiB"
        )


def sample(tasks: int) -> Sample:
    """Measure now, when nothing runs."""
    for _ in range(3):  # a finaliser may leave something for the next collection
        gc.collect()
    found = gc.get_objects()
    own = Counter(
        f"{type(one).__module__}.{type(one).__qualname__}"
        for one in found
        if str(getattr(type(one), "__module__", "")).startswith("rio_chain")
    )
    objects = len(found)
    del found
    names = [thread.name for thread in threading.enumerate()]
    workers = sum("-worker-" in name for name in names)
    return Sample(len(names) - workers, workers, len(descriptors()), tasks, objects, own, resident())


def one_arena() -> None:
    """Where the memory is glibc's: all threads share one arena. To be called before they are started."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(M_ARENA_MAX, 1)


def resident() -> float:
    """Mebibytes of memory that the process has, without what is swapped out."""
    try:
        pages = int(STATM.read_text().split()[1])
    except OSError:
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / MIB


def slope(values: Sequence[float]) -> tuple[float, float]:
    """What one round adds, by least squares, and the standard error of that."""
    many = len(values)
    rise, start = statistics.linear_regression(range(many), values)
    rest = sum((value - start - rise * at) ** 2 for at, value in enumerate(values))
    spread = many * (many * many - 1) / 12
    return rise, sqrt(rest / max(1, many - 2) / spread)


def grows(values: Sequence[float], spare: float) -> bool:
    """Whether it is more in the end than at first, by more than ``spare``, and all the way and not by accident."""
    if values[-1] - values[0] <= spare:
        return False
    if len(values) < FEW:
        return True
    rise, error = slope(values)
    return rise > STEEP * error


def verdict(settled: Sequence[Sample]) -> list[str]:
    """What has grown, of the samples after the warm-up; nothing when all is flat."""
    first, last = settled[0], settled[-1]
    lines = [
        f"{name}: {before} at first, {after} in the end"
        for name in ("threads", "descriptors", "tasks")
        if (before := getattr(first, name)) != (after := getattr(last, name))
    ]
    memory = [one.resident for one in settled]
    if grows(memory, SHARE * memory[0] + SLACK):
        lines.append(f"RSS grows: {memory[0]:.1f} MiB at first, {memory[-1]:.1f} MiB in the end")
    return lines + [
        f"{kind} grows: {first.own.get(kind, 0)} at first, {last.own[kind]} in the end"
        for kind in last.own
        if grows([one.own.get(kind, 0) for one in settled], SPARE)
    ]
