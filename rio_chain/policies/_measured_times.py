"""MeasuredTimes: how long requests of each kind take."""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import NamedTuple

MOST_KINDS = 1_000
FEWEST = 5
"""With fewer requests than this, nothing is expected."""
PATIENCE = 10
"""How many times the expected time may pass without a request that is begun, before less is expected."""
LEAST_SHARE = 0.05
"""The weight of the last request in the mean, once there were many."""
DEVIATIONS = 2.0
"""How many standard deviations above the mean a request may take. About one in twenty takes longer."""


class Measured(NamedTuple):
    """The number of requests, and the mean and the variance of their seconds.

    ``skipped_at``: when one was not begun, for the first time since one was.
    """

    number: int = 0
    mean: float = 0.0
    variance: float = 0.0
    skipped_at: float | None = None


class MeasuredTimes:
    """How long requests of each kind take, to tell those that can hardly be done in time any more.

    The mean and the variance are those of the last requests, in which older ones count less. Those that ran out of time
    count as well, with the time that they had; if only successes counted, the estimate would shrink until nothing
    succeeded. If none is begun for a while, as the backend was slow before, the estimate is lowered step by step.

    Example:
        >>> times = MeasuredTimes()
        >>> for _ in range(5):
        ...     times.add("page", 0.2)
        >>> times.expected("page"), times.expected("other")
        (0.2, 0.0)
    """

    def __init__(self) -> None:
        self._kinds: OrderedDict[str, Measured] = OrderedDict()

    def add(self, kind: str, seconds: float) -> None:
        """A request of this kind has succeeded, or has run out of time, after so many seconds."""
        number, mean, variance, _ = self._kinds.pop(kind, Measured())
        share, off = max(1 / (number + 1), LEAST_SHARE), seconds - mean
        spread = (1 - share) * (variance + share * off * off)
        self._kinds[kind] = Measured(number + 1, mean + share * off, spread)
        if len(self._kinds) > MOST_KINDS:
            self._kinds.popitem(last=False)

    def expected(self, kind: str) -> float:
        """The seconds within which nearly all requests of this kind end. 0 if fewer than five have ended."""
        number, mean, variance, _ = self._kinds.get(kind, Measured())
        return mean + DEVIATIONS * math.sqrt(variance) if number >= FEWEST else 0.0

    def skipped(self, kind: str, now: float) -> None:
        """A request of this kind was not begun at this instant."""
        number, mean, variance, since = self._kinds.get(kind, Measured())
        since = now if since is None else since
        if now - since > PATIENCE * self.expected(kind):
            mean, variance, since = mean * 0.9, variance * 0.81, now
        self._kinds[kind] = Measured(number, mean, variance, since)
