"""A plan as a flat tuple of instructions. The interpreter walks it with an index: no recursion, no object per layer.

Policies directly around a task are *layers* of its own instruction, innermost first; their frames are made only when
an error occurs. A policy around a longer chain is an ENTER and a LEAVE around its instructions. An instruction and a
depth (the number of its layers still to be entered) together are a place where a run can go on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise, takewhile
from typing import Any

from rio_chain.chain._functions import Reduce
from rio_chain.chain._nodes import Piece, RaceNode, unwrapped, walk
from rio_chain.chain._plan import (
    Bridge,
    Choose,
    Constant,
    Each,
    Expand,
    FanOutNode,
    Handler,
    Kept,
    Node,
    OrElse,
    Plan,
    PlannedBridge,
    Scope,
    Seq,
    TaskNode,
)
from rio_chain.engine._feeds import feeds_each, giver_of
from rio_chain.engine._hedge_delays import first_delay
from rio_chain.engine._held_values import mark_held
from rio_chain.engine._instructions import (
    ADMIT,
    ASYNC,
    BATCH,
    BRIDGE,
    BRIDGED,
    CALL,
    CHOOSE,
    CONSTANT,
    DIRECT,
    EACH,
    ENTER,
    EXPAND,
    FAN,
    HANDLER,
    INF,
    JUMP,
    KEEP,
    LANE,
    LEAVE,
    PIECE,
    PIN,
    PLACE,
    RACE,
    RACED,
    TASK,
    USE,
    BatchedPart,
    BatchOp,
    Branch,
    BridgeOp,
    ChooseOp,
    ConstantOp,
    EndOp,
    EnterOp,
    Fallback,
    FanOutOp,
    HandlerOp,
    InLane,
    ItemsOp,
    JumpOp,
    KeepOp,
    LeaveOp,
    Op,
    PieceOp,
    Program,
    RacedOp,
    RaceOp,
    Spread,
    TaskOp,
    UseOp,
)
from rio_chain.engine._iterables import gives_plain, runs_code
from rio_chain.engine._layers import Item, outside_uses, peeled
from rio_chain.engine._thread_bound_values import Pinning
from rio_chain.policies import Policy, Replica
from rio_chain.policies._first import First


def program_of(plan: Plan, *, direct: bool, places: bool, spread: bool = False) -> Program:
    """The program of a plan for one kind of runtime, for one input or (``spread``) ``Args``. It is kept on the plan."""
    program = Compiler(plan, direct=direct, places=places, spread=spread).compile()
    kept: Program = plan.programs.setdefault((direct, places, spread), program)
    return kept


class Compiler:
    """Walks the tree with a stack of its own, so that a deep tree can't exceed Python's recursion limit."""

    def __init__(self, plan: Plan, *, direct: bool, places: bool, spread: bool) -> None:
        self.plan = plan
        self.many = bool(plan.joints)  # False: the plan has no ``each``
        self.direct, self.places, self.spread = direct, places, spread
        self.ops, self.pieces = list[Op](), list[Branch]()
        self.fallbacks = self.tasks = self.bridges = self.joints = 0  # compiled so far, in the order of the plan
        self.path: list[str] = []  # the names of the branches that are being compiled
        self.shared = 0  # policies compiled so far that give the same answer to several calls
        self.before: Node | None = None  # the node right before the next ``each``
        self.kept = sum(isinstance(node, Kept) for node in walk(plan.root))
        self.work: list[Item | Callable[[], None]] = []

    def compile(self) -> Program:
        self.work.append(Item(self.plan.root, head=self.spread))
        while self.work:
            item = self.work.pop()
            if isinstance(item, Item):
                self._node(item)
            else:
                item()
        self.ops.append(EndOp())
        if self.pieces:
            mark_held(self.ops)
        limited = any(layer.facts().limit < INF for layer in peeled(self.plan.root)[0][-1:])
        return Program(tuple(self.ops), len(self.ops) - 1, limited, self.kept, tuple(self.pieces))

    def _node(self, item: Item) -> None:  # noqa: C901, PLR0912 - one for each kind of node
        layers, inner = peeled(item.node)
        if isinstance(inner, TaskNode):
            own = tuple(takewhile(lambda layer: not layer.needs_task, layers))
            task = partial(self._task, inner, own, head=item.head, feeds=item.feeds)
            if len(own) == len(layers):
                task()
            else:
                self._region(layers[len(own) :], task, item.node)
        elif layers:
            self._region(layers, Item(inner, item.head, item.feeds), item.node)
        elif isinstance(inner, Scope):
            self._batch(inner)
        elif isinstance(inner, Seq):
            self._seq(inner, head=item.head, feeds=item.feeds)
        elif isinstance(inner, Kept):
            self.work += [
                partial(self.ops.append, KeepOp(KEEP, inner.place)),
                Item(inner.inner, item.head, item.feeds),
            ]
        elif isinstance(inner, Choose):
            self._choose(inner, feeds=item.feeds)
        elif isinstance(inner, (Each, Expand)):
            self._items(inner)
        elif isinstance(inner, Piece):
            self._piece(inner, head=item.head)
        elif isinstance(inner, Bridge):
            self._bridge(inner, head=item.head, feeds=item.feeds)
        elif isinstance(inner, FanOutNode):
            names = inner.keys or tuple(map(str, range(len(inner.branches))))
            self._branches(inner.branches, head=item.head, done=partial(self._fan_out, inner), names=names)
        elif isinstance(inner, RaceNode):
            raced: list[int] = []
            done = partial(self._race, inner, raced)
            self._branches(inner.branches, head=item.head, feeds=item.feeds, done=done, raced=raced)
        elif isinstance(inner, OrElse):
            self._or_else(inner, head=item.head, feeds=item.feeds)

    def way(self, node: Choose | OrElse, number: int) -> None:
        """A branch of a ``choose``, or a fallback, begins here. -1: its function ends. For the journal's compiler."""

    def _route(self, *, is_async: bool, inline: bool) -> int:
        if is_async:
            return DIRECT if self.direct else ASYNC
        return PLACE if inline else CALL

    def _task(self, call: TaskNode, layers: tuple[Policy, ...], *, head: bool, feeds: int) -> None:
        limits = [INF]
        facts = [layer.facts() for layer in layers]
        for each in facts:
            limits.append(min(limits[-1], each.limit))
        plain = not any(each.refuses_values for each in facts)
        route = self._route(is_async=call.is_async, inline=call.inline or call.generator)
        if call.uses:
            self.ops.append(UseOp(USE, tuple((use.keyword, use.kept) for use in call.uses)))
        fn: Any = Spread(call.fn) if head or call.uses else call.fn
        if call.lane is not None:
            route, fn = LANE, InLane(call.lane, self.plan.tasks[self.tasks].name, fn)
        elif feeds and route == CALL:
            fn = Pinning(fn, runs_code)
        self.ops.append(tuple(TaskOp(TASK, route, fn, self.tasks, tuple(limits), layers, plain)))
        self.tasks += 1

    def _bridge(self, bridge: Bridge, *, head: bool, feeds: int) -> None:
        fn: Any = Spread(bridge.fn) if head else bridge.fn
        pins = bool(feeds) and not bridge.is_async
        route = PIN if pins else self._route(is_async=bridge.is_async, inline=self.places or bridge.generator)
        planned: PlannedBridge = self.plan.bridges[self.bridges]
        if pins:
            fn = Pinning(fn, runs_code, feeds == BRIDGED or bridge.generator or gives_plain(bridge.fn))
        self.ops.append(tuple(BridgeOp(BRIDGE, route, fn, planned)))
        self.bridges += 1

    def _region(self, layers: tuple[Policy, ...], inner: Item | Callable[[], None], node: Node) -> None:
        """ENTER, the instructions of ``inner``, LEAVE. ADMIT replaces ENTER if a policy may have to wait."""
        shares = [k for k, layer in enumerate(layers) if layer.facts().shares]
        outside = outside_uses(node) if shares else ()
        at, low = len(self.ops), self.tasks
        code = ADMIT if any(layer.asked for layer in layers) else ENTER
        self.ops.append(EndOp(code))  # completed when the tasks inside are known
        before = self.shared

        def leave() -> None:
            alone = -1 if self.shared > before else min(shares, default=len(layers))
            self.shared += len(shares)
            self.ops[at] = EnterOp(code, layers, low, self.tasks, len(self.ops), outside, alone)
            self.ops.append(LeaveOp(LEAVE, at))

        self.work += [leave, inner]

    def _or_else(self, node: OrElse, *, head: bool, feeds: int) -> None:
        """ENTER primary LEAVE, JUMP over the handler, handler. The ENTER gets the place where the handler begins."""
        at, low, before = len(self.ops), self.tasks, self.shared
        number, self.fallbacks = self.fallbacks, self.fallbacks + 1
        self.ops.append(EndOp(ENTER))

        def handler() -> None:
            high, alone = self.tasks, self.shared == before
            self.ops.append(LeaveOp(LEAVE, at))
            jump = len(self.ops)
            self.ops.append(EndOp(JUMP))
            other = node.fallback
            error, both = isinstance(other, Handler), isinstance(other, Handler) and other.inputs
            catch = Fallback(len(self.ops), error, node.on, both, number)
            self.ops[at] = EnterOp(ENTER, (catch,), low, high, jump - 1, (), 0 if alone else -1)

            def end() -> None:
                self.ops[jump] = JumpOp(JUMP, len(self.ops), high, self.tasks)

            self.work.append(end)
            self.way(node, 0)
            if isinstance(other, Constant):
                self.ops.append(ConstantOp(CONSTANT, other.value))
            elif isinstance(other, Handler):
                fn: Any = Spread(other.fn) if both else other.fn
                pins = bool(feeds) and not other.is_async
                route = PIN if pins else self._route(is_async=other.is_async, inline=self.places)
                if pins:
                    fn = Pinning(fn, runs_code, feeds == BRIDGED or gives_plain(other.fn))
                self.ops.append(HandlerOp(HANDLER, route, fn, alone))
                self.way(node, -1)
            else:
                self.work.append(Item(other, head, feeds))

        self.work += [handler, Item(node.primary, head, feeds)]

    def _branches(
        self,
        nodes: tuple[Node, ...],
        *,
        head: bool,
        feeds: int = 0,
        done: Callable[[int, tuple[Branch, ...]], None],
        raced: list[int] | None = None,
        names: Sequence[str] = (),
    ) -> None:
        """The instructions of each branch; only the strands of the branches run them. ``done`` writes the one before.

        ``raced``: gets the place of the RACED after each branch. ``names``: the names of the branches in events.
        """
        at = len(self.ops)
        self.ops.append(EndOp())
        branches, steps = list[Branch](), list[Item | Callable[[], None]]()
        for number, node in enumerate(nodes):
            mark: list[int] = []

            def begin(mark: list[int] = mark, path: Sequence[str] = names[number : number + 1]) -> None:
                mark.extend((len(self.ops), self.tasks, len(self.path)))
                self.path.extend(path)

            def end(mark: list[int] = mark, node: Node = node) -> None:
                start, low, depth = mark
                name = "/".join(self.path)
                del self.path[depth:]
                inside = list(walk(node))
                shared = any(isinstance(n, Scope) and n.policy.facts().shares for n in inside)
                keeps = tuple(n.place for n in inside if isinstance(n, Kept))
                branches.append(Branch(start, len(self.ops), low, self.tasks, shared, keeps, name))
                if raced is not None:
                    raced.append(len(self.ops))
                    self.ops.append(EndOp(RACED))

            steps += [begin, Item(node, head, feeds), end]
        self.work.append(lambda: done(at, tuple(branches)))
        self.work.extend(reversed(steps))

    def _seq(self, node: Seq, *, head: bool, feeds: int) -> None:
        """The steps. An ``each`` gets the steps right before and after it."""
        steps: list[Item | Callable[[], None]] = []
        folded = False
        for i, step in enumerate(node.steps):
            if folded:
                folded = False
                continue
            after = node.steps[i + 1] if i + 1 < len(node.steps) else None
            if self.many and isinstance(unwrapped(step), Each):
                steps.append(partial(setattr, self, "before", giver_of(node.steps[i - 1]) if i else None))
                if isinstance(step, Each) and isinstance(after, Bridge) and isinstance(after.fn, Reduce):
                    folded = True
                    steps.append(partial(self._items, step, after))
                    continue
            read = feeds_each(node.steps[i + 1 :], feeds) if self.many else 0
            steps.append(Item(step, head and i == 0, read))
        self.work.extend(reversed(steps))

    def _choose(self, node: Choose, *, feeds: int) -> None:
        """CHOOSE; each branch and a JUMP to the end. The CHOOSE gets the start and the tasks of each branch."""
        at, joint = len(self.ops), self._joint()
        self.ops.append(EndOp(CHOOSE))
        starts: list[int] = []
        lows: list[int] = []
        jumps: list[int] = []

        def begin() -> None:
            starts.append(len(self.ops))
            self.way(node, len(starts) - 1)
            lows.append(self.tasks)

        def end() -> None:
            jumps.append(len(self.ops))
            self.ops.append(EndOp(JUMP))

        def done() -> None:
            bounds = tuple(pairwise([*lows, self.tasks]))
            self.ops[at] = ChooseOp(CHOOSE, node.tests, tuple(starts), bounds, joint)
            for jump in jumps:
                self.ops[jump] = JumpOp(JUMP, len(self.ops), 0, 0)

        steps: list[Item | Callable[[], None]] = []
        for branch in node.branches:
            steps += [begin, Item(branch, head=False, feeds=feeds), end]
        self.work.append(done)
        self.work.extend(reversed(steps))

    def _piece(self, node: Piece, *, head: bool) -> None:  # noqa: ARG002 - a worker's compiler needs it
        """PIECE: what is in it runs elsewhere."""
        inside, low = list(walk(node.inner)), self.tasks
        tasks, bridges, joints, fallbacks = (
            sum(isinstance(n, kind) for n in inside) for kind in (TaskNode, Bridge, Choose, OrElse)
        )
        self.tasks, self.bridges = self.tasks + tasks, self.bridges + bridges
        self.joints, self.fallbacks = self.joints + joints, self.fallbacks + fallbacks
        keeps = tuple(n.place for n in inside if isinstance(n, Kept))
        self.ops.append(PieceOp(PIECE, len(self.pieces), low, self.tasks, outside_uses(node.inner), keeps))
        self.pieces.append(Branch(len(self.ops) - 1, len(self.ops), low, self.tasks, keeps=keeps))

    def _joint(self) -> PlannedBridge:
        self.joints += 1
        return self.plan.joints[self.joints - 1]

    def _items(self, node: Each | Expand, fold: Bridge | None = None) -> None:
        """EACH or EXPAND, and the instructions that run for every item. ``fold`` is the reduce right after it."""
        joint, before, self.before = self._joint(), self.before, None
        maker = self.tasks - 1 if isinstance(before, TaskNode) else None
        source = self.plan.bridges[self.bridges - 1] if isinstance(before, Bridge) else joint

        def done(at: int, branches: tuple[Branch, ...]) -> None:
            folded = None
            if fold is not None:
                folded = fold.fn, self.plan.bridges[self.bridges]
                self.bridges += 1
            code = EACH if isinstance(node, Each) else EXPAND
            self.ops[at] = ItemsOp(code, branches[0], node, joint, maker, source, folded, len(self.ops))

        self._branches((node.inner,), head=False, done=done)

    def _batch(self, node: Scope) -> None:
        """BATCH, and the instructions that run for all calls that become one."""
        batch: Any = node.policy  # a Batch

        def done(at: int, branches: tuple[Branch, ...]) -> None:
            part = BatchedPart(node.inner)
            self.ops[at] = BatchOp(BATCH, branches[0], batch, part, outside_uses(part.node), len(self.ops))
            self.shared += 1

        self._branches((node.inner,), head=False, done=done)

    def _fan_out(self, node: FanOutNode, at: int, branches: tuple[Branch, ...]) -> None:
        self.ops[at] = FanOutOp(FAN, branches, node.keys, node.settle, node.need, node.time_limit, len(self.ops))

    def _race(self, node: RaceNode, raced: list[int], at: int, branches: tuple[Branch, ...]) -> None:
        replica = Replica(node.count, None if node.after == INF else node.after, node.pick, node.on)
        waits = any(op[0] == ADMIT for op in self.ops[at + 1 : raced[0]])
        only_first = first_delay(replica) != 0 and node.pick.least == 1 and node.pick == First()
        quick = node.hedge and len(branches) == 1 and only_first and not waits
        delay = first_delay(replica)
        self.ops[at] = RaceOp(RACE, branches, replica, node.hedge, quick, delay, branches[0].low, branches[-1].high)
        for place in raced:
            self.ops[place] = RacedOp(RACED, len(self.ops))
