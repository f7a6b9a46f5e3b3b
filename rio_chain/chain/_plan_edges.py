"""Which task of a Plan passes its value to which: the edges, and the neighbours of each bridge."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, pairwise, product
from typing import TYPE_CHECKING

from rio_chain.chain._nodes import (
    Bridge,
    Choose,
    Each,
    Expand,
    Kept,
    Node,
    OrElse,
    RaceNode,
    Seq,
    TaskNode,
    parts,
)
from rio_chain.chain._title import WIDEST, between, cut

if TYPE_CHECKING:
    from rio_chain.chain._plan import Plan


def edges_of(plan: Plan) -> tuple[list[tuple[str, str]], list[tuple[str, str, str]]]:
    """Which task or bridge passes its value to which: first along the chain, then by keyword (``.using``)."""
    tasks, bridges = iter(plan.tasks), iter(plan.bridges)
    found: list[tuple[str, str]] = []
    uses: list[tuple[str, str, str]] = []
    kept: dict[int | None, list[str]] = {}

    def ends(node: Node) -> tuple[list[str], list[str]]:
        """The names that a node begins with, and those that it ends with."""
        if isinstance(node, Bridge):
            name = next(bridges).name
            return [name], [name]
        if isinstance(node, TaskNode):
            name = next(tasks).name
            uses.extend((source, use.keyword, name) for use in node.uses for source in kept[use.kept])
            return [name], [name]
        inner = [ends(part) for part in parts(node)]
        if isinstance(node, Kept):
            kept[node.place] = inner[0][1]
        if not isinstance(node, Seq):
            return [n for first, _ in inner for n in first], [n for _, last in inner for n in last]
        for (_, last), (first, _) in pairwise(inner):
            found.extend(product(last, first))
        return inner[0][0], inner[-1][1]

    ends(plan.root)
    return found, uses


def sides_of(root: Node, names: Iterator[str]) -> list[tuple[Node, tuple[str, str]]]:
    """Each bridge and joint in plan order, with the tasks before and after it."""
    sides = _Sides(names)
    sides.visit(root)
    return list(zip(sides.found, zip(sides.before, sides.after, strict=True), strict=True))


class _Sides:
    """Collects the neighbours.

    It is a class, as a closure that calls itself is a cycle and keeps its functions alive.
    """

    def __init__(self, names: Iterator[str]) -> None:
        self.names = names
        self.found: list[Node] = []
        self.before: list[str] = []
        self.after: list[str] = []

    def place(self, node: Node) -> int:
        self.found.append(node)
        self.before.append("input")
        self.after.append("output")
        return len(self.before) - 1

    def visit(self, node: Node) -> tuple[str, str, list[int], list[int]]:
        """The first and last task of a node ('' if none), and the bridges before the first and after the last."""
        if isinstance(node, TaskNode):
            name = next(self.names)
            return name, name, [], []
        if isinstance(node, Bridge):
            here = [self.place(node)]
            return "", "", here, here
        joint = [self.place(node)] if isinstance(node, (Each, Expand, Choose)) else []
        inner = [self.visit(part) for part in parts(node)]
        if isinstance(node, Seq):
            return _in_a_row(inner, self.before, self.after)
        sign = " | " if isinstance(node, OrElse) else " or " if isinstance(node, (RaceNode, Choose)) else " & "
        firsts, lasts, leading, trailing = zip(*inner, strict=True)
        first = _group(firsts, sign)
        for i in joint if first else ():
            self.after[i] = first
        return first, _group(lasts, sign), [*joint, *chain(*leading)], list(chain(*trailing))


def _in_a_row(
    steps: Iterable[tuple[str, str, list[int], list[int]]], before: list[str], after: list[str]
) -> tuple[str, str, list[int], list[int]]:
    """Set the neighbours of the bridges between the steps of a sequence. Gives what ``visit`` gives, for the whole."""
    start = previous = ""
    leading: list[int] = []
    waiting: list[int] = []  # bridges whose next task is not found yet
    for first, last, heading, trailing in steps:
        if previous:
            for i in heading:
                before[i] = previous
        else:
            leading.extend(heading)
        if first:
            for i in waiting:
                after[i] = first
            waiting = []
            start = start or first
            previous = last
        waiting.extend(trailing)
    return start, previous, leading, waiting


def _group(names: Sequence[str], sign: str) -> str:
    names = [name for name in names if name]
    return names[0] if len(names) == 1 else f"({cut(between(sign, names), WIDEST)})" if names else ""
