"""Leaving the policies that were entered, when the part inside them has answered."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn, cast

from rio_chain.engine._ask import ask, predicate_holds
from rio_chain.engine._blocking_call import Correctable
from rio_chain.engine._current_run import Strand
from rio_chain.engine._discarded_results import close_all, close_interrupted
from rio_chain.engine._frames import Fail, Frame, LimitPassed, around_one_task
from rio_chain.engine._remote_protocol import shown
from rio_chain.errors import CallbackFailed, NotAccepted
from rio_chain.policies import Accept, Policy, Retry
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
        if frame.permit is not None and cast("Policy", layer).about_answer:  # only policies have a permit
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
        if frame.permit is not None and cast("Policy", layer).about_answer:
            await _corrected(strand, frame, value)
        frames.pop()
        _left(frame, value)
    if high - low == 1 and not around_one_task(frames):
        strand.run.given_up(low, high)


async def _corrected(strand: Strand, frame: Frame, value: Any) -> None:
    """Ask what a policy wants to know of the answer, such as what the call has really cost."""
    policy, permit = cast("Policy", frame.layer), cast("Correctable", frame.permit)
    strand.deadline = frame.deadline  # as after a check of the value
    strand.slot.arm(frame.deadline)
    try:
        found = await asked_about(strand, policy, value)
    except CallbackFailed as error:
        await _refused(strand, frame, error, value)
    except BaseException:
        if frame.alone:
            close_interrupted(strand, value)
        raise
    else:
        permit.correct(iter(found))
        if strand.rt.now() >= frame.deadline:  # as after a check of the value
            raise LimitPassed


async def asked_about(strand: Strand, policy: Policy, value: Any) -> list[Any]:
    """What the functions of a policy say about an answer."""
    return [None if one is None else await ask(strand, one[0], one[1], value) for one in policy.about_answer]


async def _refused(strand: Strand, frame: Frame, error: Exception, value: Any) -> NoReturn:
    """Fail with an error of a function that was asked about the value."""
    if frame.alone:
        await close_all(strand, (value,))
    _fail(strand, frame, error)


def _fail(strand: Strand, frame: Frame, error: Exception) -> NoReturn:
    if frame.high - frame.low == 1:
        record_of(strand.run.log, frame.low).failed(error)
    raise Fail(error)


async def _accepted(strand: Strand, frame: Frame, accept: Callable[[Any], bool], value: Any) -> None:
    try:
        if await predicate_holds(strand, "accept", accept, value):
            return
    except CallbackFailed as error:
        await _refused(strand, frame, error, value)
    except BaseException:
        if frame.alone:
            close_interrupted(strand, value)
        raise
    seen = value if strand.rt.remote is None else shown(value)
    _fail(strand, frame, NotAccepted(frame.name(strand.run.plan), seen))
