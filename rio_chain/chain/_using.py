"""wire(): binds each ``.using`` to the one node upstream that it refers to, and marks that node as kept.

A task is identified by its origin, which its policies don't change. A longer chain is identified by its tasks and how
they are joined. A task can use only nodes that have succeeded on *every* path to it.
"""

from __future__ import annotations

from attrs import evolve, frozen

from rio_chain.chain._nodes import (
    FanOutNode,
    Kept,
    Named,
    Node,
    Scope,
    Seq,
    TaskNode,
    flat,
    is_hedge_of_one,
    parts,
    unwrapped,
    walk,
    with_parts,
)

Path = tuple[int, ...]
"""The index at each level from the root: one occurrence of a node."""


class Unwired(Exception):
    """A ``.using`` refers to no node, or to more than one. The text is the user's error, without the chain."""


@frozen
class _Source:
    """The argument of a ``.using``, in a form that can be compared with nodes."""

    core: Node
    origins: tuple[bytes, ...]

    def is_at(self, core: Node) -> bool:
        """Whether this node is the source."""
        if isinstance(self.core, TaskNode) and self.origins[0]:
            return isinstance(core, TaskNode) and core.origin == self.origins[0]
        return type(core) is type(self.core) and _origins(core) == self.origins and _shape(core) == _shape(self.core)


Known = dict[_Source, tuple[Path, ...]]
"""The sources that have surely succeeded at a point of the chain, and where."""


def wire(root: Node) -> Node:
    """The same chain with each ``Use`` bound to a ``Kept`` node.

    Raises:
        Unwired: a Use can't be bound.
    """
    return _Wiring(root).wired()


class _Wiring:
    def __init__(self, root: Node) -> None:
        self.root = root
        self.sources: list[_Source] = []
        self.bound: dict[tuple[Path, str], Path] = {}  # a task and its keyword -> the node whose value it gets
        for node in walk(root):
            for use in node.uses if isinstance(node, TaskNode) else ():
                source = _source(use.source)
                if source not in self.sources:
                    self.sources.append(source)

    def wired(self) -> Node:
        self.visit(self.root, (), {})
        places = {path: place for place, path in enumerate(sorted(set(self.bound.values())))}
        touched = {path[:i] for path in [*places, *(task for task, _ in self.bound)] for i in range(len(path) + 1)}
        return self.rebuilt(self.root, (), places, touched)

    # --- what is known where ---------------------------------------------------------------------------------------

    def visit(self, node: Node, path: Path, known: Known, *, outermost: bool = True) -> Known:
        """Bind the uses in a node, and return what is known after it. Policies belong to the node they are around."""
        after = self.inside(node, path, known)
        if outermost:
            core = unwrapped(node)
            after = _with(after, [source for source in self.sources if source.is_at(core)], path)
        return after

    def inside(self, node: Node, path: Path, known: Known) -> Known:
        inner = parts(node)
        if isinstance(node, TaskNode):
            self.bind(node, path, known)
        elif isinstance(node, (Scope, Named, Kept)) or is_hedge_of_one(node):
            after = self.visit(inner[0], (*path, 0), known, outermost=False)
            answers = isinstance(node, Scope) and node.policy.facts().shares  # then the nodes in it may not run
            return known if answers else after
        elif isinstance(node, Seq):
            return self.in_a_row(node, path, known)
        else:
            ends = [self.visit(part, (*path, i), known) for i, part in enumerate(inner)]
            if isinstance(node, FanOutNode) and not node.settle and node.need is None:
                return _merged(ends)
        return known

    def in_a_row(self, node: Seq, path: Path, known: Known) -> Known:
        for i, step in enumerate(node.steps):
            known = self.visit(step, (*path, i), known)
            for source in self.sources:
                if isinstance(source.core, Seq) and len(source.core.steps) < len(node.steps):
                    start = i + 1 - len(source.core.steps)
                    if start >= 0 and source.is_at(Seq(node.steps[start : i + 1])):
                        known = _with(known, [source], (*path, i))
        return known

    def bind(self, call: TaskNode, path: Path, known: Known) -> None:
        for use in call.uses:
            source = _source(use.source)
            found = known.get(source, ())
            if len(found) != 1:
                raise Unwired(f"`{call.name}` uses `{use.keyword}=`, {self.why(source, len(found))}")
            self.bound[path, use.keyword] = found[0]

    def why(self, source: _Source, known: int) -> str:
        """Why the source can't be used: it occurs ``known`` times on every path."""
        if known:
            return f"which is ambiguous: it occurs {known} times upstream"
        somewhere = any(source.is_at(node) for node in walk(self.root))
        if not somewhere and not isinstance(source.core, Seq):
            return "which is not in this chain: give the same Task or Chain that the chain contains"
        return (
            "which may have no value at that point: it must come before it on every path, not in a branch that may "
            "fail or be skipped, and not behind a cache"
        )

    # --- the chain with its bindings ---------------------------------------------------------------------------------

    def rebuilt(self, node: Node, path: Path, places: dict[Path, int], touched: set[Path]) -> Node:
        if path not in touched:
            return node
        inner = tuple(self.rebuilt(part, (*path, i), places, touched) for i, part in enumerate(parts(node)))
        node = with_parts(node, inner)
        if isinstance(node, TaskNode) and node.uses:
            uses = (evolve(use, kept=places[self.bound[path, use.keyword]]) for use in node.uses)
            node = evolve(node, uses=tuple(uses))
        return Kept(places[path], node) if path in places else node


def _source(node: Node) -> _Source:
    core = unwrapped(flat(node))
    return _Source(core, _origins(core))


def _shape(node: Node) -> Node:
    """The node without the functions of its tasks. Their origins identify them, as functions may be replaced."""
    if isinstance(node, TaskNode) and node.origin:
        return TaskNode(_no_function, node.name, is_async=False, explicit=node.explicit, uses=node.uses)
    return with_parts(node, tuple(_shape(part) for part in parts(node)))


def _no_function() -> None:
    """Replaces the functions of tasks that are compared."""


def _origins(node: Node) -> tuple[bytes, ...]:
    return tuple(n.origin for n in walk(node) if isinstance(n, TaskNode))


def _with(known: Known, sources: list[_Source], path: Path) -> Known:
    return {**known, **{s: (*known.get(s, ()), path) for s in sources}} if sources else known


def _merged(ends: list[Known]) -> Known:
    """What is known after all branches have succeeded."""
    found: Known = {}
    for end in ends:
        for source, paths in end.items():
            have = found.get(source, ())
            found[source] = (*have, *(path for path in paths if path not in have))
    return found
