"""Nodes of a plan as the compiler takes them: the policies around a node, and the kept values that its tasks use."""

from __future__ import annotations

from typing import NamedTuple

from rio_chain.chain._nodes import walk
from rio_chain.chain._plan import Kept, Named, Node, Scope, TaskNode
from rio_chain.policies import Policy


class Item(NamedTuple):
    """A node to compile."""

    node: Node
    head: bool  # it gets the arguments of the run as ``Args``
    feeds: int = 0  # whether an ``each`` iterates its value, or the value that bridges make of it


def outside_uses(node: Node) -> tuple[int, ...]:
    """The kept values that tasks in a part use and that are made before it. For a cache they are input as well."""
    inside = list(walk(node))
    used = {use.kept for n in inside if isinstance(n, TaskNode) for use in n.uses}
    return tuple(
        sorted(place for place in used - {n.place for n in inside if isinstance(n, Kept)} if place is not None)
    )


def peeled(node: Node) -> tuple[tuple[Policy, ...], Node]:
    """The policies around a node, innermost first, and the node without its policies and labels.

    A policy that gathers calls is a node: the part inside it runs on its own.
    """
    layers: list[Policy] = []
    while isinstance(node, (Scope, Named)):
        if isinstance(node, Scope):
            if node.policy.gathers:
                break
            layers.append(node.policy)
        node = node.inner
    return tuple(reversed(layers)), node
