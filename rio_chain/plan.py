"""Plan: a chain with its tasks numbered and named, and validated. Pure data, nothing runs here.

The nodes it is made of stand in ``nodes.py`` and are exported from here as well.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from itertools import chain, pairwise, product
from typing import Any

from attrs import Factory, field, frozen

from rio_chain.errors import ChainDefinitionError
from rio_chain.nodes import (
    Bridge,
    Call,
    Constant,
    FanOut,
    Handler,
    Named,
    Node,
    OrElse,
    Race,
    Scope,
    Seq,
    Then,
    call_of,
    check_race,
    check_scope,
    flat,
    given_names,
    heads,
    name_twice,
    parts,
    walk,
)
from rio_chain.units import inert, shown

__all__ = [
    "Bridge",
    "Call",
    "Constant",
    "FanOut",
    "Handler",
    "Named",
    "Node",
    "OrElse",
    "Plan",
    "PlannedBridge",
    "PlannedTask",
    "Race",
    "Scope",
    "Seq",
    "Then",
    "compile_plan",
    "heads",
    "parts",
    "walk",
]

WIDEST = 80  # characters of a title, or of the name of a neighbour that is a fan-out


@frozen
class PlannedTask:
    """One occurrence of a task: its place among the Responses, and its name there."""

    index: int
    name: str
    call: Call


@frozen
class PlannedBridge:
    """One occurrence of a bridge, and the tasks on either side of it (``input`` and ``output`` at the ends)."""

    name: str
    before: str
    after: str


def _lanes(plan: Plan) -> dict[str, str]:
    return {task.call.lane: task.name for task in reversed(plan.tasks) if task.call.lane is not None}


@frozen
class Plan:
    """A validated chain: what ``chain.plan()`` gives. Immutable, picklable, equal when the chains are equal.

    ``tasks`` and ``bridges`` stand in plan order, one for each occurrence: left to right, a primary before its
    fallback, branches in order. Names of tasks are unique: a function that occurs twice shows as ``f#1``, ``f#2``.

    Example:
        >>> from rio_chain import Task
        >>> plan = (Task(len) >> Task(str)).plan()
        >>> [task.name for task in plan.tasks], plan.title
        (['len', 'str'], 'len >> str')
    """

    root: Node
    tasks: tuple[PlannedTask, ...] = field(eq=False)
    bridges: tuple[PlannedBridge, ...] = field(eq=False)
    title: str = field(eq=False)
    programs: dict[Any, Any] = field(factory=dict[Any, Any], init=False, eq=False, repr=False)
    """What an engine made of it, so that it does so once."""
    lanes: dict[str, str] = field(default=Factory(_lanes, takes_self=True), init=False, eq=False, repr=False)
    """The lanes that it needs, and for each the first task that does."""

    @property
    def edges(self) -> tuple[tuple[str, str], ...]:
        """Who hands its value to whom: pairs of names of tasks and bridges, for tools that draw or analyse."""
        tasks, bridges = iter(self.tasks), iter(self.bridges)
        found: list[tuple[str, str]] = []

        def ends(node: Node) -> tuple[list[str], list[str]]:
            """The names that a node begins with, and those that it ends with."""
            if isinstance(node, (Call, Bridge)):
                name = next(tasks).name if isinstance(node, Call) else next(bridges).name
                return [name], [name]
            inner = [ends(part) for part in parts(node)]
            if not isinstance(node, Seq):
                return [n for first, _ in inner for n in first], [n for _, last in inner for n in last]
            for (_, last), (first, _) in pairwise(inner):
                found.extend(product(last, first))
            return inner[0][0], inner[-1][1]

        ends(self.root)
        return tuple(found)

    def __reduce__(self) -> tuple[Callable[[Node], Plan], tuple[Node]]:
        return compile_plan, (self.root,)  # the root says it all; programs hold what can't be pickled


def compile_plan(node: Node) -> Plan:
    """Number, name and validate a chain.

    Raises:
        ChainDefinitionError: an empty sequence, fan-out or race, a race that can't be won, a policy around no task, a
            name given twice, a chain nested too deeply.
    """
    try:
        root = flat(node)
        nodes = list(walk(root))
        _validate(root, nodes)
        tasks = _tasks(root, nodes)
        names = _numbered([n.name for n in nodes if isinstance(n, Bridge)], {task.name for task in tasks})
        sides = _sides(root, (task.name for task in tasks))
    except RecursionError:
        raise ChainDefinitionError("this chain is nested too deeply: hundreds of policies around policies") from None
    bridges = tuple(PlannedBridge(name, *side) for name, side in zip(names, sides, strict=True))
    return Plan(root, tasks, bridges, title(root))


def _validate(root: Node, nodes: Sequence[Node]) -> None:
    for node in nodes:
        if isinstance(node, (Seq, FanOut, Race)) and not parts(node):
            raise ChainDefinitionError("a chain needs at least one task; this one, or a part of it, is empty")
        if isinstance(node, Race):
            check_race(node)
        if isinstance(node, Scope):
            check_scope(node)
    if not any(isinstance(node, Call) for node in nodes):
        raise ChainDefinitionError("a chain needs at least one task; write Task(fn)")
    for name, times in Counter(given_names(root)).items():
        if times > 1:
            raise name_twice(name)


def _tasks(root: Node, nodes: Sequence[Node]) -> tuple[PlannedTask, ...]:
    calls = [node for node in nodes if isinstance(node, Call)]
    numbered = _numbered([call.name for call in calls if not call.explicit], set(given_names(root)))
    return tuple(PlannedTask(i, c.name if c.explicit else next(numbered), c) for i, c in enumerate(calls))


def _numbered(names: Sequence[str], taken: AbstractSet[str]) -> Iterator[str]:
    """Each name as it is where it stands once and is free; else with a number: ``f#1``, ``f#2``."""
    times = Counter(names)
    used = {*taken, *times}
    last: Counter[str] = Counter()
    for name in names:
        if times[name] == 1 and name not in taken:
            yield name
            continue
        unique = name
        while unique in used:
            last[name] += 1
            unique = f"{name}#{last[name]}"
        used.add(unique)
        yield unique


def _sides(root: Node, names: Iterator[str]) -> list[tuple[str, str]]:
    """For each bridge in plan order the tasks on either side of it."""
    before: list[str] = []
    after: list[str] = []

    def visit(node: Node) -> tuple[str, str, list[int], list[int]]:
        """The first and the last task of a node ('': none), and the bridges that stand outside of these."""
        if isinstance(node, Call):
            name = next(names)
            return name, name, [], []
        if isinstance(node, Bridge):
            before.append("input")
            after.append("output")
            here = [len(before) - 1]
            return "", "", here, here
        inner = [visit(part) for part in parts(node)]
        if isinstance(node, Seq):
            return _in_a_row(inner, before, after)
        sign = " | " if isinstance(node, OrElse) else " or " if isinstance(node, Race) else " & "
        firsts, lasts, leading, trailing = zip(*inner, strict=True)
        return _group(firsts, sign), _group(lasts, sign), list(chain(*leading)), list(chain(*trailing))

    visit(root)
    return list(zip(before, after, strict=True))


def _in_a_row(
    steps: Iterable[tuple[str, str, list[int], list[int]]], before: list[str], after: list[str]
) -> tuple[str, str, list[int], list[int]]:
    """Tell the bridges between the steps of a sequence who their neighbours are; the ends of the whole."""
    start = previous = ""
    leading: list[int] = []
    waiting: list[int] = []  # bridges whose next task has not come yet
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
    return names[0] if len(names) == 1 else f"({_cut(_between(sign, names), WIDEST)})" if names else ""


# --- title ------------------------------------------------------------------------------------------------------


def title(node: Node) -> str:
    """A chain in one short line of printable ASCII, without its policies: ``fetch_user >> (orders & nearby)``."""
    return _cut(_words(node, outer=True), WIDEST)


def _words(node: Node, *, outer: bool = False) -> Iterator[str]:
    if isinstance(node, (Call, Bridge, Named)):
        yield node.name
    elif isinstance(node, Scope):
        yield from _words(node.inner, outer=outer)
    elif isinstance(node, Race) and node.hedge and len(node.branches) == 1:
        yield from _words(node.branches[0], outer=outer)
    elif isinstance(node, Race) or (
        isinstance(node, FanOut) and (node.settle or node.keys is not None or len(node.branches) == 1)
    ):
        keys = node.keys if isinstance(node, FanOut) else None
        labels = [f"{inert(key)}=" for key in keys or ()] or [""] * len(node.branches)
        yield f"{call_of(node)}("
        for i, (label, branch) in enumerate(zip(labels, node.branches, strict=True)):
            yield f", {label}" if i else label
            yield from _words(branch, outer=True)
        yield ")"
    else:
        sign = " & " if isinstance(node, FanOut) else " | " if isinstance(node, OrElse) else " >> "
        yield "" if outer else "("
        for i, part in enumerate(parts(node)):
            yield sign if i else ""
            yield from _words(part)
        if isinstance(node, OrElse) and not isinstance(node.fallback, Node):
            yield sign + (shown(node.fallback.value) if isinstance(node.fallback, Constant) else node.fallback.name)
        yield "" if outer else ")"


def _between(sign: str, names: Iterable[str]) -> Iterator[str]:
    for i, name in enumerate(names):
        yield f"{sign}{name}" if i else name


def _cut(words: Iterable[str], width: int) -> str:
    """The words joined; no more of them are asked for than fit into the width."""
    text = ""
    for word in words:
        text += word
        if len(text) > width:
            return text[: width - 3] + "..."
    return text
