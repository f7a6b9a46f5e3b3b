"""Bucket: a token bucket, stored as the instant when it will be full again (the generic cell rate algorithm)."""

from __future__ import annotations

from attrs import frozen

EARLY = 1e-9
"""A timer that fires this many seconds early need not be set again."""


@frozen
class Rate:
    """One token in every ``interval`` seconds; at most ``burst`` tokens are kept."""

    interval: float
    burst: int


class Bucket:
    """The tokens of one key.

    Example:
        >>> bucket = Bucket(Rate(interval=1.0, burst=2))
        >>> bucket.take(0.0), bucket.take(0.0), bucket.wait(0.0)
        (True, True, 1.0)
    """

    __slots__ = ("full_at", "rate")

    def __init__(self, rate: Rate) -> None:
        self.rate = rate
        self.full_at = float("-inf")

    def wait(self, now: float, ahead: int = 0) -> float:
        """Seconds until there is a token, if ``ahead`` other calls are served before."""
        short = ahead + 1 - self.rate.burst
        return max(0.0, max(self.full_at, now) + short * self.rate.interval - now)

    def take(self, now: float) -> bool:
        """Take a token, if there is one."""
        if self.wait(now) > EARLY:
            return False
        self.full_at = max(self.full_at, now) + self.rate.interval
        return True

    def full(self, now: float) -> bool:
        """Whether all tokens are back."""
        return self.full_at <= now
