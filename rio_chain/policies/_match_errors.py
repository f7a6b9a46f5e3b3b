"""Matches errors with ``on=``. Retry, fallback and breaker read it in the same way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from rio_chain._core.units import escape_nonprintable, short_repr
from rio_chain.errors import ChainDefinitionError

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


def names(on: object) -> str:
    """Classes as text: ``OSError or ValueError``."""
    several = cast("tuple[object, ...]", on if isinstance(on, tuple) else (on,))
    return " or ".join(escape_nonprintable(c.__name__) if isinstance(c, type) else short_repr(c) for c in several)
