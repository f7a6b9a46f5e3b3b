"""The counts of a balancer, and its status line."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable
from itertools import accumulate
from operator import mul
from typing import TYPE_CHECKING, Any

from attrs import field, frozen

from rio_chain._core.quantiles import nearest_rank
from rio_chain._core.units import format_duration
from rio_chain.errors import RequestShed
from rio_chain.results._task_record import status_of

if TYPE_CHECKING:
    from rio_chain.results._outcome import Outcome

INF = float("inf")
STEPS = tuple(float(f"{digit}e{power}") for power in range(-6, 6) for digit in (1, 2, 5))
"""Seconds: 0.001, 0.002, 0.005, 0.01 ms and so on, up to 500,000 s, which are almost six days."""
SIZE = len(STEPS) + 1
_BOUNDS = (*STEPS, STEPS[-1])
_MILLISECONDS = tuple(float(f"{digit}e{power}") for power in range(-3, 9) for digit in (1, 2, 5))


@frozen(repr=False)
class Histogram:
    """How many durations took up to 0.001, 0.002, 0.005, 0.01 ms and so on: 1, 2 and 5 in each power of ten.

    Attributes:
        buckets: ``buckets[i]`` counts those of more than ``steps[i - 1]``, up to ``steps[i]``; the last one the rest.
    """

    buckets: tuple[int, ...]

    @property
    def steps(self) -> tuple[float, ...]:
        """The upper bounds of the buckets, in milliseconds. The last bucket has none."""
        return _MILLISECONDS

    @property
    def count(self) -> int:
        """How many durations there are."""
        return sum(self.buckets)

    def quantile(self, share: float) -> float:
        """An upper bound, in milliseconds, that a share of ``share`` (0 to 1) did not exceed: one of ``steps``."""
        if not self.count:
            return 0.0
        bucket = bisect_right([*accumulate(self.buckets)], nearest_rank(share, self.count))
        return _MILLISECONDS[bucket] if bucket < len(_MILLISECONDS) else INF

    def __repr__(self) -> str:
        return f"<Histogram of {self.count}: p50 <= {self.quantile(0.5):g} ms, p99 <= {self.quantile(0.99):g} ms>"


class HistogramCounter:
    """A mutable histogram."""

    __slots__ = ("buckets",)

    def __init__(self) -> None:
        self.buckets = [0] * SIZE

    def add(self, seconds: float) -> None:
        """Count a duration."""
        self.buckets[bisect_left(STEPS, seconds)] += 1

    def mean(self) -> float | None:
        """An upper bound of the mean, in seconds; None if nothing was counted."""
        total = sum(self.buckets)
        took: float = sum(map(mul, self.buckets, _BOUNDS))
        return took / total if total else None

    def frozen(self) -> Histogram:
        """The present histogram."""
        return Histogram(tuple(self.buckets))


class EndCounter:
    """Counts how requests ended."""

    __slots__ = ("cancelled", "failed", "shed", "succeeded", "timed_out")

    def __init__(self) -> None:
        self.succeeded = self.failed = self.timed_out = self.cancelled = self.shed = 0

    def add(self, outcome: Outcome[Any] | None) -> None:
        """Count the end of a request. ``outcome`` is None if it ended with an exception that is not in an Outcome."""
        if outcome is None:
            self.cancelled += 1
        elif outcome.ok:
            self.succeeded += 1
        else:
            status = status_of(outcome.error)
            if status in ("timed_out", "abandoned"):
                self.timed_out += 1
            elif status == "cancelled":
                self.cancelled += 1
            elif type(outcome.error) is RequestShed:
                self.shed += 1
            else:
                self.failed += 1


@frozen
class Stats:
    """A snapshot of a balancer.

    Attributes:
        running: the number of requests that run now.
        queued: the number of requests that wait for a slot.
        abandoned: the number of calls of sync functions that were abandoned and still run.
        done: the number of requests that had a slot and have ended, since the balancer was made.
        rejected: the number of requests that were refused because the buffer was full or too many abandoned calls ran.
        waits: how long requests waited for their slot.
        runs: how long requests ran.
        succeeded: the number of requests that ended with a value.
        failed: the number of requests that ended with any error that the next two do not count,
            also a ``SystemExit``.
        timed_out: the number of requests that ran out of time, also while they waited for a slot.
        cancelled: the number of requests that were cancelled, also while they waited, or that Ctrl-C ended.
        shed: the number of requests that ``shed=`` or ``shed_late=`` has dropped.
    """

    running: int
    queued: int
    abandoned: int
    done: int
    rejected: int
    waits: Histogram = field(repr=False)
    runs: Histogram = field(repr=False)
    succeeded: int = 0
    failed: int = 0
    timed_out: int = 0
    cancelled: int = 0
    shed: int = 0


@frozen
class WatchedBalancer:
    """What ``watch`` shows: the settings of a balancer, and functions that read it."""

    workers: int
    buffer: int
    max_abandoned: int
    title: Callable[[], str]
    closed: Callable[[], bool]
    stats: Callable[[], Stats]


def status_line(state: str, workers: int, buffer: int, stats: Stats) -> str:
    """A balancer in one line."""
    wait, run = stats.waits.quantile(0.5) / 1e3, stats.runs.quantile(0.5) / 1e3
    return (
        f"<Balancer {state}: {stats.running}/{workers} running, {stats.queued}/{buffer} queued, "
        f"{stats.abandoned} abandoned, {stats.rejected} rejected, {stats.done} done, "
        f"p50 wait <= {format_duration(wait)}, run <= {format_duration(run)}>"
    )
