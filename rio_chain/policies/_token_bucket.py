"""Bucket: a token bucket, stored as the instant when it will be full again (the generic cell rate algorithm)."""

from __future__ import annotations

from typing import Protocol

from attrs import frozen

EARLY = 1e-9
"""A timer that fires this many seconds early need not be set again."""


@frozen
class Rate:
    """One token in every ``interval`` seconds; at most ``burst`` tokens are kept.

    With a ``window``, at most ``burst`` tokens are used in any stretch of that many seconds.
    """

    interval: float
    burst: float
    window: float | None = None


class Tokens(Protocol):
    """The tokens of one key. A call takes as many as its cost."""

    rate: Rate

    def wait(self, now: float, cost: float = 1, ahead: float = 0) -> float:
        """Seconds until there are so many tokens, if calls that cost ``ahead`` in total are served before."""
        raise NotImplementedError

    def take(self, now: float, cost: float = 1) -> bool:
        """Take the tokens, if there are enough."""
        raise NotImplementedError

    def correct(self, now: float, more: float, taken: float) -> None:
        """The call that took its tokens at ``taken`` costs so much more, or less if ``more`` is negative."""
        raise NotImplementedError

    def full(self, now: float) -> bool:
        """Whether all tokens are back."""
        raise NotImplementedError

    def changed(self, rate: Rate, now: float) -> Tokens:
        """The tokens under another rate. No tokens are won by the change."""
        raise NotImplementedError


class Bucket(Tokens):
    """A bucket of tokens.

    Example:
        >>> bucket = Bucket(Rate(interval=1.0, burst=2))
        >>> bucket.take(0.0), bucket.take(0.0), bucket.wait(0.0)
        (True, True, 1.0)
    """

    __slots__ = ("full_at", "rate")

    def __init__(self, rate: Rate) -> None:
        self.rate = rate
        self.full_at = float("-inf")

    def wait(self, now: float, cost: float = 1, ahead: float = 0) -> float:
        """As ``Tokens.wait``."""
        short = ahead + cost - self.rate.burst
        return max(0.0, max(self.full_at, now) + short * self.rate.interval - now)

    def take(self, now: float, cost: float = 1) -> bool:
        """As ``Tokens.take``."""
        if self.wait(now, cost) > EARLY:
            return False
        self.full_at = max(self.full_at, now) + cost * self.rate.interval
        return True

    def correct(self, now: float, more: float, taken: float) -> None:  # noqa: ARG002 - of the protocol
        """As ``Tokens.correct``. The bucket may go into debt, which new tokens pay first."""
        self.full_at = max(self.full_at, now) + more * self.rate.interval

    def full(self, now: float) -> bool:
        """As ``Tokens.full``."""
        return self.full_at <= now

    def changed(self, rate: Rate, now: float) -> Tokens:
        """As ``Tokens.changed``."""
        missing = max(0.0, self.full_at - now) / self.rate.interval
        left = min(self.rate.burst - missing, rate.burst)
        new = Bucket(rate)
        if left < rate.burst:
            new.correct(now, rate.burst - left, now)
        return new
