"""Finds out which error an instruction has raised."""

from __future__ import annotations

from typing import Any

from rio_chain._core.tracebacks import drop_frames
from rio_chain.engine._current_run import Strand
from rio_chain.engine._expire import expire, lose
from rio_chain.engine._frames import Frame, NestedFail, OuterExpired, Position, enter, reported
from rio_chain.engine._instructions import BRIDGE, CALL, PLACE, BridgeOp, Op, TaskOp
from rio_chain.engine._race import RaceOver
from rio_chain.engine._warn_blocked_loop import BLOCKED_AFTER, warn_blocked_loop
from rio_chain.errors import BridgeFailed
from rio_chain.policies._wrong_loop_errors import advise
from rio_chain.results._task_record import TaskRecord, note_call, record_of

EXITS = (SystemExit, KeyboardInterrupt, GeneratorExit)
"""A body raises these to end more than itself. A limit that ends at the same moment does not replace them."""
FLYING, NOT_BEGUN, RESERVED, REFUSED, ANSWERED = range(5)
"""How far the call of a task had come when an error occurred. A thread may be reserved for it, or be refused."""


def record_failed_call(
    strand: Strand, frames: list[Frame], op: Op, place: Position, *, phase: int, began: float
) -> TaskRecord | None:
    """A task raised instead of answering: note its call, if it was made, and enter its frames."""
    task = TaskOp.of(op)
    log, index, now, flight = strand.run.log, task.task, strand.rt.now(), None
    if phase in (FLYING, REFUSED):
        flight = note_call(log, index, began, now) if phase == FLYING else record_of(log, index)
        flight.status = "running"
        if phase == FLYING and now - began >= BLOCKED_AFTER and task.route == PLACE and strand.rt.places:
            warn_blocked_loop(strand, op, now - began)
    elif phase == RESERVED:
        fn: Any = task.fn
        (strand.rt if task.route == CALL else strand.rt.lanes[fn.lane]).unreserve()
    if phase != ANSWERED:
        enter(frames, strand.parent_deadline, began if phase == FLYING else now, op, place)
    return flight


def classify(strand: Strand, frames: list[Frame], exc: BaseException, limit: float, op: Op | None) -> Any:
    """The error of ``exc``, as the run keeps it. An exception that is not for this run is raised."""
    try:
        now = strand.rt.now()
        hit = strand.slot.settle(exc)
        ours = isinstance(exc, Exception)
        if isinstance(exc, EXITS):
            raise exc
        if hit or type(exc) is OuterExpired or (ours and now >= limit):
            return expire(strand, frames, now)
        if type(exc) is RaceOver:
            decided = next((k for k, frame in enumerate(frames) if frame.decided), None)
            if decided is not None:
                return lose(frames, decided)
        if not ours:
            raise exc
        error = _of_its_instruction(frames, reported(exc), op, nested=isinstance(exc, NestedFail))
        drop_frames(error)
        return error
    finally:
        del exc  # its traceback keeps this frame


def _of_its_instruction(frames: list[Frame], error: Any, op: Op | None, *, nested: bool) -> Any:
    """The error that the run reports for an error of an instruction."""
    if op is None:
        if frames:
            frames.pop().drop()  # the policy that failed itself takes no further part
        return error
    if nested:
        return error
    advise(error)
    if op[0] == BRIDGE:
        bridge = BridgeOp.of(op).bridge
        return BridgeFailed(bridge.name, bridge.before, bridge.after, error)
    return error
