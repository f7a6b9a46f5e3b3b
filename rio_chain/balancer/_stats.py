"""What a balancer counts, and how it shows it."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from itertools import accumulate

from attrs import field, frozen

from rio_chain._core.quantiles import nearest_rank
from rio_chain._core.units import format_duration, milliseconds


@frozen(repr=False)
class Histogram:
    """How many durations fell below each power of two of a microsecond.

    Attributes:
        buckets: ``buckets[i]`` counts those from ``2**(i-1)`` up to ``2**i`` microseconds; the last one all above.
    """

    buckets: tuple[int, ...]

    @property
    def count(self) -> int:
        """How many there are."""
        return sum(self.buckets)

    def quantile(self, share: float) -> float:
        """An upper bound, in milliseconds, that ``share`` (0 to 1) of them did not pass; exact to a factor of two."""
        if not self.count:
            return 0.0
        bucket = bisect_right([*accumulate(self.buckets)], nearest_rank(share, self.count))
        return milliseconds(2.0**bucket / 1e6)

    def __repr__(self) -> str:
        return f"<Histogram of {self.count}: p50 <= {self.quantile(0.5):g} ms, p99 <= {self.quantile(0.99):g} ms>"


SIZE = 40
"""Buckets: 2**39 microseconds are six days."""


class HistogramCounter:
    """A histogram in the making."""

    __slots__ = ("buckets",)

    def __init__(self) -> None:
        self.buckets = [0] * SIZE

    def add(self, seconds: float) -> None:
        """One more duration."""
        self.buckets[min(int(seconds * 1e6).bit_length(), SIZE - 1)] += 1

    def frozen(self) -> Histogram:
        """The histogram as it is now."""
        return Histogram(tuple(self.buckets))


@frozen
class Stats:
    """A snapshot of a balancer.

    Attributes:
        running: requests that run now.
        queued: requests that wait for a slot.
        abandoned: calls of sync functions that nobody waits for any more and that still run.
        done: requests that ended with an Outcome, since the balancer was made.
        rejected: posts refused because the buffer was full or too many calls were abandoned.
        waits: how long requests waited for their slot.
        runs: how long they ran.
    """

    running: int
    queued: int
    abandoned: int
    done: int
    rejected: int
    waits: Histogram = field(repr=False)
    runs: Histogram = field(repr=False)


@frozen
class WatchedBalancer:
    """What ``watch`` shows: the bounds of a balancer, and how to look at it."""

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
