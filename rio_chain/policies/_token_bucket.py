"""Bucket: a rate as an instant, the one when the bucket will be full again (the generic cell rate algorithm)."""

from __future__ import annotations

from attrs import frozen

EARLY = 1e-9
"""Seconds that a timer may fire early without having to be set again."""


@frozen
class Rate:
    """One token in every ``interval`` seconds, up to ``burst`` of them kept."""

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
        """Seconds until there is a token, when ``ahead`` others are served before."""
        short = ahead + 1 - self.rate.burst
        return max(0.0, max(self.full_at, now) + short * self.rate.interval - now)

    def take(self, now: float) -> bool:
        """Take a token if there is one."""
        if self.wait(now) > EARLY:
            return False
        self.full_at = max(self.full_at, now) + self.rate.interval
        return True

    def full(self, now: float) -> bool:
        """Whether it has recovered from all that was taken."""
        return self.full_at <= now
