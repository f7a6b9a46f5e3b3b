"""Stack: a task, or several steps, with the policies right around it, and what it takes to write it anew."""

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
from rio_chain.inspect._bounds import Part, measured
from rio_chain.policies import Retry
from rio_chain.policies._policy import Facts

Fact = Callable[[Facts], object]
"""Whether something is true of a policy, by what it says of itself."""

REPEATS: Fact = attrgetter("repeats")


def limits(facts: Facts) -> bool:
    """Whether it is a timeout."""
    return facts.limit < math.inf


def nothing(_: Facts) -> bool:
    """True of no policy: for a search by the kind of the node alone."""
    return False


@frozen
class Said:
    """What a rule says of a stack; ``better`` is the chain to be written in its place."""

    code: str
    text: str
    better: Node


@frozen
class Around:
    """What stands around a part of a chain.

    Attributes:
        limit: the smallest of the timeouts, in seconds.
        calls: how often the retries call it; they multiply.
        budget: whether a budget bounds those.
        items: whether it is run for items.
    """

    limit: float = math.inf
    calls: int = 1
    budget: bool = False
    items: bool = False

    def and_(self, node: Node) -> Around:
        """The same with one more around."""
        if isinstance(node, (Each, Expand)):
            return evolve(self, items=True)
        if not isinstance(node, Scope):
            return self
        facts = node.policy.facts()
        budget = self.budget or facts.bounds_extras
        return Around(min(self.limit, facts.limit), self.calls * facts.calls, budget, self.items)


@frozen(eq=False)
class StackLayer:
    """One policy of a stack: its part of the tree, and what stands around it."""

    part: Part
    around: Around

    @property
    def node(self) -> Node:
        """The node."""
        return self.part.node

    @property
    def inner(self) -> Part:
        """What it wraps."""
        return self.part.parts[0]

    @property
    def facts(self) -> Facts:
        """What its policy says of itself. A name, a hedge and a fallback have none."""
        return self.node.policy.facts() if isinstance(self.node, Scope) else Facts()


@frozen(eq=False)
class PolicyStack:
    """The core, its layers from the innermost to the outermost, and what stands around the core."""

    core: Part
    layers: tuple[StackLayer, ...]
    around: Around

    def of(self, fact: Fact) -> Iterator[tuple[int, StackLayer, Facts]]:
        """Each layer of which that is true: its place, itself, all facts."""
        for i, layer in enumerate(self.layers):
            facts = layer.facts
            if fact(facts):
                yield i, layer, facts

    def hedges(self) -> Iterator[tuple[int, StackLayer, RaceNode]]:
        """Each hedge among the layers; the core, as one more layer at place -1, if it is one at several places."""
        for i, layer in enumerate(self.layers):
            if isinstance(layer.node, RaceNode):
                yield i, layer, layer.node
        if isinstance(self.core.node, RaceNode) and self.core.node.hedge:
            yield -1, StackLayer(self.core, self.around), self.core.node

    def first(self, places: Iterable[int], fact: Fact, *kinds: type[Any]) -> int | None:
        """The first of the places that has a layer of which that is true, or a node of one of these kinds."""
        layers = self.layers
        return next((i for i in places if fact(layers[i].facts) or isinstance(layers[i].node, kinds)), None)

    # --- written anew -------------------------------------------------------------------------------------------

    def build(self, nodes: Iterable[Node], core: Node | None = None) -> Node:
        """The core in these layers, the innermost first."""
        built = core or self.core.node
        for node in nodes:
            built = put_around(node, built)
        return built

    def nodes(self) -> list[Node]:
        """The layers as they are."""
        return [layer.node for layer in self.layers]

    def moved(self, at: int, to: int) -> Node:
        """With the layer ``at`` taken out and put right outside of those that were inside of place ``to``."""
        nodes = self.nodes()
        node = nodes.pop(at)
        nodes.insert(to - (to > at), node)
        return self.build(nodes)

    def without(self, at: int) -> Node:
        """With one layer less."""
        nodes = self.nodes()
        del nodes[at]
        return self.build(nodes)

    def changed(self, at: int, node: Node) -> Node:
        """With another node at a place; -1 is the core."""
        nodes = self.nodes()
        if at < 0:
            return self.build(nodes, node)
        nodes[at] = node
        return self.build(nodes)

    def added(self, at: int, node: Node) -> Node:
        """With one more layer."""
        nodes = self.nodes()
        nodes.insert(at, node)
        return self.build(nodes)


def put_around(layer: Node, inner: Node) -> Node:
    """A layer around something else."""
    if isinstance(layer, RaceNode):
        return evolve(layer, branches=(inner,))
    if isinstance(layer, OrElse):
        return evolve(layer, primary=inner)
    if isinstance(layer, Named):
        return labelled(inner, layer.name)
    assert isinstance(layer, Scope)  # noqa: S101 - nothing else is a layer
    return evolve(layer, inner=inner)


def with_calls(node: Node, calls: int) -> Node:
    """A retry that calls what it wraps so often."""
    assert isinstance(node, Scope) and isinstance(node.policy, Retry)  # noqa: S101, PT018 - nothing else repeats
    return evolve(node, policy=evolve(node.policy, retries=calls - 1))


def retrying_also(node: Node, error: type[BaseException]) -> Node:
    """A retry that is for one more class of errors."""
    assert isinstance(node, Scope) and isinstance(node.policy, Retry)  # noqa: S101, PT018 - nothing else repeats
    return evolve(node, policy=node.policy.also_on(error))


def is_layer(node: Node) -> bool:
    """Whether it stands around one chain: a policy, a name, a hedge at one place, a fallback."""
    return isinstance(node, (Scope, Named, OrElse)) or is_hedge_of_one(node)


def stacks(plan: Plan) -> Iterator[PolicyStack]:
    """All stacks of a plan, in plan order."""
    todo = [(measured(flat(plan.root)), Around())]  # flat: what is kept for later stands in nobody's way
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
    """What in it has an answer for every error, so that what is around it never sees one: a fallback, or a settle.

    A function may raise an error in place of the one that it gets, so it does not always answer.
    """
    core = below_names(node)
    if isinstance(core, OrElse):
        always = core.on is Exception and isinstance(core.fallback, Constant)
        return core if always else None
    return core if isinstance(core, FanOutNode) and core.settle else None


def keeps_failures(node: Node) -> FanOutNode | Each | Expand | None:
    """What in it hands failures on as values, or drops them, so that another attempt is never made."""
    core = below_names(node)
    if isinstance(core, FanOutNode):
        return core if core.settle else None
    return core if isinstance(core, (Each, Expand)) and core.on_error in {"keep", "drop"} else None


def below_names(node: Node) -> Node:
    """The node without the names around it."""
    while isinstance(node, Named):
        node = node.inner
    return node
