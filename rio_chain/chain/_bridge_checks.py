"""Checks of bridges and their error texts: what may be left and right of ``>>``, and how it is called.

Wherever a chain takes a function, it is checked in the same way: in ``Task(fn)``, ``or_else``, ``on=``, ``accept``.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, cast

from rio_chain._core.chain_base import ChainBase, not_a_chain
from rio_chain._core.signatures import arity
from rio_chain._core.source_text import name_of
from rio_chain._core.units import escape_nonprintable, short_repr
from rio_chain.chain._chain_signature import ChainSignature
from rio_chain.chain._functions import Star, is_async, is_generator, written
from rio_chain.chain._nodes import Bridge, FanOutNode, Handler, Head, Node, TaskNode, Then
from rio_chain.chain._request import Request
from rio_chain.errors import ChainDefinitionError

RIGHT = "`>>` takes a Task, a Chain or a function on its right"
LEFT = "`>>` takes a Task, a Chain or a function on its left"
LEFT_LAMBDA = ". In `lambda u: u.id >> orders` the `>>` belongs to the lambda: write `(lambda u: u.id) >> orders`"
"""The end of the error text if the left side may be the result of such a lambda."""


def bridge(value: object, rule: str, hint: str = "") -> Bridge:
    """Make a bridge of a function.

    Args:
        value: what the user gave.
        rule: the beginning of the error text.
        hint: the end of the error text if ``value`` is not callable.

    Raises:
        ChainDefinitionError: it is a Request, or not a function that a chain can call.
    """
    if isinstance(value, Request):
        raise ChainDefinitionError(f"{rule}; got a Request: write the chain without its arguments")
    if not callable(value):
        if has_chains(value):
            hint = ". To call several with the same value write `a & b`, or fan_out(a, b)"
        raise ChainDefinitionError(f"{rule}; got {not_a_function(value)}{hint}")
    fn = function(value, rule, generators=True)
    return Bridge(fn, name_of(fn), is_async(fn), is_generator(fn))


def has_chains(value: object) -> bool:
    """Whether it is a list or tuple with a Task or Chain in it."""
    several: Any = value
    return isinstance(several, (list, tuple)) and any(
        isinstance(one, ChainBase) for one in cast("list[object]", several)
    )


def function(value: object, rule: str, *, generators: bool = False) -> Callable[..., Any]:
    """Check that a chain can call ``value``, and return it. The error text begins with ``rule``.

    Raises:
        ChainDefinitionError: it is a coroutine, another awaitable, not callable, or a generator function.
    """
    if not callable(value):
        raise ChainDefinitionError(f"{rule}; got {not_a_function(value)}")
    not_a_chain(value, rule)
    if not generators and is_generator(value):
        raise ChainDefinitionError(
            f"{rule}; got the generator function `{name_of(value)}`, which yields many values where a chain needs one; "
            f"return a list instead"
        )
    return value


def takes_one(fn: Callable[..., Any], rule: str) -> None:
    """Refuse a function that can't be called with exactly one positional argument."""
    accepts = arity(fn)
    if accepts.takes(1):
        return
    hint = ""
    if accepts.least > 1 and not accepts.keywords:
        hint = f"; to spread a tuple over its arguments write star({name_of(fn)})"
    raise ChainDefinitionError(f"{rule}, and `{written(fn)}` can't be called with just one argument{hint}")


def not_a_function(value: object) -> str:
    """What a value is, and for common mistakes also what to write instead.

    A coroutine is closed, as nothing awaits it.
    """
    if inspect.iscoroutine(value):
        name = escape_nonprintable(value.__name__)
        value.close()
        return f"a coroutine, as `{name}` was called: write Task({name}), not Task({name}(...))"
    if inspect.isgenerator(value) or inspect.isasyncgen(value):
        return (
            f"a generator, as `{escape_nonprintable(value.__name__)}` was called: "
            "a chain calls functions that return one value"
        )
    if inspect.isawaitable(value):
        return f"{short_repr(value)}, which is an awaitable: write the function itself, without calling it"
    return short_repr(value)


def chain_takes_one(begins: ChainSignature, rule: str) -> None:
    """Refuse a chain that can't be called with exactly one value."""
    if begins.keywords or not begins.least <= 1 <= begins.most:
        for head in begins.heads:
            if isinstance(head, (TaskNode, Bridge)):
                takes_one(head.fn, rule)
            elif isinstance(head, Handler) and not arity(head.fn).takes(2):
                got = f"`{written(head.fn)}` can't be called with the error and that value"
                raise ChainDefinitionError(f"{rule}, and the fallback {got}")


def not_a_chain_text(value: object) -> str:
    """What was given instead of a Task or Chain, and what to write."""
    if isinstance(value, Request):
        return "a Request; write the chain without its arguments"
    if callable(value):
        return f"the function `{name_of(value)}`: write Task({name_of(value)})"
    return not_a_function(value)


def check_spread(left: Node, found: tuple[Head, ...]) -> None:
    """Refuse ``(a & b) >> star(fn)`` if ``fn`` does not take as many arguments as there are branches."""
    last = left.right if isinstance(left, Then) else left
    if not isinstance(last, FanOutNode) or last.keys is not None:
        return
    if last.need is not None and last.time_limit is not None:  # the number of values depends on the time
        return
    width = last.need or len(last.branches)
    for head in found:
        if isinstance(head, (TaskNode, Bridge)) and isinstance(head.fn, Star) and not arity(head.fn.fn).takes(width):
            raise ChainDefinitionError(
                f"the fan-out on the left of `>>` gives {width} values, and `{written(head.fn.fn)}` can't take them"
            )
