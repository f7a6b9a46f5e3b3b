"""PolicyStack: a task, or several steps, with the policies directly around it; and how to build a changed one."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from operator import attrgetter
from typing import Any

from attrs import evolve, frozen

from rio_chain.chain._nodes import (
    Constant,
    Each,
    Expand,
    FanOutNode,
    Named,
    Node,
    OrElse,
    RaceNode,
    Scope,
    flat,
    is_hedge_of_one,
    labelled,
)
from rio_chain.chain._plan import Plan
from rio_chain.inspect._bounds import Part, limit_of, measured
from rio_chain.policies import Retry
from rio_chain.policies._policy import Facts

Fact = Callable[[Facts], object]
"""A test of a policy's facts."""

REPEATS: Fact = attrgetter("repeats")


def limits(facts: Facts) -> bool:
    """Whether it is a timeout."""
    return facts.limit < math.inf


def ends(facts: Facts) -> bool:
    """Whether it is a timeout, also one that is not known before a call."""
    return facts.limit < math.inf or facts.limit_unknown


def nothing(_: Facts) -> bool:
    """False for every policy: for a search by the kind of node only."""
    return False


@frozen
class Said:
    """The result of a rule. ``better`` is the chain to write instead."""

    code: str
    text: str
    better: Node


@frozen
class Around:
    """What is around a part of a chain.

    Attributes:
        limit: the smallest of the timeouts, in seconds.
        calls: how often the retries call the part; they multiply.
        budget: whether a budget limits these retries.
        items: whether the part runs for items.
        ends: whether there is a timeout, also one that is not known before a call.
    """

    limit: float = math.inf
    calls: int = 1
    budget: bool = False
    items: bool = False
    ends: bool = False

    def and_(self, node: Node) -> Around:
        """What is around a part of ``node``."""
        if isinstance(node, (Each, Expand)):
            return evolve(self, items=True, limit=min(self.limit, limit_of(node)))
        if not isinstance(node, Scope):
            return evolve(self, limit=min(self.limit, limit_of(node)))
        facts = node.policy.facts()
        budget = self.budget or facts.bounds_extras
        limit, ended = min(self.limit, facts.limit), self.ends or ends(facts)
        return Around(limit, self.calls * facts.calls, budget, self.items, ended)


@frozen(eq=False)
class StackLayer:
    """One policy of a stack: its part of the tree, and what is around it."""

    part: Part
    around: Around

    @property
    def node(self) -> Node:
        """The node."""
        return self.part.node

    @property
    def inner(self) -> Part:
        """The part that it wraps."""
        return self.part.parts[0]

    @property
    def facts(self) -> Facts:
        """The facts of its policy. A name, a hedge and a fallback have the default facts."""
        return self.node.policy.facts() if isinstance(self.node, Scope) else Facts()


@frozen(eq=False)
class PolicyStack:
    """The core, its layers from the innermost to the outermost, and what is around the core."""

    core: Part
    layers: tuple[StackLayer, ...]
    around: Around

    def of(self, fact: Fact) -> Iterator[tuple[int, StackLayer, Facts]]:
        """Each layer for which the fact is true: its index, the layer, and its facts."""
        for i, layer in enumerate(self.layers):
            facts = layer.facts
            if fact(facts):
                yield i, layer, facts

    def hedges(self) -> Iterator[tuple[int, StackLayer, RaceNode]]:
        """Each hedge among the layers. If the core is a hedge of several targets, it is given with the index -1."""
        for i, layer in enumerate(self.layers):
            if isinstance(layer.node, RaceNode):
                yield i, layer, layer.node
        if isinstance(self.core.node, RaceNode) and self.core.node.hedge:
            yield -1, StackLayer(self.core, self.around), self.core.node

    def first(self, places: Iterable[int], fact: Fact, *kinds: type[Any]) -> int | None:
        """The first of the indexes whose layer has this fact, or a node of one of these kinds."""
        layers = self.layers
        return next((i for i in places if fact(layers[i].facts) or isinstance(layers[i].node, kinds)), None)

    # --- changed stacks -----------------------------------------------------------------------------------------

    def build(self, nodes: Iterable[Node], core: Node | None = None) -> Node:
        """The core inside these layers, the innermost first."""
        built = core or self.core.node
        for node in nodes:
            built = put_around(node, built)
        return built

    def nodes(self) -> list[Node]:
        """The nodes of the layers."""
        return [layer.node for layer in self.layers]

    def moved(self, at: int, to: int) -> Node:
        """The stack with the layer ``at`` moved to the outside of the layers inside of index ``to``."""
        nodes = self.nodes()
        node = nodes.pop(at)
        nodes.insert(to - (to > at), node)
        return self.build(nodes)

    def without(self, at: int) -> Node:
        """The stack without one layer."""
        nodes = self.nodes()
        del nodes[at]
        return self.build(nodes)

    def changed(self, at: int, node: Node) -> Node:
        """The stack with another node at an index; -1 is the core."""
        nodes = self.nodes()
        if at < 0:
            return self.build(nodes, node)
        nodes[at] = node
        return self.build(nodes)

    def added(self, at: int, node: Node) -> Node:
        """The stack with one more layer."""
        nodes = self.nodes()
        nodes.insert(at, node)
        return self.build(nodes)


def put_around(layer: Node, inner: Node) -> Node:
    """A layer around another node."""
    if isinstance(layer, RaceNode):
        return evolve(layer, branches=(inner,))
    if isinstance(layer, OrElse):
        return evolve(layer, primary=inner)
    if isinstance(layer, Named):
        return labelled(inner, layer.name)
    assert isinstance(layer, Scope)  # noqa: S101 - there are no other layers
    return evolve(layer, inner=inner)


def with_calls(node: Node, calls: int) -> Node:
    """The retry with this number of calls in all."""
    assert isinstance(node, Scope) and isinstance(node.policy, Retry)  # noqa: S101, PT018 - no other policy repeats
    return evolve(node, policy=evolve(node.policy, retries=calls - 1))


def retrying_also(node: Node, error: type[BaseException]) -> Node:
    """The retry for one more class of errors."""
    assert isinstance(node, Scope) and isinstance(node.policy, Retry)  # noqa: S101, PT018 - no other policy repeats
    return evolve(node, policy=node.policy.also_on(error))


def is_layer(node: Node) -> bool:
    """Whether it wraps one chain: a policy, a name, a hedge of one chain, a fallback."""
    return isinstance(node, (Scope, Named, OrElse)) or is_hedge_of_one(node)


def stacks(plan: Plan) -> Iterator[PolicyStack]:
    """All stacks of a plan, in plan order."""
    todo = [(measured(flat(plan.root)), Around())]  # `flat` removes the Kept nodes
    while todo:
        part, around = todo.pop()
        layers: list[StackLayer] = []
        others: list[tuple[Part, Around]] = []
        while is_layer(part.node):
            layers.append(StackLayer(part, around))
            around = around.and_(part.node)
            others[:0] = [(other, around) for other in part.parts[1:]]  # a fallback that is a chain
            part = part.parts[0]
        yield PolicyStack(part, tuple(reversed(layers)), around)
        below = around.and_(part.node)
        todo.extend(reversed([*((inner, below) for inner in part.parts), *others]))


def answers(node: Node) -> Node | None:
    """The part of the node that answers every error, so that nothing around it sees one: a fallback, or a settle.

    A fallback that is a function may raise, so it does not always answer.
    """
    core = below_names(node)
    if isinstance(core, OrElse):
        always = core.on is Exception and isinstance(core.fallback, Constant)
        return core if always else None
    return core if isinstance(core, FanOutNode) and core.settle else None


def keeps_failures(node: Node) -> FanOutNode | Each | Expand | None:
    """The part of the node that keeps failures as values, or drops them, so that a retry around it makes no attempt."""
    core = below_names(node)
    if isinstance(core, FanOutNode):
        return core if core.settle else None
    return core if isinstance(core, (Each, Expand)) and core.on_error in {"keep", "drop", "stop"} else None


def below_names(node: Node) -> Node:
    """The node without the names around it."""
    while isinstance(node, Named):
        node = node.inner
    return node
