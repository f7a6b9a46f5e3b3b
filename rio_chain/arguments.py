"""Checks on what is given to the builder calls: names, retries, what stands on either side of an operator."""

from __future__ import annotations

from typing import Any, cast

from rio_chain.errors import ChainDefinitionError
from rio_chain.functions import Star, arity, function, is_async, name_of, takes_one, written
from rio_chain.nodes import Bridge, Call, FanOut, Node, Then, given_names, name_twice
from rio_chain.policies import Backoff, Retry
from rio_chain.units import count, inert, shown

FEW = 64  # given names that a chain keeps at hand while it is built; with more of them its plan finds the double one

Names = frozenset[str] | None
"""The names given by hand in a chain; None: too many to carry along."""


def joined(left: Names, right: Names) -> Names:
    """The names of two parts that become one chain. Raises when one is given in both."""
    if left is None or right is None:
        return None
    if not left or not right:
        return left or right
    for name in left & right:
        raise name_twice(name)
    together = left | right
    return together if len(together) <= FEW else None


def names_in(node: Node) -> Names:
    """The names given by hand in a chain that comes from elsewhere, such as a pickle."""
    found = frozenset(given_names(node))
    return found if len(found) <= FEW else None


def name(value: object) -> str:
    """A name to show a part under, made of printable ASCII."""
    if not isinstance(value, str) or not value.strip():
        raise ChainDefinitionError(f"`name` must be a string that is not empty; got {shown(value)}")
    return inert(value)


def retry(retries: object, on: Any, backoff: object, accept: Any) -> Retry:
    """A checked Retry."""
    retries = count(retries, "retries")
    if backoff is not None and not isinstance(backoff, Backoff):
        raise ChainDefinitionError(
            f"`backoff` must be a Backoff, such as Backoff(base=50), or None; got {shown(backoff)}"
        )
    _check_on(on)
    if accept is not None:
        _predicate(accept, "`accept` must be a function of the value that says True or False")
    return Retry(retries, on, backoff, accept)


def _check_on(on: Any) -> None:
    rule = "`on` must be an exception class, a tuple of them, or a function of the error that says True or False"
    if not isinstance(on, (type, tuple)):
        _predicate(on, rule)
        return
    classes = cast("tuple[object, ...]", on if isinstance(on, tuple) else (on,))
    if not classes or not all(isinstance(c, type) and issubclass(c, BaseException) for c in classes):
        raise ChainDefinitionError(f"{rule}; got {shown(classes if isinstance(on, tuple) else classes[0])}")


def _predicate(value: object, rule: str) -> None:
    fn = function(value, rule)
    if is_async(fn):
        raise ChainDefinitionError(f"{rule}; got the async function `{name_of(fn)}`, whose answer would need an await")
    takes_one(fn, rule)


def check_spread(left: Node, found: tuple[Call | Bridge, ...]) -> None:
    """Refuse ``(a & b) >> star(fn)`` where ``fn`` can't take as many arguments as there are branches."""
    last = left.right if isinstance(left, Then) else left
    if not isinstance(last, FanOut) or last.keys is not None:
        return
    width = len(last.branches)
    for head in found:
        if isinstance(head.fn, Star) and not arity(head.fn.fn).takes(width):
            raise ChainDefinitionError(
                f"left of `>>` a fan-out hands on {width} values, and `{written(head.fn.fn)}` can't be called with them"
            )
