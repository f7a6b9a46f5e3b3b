"""The nodes that a chain is made of, and the walks over them. Pure data, nothing runs here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from attrs import evolve, field, frozen

from rio_chain.errors import ChainDefinitionError
from rio_chain.policies import Chooser, Policy, Quantile, Retry, Timeout
from rio_chain.policies.matching import Match

# --- nodes ------------------------------------------------------------------------------------------------------
# Functions and constants stay outside hashes: they may be unhashable, and equal nodes must have equal hashes.


@frozen
class Call:
    """A task: the user's function and how to call it."""

    fn: Callable[..., Any] = field(hash=False)
    name: str
    is_async: bool
    inline: bool = False
    explicit: bool = False  # the user gave the name; it must then be unique in a plan
    lane: str | None = None  # the processes that it runs in
    origin: bytes = field(default=b"", eq=False, repr=False)


@frozen
class Bridge:
    """A plain or async function between two tasks."""

    fn: Callable[..., Any] = field(hash=False)
    name: str
    is_async: bool


@frozen
class Then:
    """``left >> right`` as it was written: only while a chain is being built. A Plan holds ``Seq`` in its place."""

    left: Node
    right: Node


@frozen
class Seq:
    """Steps one after the other: the value of each is the argument of the next. Never holds a ``Seq`` or one step."""

    steps: tuple[Node, ...]


@frozen
class FanOut:
    """Every branch gets the same input; one tuple is handed on or, with keys, one dict.

    ``settle``: all are waited for, and what is handed on are their Results.
    """

    branches: tuple[Node, ...]
    keys: tuple[str, ...] | None = None
    settle: bool = False


@frozen
class Race:
    """Several calls on the same input, of which one wins: ``.replica`` (a hedge) and ``race``.

    Call ``i`` of ``count`` runs branch ``i % len(branches)``, and begins ``after`` seconds (or as a ``Quantile`` says)
    after the one before it was started, or as soon as one has failed. 0: all at once; infinity: one at a time. The
    tasks of a branch stand once in a plan, however often the branch is called.
    """

    branches: tuple[Node, ...]
    count: int
    after: float | Quantile
    pick: Chooser = field(hash=False)
    hedge: bool


@frozen
class Constant:
    """A fallback that is a value; a list, dict, set or bytearray is copied at each use."""

    value: Any = field(hash=False)


@frozen
class Handler:
    """A fallback that is a function of the error."""

    fn: Callable[..., Any] = field(hash=False)
    name: str
    is_async: bool


@frozen
class OrElse:
    """``primary | fallback``: a fallback node gets the same input, a Handler the error, a Constant nothing.

    ``on``: the errors for which it stands in; any other is the failure of the whole.
    """

    primary: Node
    fallback: Node | Handler | Constant
    on: Match = field(default=Exception, hash=False)


@frozen
class Scope:
    """A policy around what stands to its left."""

    policy: Policy
    inner: Node


@frozen
class Named:
    """A label for a whole chain; a task's own name stands in its Call."""

    name: str
    inner: Node


Node = Call | Bridge | Then | Seq | FanOut | Race | OrElse | Scope | Named


# --- walks ------------------------------------------------------------------------------------------------------


def parts(node: Node) -> tuple[Node, ...]:
    """The nodes right below, in plan order: left to right, primary before fallback, branches in order."""
    if isinstance(node, (Call, Bridge)):
        return ()
    if isinstance(node, Seq):
        return node.steps
    if isinstance(node, Then):
        return (node.left, node.right)
    if isinstance(node, (FanOut, Race)):
        return node.branches
    if isinstance(node, (Scope, Named)):
        return (node.inner,)
    return (node.primary,) if isinstance(node.fallback, (Handler, Constant)) else (node.primary, node.fallback)


def walk(node: Node) -> Iterator[Node]:
    """The node and all below it, depth first in plan order, one for each occurrence."""
    stack = [node]
    while stack:
        node = stack.pop()
        yield node
        stack.extend(reversed(parts(node)))


def heads(node: Node) -> Iterator[Call | Bridge]:
    """What gets the arguments of a chain: its first function, or one for each branch and fallback it begins with."""
    stack = [node]
    while stack:
        node = stack.pop()
        if isinstance(node, (Call, Bridge)):
            yield node
        elif isinstance(node, (Then, Seq)):
            stack.append(parts(node)[0])
        else:
            stack.extend(reversed(parts(node)))


def call_of(node: FanOut | Race) -> str:
    """What it is called in source."""
    if isinstance(node, Race):
        return "replica" if node.hedge else "race"
    return "settle" if node.settle else "fan_out"


# --- rules ------------------------------------------------------------------------------------------------------


def check_scope(node: Scope) -> None:
    """Refuse a policy with a state of its own around bridges alone: they have no Response that could tell of it."""
    if not isinstance(node.policy, (Timeout, Retry)) and not _has_task(node.inner):
        raise ChainDefinitionError(f"`{node.policy}` needs a task to its left; got only bridges: write Task(fn)")


def check_race(node: Race) -> None:
    """Refuse a race that has no task in a branch, or that can't be won."""
    for branch in node.branches:
        if not _has_task(branch):
            raise ChainDefinitionError(f"`{call_of(node)}` is between tasks; got a bridge: write Task(fn)")
    if node.pick.least > node.count:
        raise ChainDefinitionError(
            f"`pick` must be content with {node.count} answers, as no more calls are made; got {node.pick!r}"
        )


def _has_task(node: Node) -> bool:
    return any(isinstance(n, Call) for n in walk(node))


def given_names(node: Node) -> Iterator[str]:
    """Every name that was given by hand, one for each occurrence."""
    return (n.name for n in walk(node) if isinstance(n, Named) or (isinstance(n, Call) and n.explicit))


def name_twice(name: str) -> ChainDefinitionError:
    """The error for a name that was given by hand to two parts of one chain."""
    return ChainDefinitionError(f"`.named({name!r})` is used twice in one chain; a name given by hand must be unique")


def flat(node: Node) -> Node:
    """The same chain with each nest of ``Then`` as one ``Seq``, so that brackets around ``>>`` make no difference."""
    if isinstance(node, (Then, Seq)):
        return Seq(tuple(_steps(node)))
    if isinstance(node, Scope):  # by far the most frequent, and `evolve` costs several times as much
        return Scope(node.policy, flat(node.inner))
    if isinstance(node, Named):
        return Named(node.name, flat(node.inner))
    if isinstance(node, (FanOut, Race)):
        return evolve(node, branches=tuple(flat(branch) for branch in node.branches))
    if isinstance(node, OrElse):
        fallback = node.fallback
        other = fallback if isinstance(fallback, (Handler, Constant)) else flat(fallback)
        return evolve(node, primary=flat(node.primary), fallback=other)
    return node


def _steps(node: Node) -> Iterator[Node]:
    stack = [node]
    while stack:
        node = stack.pop()
        if isinstance(node, (Then, Seq)):
            stack.extend(reversed(parts(node)))
        else:
            yield flat(node)
