"""Checks on what users give to shared objects and choosers beside numbers: functions, names, shares."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any, cast

from rio_chain._core.chain_base import not_a_chain
from rio_chain._core.signatures import arity
from rio_chain._core.units import escape_nonprintable, number, short_repr
from rio_chain.errors import ChainDefinitionError


def callback(value: object, name: str, rule: str, *, one: bool = True) -> Callable[..., Any]:
    """The value, if it is a plain function; with ``one`` it must take exactly one argument.

    Raises:
        ChainDefinitionError: not callable, async, a generator, or of another arity. It begins with name and rule.
    """
    text = f"`{name}` must be {rule}"
    if not callable(value):
        raise ChainDefinitionError(f"{text}; got {short_repr(value)}")
    not_a_chain(value, text)
    inner = _without_partial(value)
    kind: type[object] = type(inner)
    called = (inner, getattr(kind, "__call__", None))  # noqa: B004 - what runs when it is called
    if any(inspect.iscoroutinefunction(fn) or inspect.isasyncgenfunction(fn) for fn in called):
        raise ChainDefinitionError(f"{text}; got the async function `{title(value)}`, whose answer would need an await")
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
    """The name that a function shows under."""
    name = getattr(fn, "__name__", None)
    return "lambda" if name == "<lambda>" else escape_nonprintable(name) if isinstance(name, str) else type(fn).__name__


def label(name: object) -> str:
    """A name to show an object under, made of printable ASCII; "" for None."""
    if name is None:
        return ""
    if not isinstance(name, str) or not name.strip():
        raise ChainDefinitionError(f"`name` must be a string that is not empty, or None; got {short_repr(name)}")
    return escape_nonprintable(name)


def share(value: object, name: str) -> float:
    """A number that is more than 0 and at most 1."""
    got = number(value, name, above=0)
    if got > 1:
        raise ChainDefinitionError(f"`{name}` must be more than 0 and at most 1; got {short_repr(value)}")
    return got
