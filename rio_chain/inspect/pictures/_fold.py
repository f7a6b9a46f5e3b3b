"""Folds large chains: long rows and wide fan-outs show a count in place of their middle parts."""

from __future__ import annotations

from collections.abc import Sequence

from rio_chain.chain._nodes import Bridge, Node, TaskNode, parts, walk

MOST = 250  # tasks and bridges that a picture should show at most
STEPS = (24, 16, 10, 6, 4, 3)
"""How many parts of a row or fan-out are shown. The first number is used that keeps the picture small enough."""
DEEPEST = 40  # levels of frames and branches


def limit(root: Node) -> int:
    """How many parts of each row and fan-out to show."""
    nodes = list(walk(root))
    nodes.reverse()
    return next((most for most in STEPS if _shown(nodes, most) <= MOST), STEPS[-1])


def _shown(nodes: Sequence[Node], most: int) -> int:
    """How many tasks and bridges are shown. ``nodes`` are in reverse order, to avoid recursion in deep chains."""
    made: list[int] = []
    for node in nodes:
        inner = [made.pop() for _ in parts(node)]
        if isinstance(node, (TaskNode, Bridge)):
            made.append(1)
        else:
            first, last = ends(len(inner), most)
            made.append(sum(inner[:first]) + sum(inner[len(inner) - last :]) + (first + last < len(inner)))
    return made[0]


def ends(count: int, most: int) -> tuple[int, int]:
    """How many parts to show before the fold and after it. Without a fold all of them are before it."""
    if count <= most + 1:  # a fold takes the room of a part
        return count, 0
    last = max(1, most // 4)
    return most - last, last
