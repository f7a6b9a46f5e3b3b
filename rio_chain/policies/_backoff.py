"""Backoff: how long to wait before a retry."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping
from datetime import timedelta
from numbers import Real
from types import MappingProxyType
from typing import Any, Literal, cast

from attrs import field, frozen

from rio_chain._core.source_text import fn_source
from rio_chain._core.units import Duration, format_duration, number, seconds, short_repr
from rio_chain.errors import ChainDefinitionError
from rio_chain.policies._checks import callback
from rio_chain.policies._number_format import exact_ms, exact_number
from rio_chain.policies._plain_data import Data, function, ms
from rio_chain.policies._plain_data import number as plain_number

Jitter = Literal["full", "equal", "none", "decorrelated"]

_FACTOR = 2
_SPREAD = 3  # decorrelated: a delay is at most this many times the previous delay (Brooker's figure)


def _base(value: Duration) -> float:
    return seconds(value, "base", zero=True)


def _cap(value: Duration) -> float:
    return seconds(value, "cap", zero=True)


def _factor(value: float) -> float:
    return number(value, "factor", least=1)


def _step(value: Duration | None) -> float | None:
    return None if value is None else seconds(value, "step", zero=True)


def _max_retry_after(value: Duration | None) -> float | None:
    return None if value is None else seconds(value, "max_retry_after", zero=True)


@frozen(repr=False)
class Backoff:
    """The wait before retry ``i`` (counted from 0): ``min(cap, base * factor ** i)``, with jitter.

    ``factor=1`` is a constant wait. With ``step``, the bound grows by that time instead: ``min(cap, base + step * i)``.

    Full jitter is uniform between 0 and that bound, so callers that failed together retry at different times. Equal
    jitter is uniform between half of the bound and the bound. Decorrelated jitter is uniform between ``base`` and three
    times the previous delay, at most ``cap``; it does not use ``factor`` (Brooker, "Exponential Backoff and Jitter",
    AWS Architecture Blog, 2015).

    A server may ask for a wait (``error.retry_after``, or ``retry_after=`` of the retry). The longer of the two waits
    is used, but never more than ``cap``, or than ``max_retry_after`` if that is given.

    Args:
        base: the first bound, in milliseconds or as a ``timedelta``. Default 50.
        factor: the factor from one bound to the next; 1 or more. Default 2.
        cap: the largest bound, in milliseconds or as a ``timedelta``. Default 1000.
        jitter: ``"full"``, ``"equal"``, ``"none"`` or ``"decorrelated"``. Default ``"full"``.
        step: how much longer each bound is than the one before, in place of ``factor``; milliseconds or a
            ``timedelta``.
        max_retry_after: the longest wait that a server may ask for, in milliseconds or as a ``timedelta``. 0 ignores
            the server. Default: ``cap``.

    Raises:
        ChainDefinitionError: an argument is out of its range, or ``step`` is given together with ``factor`` or
            decorrelated jitter.

    Example:
        >>> Backoff(base=100, jitter="none").delay(2), Backoff(base=100, step=20, jitter="none").delay(2)
        (0.4, 0.14)
    """

    base: float = field(default=50, converter=_base)
    factor: float = field(default=_FACTOR, converter=_factor)
    cap: float = field(default=1000, converter=_cap)
    jitter: Jitter = "full"
    max_retry_after: float | None = field(default=None, converter=_max_retry_after, kw_only=True)
    step: float | None = field(default=None, converter=_step, kw_only=True)

    def __attrs_post_init__(self) -> None:
        if self.jitter not in ("full", "equal", "none", "decorrelated"):
            raise ChainDefinitionError(
                f"`jitter` must be 'full', 'equal', 'none' or 'decorrelated'; got {short_repr(self.jitter)}"
            )
        if self.step is not None and self.factor != _FACTOR:
            raise ChainDefinitionError(
                f"give `factor` or `step`, not both: a wait grows by a factor or by a time; got {self.factor:g} and "
                f"{exact_ms(self.step)}"
            )
        if self.step is not None and self.jitter == "decorrelated":
            raise ChainDefinitionError(
                "`step` has no effect with jitter='decorrelated', as there each wait follows the last"
            )

    def delay(self, retry: int, draw: Callable[[], float] = random.random, previous: float | None = None) -> float:
        """Seconds to wait before retry number ``retry`` (0 is the first).

        Args:
            retry: how many retries were made before.
            draw: returns random numbers in [0, 1).
            previous: the previous delay, in seconds. None if there was none.
        """
        if self.jitter == "decorrelated":
            bound = max(self.base, _SPREAD * (self.base if previous is None else previous))
            return min(self.cap, self.base + (bound - self.base) * draw())
        bound = self.bound(retry)
        if self.jitter == "none":
            return bound
        return bound * draw() if self.jitter == "full" else bound / 2 + bound / 2 * draw()

    def bound(self, retry: int) -> float:
        """The longest that ``delay(retry)`` can be, in seconds."""
        if self.jitter == "decorrelated":
            return min(self.cap, _grown(self.base, _SPREAD, retry + 1))
        if self.step is not None:
            return min(self.cap, self.base + self.step * retry)
        return min(self.cap, _grown(self.base, self.factor, retry))

    def least(self, retry: int) -> float:
        """The shortest that ``delay(retry)`` can be, in seconds."""
        if self.jitter == "full":
            return 0.0
        if self.jitter == "decorrelated":
            return min(self.base, self.cap)
        return self.bound(retry) if self.jitter == "none" else self.bound(retry) / 2

    def to_dict(self) -> Data:
        """Its settings as plain data."""
        asked = {} if self.max_retry_after is None else {"max_retry_after_ms": ms(self.max_retry_after)}
        grows = {"factor": plain_number(self.factor)} if self.step is None else {"step_ms": ms(self.step)}
        return {
            "kind": "backoff",
            "base_ms": ms(self.base),
            **grows,
            "cap_ms": ms(self.cap),
            "jitter": self.jitter,
            **asked,
        }

    @property
    def most_asked(self) -> float:
        """The longest wait that a server may ask for, in seconds."""
        return self.cap if self.max_retry_after is None else self.max_retry_after

    def __repr__(self) -> str:
        base, cap = exact_ms(self.base), exact_ms(self.cap)
        grows = f"factor={exact_number(self.factor)}" if self.step is None else f"step={exact_ms(self.step)}"
        asked = "" if self.max_retry_after is None else f", max_retry_after={exact_ms(self.max_retry_after)}"
        return f"Backoff(base={base}, {grows}, cap={cap}, jitter={self.jitter!r}{asked})"

    def __str__(self) -> str:
        asked = (
            ""
            if self.max_retry_after is None
            else f", servers may ask for up to {format_duration(self.max_retry_after)}"
        )
        if self.jitter == "decorrelated":
            return (
                f"backoff from {format_duration(self.base)} up to "
                f"{format_duration(self.cap)}, decorrelated jitter{asked}"
            )
        grows = f"x{self.factor:g}" if self.step is None else f"+ {format_duration(self.step)}"
        return (
            f"backoff {format_duration(self.base)} {grows} up to "
            f"{format_duration(self.cap)}, {self.jitter} jitter{asked}"
        )


DEFAULT_BACKOFF = Backoff()


def _grown(base: float, factor: float, times: int) -> float:
    try:
        return base * factor**times
    except OverflowError:
        return math.inf if base else 0.0


NOTHING: Mapping[str, Any] = MappingProxyType({})

# --- waits of other libraries -----------------------------------------------------------------------------------


@frozen
class FailedAttempt:
    """The part of ``retry_state.outcome`` that a tenacity wait may read."""

    error: Any
    failed: bool = True

    def exception(self) -> Any:
        """The error of the last attempt."""
        return self.error


@frozen
class RetryState:
    """The part of ``retry_state`` that a tenacity wait or stop may read.

    ``attempt_number`` counts from 1; times are seconds. ``args`` and ``kwargs`` are the input of what is retried.
    ``upcoming_sleep`` is the wait that would follow, for a stop.
    """

    attempt_number: int
    outcome: FailedAttempt
    seconds_since_start: float = 0.0
    idle_for: float = 0.0
    upcoming_sleep: float = 0.0
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = NOTHING


@frozen(repr=False)
class Wait:
    """A ``tenacity.wait_*`` object, or any function of such a state that returns seconds, used as a backoff.

    It is the user's code, so it is called where users' functions are called.
    """

    fn: Callable[[Any], Any] = field(hash=False)

    def delay(
        self,
        retry: int,
        error: object,
        *,
        elapsed: float = 0.0,
        idle: float = 0.0,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] = NOTHING,
    ) -> float:
        """Seconds before retry number ``retry`` (0 is the first). The other arguments are those of ``Retry.delay``.

        Raises:
            TypeError: the function did not return finite seconds, 0 or more.
        """
        got = self.fn(RetryState(retry + 1, FailedAttempt(error), elapsed, idle, 0.0, args, kwargs))
        value = got.total_seconds() if isinstance(got, timedelta) else got
        if isinstance(value, bool) or not isinstance(value, Real) or not 0 <= float(value) < math.inf:
            raise TypeError(f"a wait must give finite seconds, 0 or more; {self!r} gave {short_repr(got)}")
        return float(value)

    def to_dict(self) -> Data:
        """Its settings as plain data."""
        return {"kind": "wait", "function": function(self.fn)}

    def __repr__(self) -> str:
        return fn_source(self.fn)

    def __str__(self) -> str:
        return f"backoff by {fn_source(self.fn)}"


Waiting = Backoff | Wait | None


def backoff_of(value: object) -> Waiting:
    """Read ``backoff=``: a Backoff, a tenacity wait, or None for no wait."""
    if value is None or isinstance(value, (Backoff, Wait)):
        return value
    rule = "a Backoff, such as Backoff(base=50), a tenacity wait, or None"
    if isinstance(value, type):
        raise ChainDefinitionError(f"`backoff` must be {rule}; got {short_repr(cast('object', value))}")
    return Wait(callback(value, "backoff", rule))
