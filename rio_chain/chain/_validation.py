"""Checks of the arguments of builder calls: names, retries, functions, gates. Bridges are in ``_bridge_checks``."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, TypeVar, cast

from rio_chain._core.signatures import arity, signature_of
from rio_chain._core.source_text import name_of
from rio_chain._core.units import count, escape_nonprintable, short_repr
from rio_chain.chain._bridge_checks import function, takes_one
from rio_chain.chain._functions import is_async, written
from rio_chain.chain._nodes import Node, TaskNode, given_names, unique_names
from rio_chain.errors import ChainDefinitionError
from rio_chain.policies import Chooser, Gate, Retry, first
from rio_chain.policies._checks import callback
from rio_chain.policies._gate import GatePolicy

Kind = TypeVar("Kind")

FIRST: Chooser = first()

FEW = 64  # a chain keeps up to this many given names while it is built; with more, its plan finds duplicates

Names = Mapping[str, TaskNode | None] | None
"""The names that the user gave in a chain, and their tasks. None if there are too many to keep."""
NO_NAMES: Names = MappingProxyType({})


def joined(left: Names, right: Names) -> Names:
    """Join the names of two parts of a chain. Raises if both give one name to different tasks."""
    if left is None or right is None:
        return None
    if not left or not right:
        return left or right
    together = unique_names((*left.items(), *right.items()))
    return together if len(together) <= FEW else None


def names_in(node: Node) -> Names:
    """The given names in a chain that was not built here, such as one from a pickle."""
    found = dict(given_names(node))
    return found if len(found) <= FEW else None


def name(value: object) -> str:
    """Check a name, and make it printable ASCII."""
    if not isinstance(value, str) or not value.strip():
        raise ChainDefinitionError(f"`name` must be a string that is not empty; got {short_repr(value)}")
    return escape_nonprintable(value)


def retry(retries: object, on: Any, backoff: Any, accept: Any, retry_after: Any, stop: Any) -> Retry:  # noqa: PLR0917
    """Check the arguments of a Retry, and make it."""
    retries = count(retries, "retries", most=math.inf)
    if not isinstance(cast("object", on), Mapping):  # Retry itself checks the items of a mapping
        check_on(on)
    if accept is not None:
        predicate(accept, "accept")
    if retry_after is not None:
        _plain(retry_after, "`retry_after` must be a function of the error that returns how long to wait")
    if stop is not None:
        callback(stop, "stop", "a tenacity stop, or a function of such a state that returns True or False")
    return Retry(retries, on, backoff, accept, retry_after, stop)


def check_on(on: Any) -> None:
    """Refuse an ``on`` that does not select errors."""
    rule = "`on` must be an exception class, a tuple of them, or a function of the error that returns True or False"
    if not isinstance(on, (type, tuple)):
        _plain(on, rule)
        return
    classes = cast("tuple[object, ...]", on if isinstance(on, tuple) else (on,))
    if not classes or not all(isinstance(c, type) and issubclass(c, BaseException) for c in classes):
        raise ChainDefinitionError(f"{rule}; got {short_repr(classes if isinstance(on, tuple) else classes[0])}")


def predicate(value: object, parameter: str = "predicate") -> Callable[[Any], bool]:
    """Check a function that returns True or False for a value."""
    return _plain(value, f"`{parameter}` must be a function of the value that returns True or False")


def _plain(value: object, rule: str) -> Callable[[Any], Any]:
    fn = function(value, rule)
    if is_async(fn):
        raise ChainDefinitionError(f"{rule}; got the async function `{name_of(fn)}`, which nothing awaits here")
    takes_one(fn, rule)
    return fn


def shared(value: object, kind: type[Kind], method: str, example: str, other: str = "") -> Kind:
    """Check the object with the state of a policy. The user makes it and gives the same object to several chains.

    ``other`` names what the method accepts besides ``kind``.
    """
    if isinstance(value, kind):
        return value
    hint = f"the class itself; make one that you keep: `state = {example}`" if value is kind else short_repr(value)
    raise ChainDefinitionError(f"`.{method}` takes a {kind.__name__}{other}, as in .{method}({example}); got {hint}")


def gate(value: object, kind: type[Kind], method: str, example: str) -> Kind | GatePolicy:
    """As ``shared``, but also accepts a ``Gate`` of the user, whose ``enter`` takes a Call."""
    if not isinstance(value, Gate):
        return shared(value, kind, method, example, " or a Gate of your own")
    rule = "the `enter` of a Gate takes one argument, a Call, and decides at once"
    right = "write `def enter(self, call):` and use call.key, call.clock and call.priority"
    name = f"{type(value).__name__}.{written(value.enter)}"
    signature = signature_of(value.enter)
    if not arity(value.enter).takes(1) or (signature is not None and "clock" in signature.parameters):
        raise ChainDefinitionError(f"{rule}: {right}; got `{name}`")
    if is_async(value.enter):
        raise ChainDefinitionError(f"{rule}: {right}; got the async function `{name}`")
    return GatePolicy(value, method)


def pick(value: object) -> Chooser:
    """Check a Chooser."""
    rule = "`pick` must be a Chooser: first(), best(score, within=ms) or quorum(k)"
    if isinstance(value, type) or not all(hasattr(value, part) for part in ("ask", "least", "good", "decide")):
        from rio_chain.policies._best_and_quorum import best, quorum  # noqa: PLC0415 - few chains have one

        got = f"`{name_of(value)}` itself: call it" if value in (first, best, quorum) else short_repr(value)
        raise ChainDefinitionError(f"{rule}; got {got}")
    return cast("Chooser", value)
