"""The one interpreter: walks a program on any Runtime.

``walk`` is the hot path of the whole library. A task that answers in time costs one pass through its loop: one store
for its limit, the call, a clock read and a log tuple. Frames, errors and all that is rare are handled outside of it.
"""

from __future__ import annotations

import copy
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from attrs import frozen
from returns.result import Failure, Success

from rio_chain.engine.apply import Fail, Frame, OuterExpired, enter, expire, leave, unwind
from rio_chain.engine.current import CURRENT, Run, Strand
from rio_chain.engine.program import (
    ASYNC,
    BRIDGE,
    CALL,
    CONSTANT,
    DIRECT,
    ENTER,
    FAN,
    FULL,
    HANDLER,
    JUMP,
    LEAVE,
    PLACE,
    TASK,
    Branch,
    Op,
    program_of,
)
from rio_chain.engine.runtime import STOPPED, Raised, Refused
from rio_chain.errors import BridgeFailed, CallbackFailed
from rio_chain.outcome import close, entry_of, note_call, note_failure
from rio_chain.request import Request

INF = float("inf")
NO_KWARGS: dict[str, Any] = {}
SPECIAL = frozenset({Success, Failure, Raised, Refused, Request})
"""The answers that stand for something else than themselves."""
COPIED = (list, dict, set, bytearray)
"""Fallback constants of these types are copied, so that no run can change what the next one gets."""
EXITS = (SystemExit, KeyboardInterrupt, GeneratorExit)
"""What a body raises to end more than itself; a limit that is over at the same moment does not swallow it."""
FLYING, NOT_BEGUN, RESERVED, REFUSED, ANSWERED = range(5)
"""How far the call of a task has come when something goes wrong: a thread may be reserved for it, or not be had."""


@frozen
class Args:
    """The input of the first tasks of a run that was not called with exactly one positional argument."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]


class Failed:
    """How a walk that failed ends."""

    __slots__ = ("error",)

    def __init__(self, error: Any) -> None:
        self.error = error


class Late(Exception):  # noqa: N818 - a jump inside the interpreter, which nobody outside sees
    """An answer came after its limit, or the limit was over before the call."""


class NestedFail(Fail):
    """The failure of a Request that a function returned; it is told as it is, also where a bridge returned it."""


def input_of(request: Request[Any]) -> Any:
    """What the first instruction of the request's program gets."""
    args, kwargs = request.args, request.kwargs
    return args[0] if len(args) == 1 and not kwargs else Args(args, dict(kwargs))


async def walk(strand: Strand, ops: tuple[Op, ...], pc: int, stop: int, value: Any, frames: list[Frame]) -> Any:
    """Run the instructions ``pc`` up to ``stop``; give the value, or ``Failed``."""
    rt, slot, log, outer = strand.rt, strand.slot, strand.run.log, strand.outer
    now, call, reserve = rt.now, rt.call, rt.reserve
    edge = frames[-1].edge if frames else outer  # the earliest limit open around the instruction
    depth = FULL
    phase = NOT_BEGUN
    problem: Failed | None = None
    t = began = now()
    limit = edge
    while True:
        try:
            if problem is not None:
                limit = INF  # of what has failed; the frames know those that still hold
                place = await unwind(strand, frames, problem.error)
                if place is None:
                    return problem
                problem = None
                pc, depth, value = place
                limit = edge = frames[-1].edge if frames else outer
                t = now()
            while pc < stop:
                op = ops[pc]
                code = op[0]
                if code == TASK:
                    _, route, fn, index, limits, layers, plain = op
                    phase = NOT_BEGUN
                    if route == CALL:
                        room = reserve()
                        if room is not None:  # a call that waits for a thread has not started
                            _arm(strand, edge)
                            await room
                            t = now()
                        phase = RESERVED
                    limit = t + limits[depth]
                    if limit >= edge:
                        limit = edge
                        if t >= edge:
                            raise Late
                    strand.at = index
                    strand.edge = limit
                    slot.arm(limit)
                    began = t
                    phase = FLYING
                    if type(value) is Args:
                        got = await _invoke(strand, route, fn, value)
                    elif route == DIRECT:
                        got = await fn(value)
                    elif route == PLACE:
                        got = fn(value)
                    elif route == CALL:
                        got = await call(fn, (value,), NO_KWARGS)
                    else:
                        got = await rt.call_async(fn, (value,), NO_KWARGS)
                    if type(got) in SPECIAL or (route != DIRECT and hasattr(got, "__await__")):
                        if type(got) is Refused:
                            phase = REFUSED
                        got = await _plain(strand, got)
                    t = now()
                    if t >= limit:
                        raise Late
                    if log[index] is None:
                        log[index] = (began, t, got)
                    else:
                        entry = note_call(log, index, began, t)
                        entry.status, entry.value = "succeeded", got
                    if not plain:
                        phase = ANSWERED
                        enter(frames, outer, began, layers, (pc, depth, value), index, index + 1)
                        _arm(strand, frames[-1].edge)
                        await leave(strand, frames, len(layers) if depth == FULL else depth, got)
                        t = now()
                    value = got
                    depth = FULL
                    pc += 1
                    continue
                limit = edge
                if code == BRIDGE and op[1] == PLACE and type(value) is not Args:
                    got = op[2](value)
                    if type(got) in SPECIAL or hasattr(got, "__await__"):
                        _arm(strand, edge)
                        got = await _plain(strand, got)
                    value = got
                    pc += 1
                elif code == BRIDGE or code == HANDLER:
                    _arm(strand, edge)
                    value = await _plain(strand, await _invoke(strand, op[1], op[2], value))
                    pc += 1
                elif code == FAN:
                    _arm(strand, edge)
                    value = await _fan_out(strand, ops, op, value)
                    pc = op[4]
                elif code == ENTER:
                    enter(frames, outer, t, op[1], (pc, depth, value), op[2], op[3])
                    edge = frames[-1].edge
                    depth = FULL
                    pc += 1
                elif code == LEAVE:
                    _arm(strand, edge)
                    await leave(strand, frames, op[1], value)
                    edge = frames[-1].edge if frames else outer
                    pc += 1
                elif code == JUMP:
                    close(log, op[2], op[3], None)  # a fallback that was not needed
                    pc = op[1]
                elif code == CONSTANT:
                    value = copy.copy(op[1]) if isinstance(op[1], COPIED) else op[1]
                    pc += 1
                t = now()
                if t >= limit:
                    phase = NOT_BEGUN  # the next instruction may be a task
                    raise Late
            return value
        except BaseException as exc:  # noqa: BLE001 - what is not ours goes on below
            t = now()
            op = ops[pc]
            flight = None
            if op[0] == TASK and problem is None:
                if phase == FLYING or phase == REFUSED:
                    flight = note_call(log, op[3], began, t) if phase == FLYING else entry_of(log, op[3])
                    flight.status = "running"
                elif phase == RESERVED:
                    rt.unreserve()
                if phase != ANSWERED:
                    entered = began if phase == FLYING else t
                    enter(frames, outer, entered, op[5], (pc, depth, value), op[3], op[3] + 1)
            # from here on the frames say all; an interruption of the unwinding must not enter them twice
            problem = Failed(_cause(strand, frames, exc, t, limit, op if problem is None else None))
            if flight is not None and flight.status == "running":
                note_failure(flight, problem.error)
            phase = NOT_BEGUN


def _cause(strand: Strand, frames: list[Frame], exc: BaseException, t: float, limit: float, op: Op | None) -> Any:
    """The error that ``exc`` stands for. What nobody here may handle is raised."""
    hit = strand.slot.settle(exc)
    ours = isinstance(exc, Exception)
    if isinstance(exc, EXITS):
        raise exc
    if hit or type(exc) is OuterExpired or (ours and t >= limit):
        return expire(strand, frames, t)
    if not ours:
        raise exc
    error = exc.error if isinstance(exc, Fail) else exc
    if op is None or isinstance(exc, NestedFail):
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
    """Call a function by its route, with whatever arguments there are."""
    args, kwargs = (value.args, value.kwargs) if type(value) is Args else ((value,), NO_KWARGS)
    if route == DIRECT:
        return await fn(*args, **kwargs)
    if route == PLACE:
        return fn(*args, **kwargs)
    rt = strand.rt
    return await (rt.call if route == CALL else rt.call_async)(fn, args, kwargs)


async def _plain(strand: Strand, got: Any) -> Any:
    """What an answer stands for: Results are opened, Requests are run, awaitables awaited, errors raised."""
    while True:
        kind = type(got)
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
        if not hasattr(got, "__await__"):
            return got
        got = await _invoke(strand, DIRECT if strand.rt.direct else ASYNC, _awaited, got)


async def _awaited(awaitable: Awaitable[Any]) -> Any:
    return await awaitable


async def _nested(parent: Strand, request: Request[Any]) -> Any:
    """Run a Request that a function returned, in the same strand and under the same limits."""
    program = program_of(request.plan, direct=parent.rt.direct, places=parent.rt.places)
    strand = Strand(Run(request.plan), parent.rt, parent.slot, parent.edge, root=False)
    token = CURRENT.set(strand)
    try:
        got = await walk(strand, program.ops, 0, program.length, input_of(request), [])
    finally:
        strand.open = False
        CURRENT.reset(token)
    if type(got) is Failed:
        raise NestedFail(got.error)
    return got


async def _fan_out(strand: Strand, ops: tuple[Op, ...], op: Op, value: Any) -> Any:
    """Run the branches together. The first failure stops the rest; ``settle`` waits for all."""
    _, branches, keys, settle, _ = op
    works = [partial(_branch, strand, ops, branch, value) for branch in branches]
    results = await strand.rt.race(works, _never if settle else _has_failed)
    if settle:
        return tuple(_settled(strand, branch, got) for branch, got in zip(branches, results, strict=True))
    failed = next((got for got in results if type(got) is Failed), None)
    if failed is None:
        return tuple(results) if keys is None else dict(zip(keys, results, strict=True))
    for branch, got in zip(branches, results, strict=True):
        if got is STOPPED:
            close(strand.run.log, branch.low, branch.high, failed.error, sibling=True)
    raise NestedFail(failed.error)


def _settled(strand: Strand, branch: Branch, got: Any) -> Success[Any] | Failure[Any]:
    if type(got) is not Failed:
        return Success(got)
    close(strand.run.log, branch.low, branch.high, got.error)
    return Failure(got.error)


def _never(_got: Any) -> bool:
    return False


def _has_failed(got: Any) -> bool:
    return type(got) is Failed


async def _branch(parent: Strand, ops: tuple[Op, ...], branch: Branch, value: Any) -> Any:
    rt = parent.rt
    strand = Strand(parent.run, rt, rt.slot(), parent.edge, root=False)
    CURRENT.set(strand)  # every branch has a context of its own
    try:
        return await walk(strand, ops, branch.start, branch.stop, value, [])
    finally:
        strand.open = False
        strand.slot.release()
