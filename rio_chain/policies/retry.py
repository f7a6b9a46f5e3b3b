"""Retry and its Backoff: how often again, for which errors, and after how long."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, Literal

from attrs import field, frozen

from rio_chain.errors import NEVER_RETRIED, ChainDefinitionError
from rio_chain.units import Duration, milliseconds, number, seconds, shown, span

Jitter = Literal["full", "none"]
On = type[BaseException] | tuple[type[BaseException], ...] | Callable[[Any], bool]
"""Which errors are worth another attempt: a class, several, or a predicate over the error."""


def _base(value: Duration) -> float:
    return seconds(value, "base", zero=True)


def _cap(value: Duration) -> float:
    return seconds(value, "cap", zero=True)


def _factor(value: float) -> float:
    return number(value, "factor", least=1)


@frozen(repr=False)
class Backoff:
    """The wait before retry ``i`` (counted from 0): ``min(cap, base * factor ** i)``, with jitter.

    Full jitter draws uniformly between 0 and that bound, which spreads callers that failed together
    (Brooker, "Exponential Backoff and Jitter", AWS Architecture Blog, 2015).

    Args:
        base: the first bound, in milliseconds or as a ``timedelta``. Default 50.
        factor: how much the bound grows from one retry to the next; 1 or more. Default 2.
        cap: the largest bound, in milliseconds or as a ``timedelta``. Default 1000.
        jitter: ``"full"`` or ``"none"``.

    Raises:
        ChainDefinitionError: an argument out of its range.

    Example:
        >>> Backoff(base=100, jitter="none").delay(2)
        0.4
    """

    base: float = field(default=50, converter=_base)
    factor: float = field(default=2, converter=_factor)
    cap: float = field(default=1000, converter=_cap)
    jitter: Jitter = "full"

    def __attrs_post_init__(self) -> None:
        if self.jitter not in ("full", "none"):
            raise ChainDefinitionError(f"`jitter` must be 'full' or 'none'; got {shown(self.jitter)}")

    def delay(self, retry: int, draw: Callable[[], float] = random.random) -> float:
        """Seconds to wait before retry number ``retry`` (0 is the first); ``draw`` gives numbers in [0, 1)."""
        try:
            bound = min(self.cap, self.base * self.factor**retry)
        except OverflowError:
            bound = self.cap
        return bound * draw() if self.jitter == "full" else bound

    def __repr__(self) -> str:
        base, cap = milliseconds(self.base), milliseconds(self.cap)
        return f"Backoff(base={base:.10g}, factor={self.factor:.10g}, cap={cap:.10g}, jitter={self.jitter!r})"

    def __str__(self) -> str:
        return f"backoff {span(self.base)} x{self.factor:g} up to {span(self.cap)}, {self.jitter} jitter"


DEFAULT_BACKOFF = Backoff()


@frozen
class Retry:
    """Up to ``retries`` calls after the first, for errors that ``on`` names; ``accept`` may refuse a value."""

    retries: int
    on: On = Exception
    backoff: Backoff | None = DEFAULT_BACKOFF
    accept: Callable[[Any], bool] | None = None

    def left(self, done: int) -> bool:
        """Whether another retry is allowed after ``done`` of them."""
        return done < self.retries

    def matches(self, error: object) -> bool | None:
        """Whether this error is worth another attempt; None: ask the predicate ``on``."""
        if isinstance(error, NEVER_RETRIED):
            return False
        if self.on is Exception:
            return True  # the default also covers the error value of a returned Failure, whatever its type
        if isinstance(self.on, (type, tuple)):
            return isinstance(error, self.on)
        return None

    def delay(self, retry: int, error: object) -> float:
        """Seconds before retry number ``retry`` (0 is the first). What the server asked for wins over the backoff."""
        told = getattr(error, "retry_after", None)
        if isinstance(told, (int, float)) and not isinstance(told, bool) and 0 <= told < float("inf"):
            return float(told)
        return self.backoff.delay(retry) if self.backoff is not None else 0.0

    def __str__(self) -> str:
        waits = str(self.backoff) if self.backoff is not None else "at once"
        return f"retry up to {self.retries} times, {waits}"
