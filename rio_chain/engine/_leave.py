"""Leaving the policies that were entered, when the part inside them has answered."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rio_chain.engine._current_run import Strand
from rio_chain.engine._discarded_results import close_all, close_interrupted
from rio_chain.engine._frames import Fail, Frame, LimitPassed, around_one_task, predicate_holds
from rio_chain.engine._remote_protocol import shown
from rio_chain.errors import CallbackFailed, NotAccepted
from rio_chain.policies import Accept, Retry
from rio_chain.results._task_record import record_of


def leave_in_place(strand: Strand, frames: list[Frame], pc: int, value: Any) -> bool:
    """As ``leave``, if no policy of the instruction has to check the value. Returns False if no frame was left."""
    for k in range(len(frames) - 1, -1, -1):
        frame = frames[k]
        if frame.place[0] != pc:
            break
        layer = frame.layer
        if (layer.accept if type(layer) is Retry else layer.predicate if type(layer) is Accept else None) is not None:
            return False
    low, high = (frames[-1].low, frames[-1].high) if frames else (0, 0)
    while frames and frames[-1].place[0] == pc:
        _left(frames.pop(), value)
    if high - low == 1 and not around_one_task(frames):
        strand.run.given_up(low, high)
    return True


def _left(frame: Frame, value: Any) -> None:
    frame.returned()
    if frame.permit is not None:
        frame.permit.succeeded(value)


async def leave(strand: Strand, frames: list[Frame], pc: int, value: Any) -> None:
    """Leave the frames of instruction ``pc`` with a value, innermost first. A frame may refuse the value."""
    low, high = (frames[-1].low, frames[-1].high) if frames else (0, 0)
    while frames and frames[-1].place[0] == pc:
        frame = frames[-1]
        layer = frame.layer
        accept = layer.accept if type(layer) is Retry else layer.predicate if type(layer) is Accept else None
        if accept is not None:
            strand.deadline = frame.deadline  # the limits inside of it were met, so none of them counts any longer
            strand.slot.arm(frame.deadline)
            await _accepted(strand, frame, accept, value)
            if strand.rt.now() >= frame.deadline:  # a function called in place can't be interrupted
                raise LimitPassed
        frames.pop()
        _left(frame, value)
    if high - low == 1 and not around_one_task(frames):
        strand.run.given_up(low, high)


async def _accepted(strand: Strand, frame: Frame, accept: Callable[[Any], bool], value: Any) -> None:
    error: Exception = NotAccepted(frame.name(strand.run.plan), value if strand.rt.remote is None else shown(value))
    try:
        if await predicate_holds(strand, "accept", accept, value):
            return
    except CallbackFailed as exc:
        error = exc
        if frame.alone:
            await close_all(strand, (value,))
    except BaseException:
        if frame.alone:
            close_interrupted(strand, value)
        raise
    if frame.high - frame.low == 1:
        record_of(strand.run.log, frame.low).failed(error)
    raise Fail(error)
