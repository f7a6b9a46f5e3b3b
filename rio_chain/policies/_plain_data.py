"""Numbers and functions as plain data, for ``to_dict``."""

from __future__ import annotations

import math
from types import MethodType
from typing import Any, cast

from rio_chain._core.source_text import Wrapper, wrapped
from rio_chain._core.units import escape_nonprintable
from rio_chain.policies._keys import Key
from rio_chain.policies._number_format import exact_ms

Data = dict[str, Any]
MOST = 2**63  # larger whole numbers are not exact in some tools


def number(value: float | None) -> float | None:
    """A number that JSON can hold. None for infinity, and for a whole number that is too large for some tools."""
    whole = isinstance(value, int) and abs(value) < MOST
    return value if whole or (isinstance(value, float) and math.isfinite(value)) else None


def ms(seconds: float | None) -> float | None:
    """Seconds as the milliseconds that the user wrote; None for infinity."""
    if seconds is None or not math.isfinite(seconds):
        return None
    text = exact_ms(seconds)
    return seconds * 1000 if text.startswith("timedelta") else float(text)


def function(fn: object) -> str | None:
    """The qualified name of a function, ``package.module.Class.method``; None for None."""
    if fn is None:
        return None
    words = "{}"
    while (inner := fn.__func__ if isinstance(fn, MethodType) else wrapped(fn)) is not None:
        words = words.format(fn.form) if isinstance(fn, Wrapper) else words
        fn = inner
    return words.format(qualified(fn))


def qualified(thing: object) -> str:
    """The qualified name of a class or function; of anything else, that of its type."""
    name = getattr(thing, "__qualname__", None)
    if not isinstance(name, str):
        thing = type(thing)
        name = thing.__qualname__
    module = getattr(thing, "__module__", None)
    plain = not isinstance(module, str) or module == "builtins"
    return escape_nonprintable(name if plain else f"{module}.{name}")


def errors(on: object) -> list[str] | str | None:
    """An ``on=`` as data: the names of its classes, or the name of its predicate."""
    if isinstance(on, (type, tuple)):
        return [qualified(cls) for cls in (cast("tuple[object, ...]", on) if not isinstance(on, type) else (on,))]
    return function(on)


def key(given: Key | None) -> str | None:
    """A key as data: the name of its function, or None for the input itself."""
    return None if given is None else function(given.fn)
