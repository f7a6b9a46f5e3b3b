"""Functions and constants as source code: for the repr of a chain, and for the texts of policies."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar, cast

from rio_chain._core.units import escape_nonprintable


class Wrapper:
    """A callable of ours that wraps a function, ``fn``. It has the name of that function."""

    __slots__ = ()
    fn: Callable[..., Any]
    form: ClassVar[str] = "{}"
    """A format for the source: how it is written around the name of the function."""

    @property
    def named_after(self) -> object:
        """The object that gives its name."""
        return self.fn

    def source(self, name: str) -> str:
        """Its source code, given the name of the function."""
        return self.form.format(name)


def wrapped(fn: object) -> object:
    """The function inside a ``partial`` or a Wrapper; None if ``fn`` is neither."""
    if isinstance(fn, partial):
        return fn.func
    return fn.fn if isinstance(fn, Wrapper) else None


def name_of(fn: object) -> str:
    """The name to show: the function's own.

    A ``partial`` has that of its function, a callable object that of its type.
    """
    while (inner := fn.named_after if isinstance(fn, Wrapper) else wrapped(fn)) is not None:
        fn = inner
    name = getattr(fn, "__name__", None)
    if not isinstance(name, str) or not name:
        name = type(fn).__name__
    return "lambda" if name == "<lambda>" else escape_nonprintable(name)


def identifier(name: str) -> str:
    """The name as an identifier: each character other than a letter, digit or underscore becomes an underscore."""
    return re.sub(r"\W", "_", name, flags=re.ASCII)


def constant_source(constant: object) -> str:
    """A constant as source of printable ASCII; its type if its repr raises."""
    try:
        return escape_nonprintable(repr(constant))
    except Exception:  # noqa: BLE001 - a user's broken __repr__ must not break ours
        return f"<{escape_nonprintable(type(constant).__name__)}>"


def fn_source(fn: object) -> str:
    """A function as source code."""
    name = identifier(name_of(fn))
    return fn.source(name) if isinstance(fn, Wrapper) else name


def on_source(which: object) -> str:
    """An ``on=`` as source code: a class, a tuple of classes, or a function."""
    if not isinstance(which, tuple):
        return fn_source(which)
    inside = ", ".join(fn_source(error) for error in cast("tuple[object, ...]", which))
    return f"({inside},)" if len(cast("tuple[object, ...]", which)) == 1 else f"({inside})"
