"""Plan: a validated chain with its tasks numbered and named. It is data; nothing here runs.

Its nodes are in ``chain/_nodes.py`` and are exported from here as well. ``_title`` makes its title, and
``_plan_edges`` its edges.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING, Any

from attrs import Factory, field, frozen

from rio_chain._core.notebook_repr import Renderable
from rio_chain._renamed import names_today
from rio_chain.chain._node_checks import check_closed, check_open, check_race, check_scope
from rio_chain.chain._nodes import (
    Bridge,
    Choose,
    Constant,
    Each,
    Expand,
    FanOutNode,
    Handler,
    Kept,
    Named,
    Node,
    OrElse,
    RaceNode,
    Scope,
    Seq,
    TaskNode,
    Then,
    flat,
    given_names,
    heads,
    parts,
    unique_names,
    walk,
)
from rio_chain.chain._plan_edges import edges_of, sides_of
from rio_chain.chain._title import public_title, title
from rio_chain.errors import ChainDefinitionError

__all__ = [
    "Bridge",
    "Choose",
    "Constant",
    "Each",
    "Expand",
    "FanOutNode",
    "Handler",
    "Kept",
    "Named",
    "Node",
    "OrElse",
    "Plan",
    "PlannedBridge",
    "PlannedTask",
    "RaceNode",
    "Scope",
    "Seq",
    "TaskNode",
    "Then",
    "compile_plan",
    "heads",
    "parts",
    "walk",
]


@frozen
class PlannedTask:
    """One occurrence of a task: its index among the Responses, and its name there."""

    index: int
    name: str
    call: TaskNode


@frozen
class PlannedBridge:
    """One occurrence of a bridge, and the tasks before and after it (``input`` and ``output`` at the ends)."""

    name: str
    before: str
    after: str


def _lanes(plan: Plan) -> dict[str, str]:
    return {task.call.lane: task.name for task in reversed(plan.tasks) if task.call.lane is not None}


def _resources(plan: Plan) -> tuple[PlannedTask, ...]:
    return tuple(task for task in plan.tasks if task.call.resources)


@frozen
class Plan(Renderable):
    """A validated chain: the result of ``chain.plan()``. Immutable, picklable, equal when the chains are equal.

    ``tasks`` and ``bridges`` are in plan order, one for each occurrence: left to right, a primary before its fallback,
    branches in order. Names of tasks are unique. If a function, or a task with a given name, occurs twice, its
    occurrences are called ``f#1`` and ``f#2``.

    Example:
        >>> from rio_chain import Task
        >>> plan = (Task(len) >> Task(str)).plan()
        >>> [task.name for task in plan.tasks], plan.title
        (['len', 'str'], 'len >> str')
    """

    root: Node
    tasks: tuple[PlannedTask, ...] = field(eq=False)
    bridges: tuple[PlannedBridge, ...] = field(eq=False)
    joints: tuple[PlannedBridge, ...] = field(eq=False)
    """The nodes ``each``, ``expand`` and ``choose``, which may fail themselves."""
    title: str = field(eq=False)
    programs: dict[Any, Any] = field(factory=dict[Any, Any], init=False, eq=False, repr=False)
    """A cache for what the engine compiles from this plan."""
    lanes: dict[str, str] = field(default=Factory(_lanes, takes_self=True), init=False, eq=False, repr=False)
    """The lanes that it needs, each with the first task that runs there."""
    needing_resources: tuple[PlannedTask, ...] = field(
        default=Factory(_resources, takes_self=True), init=False, eq=False, repr=False
    )
    """The tasks that need ``.resources``."""

    @property
    def edges(self) -> tuple[tuple[str, str], ...]:
        """Which task or bridge passes its value to which: pairs of names, for tools that draw or analyse.

        The values that ``.using`` passes are included.
        """
        found, uses = edges_of(self)
        return (*found, *((source, task) for source, _, task in uses))

    @property
    def uses(self) -> tuple[tuple[str, str, str], ...]:
        """The values that ``.using`` passes: the name of the source, the keyword, and the name of the task."""
        return tuple(edges_of(self)[1])

    def to_dict(self) -> dict[str, Any]:
        """The plan as plain data for ``json.dumps``, for tools that draw, compare or count chains.

        ``tasks`` and ``bridges`` are lists in plan order, with the qualified name of each function. ``edges`` and
        ``uses`` are as the attributes of that name. ``root`` is the chain itself. Each node is a dict with its
        ``kind``, its settings, and the nodes in it as ``inner``, ``steps``, ``branches``, or ``primary`` and
        ``fallback``. Durations are milliseconds under a key that ends with ``_ms``; None means no limit. The data does
        not contain arguments or the state of shared objects, and of a constant only its repr.

        ``version`` (now 1) is the number of this format. It grows when a key is renamed or removed, not when one is
        added. Equal plans give equal data, if equal constants have the same repr.

        Example:
            >>> from rio_chain import Task
            >>> data = Task(len).timeout(100).plan().to_dict()
            >>> data["root"]
            {'kind': 'timeout', 'limit_ms': 100.0, 'inner': {'kind': 'task', 'index': 0, 'name': 'len'}}
            >>> data["tasks"][0]["function"]
            'len'
        """
        from rio_chain.chain._plan_data import to_dict  # noqa: PLC0415 - few ask for it

        return to_dict(self)

    def __reduce__(self) -> tuple[Callable[[Node], Plan], tuple[Node]]:
        return compile_plan, (self.root,)  # the root is enough, and programs can't be pickled


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
        if any(isinstance(n, TaskNode) and n.uses for n in nodes):
            root = _wired(root)
        tasks = numbered(root, nodes)
        names = _numbered([n.name for n in nodes if isinstance(n, Bridge)], {task.name for task in tasks})
        sides = sides_of(root, (task.name for task in tasks))
    except RecursionError:
        raise ChainDefinitionError("this chain is nested too deeply: hundreds of policies around policies") from None
    between = [side for node, side in sides if isinstance(node, Bridge)]
    bridges = tuple(PlannedBridge(name, *side) for name, side in zip(names, between, strict=True))
    joints = tuple(PlannedBridge(title(node), *side) for node, side in sides if not isinstance(node, Bridge))
    return Plan(root, tasks, bridges, joints, title(root))


def public_name(plan: Plan) -> str:
    """The name of the chain in events: its given name, or its title without the values of constants."""
    known: str | None = plan.programs.get("public name")
    if known is None:
        known = plan.programs["public name"] = public_title(plan.root)
    return known


def hedged(plan: Plan) -> frozenset[int]:
    """The indexes of the tasks inside of a ``.replica`` or ``race``."""
    known: frozenset[int] | None = plan.programs.get("hedged")
    if known is not None:
        return known
    found: set[int] = set()
    seen = 0
    for node in walk(plan.root):
        if isinstance(node, RaceNode):
            found.update(range(seen, seen + sum(isinstance(inner, TaskNode) for inner in walk(node))))
        seen += isinstance(node, TaskNode)
    plan.programs["hedged"] = numbers = frozenset(found)
    return numbers


def _wired(root: Node) -> Node:
    from rio_chain.chain._using import Unwired, wire  # noqa: PLC0415 - few chains use values by keyword

    try:
        return wire(root)
    except Unwired as error:
        from rio_chain.chain._source import source  # noqa: PLC0415 - only a wrong chain needs it

        raise ChainDefinitionError(f"{error}. The chain: {source(root)}") from None


def _validate(root: Node, nodes: Sequence[Node]) -> None:
    for node in nodes:
        if isinstance(node, (Seq, FanOutNode, RaceNode, Choose)) and not parts(node):
            raise ChainDefinitionError("a chain needs at least one task; this one, or a part of it, is empty")
        if isinstance(node, RaceNode):
            check_race(node)
        if isinstance(node, Scope):
            check_scope(node)
    if any(isinstance(node, (TaskNode, Bridge)) and node.generator for node in nodes):
        for node in nodes:
            check_open(node)
        check_closed(root)
    if not any(isinstance(node, TaskNode) for node in nodes):
        raise ChainDefinitionError("a chain needs at least one task; write Task(fn)")
    unique_names(given_names(root))


def numbered(root: Node, nodes: Sequence[Node]) -> tuple[PlannedTask, ...]:
    """The tasks of a chain, or of a part of one, with their names in it. ``nodes`` is ``walk(root)``."""
    calls = [node for node in nodes if isinstance(node, TaskNode)]
    times = Counter(name for name, _ in given_names(root))
    once = {name for name, count in times.items() if count == 1}
    names = _numbered([call.name for call in calls if not (call.explicit and call.name in once)], once)
    return tuple(
        PlannedTask(i, c.name if c.explicit and c.name in once else next(names), c) for i, c in enumerate(calls)
    )


def _numbered(names: Sequence[str], taken: AbstractSet[str]) -> Iterator[str]:
    """Each name unchanged if it occurs once and is free, else with a number: ``f#1``, ``f#2``."""
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


if not TYPE_CHECKING:
    __getattr__ = names_today(__name__, {"Call": "TaskNode"})
