"""Checks of arguments of shared objects and choosers: functions, names, shares."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any, cast

from rio_chain._core.chain_base import not_a_chain
from rio_chain._core.signatures import arity
from rio_chain._core.units import escape_nonprintable, number, seconds, short_repr
from rio_chain.errors import ChainDefinitionError


def callback(value: object, name: str, rule: str, *, one: bool = True) -> Callable[..., Any]:
    """Check that the value is a sync function. With ``one`` it must take exactly one argument.

    Raises:
        ChainDefinitionError: it is not callable, async, a generator, or takes other arguments. The text begins with
            ``name`` and ``rule``.
    """
    text = f"`{name}` must be {rule}"
    if not callable(value):
        raise ChainDefinitionError(f"{text}; got {short_repr(value)}")
    not_a_chain(value, text)
    inner = _without_partial(value)
    kind: type[object] = type(inner)
    called = (inner, getattr(kind, "__call__", None))  # noqa: B004 - the function that a call runs
    if any(inspect.iscoroutinefunction(fn) or inspect.isasyncgenfunction(fn) for fn in called):
        raise ChainDefinitionError(f"{text}; got the async function `{title(value)}`, which nothing awaits here")
    if any(inspect.isgeneratorfunction(fn) for fn in called):
        raise ChainDefinitionError(f"{text}; got the generator function `{title(value)}`")
    if one and not arity(value).takes(1):
        raise ChainDefinitionError(f"{text}, and `{title(value)}` can't be called with just one argument")
    return value


def _without_partial(fn: object) -> object:
    while isinstance(fn, partial):
        fn = cast("object", fn.func)
    return fn


def title(fn: object) -> str:
    """The name of a function, for display."""
    name = getattr(fn, "__name__", None)
    return "lambda" if name == "<lambda>" else escape_nonprintable(name) if isinstance(name, str) else type(fn).__name__


def label(name: object) -> str:
    """Check a name for display, and make it printable ASCII; "" for None."""
    if name is None:
        return ""
    if not isinstance(name, str) or not name.strip():
        raise ChainDefinitionError(f"`name` must be a string that is not empty, or None; got {short_repr(name)}")
    return escape_nonprintable(name)


def share(value: object, name: str) -> float:
    """Check for a number that is more than 0 and at most 1."""
    got = number(value, name, above=0)
    if got > 1:
        raise ChainDefinitionError(f"`{name}` must be more than 0 and at most 1; got {short_repr(value)}")
    return got


def checked_aging(value: object) -> float | None:
    """Check the ``aging`` of a queue; in seconds."""
    try:
        return None if value is None else seconds(value, "aging")
    except ChainDefinitionError as error:
        right = "`aging=1_000` for a second of waiting per step of priority, `aging=None` for priority alone"
        raise ChainDefinitionError(f"{error}; write {right}") from None
