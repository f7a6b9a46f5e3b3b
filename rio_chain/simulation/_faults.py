"""The faults of calls: an exception, its class, or a ``Failure`` that is returned."""

from __future__ import annotations

from typing import Any

from attrs import frozen
from returns.result import Failure

from rio_chain._core.units import escape_nonprintable, format_duration, number, short_repr
from rio_chain.errors import ChainDefinitionError

Error = Exception | type[Exception] | Failure[Any]


@frozen
class Fault:
    """A share of the calls fails with ``error`` after ``after`` seconds, or after the time of an answer if None."""

    rate: float
    error: Error
    after: float | None = None

    def __str__(self) -> str:
        after = "" if self.after is None else f" after {format_duration(self.after)}"
        return f"{self.rate * 100:.4g} % fail with {name_of(self.error)}{after}"


@frozen
class Stall:
    """A share of the calls takes ``delay`` seconds instead."""

    rate: float
    delay: float

    def __str__(self) -> str:
        return f"{self.rate * 100:.4g} % take {format_duration(self.delay)}"


@frozen
class Outage:
    """All calls that begin from ``start`` on and before ``end`` fail, ``after`` seconds later."""

    start: float
    end: float
    error: Error
    after: float = 0.0

    def __str__(self) -> str:
        return f"{name_of(self.error)} from {format_duration(self.start)} to {format_duration(self.end)}"


def checked(value: object, name: str = "error") -> Error:
    """Check that the value is an error."""
    given: Any = value
    kind: type[Any] = given if isinstance(given, type) else type(given)
    if issubclass(kind, Exception) or (issubclass(kind, Failure) and kind is not given):
        error: Error = given
        return error
    raise ChainDefinitionError(f"`{name}` must be an Exception, its class, or a Failure; got {short_repr(value)}")


def rate(value: object, name: str = "rate") -> float:
    """Check for a share of the calls."""
    got = number(value, name, least=0)
    if got > 1:
        raise ChainDefinitionError(f"`{name}` must be a share of the calls, 0 to 1; got {short_repr(value)}")
    return got


def name_of(error: Error) -> str:
    """A short name, for texts."""
    if isinstance(error, Failure):
        return f"Failure({short_repr(error.failure())})"
    return escape_nonprintable((error if isinstance(error, type) else type(error)).__name__)


def source(error: Error) -> str:
    """The error as source."""
    return name_of(error) if isinstance(error, (type, Failure)) else short_repr(error)


def fail(error: Error) -> Failure[Any]:
    """Raise the error. A ``Failure`` is returned instead, as a function would return it.

    A class is called without arguments. If it needs some, it is made without calling its ``__init__``: only the class
    matters to policies.
    """
    if isinstance(error, Failure):
        return error  # pyright: ignore[reportUnknownVariableType] # of whatever it holds
    if isinstance(error, Exception):
        raise error.with_traceback(None)  # it may be raised many times, and each would add frames
    try:
        made = error()
    except TypeError:
        made = error.__new__(error)
    raise made
