"""The programs of runs with a journal: RECALL before each part that has a record, RECORD behind it.

Such a part is a task with all policies around it alone, or a race, a hedge, a batch or a fan-out with ``need=`` as a
whole: nothing inside of these is recorded. NOTE records which way a ``choose`` or an ``or_else`` has taken.
"""

from __future__ import annotations

from typing import Any

from rio_chain.chain._nodes import Handler, Kept, Node, RaceNode, TaskNode, walk
from rio_chain.chain._plan import Choose, FanOutNode, OrElse, Plan, Scope
from rio_chain.engine._instructions import (
    BRIDGE,
    EACH,
    EXPAND,
    HANDLER,
    NOTE,
    RECALL,
    RECORD,
    TASK,
    EndOp,
    JournalPart,
    NoteOp,
    Op,
    Program,
    RecallOp,
    RecordOp,
)
from rio_chain.engine._journal_labels import labels_of
from rio_chain.engine._layers import Item, outside_uses, peeled
from rio_chain.engine._program import Compiler
from rio_chain.policies import Retry


def journaled_program(plan: Plan, *, direct: bool, places: bool, spread: bool) -> Program:
    """As ``program_of``, with a journal."""
    key = direct, places, spread, "journal"
    found: Program | None = plan.programs.get(key)
    if found is None:
        compiler = JournalCompiler(plan, direct=direct, places=places, spread=spread)
        found = plan.programs[key] = compiler.compile()
        plan.programs.setdefault("journal places", Places(plan, found.ops))
    return found


def is_joined(node: Node) -> bool:
    """Whether nothing inside of it is recorded until it is decided."""
    if isinstance(node, FanOutNode):
        return node.need is not None
    return isinstance(node, RaceNode) or (isinstance(node, Scope) and bool(node.policy.gathers))


class JournalCompiler(Compiler):
    """Adds the instructions of the journal."""

    def __init__(self, plan: Plan, *, direct: bool, places: bool, spread: bool) -> None:
        super().__init__(plan, direct=direct, places=places, spread=spread)
        self.labels = labels_of(plan)
        self.inside = 0  # parts with a record that are being compiled: nothing in them is recorded by itself
        self.joins = 0  # races and the like compiled so far
        self.open: list[tuple[int, JournalPart]] = []  # what is begun and not ended: its RECALL

    def _node(self, item: Item) -> None:
        layers, inner = peeled(item.node)
        if not self.inside and ((isinstance(inner, TaskNode) and not inner.generator) or is_joined(inner)):
            self._recorded(item, inner)
            return
        if is_joined(inner) and not layers:
            self.joins += 1
        if isinstance(inner, (Choose, OrElse)) and not (layers or self.inside):
            self._ways(inner)
        super()._node(item)

    def _part(self, label: str, node: Node, name: str) -> JournalPart:
        slot, self.kept = self.kept, self.kept + 1
        inside = [one for one in walk(node) if isinstance(one, (Kept, TaskNode))]
        high = self.tasks + sum(isinstance(one, TaskNode) for one in inside)
        keeps = tuple(one.place for one in inside if isinstance(one, Kept))
        return JournalPart(label, self.tasks, high, len(self.ops), slot, outside_uses(node), keeps, name)

    def _recorded(self, item: Item, inner: Node) -> None:
        labels, task = self.labels, self.plan.tasks[self.tasks].name
        label = labels.tasks[self.tasks] if isinstance(inner, TaskNode) else labels.joins[self.joins]
        part = self._part(label, item.node, task)._replace(whole=is_joined(inner))
        at = len(self.ops)
        self.ops.append(EndOp(RECALL))
        self.inside += 1

        def end() -> None:
            self.inside -= 1
            self.ops.append(RecordOp(RECORD, part))
            self.ops[at] = RecallOp(RECALL, part, len(self.ops))

        self.work += [end, item]

    def _ways(self, node: Choose | OrElse) -> None:
        """RECALL before a ``choose`` or an ``or_else``; it is completed when the ways are known."""
        if isinstance(node, Choose):
            part = self._part(self.labels.joints[self.joints], node, "choose")
        else:
            part = self._part(self.labels.fallbacks[self.fallbacks], node.primary, "or_else")
        self.open.append((len(self.ops), part))
        self.ops.append(EndOp(RECALL))

    def way(self, node: Choose | OrElse, number: int) -> None:
        """As ``Compiler.way``."""
        if self.inside:
            return
        at, part = self.open.pop()
        if number < 0:  # the answer of the function is recorded, as its input is an error
            part = part._replace(jump=len(self.ops) + 1)
            self.ops.append(RecordOp(RECORD, part))
            self.ops[at] = RecallOp(RECALL, part, -1)
            return
        part = part._replace(ways=(*part.ways, len(self.ops) + 1))
        handled = isinstance(node, OrElse) and isinstance(node.fallback, Handler)
        if handled or (isinstance(node, Choose) and number + 1 < len(node.branches)):
            self.open.append((at, part))
        if not handled:
            self.ops.append(NoteOp(NOTE, part, number))
            self.ops[at] = RecallOp(RECALL, part, -1)


class Places:
    """What the instructions of a plan are called in the places of its records. It is the same on every executor."""

    def __init__(self, plan: Plan, ops: tuple[Op, ...]) -> None:
        labels = labels_of(plan)
        self.labels = labels
        self.names: dict[int, str] = {}  # of each instruction that may give a Request, or items
        self.ends: dict[int, int] = {}  # of each ENTER, where its LEAVE is
        self.several: set[int] = set()  # each ENTER with a retry around more than one part
        for pc, op in enumerate(ops):
            self._look_at(plan, pc, op)
        for pc, end in self.ends.items():
            inside: tuple[Any, ...] = ops[pc:end]
            parts = sum(op[0] == RECALL and op.to >= 0 for op in inside)
            if parts > 1 or any(op[0] in (EACH, EXPAND) for op in inside):
                self.several.add(pc)

    def _look_at(self, plan: Plan, pc: int, op: Any) -> None:
        code = op[0]
        if code == TASK:
            self.names[pc] = self.labels.tasks[op[3]]
        elif code == BRIDGE:
            self.names[pc] = self.labels.bridges[_index(plan.bridges, op[3])]
        elif code in (EACH, EXPAND):
            self.names[pc] = self.labels.joints[_index(plan.joints, op.joint)]
        elif code == HANDLER:
            self.names[pc] = f"handler {sum(name.startswith('handler') for name in self.names.values())}"
        elif hasattr(op, "layers") and any(isinstance(layer, Retry) for layer in op.layers):
            self.ends[pc] = op.leave_at


def _index(planned: tuple[Any, ...], one: object) -> int:
    return next(i for i, other in enumerate(planned) if other is one)


def places_of(plan: Plan) -> Places:
    """Those of a plan that was compiled for a journal."""
    places: Places = plan.programs["journal places"]
    return places
