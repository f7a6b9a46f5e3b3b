"""Changes of the policies directly around one task: what ``advise`` tries."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from attrs import evolve, frozen

from rio_chain.chain._compose import Composed, made, wrapped_kind
from rio_chain.chain._nodes import (
    FanOutNode,
    Named,
    Node,
    RaceNode,
    Scope,
    TaskNode,
    flat,
    is_hedge_of_one,
    parts,
    with_parts,
)
from rio_chain.chain._validation import names_in
from rio_chain.policies import Retry, Timeout, first
from rio_chain.policies._policy import Facts


@frozen
class Change:
    """A change of the policies around a task. None means no change. Times are seconds.

    Attributes:
        after: a further call begins after this delay if none has answered.
        count: the most calls of such a hedge; 2 if there was none before.
        timeout: the limit of an attempt.
        retries: the number of attempts after the first.
    """

    after: float | None = None
    count: int | None = None
    timeout: float | None = None
    retries: int | None = None

    @property
    def nothing(self) -> bool:
        """Whether it changes nothing."""
        return self.after is None and self.timeout is None and self.retries is None


@frozen
class TaskPolicies:
    """The policies directly around a task, and their present values."""

    name: str
    after: float | None
    count: int
    timeout: float | None
    retries: int
    limit: float
    """The longest time that all of it may take; infinity without a limit."""


Changes = Mapping[str, Change]


def task_policies(chain: Composed) -> dict[str, TaskPolicies]:
    """The policies around each task, by its name."""
    names = iter([task.name for task in chain.plan().tasks])
    found: dict[str, TaskPolicies] = {}

    def visit(node: Node) -> None:
        layers, core = peeled(node)
        if not isinstance(core, TaskNode):
            for part in parts(core):
                visit(part)
            return
        name = next(names)
        inner = _until_retry(layers)
        hedge = next((layer for layer in layers if isinstance(layer, RaceNode)), None)
        limit = next(iter(_limits(inner)), None)
        retry = next((_facts(layer).calls - 1 for layer in layers if _facts(layer).repeats), 0)
        after = hedge.after if hedge is not None and isinstance(hedge.after, float) else None
        calls = 1 if hedge is None else hedge.count
        found[name] = TaskPolicies(name, after, calls, limit, retry, min(_limits(layers), default=math.inf))

    visit(flat(chain.plan().root))
    return found


def changed(chain: Composed, changes: Changes) -> Composed:
    """The chain with these changes. Its functions stay the same."""
    names = iter([task.name for task in chain.plan().tasks])

    def visit(node: Node) -> Node:
        layers, core = peeled(node)
        if isinstance(core, TaskNode):
            change = changes.get(next(names))
            if change is not None:
                layers = _with(layers, change)
        else:
            core = with_parts(core, tuple(visit(part) for part in parts(core)))
        for layer in layers:
            core = with_parts(layer, (core,))
        return core

    node = visit(flat(chain.plan().root))
    kind = type(chain) if isinstance(node, (FanOutNode, TaskNode)) else wrapped_kind(chain)
    return made(kind, node, names_in(node))  # type: ignore[no-any-return]


def peeled(node: Node) -> tuple[list[Any], Node]:
    """The layers directly around a node, innermost first, and the node."""
    layers: list[Any] = []
    while isinstance(node, (Scope, Named)) or is_hedge_of_one(node):
        layers.append(node)
        node = parts(node)[0]
    return layers[::-1], node


def _facts(layer: Node) -> Facts:
    """The facts of a layer's policy. A name and a hedge have the default facts."""
    return layer.policy.facts() if isinstance(layer, Scope) else Facts()


def _limits(layers: list[Any]) -> list[float]:
    return [limit for layer in layers if (limit := _facts(layer).limit) < math.inf]


def _until_retry(layers: list[Any]) -> list[Any]:
    """The layers inside of the innermost retry."""
    at = next((i for i, layer in enumerate(layers) if _facts(layer).repeats), len(layers))
    return layers[:at]


def _around_admission(layers: list[Any]) -> int:
    """The index of a new hedge: outside of the limits and breakers, so that they count each of its calls."""
    inner = _until_retry(layers)
    return next((i + 1 for i in range(len(inner) - 1, -1, -1) if _admits_calls(inner[i])), 0)


def _admits_calls(layer: Node) -> bool:
    """Whether it only lets calls through, or refuses them, each for itself."""
    facts = _facts(layer)
    joins = facts.shares or facts.keeps_values or facts.bounds_extras
    return isinstance(layer, Scope) and facts.limit == math.inf and not (joins or facts.refuses_values)


def _with(layers: list[Any], change: Change) -> list[Any]:
    """The changed layers: an existing policy is changed, a missing one is inserted at its proper place."""
    layers = list(layers)
    any_node: Any = None
    if change.after is not None:
        at = next((i for i, layer in enumerate(layers) if isinstance(layer, RaceNode)), None)
        if at is None:
            hedge = RaceNode((any_node,), change.count or 2, change.after, first(), hedge=True)
            layers.insert(_around_admission(layers), hedge)
        else:
            layers[at] = evolve(layers[at], after=change.after, count=change.count or layers[at].count)
    if change.timeout is not None:
        inner = _until_retry(layers)
        at = next((i for i, layer in enumerate(inner) if _facts(layer).limit < math.inf), None)
        limit = Scope(Timeout(change.timeout), any_node)
        if at is None:
            layers.insert(next((i + 1 for i, layer in enumerate(inner) if isinstance(layer, RaceNode)), 0), limit)
        else:
            layers[at] = limit
    if change.retries is not None:
        at = next((i for i, layer in enumerate(layers) if _facts(layer).repeats), None)
        if at is None:
            end = next((i + 1 for i, layer in enumerate(layers) if _facts(layer).limit < math.inf), 0)
            layers.insert(end, Scope(Retry(change.retries), any_node))
        else:
            layers[at] = Scope(evolve(layers[at].policy, retries=change.retries), any_node)
    return layers
