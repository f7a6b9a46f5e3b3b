"""Timeout: limits the time of the chain to its left."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from attrs import field, frozen

from rio_chain._core.source_text import fn_source
from rio_chain._core.units import Duration, format_duration, seconds, short_repr
from rio_chain.errors import ChainDefinitionError
from rio_chain.policies._checks import callback, title
from rio_chain.policies._number_format import exact_ms
from rio_chain.policies._permit import Call, Permit
from rio_chain.policies._plain_data import function, ms
from rio_chain.policies._policy import Facts, Label, Policy, PolicyBounds


@frozen
class Timeout(Policy):
    """Allows ``seconds`` for what it wraps, counted from when that begins."""

    builder_call = "timeout"
    needs_task = False
    asked = False

    seconds: float

    def source(self) -> str:
        """As ``Policy.source``."""
        return f".timeout({exact_ms(self.seconds)})"

    def label(self) -> Label:
        """As ``Policy.label``."""
        return Label(str(self), "time")

    def to_dict(self) -> dict[str, Any]:
        """As ``Policy.to_dict``."""
        return {"kind": "timeout", "limit_ms": ms(self.seconds)}

    def bounds(self, inner: float, _limit: float = math.inf, /) -> PolicyBounds:
        """As ``Policy.bounds``."""
        return PolicyBounds(min(inner, self.seconds))

    def facts(self) -> Facts:
        """As ``Policy.facts``."""
        return Facts(limit=self.seconds)

    def __str__(self) -> str:
        return f"timeout {format_duration(self.seconds)}"


class TimedPermit(Permit):
    """A call that has so many seconds from now on. The engine enforces that."""

    __slots__ = ("seconds",)

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds


@frozen
class LimitOf:
    """The function of the user that returns a timeout. It is called with the input, as a key function is."""

    fn: Callable[..., Duration | None] = field(hash=False)

    @property
    def __name__(self) -> str:
        """The name of the user's function, for errors."""
        return title(self.fn)

    def __call__(self, *args: Any, **kwargs: Any) -> float | None:
        """Seconds, or None for no timeout.

        Raises:
            TypeError: the function returned something else.
        """
        got = self.fn(*args, **kwargs)
        try:
            return None if got is None else seconds(got, "ms")
        except ChainDefinitionError:
            rule = "must return a finite number of milliseconds (or a timedelta), more than 0, or None for no timeout"
            raise TypeError(f"{title(self.fn)} {rule}; got {short_repr(got)}") from None


@frozen
class TimeoutByInput(Policy):
    """A timeout that a function of the input returns. It counts from when the function has answered."""

    builder_call = "timeout"
    key_role = "timeout"

    key: LimitOf

    def enter(self, call: Call, /) -> Permit:
        """As ``Policy.enter``. The key of the call is the timeout."""
        limit: Any = call.key
        return Permit() if limit is None else TimedPermit(limit)

    def source(self) -> str:
        """As ``Policy.source``."""
        return f".timeout({fn_source(self.key.fn)})"

    def label(self) -> Label:
        """As ``Policy.label``."""
        return Label(str(self), "time")

    def to_dict(self) -> dict[str, Any]:
        """As ``Policy.to_dict``."""
        return {"kind": "timeout", "limit_ms": None, "limit": function(self.key.fn)}

    def facts(self) -> Facts:
        """As ``Policy.facts``."""
        return Facts(limit_unknown=True)

    def __str__(self) -> str:
        return f"timeout by {fn_source(self.key.fn)}"


def timeout_of(value: object) -> Timeout | TimeoutByInput:
    """Read the argument of ``.timeout``: a duration, or a function of the input."""
    if not callable(value):
        return Timeout(seconds(value, "ms"))
    return TimeoutByInput(LimitOf(callback(value, "ms", "milliseconds, or a function of the input", one=False)))
