"""How much of a large chain is drawn: long rows and wide fan-outs are folded, with a count in place of the rest."""

from __future__ import annotations

from collections.abc import Sequence

from rio_chain.chain._nodes import Bridge, Node, TaskNode, parts, walk

MOST = 250  # tasks and bridges that a picture shows, if it can
STEPS = (24, 16, 10, 6, 4, 3)
"""How many parts of a row or fan-out are shown; the fewer, the more there are of them."""
DEEPEST = 40  # frames and branches in one another


def limit(root: Node) -> int:
    """How many parts of each row and fan-out to draw, so that the whole can be looked at."""
    nodes = list(walk(root))
    nodes.reverse()
    return next((most for most in STEPS if _shown(nodes, most) <= MOST), STEPS[-1])


def _shown(nodes: Sequence[Node], most: int) -> int:
    """How many tasks and bridges are left; ``nodes`` from the last to the first, so that no chain is too deep."""
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
    """How many parts to show before the fold, and how many after it; all of them before it, if there is none."""
    if count <= most + 1:  # a fold takes as much room as a part
        return count, 0
    last = max(1, most // 4)
    return most - last, last
