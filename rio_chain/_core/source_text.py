"""How functions and constants are written in source: in the repr of a chain, and in what policies say of themselves."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar, cast

from rio_chain._core.units import escape_nonprintable


class Wrapper:
    """A callable of ours around a function, ``fn``. It goes by the name of that function."""

    __slots__ = ()
    fn: Callable[..., Any]
    form: ClassVar[str] = "{}"
    """How it is written around the name of the function."""

    @property
    def named_after(self) -> object:
        """Whose name it shows under."""
        return self.fn

    def source(self, name: str) -> str:
        """The source of it, given the name of the function."""
        return self.form.format(name)


def wrapped(fn: object) -> object:
    """What a ``partial``, or an object of ours, is made of; None: it is the function itself."""
    if isinstance(fn, partial):
        return fn.func
    return fn.fn if isinstance(fn, Wrapper) else None


def name_of(fn: object) -> str:
    """The name a function shows under: its own, that of what a ``partial`` wraps, of a callable object its type's."""
    while (inner := fn.named_after if isinstance(fn, Wrapper) else wrapped(fn)) is not None:
        fn = inner
    name = getattr(fn, "__name__", None)
    if not isinstance(name, str) or not name:
        name = type(fn).__name__
    return "lambda" if name == "<lambda>" else escape_nonprintable(name)


def identifier(name: str) -> str:
    """A name as it can stand in source; what is no letter, digit or underscore is made one."""
    return re.sub(r"\W", "_", name, flags=re.ASCII)


def constant_source(constant: object) -> str:
    """A constant as source of printable ASCII; of what can't say what it is, the type."""
    try:
        return escape_nonprintable(repr(constant))
    except Exception:  # noqa: BLE001 - a user's broken __repr__ must not break ours
        return f"<{escape_nonprintable(type(constant).__name__)}>"


def fn_source(fn: object) -> str:
    """The name that a function goes by in source."""
    name = identifier(name_of(fn))
    return fn.source(name) if isinstance(fn, Wrapper) else name


def on_source(which: object) -> str:
    """An ``on=`` as source: a class, a tuple of them, or a function."""
    if not isinstance(which, tuple):
        return fn_source(which)
    inside = ", ".join(fn_source(error) for error in cast("tuple[object, ...]", which))
    return f"({inside},)" if len(cast("tuple[object, ...]", which)) == 1 else f"({inside})"
