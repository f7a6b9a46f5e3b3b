"""A plan as a flat tuple of instructions, which the interpreter walks with an index: no recursion, no object per layer.

Policies directly around a task are *layers* of its own instruction, innermost first; their frames are made only when
something goes wrong. A policy around a longer chain is an ENTER and a LEAVE around its instructions. An instruction
together with a depth (how many of its layers are still to be entered) is a place where a run can be taken up again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from attrs import frozen

from rio_chain.plan import (
    Bridge,
    Call,
    Constant,
    FanOut,
    Handler,
    Named,
    Node,
    OrElse,
    Plan,
    PlannedBridge,
    Scope,
    Seq,
)
from rio_chain.policies import Policy, Retry, Timeout

INF = float("inf")
FULL = -1  # the depth that enters all layers

# instructions
TASK, BRIDGE, ENTER, LEAVE, FAN, JUMP, CONSTANT, HANDLER, END = range(9)
# how a function is called
PLACE, DIRECT, CALL, ASYNC = range(4)

Op = tuple[Any, ...]


@frozen
class Fallback:
    """The layer that catches: on a failure the run goes on at ``handler``; with ``error`` its input is the error."""

    handler: int
    error: bool


Layer = Policy | Fallback


@frozen
class Program:
    """The instructions of a plan for one kind of runtime."""

    ops: tuple[Op, ...]
    length: int
    limited: bool  # the outermost layer of the whole chain is a timeout


@frozen
class Args:
    """The input of the first functions of a run that was not called with exactly one positional argument."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]


@frozen
class Spread:
    """A function that gets such an input as its arguments."""

    fn: Callable[..., Any]

    def __call__(self, given: Args) -> Any:
        """Call it."""
        return self.fn(*given.args, **given.kwargs)


class Branch(NamedTuple):
    """One branch of a fan-out: its instructions ``start`` up to ``stop``, its tasks ``low`` up to ``high``."""

    start: int
    stop: int
    low: int
    high: int


def program_of(plan: Plan, *, direct: bool, places: bool, spread: bool = False) -> Program:
    """The program of a plan for one kind of runtime, and for one input or (``spread``) ``Args``; kept on the plan."""
    key = (direct, places, spread)
    found = plan.programs.get(key)
    if found is None:
        found = plan.programs[key] = _Compiler(plan, direct=direct, places=places, spread=spread).compile()
    program: Program = found  # the plan keeps the engine's programs without knowing their type
    return program


class _Item(NamedTuple):
    """A node to compile, and whether it gets the arguments of the run as ``Args``."""

    node: Node
    head: bool


class _Compiler:
    """Walks the tree with a stack of its own, so that a deep one can't exhaust Python's."""

    def __init__(self, plan: Plan, *, direct: bool, places: bool, spread: bool) -> None:
        self.plan = plan
        self.direct = direct
        self.places = places
        self.spread = spread
        self.ops: list[Op] = []
        self.tasks = 0  # how many have been seen; the plan numbers them in the same order
        self.bridges = 0
        self.work: list[_Item | Callable[[], None]] = []

    def compile(self) -> Program:
        self.work.append(_Item(self.plan.root, head=self.spread))
        while self.work:
            item = self.work.pop()
            if isinstance(item, _Item):
                self._node(item)
            else:
                item()
        length = len(self.ops)
        self.ops.append((END,))
        layers, _ = _peel(self.plan.root)
        limited = bool(layers) and isinstance(layers[-1], Timeout)
        return Program(tuple(self.ops), length, limited)

    def _node(self, item: _Item) -> None:
        layers, inner = _peel(item.node)
        if isinstance(inner, Call):
            self._task(inner, layers, head=item.head)
        elif layers:
            self._region(layers, _Item(inner, item.head))
        elif isinstance(inner, Seq):
            first, *rest = inner.steps
            self.work.extend(_Item(step, head=False) for step in reversed(rest))
            self.work.append(_Item(first, item.head))
        elif isinstance(inner, Bridge):
            self._bridge(inner, head=item.head)
        elif isinstance(inner, FanOut):
            self._fan_out(inner, head=item.head)
        elif isinstance(inner, OrElse):
            self._or_else(inner, head=item.head)

    def _route(self, *, is_async: bool, inline: bool) -> int:
        if is_async:
            return DIRECT if self.direct else ASYNC
        return PLACE if inline else CALL

    def _task(self, call: Call, layers: tuple[Layer, ...], *, head: bool) -> None:
        limits = [INF]
        for layer in layers:
            limits.append(min(limits[-1], layer.seconds) if isinstance(layer, Timeout) else limits[-1])
        plain = not any(isinstance(layer, Retry) and layer.accept is not None for layer in layers)
        route = self._route(is_async=call.is_async, inline=call.inline)
        fn = Spread(call.fn) if head else call.fn
        self.ops.append((TASK, route, fn, self.tasks, tuple(limits), layers, plain))
        self.tasks += 1

    def _bridge(self, bridge: Bridge, *, head: bool) -> None:
        route = self._route(is_async=bridge.is_async, inline=self.places)
        planned: PlannedBridge = self.plan.bridges[self.bridges]
        self.ops.append((BRIDGE, route, Spread(bridge.fn) if head else bridge.fn, planned))
        self.bridges += 1

    def _region(self, layers: tuple[Layer, ...], inner: _Item) -> None:
        """ENTER, the instructions of ``inner``, LEAVE."""
        at, low = len(self.ops), self.tasks
        self.ops.append((ENTER,))  # completed when we know which tasks are inside

        def leave() -> None:
            self.ops[at] = (ENTER, layers, low, self.tasks)
            self.ops.append((LEAVE, len(layers)))

        self.work += [leave, inner]

    def _or_else(self, node: OrElse, *, head: bool) -> None:
        """ENTER primary LEAVE, JUMP over the handler, handler. The ENTER learns where the handler begins."""
        at, low = len(self.ops), self.tasks
        self.ops.append((ENTER,))

        def handler() -> None:
            high = self.tasks
            self.ops.append((LEAVE, 1))
            jump = len(self.ops)
            self.ops.append((JUMP,))
            other = node.fallback
            catch = Fallback(len(self.ops), isinstance(other, Handler))
            self.ops[at] = (ENTER, (catch,), low, high)

            def end() -> None:
                self.ops[jump] = (JUMP, len(self.ops), high, self.tasks)

            self.work.append(end)
            if isinstance(other, Constant):
                self.ops.append((CONSTANT, other.value))
            elif isinstance(other, Handler):
                route = self._route(is_async=other.is_async, inline=self.places)
                self.ops.append((HANDLER, route, other.fn, other.name))
            else:
                self.work.append(_Item(other, head))

        self.work += [handler, _Item(node.primary, head)]

    def _fan_out(self, node: FanOut, *, head: bool) -> None:
        """FAN, then the instructions of each branch, which only the branches' own walks run."""
        at = len(self.ops)
        self.ops.append((FAN,))
        branches: list[Branch] = []
        steps: list[_Item | Callable[[], None]] = []
        for branch in node.branches:
            mark: list[int] = []

            def begin(mark: list[int] = mark) -> None:
                mark.extend((len(self.ops), self.tasks))

            def end(mark: list[int] = mark) -> None:
                start, low = mark
                branches.append(Branch(start, len(self.ops), low, self.tasks))

            steps += [begin, _Item(branch, head), end]

        def done() -> None:
            self.ops[at] = (FAN, tuple(branches), node.keys, node.settle, len(self.ops))

        self.work.append(done)
        self.work.extend(reversed(steps))


def _peel(node: Node) -> tuple[tuple[Layer, ...], Node]:
    """The policies around a node, innermost first, and the node itself without them and without labels."""
    layers: list[Layer] = []
    while isinstance(node, (Scope, Named)):
        if isinstance(node, Scope):
            layers.append(node.policy)
        node = node.inner
    return tuple(reversed(layers)), node
