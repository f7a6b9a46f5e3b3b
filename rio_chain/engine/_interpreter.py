"""The one interpreter: it runs a program on any Runtime. ``interpret`` is the hot path of the whole library.

A task that answers in time costs one pass through the loop: one store for its limit, the call, a clock read and a log
tuple. Frames, errors and all rare cases are handled outside of the loop. pyright calls some declared types unknown.
"""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
from __future__ import annotations

from collections.abc import Awaitable
from functools import partial
from typing import Any, cast

from returns.result import Failure, Success

from rio_chain._core.awaited import awaited
from rio_chain._core.chain_base import ChainBase
from rio_chain._core.copied_constants import fresh
from rio_chain.chain._request import Request
from rio_chain.engine._batch import run_batched
from rio_chain.engine._blocking_call import CALLED, CALLING, NO_KWARGS, HeldCall
from rio_chain.engine._choose import chosen_branch, keyword_values
from rio_chain.engine._classify_error import ANSWERED, FLYING, NOT_BEGUN, REFUSED, RESERVED, record_failed_call
from rio_chain.engine._current_run import CURRENT, INF, Strand
from rio_chain.engine._discarded_results import call_async
from rio_chain.engine._each import run_each
from rio_chain.engine._end_races import classified
from rio_chain.engine._enter_policy import admitted, enter_at_once
from rio_chain.engine._expand import run_expand
from rio_chain.engine._fan_out import run_fan_out
from rio_chain.engine._frames import RACE_LOST, Fail, Frame, LimitPassed, NestedFail, Position, enter, reported, unwind
from rio_chain.engine._instructions import (
    ADMIT,
    ASYNC,
    BATCH,
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
    PIECE,
    PLACE,
    RACE,
    RACED,
    RECALL,
    TASK,
    USE,
    Branch,
    FanOutOp,
    Op,
)
from rio_chain.engine._invoke import invoke
from rio_chain.engine._item_batches import item_runner
from rio_chain.engine._journal import journal_for, journal_step
from rio_chain.engine._leave import leave, leave_in_place
from rio_chain.engine._pieces import run_piece
from rio_chain.engine._prepare import program_for
from rio_chain.engine._race_frame import Interpret, enter_race
from rio_chain.engine._refresh import Behind
from rio_chain.engine._refused_answers import closed_after
from rio_chain.engine._runtime_protocol import Raised, Refused, kind_of
from rio_chain.engine._thread_bound_values import Pinned
from rio_chain.engine._warn_blocked_loop import BLOCKED_AFTER, warn_blocked_loop
from rio_chain.engine._yield_to_loop import yield_to_loop
from rio_chain.results._nested_run import INTERRUPTED, note_nested
from rio_chain.results._outcome import Failed
from rio_chain.results._task_record import close, note_call

SPECIAL = frozenset({Success, Failure, Raised, Refused, Request, Pinned})  # `_plain` has to resolve such answers
PLAIN = frozenset({type(None), bool, int, float, str, bytes, list, tuple, dict, set})  # these need no check
NO_FRAMES = cast("list[Frame]", ())
_PLAINLY = (PLACE, CALL)  # the routes of sync functions
_AWAITED = (DIRECT, ASYNC)  # the routes of async functions, whose answers were awaited already


# The states of one step, ``phase``. The call of a task goes through them from top to bottom; all other instructions
# stay in the first. An error may leave any of them; `record_failed_call` and `classify` handle it by its state:
#
# | state     | it begins when                           | an error in it                                        |
# |-----------|------------------------------------------|-------------------------------------------------------|
# | NOT_BEGUN | the instruction is read                  | no call was made; the layers are entered now          |
# | RESERVED  | a thread or process is reserved          | no call was made; the thread or process is given back |
# | FLYING    | the function is called                   | is the failure of that call, which is recorded        |
# | REFUSED   | the pool or lane did not make the call   | is recorded as a failure without a call               |
# | ANSWERED  | the answer is recorded                   | comes from a layer that checks it; inner ones are left |
#
# `depth`: the number of layers of the task still to be entered (FULL: all; fewer after a retry). `limit`: when the step
# must be over. `deadline`: the earliest one around it. `problem`: a failure that the frames handle first.
async def interpret(  # noqa: C901, PLR0912, PLR0915, PLR0917 - the hot path: every call in it would be paid by every task
    strand: Strand, ops: tuple[Op, ...], pc: int, stop: int, value: Any, t: float, depth: int = FULL
) -> Any:
    """Run the instructions ``pc`` up to ``stop``; return the value, or ``Failed``. ``t``: the clock, just read."""
    # Each local name takes 8 bytes in every run under way, so there are few.
    rt, log, alarm = strand.rt, strand.run.log, strand.slot.alarm
    now = rt.now
    frames: list[Frame] = NO_FRAMES  # the first frame gets a list of its own
    deadline: float = strand.parent_deadline  # the earliest deadline around the instruction
    phase = NOT_BEGUN
    problem: Failed | None = None
    got: Any = None
    began = t
    limit: float = deadline
    while True:
        try:
            if problem is not None:
                limit = INF  # the limit of the failed step; the frames know the limits that are still open
                got = await unwind(strand, frames, problem)
                if got is None:
                    return problem
                problem = None
                pc, depth, value = got
                deadline = frames[-1].deadline if frames else strand.parent_deadline
                t = now()
            while pc < stop:
                if t >= rt.look_at:
                    t = await yield_to_loop(strand, deadline, t)
                op = ops[pc]
                code = op[0]
                if strand.contender is not None:
                    strand.contender.go_on(code)
                if code == TASK:
                    _, route, fn, index, limits, _, plain = op
                    if route >= CALL:
                        got = rt.reserve() if route == CALL else rt.lanes[fn.lane].reserve(rt.waiter, fn.fn)
                        if got is not None:  # a call that waits for a thread or process has not started
                            _arm(strand, deadline)
                            await got
                            phase = RESERVED
                            if strand.contender is not None:
                                strand.contender.go_on(code)
                            t = now()
                        phase = RESERVED
                    limit = t + limits[depth]
                    if limit >= deadline:
                        limit = deadline
                        if t >= deadline:
                            raise LimitPassed  # noqa: TRY301 - to the handler below
                    strand.at = index
                    if strand.observed:
                        fn, route = strand.begins(index, fn, route)
                    strand.deadline = alarm.deadline = limit
                    if limit < alarm.entry_at:
                        strand.slot.arm(limit)
                    began = t
                    phase = FLYING
                    if route == DIRECT:
                        got = await fn(value)
                    elif route == CALL:
                        if rt.places:
                            CALLING.set(object())
                        got = CALLED
                        if strand.permits or strand.in_race is not None:
                            got = fn = HeldCall(fn, strand.in_race)
                        got = await rt.call(fn, (value,), NO_KWARGS)
                    elif route == PLACE:
                        got = fn(value)
                    elif route == LANE:
                        got = await rt.lanes[fn.lane].call(rt.waiter(), fn.name, fn.fn, value)
                    else:
                        got = await call_async(strand, fn, value)
                    kind = kind_of(got)
                    if kind not in PLAIN and (
                        kind in SPECIAL
                        or (issubclass(kind, ChainBase) if route in _AWAITED else hasattr(kind, "__await__"))
                    ):
                        if kind is Refused:
                            phase = REFUSED
                        got = await _plain(strand, got, pc, index)
                        route = DIRECT  # what is awaited does not block the loop
                    t = now()
                    if route == PLACE and t - began >= BLOCKED_AFTER and rt.places:
                        warn_blocked_loop(strand, op, t - began)
                    if t >= limit:
                        raise LimitPassed  # noqa: TRY301 - to the handler below
                    if log[index] is None:
                        log[index] = (began, t, got)
                    else:
                        note_call(log, index, began, t).succeeded(got)
                    if depth != FULL or not plain:  # there are frames, or a layer has to check the answer
                        phase = ANSWERED
                        if not frames:
                            frames = []
                        enter(frames, strand.parent_deadline, began, op, (pc, depth, value))
                        await leave(strand, frames, pc, got)
                        deadline = frames[-1].deadline if frames else strand.parent_deadline
                        t = now()
                        depth = FULL
                    value = got
                    phase = NOT_BEGUN
                    pc += 1
                    continue
                limit = deadline
                began = t
                if code == BRIDGE and op[1] in _PLAINLY:
                    if op[1] == PLACE:
                        strand.deadline = deadline
                        got = op[2](value)
                    else:
                        _arm(strand, deadline)
                        fn, got = op[2], CALLED
                        if strand.permits or strand.in_race is not None:
                            got = fn = HeldCall(fn, strand.in_race)
                        got = await rt.call(fn, (value,), NO_KWARGS)
                    kind = kind_of(got)
                    if kind not in PLAIN and (kind in SPECIAL or hasattr(kind, "__await__")):
                        _arm(strand, deadline)
                        got = await _plain(strand, got, pc)
                        began = INF  # what is awaited does not block the loop
                    value = got
                    pc += 1
                elif code == RACE:
                    frames = enter_race(strand, frames, op, value, t, (_interpret, ops))
                    pc += 1
                    continue
                elif code == RACED:
                    if frames[-1].over(t, value):
                        frames.pop()
                        pc = op[1]
                        if t >= limit:
                            raise LimitPassed  # noqa: TRY301 - to the handler below
                        continue
                    pc, depth, value = await frames[-1].answered(frames, value)
                elif code == ENTER:
                    if not frames:
                        frames = []
                    enter(frames, strand.parent_deadline, t, op, (pc, depth, value))
                    deadline = limit = frames[-1].deadline
                    pc += 1
                elif code == FAN:
                    _arm(strand, deadline)
                    value = await run_fan_out(strand, cast("FanOutOp", op), value, frames, partial(_part, ops))
                    pc = op[-1]  # its `after`
                else:
                    if not frames:
                        frames = []
                    _arm(strand, deadline)  # before the step: one that is not awaited would lose what it has taken
                    got = _step(strand, ops, (pc, depth, value), frames)
                    pc, value = got if type(got) is tuple else await got
                    deadline = frames[-1].deadline if frames else strand.parent_deadline
                    if code == LEAVE:
                        limit = deadline  # the limit that was left in time is not checked again
                depth = FULL  # the next instruction may be a task that no retry repeats
                t = now()
                if t - began >= BLOCKED_AFTER and code == BRIDGE and op[1] == PLACE and rt.places:
                    warn_blocked_loop(strand, op, t - began)
                if t >= limit:
                    raise LimitPassed  # noqa: TRY301 - to the handler below
        except BaseException as exc:  # noqa: BLE001 - `classified` raises those that are not for this run
            op = ops[pc]
            flight = None
            if got is CALLED or isinstance(got, HeldCall):  # that call has not answered
                strand.give_up(got if isinstance(got, HeldCall) else None)
            got = None  # it may hold the error, whose traceback keeps this frame alive
            if not frames:
                frames = []
            if phase == ANSWERED or op[0] == LEAVE:  # some of its limits were left, and count no longer
                limit = frames[-1].deadline if frames else strand.parent_deadline
            if op[0] == TASK and problem is None:
                flight = record_failed_call(strand, frames, op, (pc, depth, value), phase=phase, began=began)
            # from here on the frames are complete; an interruption of `unwind` must not enter them twice
            around = None if problem is not None else op
            problem = Failed(await classified(strand, frames, exc, limit, around))
            in_log = flight is not None and log[op[3]] is flight  # else a dropped race has taken it out
            if flight is not None and in_log and flight.status == "running" and problem.error is not RACE_LOST:
                flight.failed(problem.error)
            phase = NOT_BEGUN
        else:
            return value


def _step(  # noqa: PLR0911 - one for each instruction
    strand: Strand, ops: tuple[Op, ...], place: Position, frames: list[Frame]
) -> tuple[int, Any] | Awaitable[tuple[int, Any]]:
    """Run one of the rarer instructions. Returns where to go on and the value, or an awaitable of both."""
    pc, _, value = place
    op: Any = ops[pc]
    code = op[0]
    if code >= RECALL:
        return journal_step(strand, op, pc, value)
    if code == LEAVE:
        if leave_in_place(strand, frames, op.entered_at, value):
            return pc + 1, value
    elif code == ADMIT:
        stuck, got = enter_at_once(strand, frames, op, place)
        if stuck < 0:
            return pc + 1, value
        return admitted(strand, op, place, frames, stuck, got, _behind, ops)
    elif code == JUMP:
        close(strand.run.log, op.low, op.high, None)  # a fallback that was not needed
        return op.to, value
    elif code == KEEP:
        strand.kept[op.place] = value
        return pc + 1, value
    elif code == USE:
        return pc + 1, keyword_values(strand, op, value)
    elif code == CONSTANT:
        return pc + 1, fresh(op.value)
    return _awaited_step(strand, ops, place, frames)


async def _awaited_step(strand: Strand, ops: tuple[Op, ...], place: Position, frames: list[Frame]) -> tuple[int, Any]:
    pc, _, value = place
    op: Any = ops[pc]
    code = op[0]
    if code in (EACH, EXPAND):
        runner = item_runner(strand, op, frames, partial(_part, ops), ops)
        return op.after, await _plain(strand, await (run_each if code == EACH else run_expand)(runner, value), pc)
    if code == CHOOSE:
        return await chosen_branch(strand, op, value), value
    if code == BATCH:
        return op.after, await run_batched(strand, op, value, partial(_part, ops))
    if code == PIECE:
        return pc + 1, await run_piece(strand, op, value)
    if code == LEAVE:
        await leave(strand, frames, op.entered_at, value)
    elif code == HANDLER:
        call = _called(strand, op, value, pc)
        value = await (closed_after(strand, value, call, reported) if op.alone else call)
    else:
        value = await _called(strand, op, value, pc)
    return pc + 1, value


async def _called(strand: Strand, op: Op, value: Any, pc: int) -> Any:
    """Call the function of a BRIDGE or HANDLER."""
    return await _plain(strand, await invoke(strand, op[1], op[2], value), pc)


def _arm(strand: Strand, deadline: float) -> None:
    strand.deadline = deadline
    strand.slot.arm(deadline)


async def _plain(strand: Strand, got: Any, pc: int, index: int | None = None) -> Any:
    """Resolve the answer of instruction ``pc``, or of a task: open Results, run Requests and awaitables."""
    while True:
        kind = kind_of(got)
        if kind is Success:
            return got.unwrap()
        if kind is Failure:
            raise Fail(got.failure())
        if kind is Raised or kind is Refused:
            if isinstance(got.error, Exception):
                raise Fail(got.error)
            try:
                raise got.error
            finally:
                del got  # its traceback keeps this frame
        if kind is Request:
            return await _nested(strand, got, pc, index)
        if kind is Pinned:
            if all(pinned.value is not got.value for pinned in strand.pinned):
                strand.pinned = (*strand.pinned, got)
            return got.value
        if not hasattr(kind, "__await__"):
            return got
        got = await invoke(strand, DIRECT if strand.rt.direct else ASYNC, awaited, got)


async def _nested(parent: Strand, request: Request[Any], pc: int, index: int | None) -> Any:
    """Run a Request that a function returned, in the same strand and under the same limits."""
    run, log, began = parent.run.nested(request.given[0], pc, index), parent.run.log, parent.rt.now()
    strand = run.strand(parent.rt, parent.slot, parent.deadline)
    strand.permits, strand.contender, strand.in_race = parent.permits, parent.contender, parent.in_race
    strand.depth = parent.depth
    token = CURRENT.set(strand)
    got: Any = INTERRUPTED
    try:
        program, value = program_for(request, parent.rt, journal_for(parent))
        strand.kept = [None] * program.kept
        got = await interpret(strand, program.ops, 0, program.length, value, parent.rt.now())
    finally:
        strand.close()
        CURRENT.reset(token)
        note_nested(log, index, run, (began, parent.rt.now()), got)
    if type(got) is Failed:
        raise NestedFail(got.error)
    return got


def _part(ops: tuple[Op, ...], strand: Strand, branch: Branch, value: Any) -> Awaitable[Any]:
    """Run a branch on a strand made for it. Returns its value, or ``Failed``."""
    return interpret(strand, ops, branch.start, branch.stop, value, strand.rt.now())


_interpret: Interpret = interpret  # for the calls of a race; inside `interpret` its own type can't be inferred
_behind = partial(Behind, interpret)
