"""Matches errors with ``on=``. Retry, fallback and breaker read it in the same way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeGuard, cast

from rio_chain._core.units import escape_nonprintable, short_repr
from rio_chain.errors import ChainDefinitionError
from rio_chain.policies._checks import callback, title

Classes = type[BaseException] | tuple[type[BaseException], ...]
Match = Classes | Callable[[Any], bool]
"""An exception class, several classes, or a predicate of the error."""


def matches(on: Match, error: object) -> bool | None:
    """Whether ``on`` matches this error. Returns None if ``on`` is a predicate, which the caller must call.

    ``Exception``, the default everywhere, matches every error, also the error value of a returned ``Failure``.
    """
    if on is Exception:
        return True
    if isinstance(on, (type, tuple)):
        return isinstance(error, on)
    return None


def classes(value: object, name: str = "on") -> Classes:
    """Check for an exception class or a tuple of them."""
    given, several = value, cast("tuple[object, ...]", value if isinstance(value, tuple) else (value,))
    if not several or not all(isinstance(c, type) and issubclass(c, BaseException) for c in several):
        raise ChainDefinitionError(f"`{name}` must be an exception class or a tuple of them; got {short_repr(given)}")
    return cast("Classes", given)


def is_classes(on: Match) -> TypeGuard[Classes]:
    """Whether it consists of classes, and is no function."""
    return isinstance(on, (type, tuple))


def match_of(value: object, name: str = "on") -> Match:
    """Check for an exception class, a tuple of them, or a sync function of the error."""
    if isinstance(value, (type, tuple)):
        return classes(cast("object", value), name)
    return callback(value, name, "an exception class, a tuple of them, or a function of the error")


def names(on: object) -> str:
    """Classes as text: ``OSError or ValueError``. A function by its name."""
    if not isinstance(on, (type, tuple)):
        return title(on)
    several = cast("tuple[object, ...]", on if isinstance(on, tuple) else (on,))
    return " or ".join(escape_nonprintable(c.__name__) if isinstance(c, type) else short_repr(c) for c in several)
