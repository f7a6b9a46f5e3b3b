"""PIECE: a part of a plan that runs elsewhere, with its policies. This is the half of the client.

It sends the input, waits, and takes over what the other half (``_serve_piece``) has noted of each task.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rio_chain._core.lane_wrapper import packed_wrapper
from rio_chain.engine._attempt import way_to
from rio_chain.engine._current_run import Strand
from rio_chain.engine._frames import NestedFail
from rio_chain.engine._instructions import Args, PieceOp
from rio_chain.engine._remote_protocol import PieceAnswer, PieceCall, PieceInput, Remote
from rio_chain.engine._run_events import ObservedRun
from rio_chain.results._shift_times import shift_times
from rio_chain.results._task_record import Log, TaskRecord, full_record, record_of


async def run_piece(strand: Strand, op: PieceOp, value: Any) -> Any:
    """Run it on a worker. Gives its value; raises what ended it."""
    rt, remote = strand.rt, strand.rt.remote
    assert remote is not None  # noqa: S101 - only plans of such a runtime are cut
    waiter = rt.waiter()
    call = piece_call(strand, op, value, waiter.wake)
    sent = rt.now()
    remote.send((call,))
    try:
        await waiter.wait()
    except GeneratorExit:
        remote.cancel(call)
        raise
    except BaseException:
        await _stopped(remote, call, waiter)
        take_over(strand, op, call, sent)
        raise
    return await ending_of(strand, take_over(strand, op, call, sent))


async def _stopped(remote: Remote, call: PieceCall, waiter: Any) -> None:
    if call.answer is None:
        remote.cancel(call)
        await waiter.wait_shielded()


def piece_call(strand: Strand, op: PieceOp, value: Any, wake: Callable[[], None]) -> PieceCall:
    """What to send for this piece of a run."""
    run, rt = strand.run, strand.rt
    watch = run.events.watch if isinstance(run, ObservedRun) else None
    tasks = run.plan.tasks
    strand.at = min(op.low, len(tasks) - 1)
    given = PieceInput(
        number=op.number,
        spread=type(value) is Args,
        value=value,
        kept=tuple((place, strand.kept[place]) for place in op.needs),
        seconds_left=strand.deadline - rt.now(),
        rounds=strand.rounds,
        calls=_calls(run.log[op.low : op.high]),
        replica=strand.replica,
        way=way_to(run, op.low),
        observed=watch is not None,
        values=watch is not None and watch.values,
        context=packed_wrapper(),
        holds=op.holds and (watch is None or not watch.values),
    )
    name = tasks[op.low].name if op.low < op.high else "a bridge"
    name = name if op.high - op.low < 2 else f"{name} .. {tasks[op.high - 1].name}"  # noqa: PLR2004
    return PieceCall(run.plan, given, name, run.urgency(), wake)


def _calls(log: Log) -> tuple[int, ...]:
    made = tuple(0 if found is None else found.calls if isinstance(found, TaskRecord) else 1 for found in log)
    return made if any(made) else ()


def take_over(strand: Strand, op: PieceOp, call: PieceCall, sent: float) -> PieceAnswer:
    """Take over what the worker has noted; its times are moved to where they were on the clock of this run."""
    answer = call.answer
    assert answer is not None  # noqa: S101 - it was woken
    began, ended = answer.times
    spare = strand.rt.now() - sent - (ended - began)
    by = sent + max(0.0, spare) / 2 - began
    shift_times(answer.log, by)
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
    if call.begun and not answer.log and op.low < op.high:
        entry = record_of(log, op.low)  # what else was called there is lost
        entry.called(sent, strand.rt.now())
        entry.status = "running"
    if call.begun > 1:
        for index in range(op.low, op.high):
            record_of(log, index).repeats += call.begun - 1
    if answer.events and isinstance(strand.run, ObservedRun):
        strand.run.events.replay(answer.events, began + by)
    for place, value in answer.kept:
        strand.kept[place] = value
    return answer


async def ending_of(strand: Strand, answer: PieceAnswer) -> Any:
    """The value that it ended with; raises what else it ended with."""
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
