"""Checks which nodes may be around or beside each other: policies without a task, and generator functions."""

from __future__ import annotations

from itertools import pairwise

from rio_chain._core.units import short_repr
from rio_chain.chain._nodes import (
    Bridge,
    Each,
    Kept,
    Named,
    Node,
    OrElse,
    RaceNode,
    Scope,
    Seq,
    TaskNode,
    Then,
    call_of,
    parts,
    walk,
)
from rio_chain.errors import ChainDefinitionError

MOST = 1_000
"""The most calls that a fan-out, a race or a replica makes at once. More are a mistake, or items for an ``each``."""


def check_width(width: int, sign: str) -> None:
    """Refuse more branches than may run at once."""
    if width > MOST:
        raise ChainDefinitionError(
            f"{sign} runs all its branches at once, and takes at most {MOST:,}; got {width:,}; "
            "to call a chain for each of many items write each(chain, limit=10)"
        )


def check_scope(node: Scope) -> None:
    """Refuse a policy that needs a task around bridges alone: they have no Response in which it could be reported."""
    if node.policy.needs_task and not _has_task(node.inner):
        raise ChainDefinitionError(f"`{node.policy}` needs a task to its left; got only bridges: write Task(fn)")


def check_race(node: RaceNode) -> None:
    """Refuse a race that has no task in a branch, or that can't be won."""
    for branch in node.branches:
        if not _has_task(branch):
            raise ChainDefinitionError(f"`{call_of(node)}` takes tasks; got a bridge: write Task(fn)")
    if node.count > MOST and node.hedge:
        raise ChainDefinitionError(
            f"`n` is the number of calls of one request, and must be at most {MOST:,}; got {short_repr(node.count)}"
        )
    check_width(node.count, "`race`")
    if node.pick.least > node.count:
        raise ChainDefinitionError(
            f"`pick` must not need more than {node.count} answers, as no more calls are made; got {node.pick!r}"
        )


def check_open(node: Node) -> None:
    """Refuse a generator function anywhere but right before an ``each``, which takes many values."""
    inside = parts(node)
    if isinstance(node, (Then, Seq)):
        for left, right in pairwise(inside):
            _check_before(left, right)
        return
    if isinstance(node, (Named, Kept)):
        return
    for part in inside:
        found = open_end(part)
        if found is not None:
            raise ChainDefinitionError(
                f"{_yields(found)}; the policy or operator around it must be around `{found.name} >> each(...)`"
            )


def _check_before(left: Node, right: Node) -> None:
    found = open_end(left)
    if found is None:
        return
    while isinstance(right, (Then, Seq, Named, Kept, Scope, OrElse)):
        again = isinstance(right, Scope) and right.policy.facts().repeats
        if again or (isinstance(right, OrElse) and isinstance(right.fallback, Node)):
            raise ChainDefinitionError(
                f"`{found.name}` is a generator function, and its values can be read only once: put the retry, or "
                f"the other chain, around `{found.name} >> each(...)`, so that it is called again"
            )
        right = parts(right)[0]
    if not isinstance(right, Each):
        raise ChainDefinitionError(_yields(found))


def check_closed(node: Node) -> None:
    """Refuse a chain that ends with a generator function."""
    found = open_end(node)
    if found is not None:
        raise ChainDefinitionError(f"{_yields(found)}, and nothing follows it")


def _yields(found: TaskNode | Bridge) -> str:
    return (
        f"`{found.name}` is a generator function: it yields many values and a chain needs one. Write `>> each(...)` "
        f"right after it, or return a list instead"
    )


def open_end(node: Node) -> TaskNode | Bridge | None:
    """The generator function that the node ends with, if it does."""
    while isinstance(node, (Then, Seq, Named, Kept)):
        node = parts(node)[-1]
    return node if isinstance(node, (TaskNode, Bridge)) and node.generator else None


def _has_task(node: Node) -> bool:
    return any(isinstance(n, TaskNode) for n in walk(node))
