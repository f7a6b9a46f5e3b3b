"""Cuts a plan into pieces, each of which runs in one remote call. Pure data, nothing runs here.

A piece is the longest linear stretch: tasks and bridges one after the other, with all that is around them alone. What
runs several things at once is no piece but has pieces in it, and so has what is around several pieces.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from attrs import evolve

from rio_chain.chain._functions import Reduce
from rio_chain.chain._nodes import (
    Bridge,
    Each,
    Expand,
    FanOutNode,
    Node,
    Piece,
    RaceNode,
    Scope,
    Seq,
    TaskNode,
    parts,
    walk,
    with_parts,
)
from rio_chain.chain._plan import Plan
from rio_chain.policies import Batch, Limit, Policy


class _Part(NamedTuple):
    """A node that was looked at: cut, unless it is linear."""

    node: Node
    linear: bool


def cut(plan: Plan) -> Plan:
    """The same plan with its pieces marked. Tasks, bridges and kept values have the numbers that they had."""
    made: list[_Part] = []
    for node in reversed(list(walk(plan.root))):  # from the last to the first, so that no plan is too deep
        made.append(_part(node, [made.pop() for _ in parts(node)]))
    return evolve(plan, root=_piece(made[0]))


def pieces(plan: Plan) -> Iterator[Piece]:
    """Those of a plan that was cut, in plan order."""
    return (node for node in walk(plan.root) if isinstance(node, Piece))


def stays(policy: Policy) -> bool:
    """Whether a policy stays in the client, whatever it is around, because it is about all calls together.

    That is a ``Limit(n)``, which counts them, and a ``Batch``, which joins them.
    """
    return isinstance(policy, Batch) or (isinstance(policy, Limit) and policy.concurrency is not None)


def _part(node: Node, inner: list[_Part]) -> _Part:
    if isinstance(node, (TaskNode, Bridge)):
        return _Part(node, linear=True)
    if isinstance(node, Seq):
        return _seq(node, inner)
    joins = isinstance(node, (FanOutNode, RaceNode, Each, Expand))
    if not joins and all(part.linear for part in inner) and not (isinstance(node, Scope) and stays(node.policy)):
        return _Part(node, linear=True)
    return _Part(with_parts(node, tuple(map(_piece, inner))), linear=False)


def _piece(part: _Part) -> Node:
    return Piece(part.node) if part.linear else part.node


def _seq(node: Seq, steps: list[_Part]) -> _Part:
    """Steps one after the other: those that are linear and next to each other are one piece."""
    if all(step.linear for step in steps):
        return _Part(node, linear=True)
    made: list[Node] = []
    stretch: list[Node] = []

    def close() -> None:
        if stretch:
            made.append(Piece(stretch[0] if len(stretch) == 1 else Seq(tuple(stretch))))
            stretch.clear()

    for i, step in enumerate(steps):
        if step.linear and not _folds(steps[i - 1].node if i else None, step.node):
            stretch.append(step.node)
            continue
        close()
        made.append(step.node)
    close()
    return _Part(Seq(tuple(made)) if len(made) > 1 else made[0], linear=False)


def _folds(before: Node | None, node: Node) -> bool:
    """Whether it is a ``reduce`` that folds the values of an ``each`` as they come, so both run in one place."""
    return isinstance(before, Each) and isinstance(node, Bridge) and isinstance(node.fn, Reduce)
