"""PIECE: a part of a plan that runs elsewhere, with its policies. This is the half of the client.

It sends the input, waits, and takes over what the other half (``_serve_piece``) has noted of each task.
"""

from __future__ import annotations

from typing import Any

from rio_chain.engine._attempt import way_to
from rio_chain.engine._current_run import Strand
from rio_chain.engine._frames import Frame, NestedFail
from rio_chain.engine._instructions import Args, PieceOp
from rio_chain.engine._remote_protocol import PieceAnswer, PieceCall, PieceInput, Remote
from rio_chain.engine._run_events import ObservedRun
from rio_chain.policies import Retry
from rio_chain.results._shift_times import shift_times
from rio_chain.results._task_record import TaskRecord, full_record, record_of


async def run_piece(strand: Strand, op: PieceOp, value: Any, frames: list[Frame]) -> Any:
    """Run it on a worker. Gives its value; raises what ended it."""
    rt, remote = strand.rt, strand.rt.remote
    assert remote is not None  # noqa: S101 - only plans of such a runtime are cut
    call, waiter = _call(strand, op, value, frames), rt.waiter()
    call.wake = waiter.wake
    sent = rt.now()
    remote.send(call)
    try:
        await waiter.wait()
    except GeneratorExit:
        remote.cancel(call)
        raise
    except BaseException:
        await _stopped(remote, call, waiter)
        _take(strand, op, call, sent)
        raise
    return await _outcome(strand, _take(strand, op, call, sent))


async def _stopped(remote: Remote, call: PieceCall, waiter: Any) -> None:
    if call.answer is None:
        remote.cancel(call)
        await waiter.wait_shielded()


def _call(strand: Strand, op: PieceOp, value: Any, frames: list[Frame]) -> PieceCall:
    run, rt = strand.run, strand.rt
    tasks = run.plan.tasks
    strand.at = min(op.low, len(tasks) - 1)
    given = PieceInput(
        number=op.number,
        spread=type(value) is Args,
        value=value,
        kept=tuple((place, strand.kept[place]) for place in op.needs),
        seconds_left=strand.deadline - rt.now(),
        rounds=strand.rounds + sum(frame.retries for frame in frames if type(frame.layer) is Retry),
        replica=strand.replica,
        way=way_to(run, op.low),
        observed=run.observed,
    )
    name = tasks[op.low].name if op.low < op.high else "a bridge"
    name = name if op.high - op.low < 2 else f"{name} .. {tasks[op.high - 1].name}"  # noqa: PLR2004
    return PieceCall(run.plan, given, name, run.urgency(), _nothing)


def _nothing() -> None:
    """It is not sent yet."""


def _take(strand: Strand, op: PieceOp, call: PieceCall, sent: float) -> PieceAnswer:
    """Take over what the worker has noted; its times are moved to where they were on the clock of this run."""
    answer = call.answer
    assert answer is not None  # noqa: S101 - it was woken
    began, ended = answer.times
    spare = strand.rt.now() - sent - (ended - began)
    shift_times(answer.log, sent + max(0.0, spare) / 2 - began)
    log = strand.run.log
    for index, found in enumerate(answer.log, start=op.low):
        if found is None:
            continue
        if log[index] is None:
            log[index] = found
        else:
            other = found if isinstance(found, TaskRecord) else full_record(found)
            record = record_of(log, index)
            record.add_calls(other)
            record.take_end(other)
    if call.begun > 1:
        for index in range(op.low, op.high):
            record_of(log, index).repeats += call.begun - 1
    if answer.events and isinstance(strand.run, ObservedRun):
        strand.run.told.replay(answer.events)
    for place, value in answer.kept:
        strand.kept[place] = value
    return answer


async def _outcome(strand: Strand, answer: PieceAnswer) -> Any:
    if answer.ending == "value":
        return answer.value
    try:
        if answer.ending == "stopped":  # a limit around it was over there a moment before it is here
            await strand.rt.waiter().wait()
        if answer.ending == "raised":
            raise answer.value
        raise NestedFail(answer.value)
    finally:
        del answer  # the traceback of its error keeps this frame
