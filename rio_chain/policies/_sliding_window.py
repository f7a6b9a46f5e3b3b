"""SlidingWindow: at most so many tokens in any stretch of time, for contracts that count that way."""

from __future__ import annotations

import math
from collections import deque

from rio_chain.policies._token_bucket import EARLY, Bucket, Rate, Tokens

MOST_STARTS = 20_000
"""With more starts in one window than this, the two oldest are counted as one that began when the younger did."""


class SlidingWindow(Tokens):
    """When tokens were used, in the last ``rate.window`` seconds.

    Example:
        >>> window = SlidingWindow(Rate(interval=0.5, burst=2, window=1.0))
        >>> window.take(0.0), window.take(0.75), window.take(0.9), window.wait(0.75)
        (True, True, False, 0.25)
    """

    __slots__ = ("_length", "_starts", "_used", "rate")

    def __init__(self, rate: Rate) -> None:
        self.rate = rate
        self._length = rate.window or 0.0
        self._starts: deque[list[float]] = deque()  # of each start: the instant, and its cost
        self._used = 0.0

    def _forget(self, now: float) -> None:
        starts = self._starts
        while starts and starts[0][0] + self._length <= now + EARLY:
            self._used -= starts.popleft()[1]
        if not starts:
            self._used = 0.0  # sums of floats are rounded

    def _fits(self, cost: float) -> bool:
        return self._used + cost <= self.rate.burst * (1 + EARLY)

    def wait(self, now: float, cost: float = 1, ahead: float = 0) -> float:
        """As ``Tokens.wait``."""
        self._forget(now)
        total, most = ahead + cost, self.rate.burst
        rounds = max(0, math.ceil(total / most * (1 - EARLY)) - 1)
        left = total - rounds * most
        waited, used = 0.0, self._used
        for at, spent in self._starts:
            if used + left <= most * (1 + EARLY):
                break
            used -= spent
            waited = at + self._length - now
        return waited + rounds * self._length

    def take(self, now: float, cost: float = 1) -> bool:
        """As ``Tokens.take``."""
        self._forget(now)
        if not self._fits(cost):
            return False
        self._add(now, cost)
        return True

    def _add(self, now: float, cost: float) -> None:
        self._used += cost
        starts = self._starts
        if starts and starts[-1][0] >= now:
            starts[-1][1] += cost
        elif cost:
            starts.append([now, cost])
        if len(starts) > MOST_STARTS:
            oldest = starts.popleft()
            starts[0][1] += oldest[1]

    def correct(self, now: float, more: float, taken: float) -> None:
        """As ``Tokens.correct``. What began before the window does not count any more."""
        self._forget(now)
        if taken + self._length <= now + EARLY:
            return
        for start in reversed(self._starts):
            if start[0] <= taken:
                self._used += more
                start[1] += more
                return
        if more > 0:
            self._starts.appendleft([taken, more])
            self._used += more

    def full(self, now: float) -> bool:
        """As ``Tokens.full``."""
        self._forget(now)
        return not self._starts

    def changed(self, rate: Rate, now: float) -> Tokens:
        """As ``Tokens.changed``. The starts of the last window count under the new rate."""
        self._forget(now)
        new = SlidingWindow(rate)
        new._starts, new._used = deque(list(start) for start in self._starts), self._used
        return new


def tokens(rate: Rate) -> Tokens:
    """The tokens of a key that was not used yet."""
    return Bucket(rate) if rate.window is None else SlidingWindow(rate)
