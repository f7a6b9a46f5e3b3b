"""The one interpreter: walks a program on any Runtime.

``walk`` is the hot path of the whole library. A task that answers in time costs one pass through its loop: one store
for its limit, the call, a clock read and a log tuple. Frames, errors and all that is rare are handled outside of it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any

from returns.result import Failure, Success

from rio_chain.engine.admit import admit
from rio_chain.engine.apply import (
    Fail,
    Failed,
    Frame,
    NestedFail,
    OuterExpired,
    Place,
    agrees,
    budget_of,
    drop,
    enter,
    expire,
    leave,
    unwind,
)
from rio_chain.engine.compete import compete
from rio_chain.engine.crowd import Crowd
from rio_chain.engine.current import CURRENT, Run, Strand
from rio_chain.engine.enough import enough
from rio_chain.engine.expansion import expand
from rio_chain.engine.items import each
from rio_chain.engine.program import (
    ADMIT,
    ASYNC,
    BRIDGE,
    CALL,
    CHOOSE,
    CONSTANT,
    DIRECT,
    EACH,
    ENTER,
    EXPAND,
    FAN,
    FULL,
    HANDLER,
    JUMP,
    KEEP,
    LANE,
    LEAVE,
    PLACE,
    RACE,
    TASK,
    USE,
    Args,
    Branch,
    Op,
    Program,
    program_of,
)
from rio_chain.engine.runtime import STOPPED, Lane, Raised, Refused, Runtime, kind_of
from rio_chain.errors import BridgeFailed, CallbackFailed, UsageError
from rio_chain.functions import fresh
from rio_chain.log import Entry, close, entry_of, note_call
from rio_chain.policies import Budget
from rio_chain.request import Request

INF = float("inf")
NO_KWARGS: dict[str, Any] = {}
SPECIAL = frozenset({Success, Failure, Raised, Refused, Request})
"""The answers that stand for something else than themselves."""
_AWAITED = (DIRECT, ASYNC)
"""The routes of async functions: what one of those gives was awaited already."""
EXITS = (SystemExit, KeyboardInterrupt, GeneratorExit)
"""What a body raises to end more than itself; a limit that is over at the same moment does not swallow it."""
FLYING, NOT_BEGUN, RESERVED, REFUSED, ANSWERED = range(5)
"""How far the call of a task has come when something goes wrong: a thread may be reserved for it, or not be had."""


class Late(Exception):
    """An answer came after its limit, or the limit was over before the call."""


def program_for(request: Request[Any], rt: Runtime) -> tuple[Program, Any]:
    """The program that runs a request on a runtime, and its input."""
    args, kwargs = request.args, request.kwargs
    if request.plan.lanes:
        check_lanes(request, rt.lanes)
    if len(args) == 1 and not kwargs:
        return program_of(request.plan, direct=rt.direct, places=rt.places), args[0]
    return program_of(request.plan, direct=rt.direct, places=rt.places, spread=True), Args(args, dict(kwargs))


def check_lanes(request: Request[Any], lanes: Mapping[str, Lane]) -> None:
    """Refuse a request that needs a lane which is not there.

    Raises:
        UsageError: the text names the task, the lane, and what to write.
    """
    for lane, task in request.plan.lanes.items():
        if lane not in lanes:
            have = f"; this one has {', '.join(map(repr, lanes))}" if lanes else ""
            raise UsageError(
                f"task {task} runs in lane {lane!r}, and only a balancer with that lane can run it: "
                f"Balancer(lanes={{{lane!r}: n}}), where n is the number of processes{have}"
            )


async def walk(  # noqa: C901, PLR0912, PLR0915, PLR0917 - the hot path: every call in it would be paid by every task
    strand: Strand, ops: tuple[Op, ...], pc: int, stop: int, value: Any, frames: list[Frame]
) -> Any:
    """Run the instructions ``pc`` up to ``stop``; give the value, or ``Failed``."""
    rt, slot, log, outer = strand.rt, strand.slot, strand.run.log, strand.outer
    now, arm, call = rt.now, slot.arm, rt.call
    edge = outer  # the earliest limit open around the instruction
    depth = FULL
    phase = NOT_BEGUN
    problem: Failed | None = None
    t = began = now()
    limit = edge
    while True:
        try:
            if problem is not None:
                limit = INF  # that of what has failed; the frames know those that still hold
                place = await unwind(strand, frames, problem.error)
                if place is None:
                    return problem
                problem = None
                pc, depth, value = place
                edge = frames[-1].edge if frames else outer
                t = now()
            while pc < stop:
                op = ops[pc]
                code = op[0]
                if code == TASK:
                    _, route, fn, index, limits, _, plain = op
                    phase = NOT_BEGUN
                    if route >= CALL:
                        room = rt.reserve() if route == CALL else rt.lanes[fn.lane].reserve(rt.waiter, fn.fn)
                        if room is not None:  # a call that waits for a thread or process has not started
                            _arm(strand, edge)
                            await room
                            t = now()
                        phase = RESERVED
                    limit = t + limits[depth]
                    if limit >= edge:
                        limit = edge
                        if t >= edge:
                            raise Late  # noqa: TRY301 - to the handler below
                    strand.at = index
                    strand.edge = limit
                    arm(limit)
                    began = t
                    phase = FLYING
                    if route == DIRECT:
                        got = await fn(value)
                    elif route == CALL:
                        got = await call(fn, (value,), NO_KWARGS)
                    elif route == PLACE:
                        got = fn(value)
                    elif route == LANE:
                        got = await rt.lanes[fn.lane].call(rt.waiter(), fn.name, fn.fn, value)
                    else:
                        got = await rt.call_async(fn, (value,), NO_KWARGS)
                    kind = kind_of(got)
                    if kind in SPECIAL or (route not in _AWAITED and hasattr(kind, "__await__")):
                        if kind is Refused:
                            phase = REFUSED
                        got = await _plain(strand, got)
                    t = now()
                    if t >= limit:
                        raise Late  # noqa: TRY301 - to the handler below
                    if log[index] is None:
                        log[index] = (began, t, got)
                    else:
                        entry = note_call(log, index, began, t)
                        entry.succeeded(got)
                    if depth != FULL or not plain:  # frames were made, or have to be asked
                        phase = ANSWERED
                        enter(frames, outer, began, op, (pc, depth, value))
                        _arm(strand, frames[-1].edge)
                        await leave(strand, frames, pc, got)
                        edge = frames[-1].edge if frames else outer
                        t = now()
                    value = got
                    pc += 1
                else:
                    limit = edge
                    if code == BRIDGE and op[1] == PLACE:
                        got = op[2](value)
                        kind = kind_of(got)
                        if kind in SPECIAL or hasattr(kind, "__await__"):
                            _arm(strand, edge)
                            got = await _plain(strand, got)
                        value = got
                        pc += 1
                    elif code == ENTER:
                        enter(frames, outer, t, op, (pc, depth, value))
                        edge = limit = frames[-1].edge
                        pc += 1
                    else:
                        _arm(strand, edge)
                        pc, value = await _step(strand, ops, (pc, depth, value), frames)
                        edge = frames[-1].edge if frames else outer
                    t = now()
                    if t >= limit:
                        phase = NOT_BEGUN  # the next instruction may be a task
                        raise Late  # noqa: TRY301 - to the handler below
                depth = FULL
        except BaseException as exc:  # noqa: BLE001 - what is not ours is raised again, by _cause
            op = ops[pc]
            flight = None
            if op[0] == TASK and problem is None:
                flight = _crash(strand, frames, op, (pc, depth, value), phase=phase, began=began)
            # from here on the frames say all; an interruption of the unwinding must not enter them twice
            try:
                problem = Failed(_cause(strand, frames, exc, limit, None if problem is not None else op))
            except BaseException:
                drop(frames)
                raise
            if flight is not None and flight.status == "running":
                flight.failed(problem.error)
            phase = NOT_BEGUN
        else:
            return value


async def _step(  # noqa: C901, PLR0911 - one for each instruction
    strand: Strand, ops: tuple[Op, ...], place: Place, frames: list[Frame]
) -> tuple[int, Any]:
    """One of the rarer instructions: where to go on, and with what."""
    pc, _, value = place
    op = ops[pc]
    code = op[0]
    if code == KEEP:
        strand.kept[op[1]] = value
        return pc + 1, value
    if code == USE:
        return pc + 1, _used(strand, op, value)
    if code == FAN:
        return op[5], await _fan_out(strand, ops, op, value, budget_of(strand, frames))
    if code in (EACH, EXPAND):
        crowd = Crowd(strand, op, frames, partial(_item, ops, op[1]))
        return op[7], await _plain(strand, await (each if code == EACH else expand)(crowd, value))
    if code == CHOOSE:
        return await _chosen(strand, op, value), value
    if code == RACE:
        return op[4], await compete(strand, op, partial(_contend, ops, value), frames)
    if code == ADMIT:
        return await _admitted(strand, op, place, frames)
    if code == JUMP:
        close(strand.run.log, op[2], op[3], None)  # a fallback that was not needed
        return op[1], value
    if code == LEAVE:
        await leave(strand, frames, op[1], value)
    elif code == CONSTANT:
        value = fresh(op[1])
    else:  # a bridge or a fallback that is a function
        got = await _invoke(strand, op[1], op[2], value)
        value = await _plain(strand, got)
    return pc + 1, value


async def _admitted(strand: Strand, op: Op, place: Place, frames: list[Frame]) -> tuple[int, Any]:
    """Enter policies that may have to wait. Where one of them has an answer, what it wraps is not called."""
    hit = await admit(strand, frames, op, place)
    if hit is None:
        return place[0] + 1, place[2]
    _, _, low, high, leave_at, _ = op
    if high - low == 1:
        entry = entry_of(strand.run.log, low)
        entry.succeeded(hit.value)
    else:
        close(strand.run.log, low, high, None)
    return leave_at, hit.value


def _crash(strand: Strand, frames: list[Frame], op: Op, place: Place, *, phase: int, began: float) -> Entry | None:
    """Something came out of a task instead of an answer: note its call, if there was one, and make its frames."""
    log, index, now, flight = strand.run.log, op[3], strand.rt.now(), None
    if phase in (FLYING, REFUSED):
        flight = note_call(log, index, began, now) if phase == FLYING else entry_of(log, index)
        flight.status = "running"
    elif phase == RESERVED:
        (strand.rt if op[1] == CALL else strand.rt.lanes[op[2].lane]).unreserve()
    if phase != ANSWERED:
        enter(frames, strand.outer, began if phase == FLYING else now, op, place)
    return flight


def _cause(strand: Strand, frames: list[Frame], exc: BaseException, limit: float, op: Op | None) -> Any:
    """The error that ``exc`` stands for. What nobody here may handle is raised."""
    now = strand.rt.now()
    hit = strand.slot.settle(exc)
    ours = isinstance(exc, Exception)
    if isinstance(exc, EXITS):
        raise exc
    if hit or type(exc) is OuterExpired or (ours and now >= limit):
        return expire(strand, frames, now)
    if not ours:
        raise exc
    error = exc.error if isinstance(exc, Fail) else exc
    if op is None:
        if frames:
            frames.pop().drop()  # the policy that failed at its own work has no further say
        return error
    if isinstance(exc, NestedFail):
        return error
    if op[0] == BRIDGE:
        return BridgeFailed(op[3].name, op[3].before, op[3].after, error)
    if op[0] == HANDLER:
        return CallbackFailed("fallback", op[3], error)
    return error


def _arm(strand: Strand, edge: float) -> None:
    strand.edge = edge
    strand.slot.arm(edge)


async def _invoke(strand: Strand, route: int, fn: Callable[..., Any], value: Any) -> Any:
    """Call a function of one argument by its route."""
    if route == DIRECT:
        return await fn(value)
    if route == PLACE:
        try:
            return fn(value)
        except StopIteration as exc:  # no coroutine can raise one
            raise Fail(exc) from None
    return await (strand.rt.call if route == CALL else strand.rt.call_async)(fn, (value,), NO_KWARGS)


async def _plain(strand: Strand, got: Any) -> Any:
    """What an answer stands for: Results are opened, Requests are run, awaitables awaited, errors raised."""
    while True:
        kind = kind_of(got)
        if kind is Success:
            return got.unwrap()
        if kind is Failure:
            raise Fail(got.failure())
        if kind is Raised or kind is Refused:
            if isinstance(got.error, Exception):
                raise Fail(got.error)
            raise got.error
        if kind is Request:
            return await _nested(strand, got)
        if not hasattr(kind, "__await__"):
            return got
        got = await _invoke(strand, DIRECT if strand.rt.direct else ASYNC, _awaited, got)


async def _awaited(awaitable: Awaitable[Any]) -> Any:
    return await awaitable


async def _nested(parent: Strand, request: Request[Any]) -> Any:
    """Run a Request that a function returned, in the same strand and under the same limits."""
    strand = Strand(Run(request.plan, parent.run), parent.rt, parent.slot, parent.edge, root=False)
    token = CURRENT.set(strand)
    try:
        program, value = program_for(request, parent.rt)
        strand.kept = [None] * program.kept
        got = await walk(strand, program.ops, 0, program.length, value, [])
    finally:
        strand.close()
        CURRENT.reset(token)
    if type(got) is Failed:
        raise NestedFail(got.error)
    return got


def _used(strand: Strand, op: Op, value: Any) -> Args:
    """The input of a task with the values that it uses."""
    used = {keyword: strand.kept[place] for keyword, place in op[1]}
    return Args(value.args, {**value.kwargs, **used}) if type(value) is Args else Args((value,), used)


async def _chosen(strand: Strand, op: Op, value: Any) -> int:
    """Where the branch begins that is for this value. The tasks of the others are not needed."""
    _, tests, starts, bounds, joint = op
    taken = len(tests)
    for i, test in enumerate(tests):
        if _is_one(value, test) if isinstance(test, (type, tuple)) else await agrees(strand, "when", test, value):
            taken = i
            break
    if taken == len(starts):
        raise Fail(
            BridgeFailed(
                joint.name, joint.before, joint.after, LookupError(f"no `when` is true of {kind_of(value).__name__}")
            )
        )
    for i, (low, high) in enumerate(bounds):
        if i != taken:
            close(strand.run.log, low, high, None)
    return int(starts[taken])


def _is_one(value: Any, classes: Any) -> bool:
    try:
        return isinstance(value, classes)
    except Exception as error:  # noqa: BLE001 - a class may say for itself what is one, or that it can't
        raise CallbackFailed("when", getattr(classes, "__name__", str(classes)), error) from None


async def _item(ops: tuple[Op, ...], branch: Branch, strand: Strand, item: Any) -> Any:
    """Run a branch for one item: the value, or ``Failed``."""
    return await walk(strand, ops, branch.start, branch.stop, item, [])


async def _fan_out(strand: Strand, ops: tuple[Op, ...], op: Op, value: Any, budget: Budget | None) -> Any:
    """Run the branches together. The first failure stops the rest; ``settle`` waits for all."""
    _, branches, keys, settle, need, _ = op
    if need is not None:

        def run(branch: Branch, rt: Runtime) -> Awaitable[Any]:
            return _branch(strand, ops, branch, value, budget, rt)

        return await enough(strand, op, run)
    works = [partial(_branch, strand, ops, branch, value, budget) for branch in branches]
    failures: list[Failed] = []  # in the order in which they came; a loser's clean-up may fail as well

    def failed(got: Any) -> bool:
        if type(got) is Failed:
            failures.append(got)
        return bool(failures)

    results = await strand.rt.race(works, _never if settle else failed)
    if settle:
        return tuple(_settled(strand, branch, got) for branch, got in zip(branches, results, strict=True))
    if not failures:
        return tuple(results) if keys is None else dict(zip(keys, results, strict=True))
    for branch, got in zip(branches, results, strict=True):
        if got is STOPPED:
            close(strand.run.log, branch.low, branch.high, failures[0].error, sibling=True)
    raise NestedFail(failures[0].error)


def _settled(strand: Strand, branch: Branch, got: Any) -> Success[Any] | Failure[Any]:
    if type(got) is not Failed:
        return Success(got)
    close(strand.run.log, branch.low, branch.high, got.error)
    return Failure(got.error)


def _never(_got: Any) -> bool:
    return False


async def _branch(  # noqa: PLR0917 - a work of a race, which is given all of them
    parent: Strand, ops: tuple[Op, ...], branch: Branch, value: Any, budget: Budget | None, rt: Runtime | None = None
) -> Any:
    strand = parent.fork(rt=rt)
    strand.budget = budget
    CURRENT.set(strand)  # every branch has a context of its own
    try:
        got = await walk(strand, ops, branch.start, branch.stop, value, [])
        if type(got) is Failed:
            strand.run.given_up(branch.low, branch.high)
        return got
    finally:
        strand.end()


async def _contend(ops: tuple[Op, ...], value: Any, strand: Strand, branch: Branch) -> Any:
    """Run a branch for ``compete``: the value, or ``Fail``."""
    got = await walk(strand, ops, branch.start, branch.stop, value, [])
    if type(got) is Failed:
        raise NestedFail(got.error)
    return got
