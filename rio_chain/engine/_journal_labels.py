"""The names of the parts of a plan in a journal.

A label depends on a part, on what comes before it and on what is around it. It does not depend on policies, on names
that were given, or on other parts. So a record is found again after a change of a limit or a retry. It is not found
after a change of anything that its input depends on.
"""

from __future__ import annotations

from collections import Counter
from hashlib import blake2b
from typing import Any, cast

from attrs import field, frozen

from rio_chain._core.units import short_repr
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
    is_hedge_of_one,
)
from rio_chain.chain._plan import Plan
from rio_chain.engine._layers import peeled
from rio_chain.policies._plain_data import function, qualified

DIGEST_BYTES = 6


@frozen
class Labels:
    """The labels of a plan. Each list is in plan order."""

    tasks: list[str] = field(factory=list[str])
    bridges: list[str] = field(factory=list[str])
    joints: list[str] = field(factory=list[str])
    """Of each ``each``, ``expand`` and ``choose``."""
    fallbacks: list[str] = field(factory=list[str])
    joins: list[str] = field(factory=list[str])
    """Of each hedge, race, batch and fan-out with ``need=``."""
    before: dict[str, tuple[str, ...]] = field(factory=dict[str, "tuple[str, ...]"])
    """Of each label, and of each value between, what it depends on directly."""
    parts: list[tuple[str, str]] = field(factory=list[tuple[str, str]])
    """The label and the description of each part, for the difference between two plans."""

    def depends(self, label: str, on: str) -> bool:
        """Whether a part depends on another one."""
        todo, seen = [label], set[str]()
        while todo:
            for one in self.before.get(todo.pop(), ()):
                if one == on:
                    return True
                if one not in seen:
                    seen.add(one)
                    todo.append(one)
        return False


def labels_of(plan: Plan) -> Labels:
    """The labels of a plan. They are made once."""
    known: Labels | None = plan.programs.get("journal labels")
    if known is None:
        labels = Labels()
        _Labeller(plan, labels).visit(plan.root, "")
        known = plan.programs["journal labels"] = labels
    return known


class _Labeller:
    def __init__(self, plan: Plan, labels: Labels) -> None:
        self.plan = plan
        self.labels = labels
        self.kept: dict[int, str] = {}
        self.times: Counter[str] = Counter()

    def visit(self, node: Node, given: str) -> str:  # noqa: PLR0911 - one for each kind of node
        """Label a part that gets the value ``given``. Returns what its own value is called."""
        labels = self.labels
        if isinstance(node, TaskNode):
            uses = [(use.keyword, self.kept.get(-1 if use.kept is None else use.kept, "")) for use in node.uses]
            task = self.plan.tasks[len(labels.tasks)].name
            about = f"task {task}", _named(node), [word for word, _ in uses]
            label = self._label(about, given, *(source for _, source in uses))
            labels.tasks.append(label)
            return label
        if isinstance(node, Bridge):
            label = self._label((f"bridge {node.name}", _named(node), []), given)
            labels.bridges.append(label)
            return label
        if isinstance(node, Seq):
            for step in node.steps:
                given = self.visit(step, given)
            return given
        if isinstance(node, Named):
            return self.visit(node.inner, given)
        if isinstance(node, Kept):
            self.kept[node.place] = given = self.visit(node.inner, given)
            return given
        if isinstance(node, Scope):
            return self._joined(node, (node.inner,), given) if node.policy.gathers else self.visit(node.inner, given)
        if isinstance(node, RaceNode):
            return self._joined(node, node.branches, given)
        if isinstance(node, FanOutNode):
            return self._fan_out(node, given)
        return self._rest(node, given)

    def _label(self, about: tuple[str, str, list[str]], *before: str) -> str:
        kind, what, more = about
        made = _digest(kind.split(" ", 1)[0], what, *more, *before)
        self.times[made] += 1
        if self.times[made] > 1:  # the same function with the same input, at another place
            made = f"{made}.{self.times[made]}"
        self.labels.before[made] = before
        text = f"{kind} ({what})" if what else kind
        self.labels.parts.append((made, f"{text} using {', '.join(more)}" if more else text))
        return made

    def _value(self, *before: str) -> str:
        """What the value of several parts is called."""
        made = _digest("value", *before)
        self.labels.before.setdefault(made, before)
        return made

    def _joined(self, node: RaceNode | Scope, branches: tuple[Node, ...], given: str) -> str:
        place = len(self.labels.joins)
        self.labels.joins.append("")
        if isinstance(node, Scope) or is_hedge_of_one(node):  # a policy: it changes no label
            inside = peeled(branches[0])[1]
            first = len(self.labels.tasks)
            value = self.visit(branches[0], given)
            only = isinstance(inside, TaskNode)
            label = self.labels.tasks[first] if only else _digest("whole", value)
            self.labels.before.setdefault(label, (value,))
            self.labels.joins[place] = label
            return value
        self.labels.joins[place] = label = self._label(("race", "", []), given)
        value = self._value(label, *(self.visit(branch, label) for branch in branches))
        self.labels.before[label] = (given,)
        return value

    def _fan_out(self, node: FanOutNode, given: str) -> str:
        about = f"keys {', '.join(node.keys)}" if node.keys else f"{len(node.branches)} branches"
        kind = "settle" if node.settle else "fan_out"
        need = "" if node.need is None else f", need={node.need}"
        if node.need is not None:
            place = len(self.labels.joins)
            self.labels.joins.append("")
            self.labels.joins[place] = given = self._label((kind, f"{about}{need}", []), given)
        else:
            self.labels.parts.append((_digest(kind, about, given), f"{kind} ({about})"))
        return self._value(kind, about, *(self.visit(branch, given) for branch in node.branches))

    def _rest(self, node: Node, given: str) -> str:
        labels = self.labels
        if isinstance(node, (Each, Expand)):
            if isinstance(node, Each):
                more = [] if node.key is None else [f"key={function(node.key)}"]
            else:
                more = [f"more={function(node.more)}", f"key={function(node.key.fn)}"]
            kind = "each" if isinstance(node, Each) else "expand"
            about = f"on_error={node.on_error!r}"
            label = self._label((kind, about, more), given)
            labels.joints.append(label)
            return self._value("all", label, self.visit(node.inner, label))
        if isinstance(node, Choose):
            label = self._label(("choose", "", [_test(test) for test in node.tests]), given)
            labels.joints.append(label)
            branches = [self.visit(branch, self._value(str(i), label)) for i, branch in enumerate(node.branches)]
            return self._value("chosen", *branches)
        assert isinstance(node, OrElse)  # noqa: S101 - a Plan holds no Then
        other = node.fallback
        about = ""
        if isinstance(other, Handler):
            about = function(other.fn) or ""
        elif isinstance(other, Constant):
            about = short_repr(other.value)
        place = len(labels.fallbacks)
        labels.fallbacks.append("")
        value = self.visit(node.primary, given)
        labels.fallbacks[place] = label = self._label(("or_else", about, []), given, value)
        last = label if isinstance(other, (Handler, Constant)) else self.visit(other, label)
        return self._value("either", value, last)


def _digest(*parts: str) -> str:
    text = "\0".join(parts).encode("utf-8", "surrogatepass")
    return blake2b(text, digest_size=DIGEST_BYTES).hexdigest()


def _named(node: TaskNode | Bridge) -> str:
    """The name of a function. Objects of one class have the same one, so the name in the chain is added."""
    name = function(node.fn) or ""
    return name if hasattr(node.fn, "__qualname__") else f"{name} {node.name}"


def _test(test: Any) -> str:
    several = cast("tuple[object, ...]", test) if isinstance(test, tuple) else (test,)
    return " or ".join(qualified(one) if isinstance(one, type) else function(one) or "" for one in several)
