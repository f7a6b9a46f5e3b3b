"""Finds out which values of a chain an ``each`` will iterate, as far as the nodes show it."""

from __future__ import annotations

from itertools import dropwhile

from rio_chain.chain._nodes import Piece, unwrapped
from rio_chain.chain._plan import Bridge, Choose, Each, Node, OrElse, Seq
from rio_chain.engine._instructions import BRIDGED, ITERATED


def feeds_each(after: tuple[Node, ...], feeds: int) -> int:
    """Whether an ``each`` iterates the value before these steps. ``feeds``: the same for the value after them."""
    others = tuple(dropwhile(lambda step: isinstance(step, Bridge), after))
    found = ITERATED * _begins_with_each(others[0]) if others else feeds
    return min(found, BRIDGED) if len(others) < len(after) else found


def _begins_with_each(node: Node) -> bool:
    """Whether an ``each`` may iterate the input of a node, in the walk that runs the node."""
    nodes = [node]
    while nodes:
        first = unwrapped(nodes.pop())
        if isinstance(first, Each):
            return True
        if isinstance(first, Seq):
            nodes.append(first.steps[0])
        elif isinstance(first, OrElse):
            nodes.append(first.primary)
        elif isinstance(first, Choose):
            nodes += first.branches
    return False


def giver_of(node: Node) -> Node:
    """What gives the value of a node: of a piece, its last step."""
    node = unwrapped(node)
    while isinstance(node, Piece):
        inner = unwrapped(node.inner)
        node = unwrapped(inner.steps[-1]) if isinstance(inner, Seq) else inner
    return node
