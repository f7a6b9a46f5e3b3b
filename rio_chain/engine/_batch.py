"""``.batch``: a call joins others and waits for its part of their answer. Which ones join is decided in ``policies/``.

The first call of a group begins a strand. That waits for further calls, makes the call of all of them and gives each
its part. So what happens to one caller does not matter to the others: a caller that is interrupted leaves, and only the
last one ends the strand.
"""

from __future__ import annotations

from typing import Any

from rio_chain.engine._ask import ask
from rio_chain.engine._batch_work import ASKED_FOR, AskedFor, BatchWork, Caller
from rio_chain.engine._current_run import Run, Strand
from rio_chain.engine._frames import LimitPassed, NestedFail, RunPart
from rio_chain.engine._instructions import BatchOp
from rio_chain.engine._parked import ParkedRequest, RunLine
from rio_chain.engine._reports import report_batch_joined
from rio_chain.engine._runtime_protocol import Raised, SpawnedStrand
from rio_chain.policies._batch import Batch
from rio_chain.policies._batch_group import BatchedCall
from rio_chain.policies._keys import PLAIN
from rio_chain.policies._permit import Answer
from rio_chain.results._task_record import ItemTotals, Log, close, item_totals_of, record_of


async def run_batched(strand: Strand, op: BatchOp, value: Any, part: RunPart) -> Any:
    """Join the calls that become one, and wait for this one's part of the answer."""
    batch = op.policy
    if batch.key.fn is None and type(value) in PLAIN:
        key = value
    else:
        key = await ask(strand, "key", batch.key, value)
    while True:
        call = _joined(strand, op, key, value, part)
        await _waited(strand, call)
        if call.answer is not None:
            return _own_part(strand, op, call, call.answer)
        work: BatchWork = call.group.work
        _take_calls(call, work)
        error = work.error_for(strand)  # the call of all was not made to its end
        if error is not None:
            close(strand.run.log, op.branch.low, op.branch.high, error)  # that call may have no record of this task
            raise NestedFail(error)
        if strand.rt.now() >= strand.deadline:
            raise LimitPassed


# --- joining ----------------------------------------------------------------------------------------------------


def _joined(strand: Strand, op: BatchOp, key: Any, value: Any, part: RunPart) -> BatchedCall:
    batch, rt = op.policy, strand.rt
    outermost = _root_of(strand.run)
    while outermost.around is not None:
        outermost = outermost.around
    asked_for = ASKED_FOR.get()
    if asked_for is None or asked_for.run is not outermost:
        asked_for = AskedFor(outermost, outermost, None)
    opened = None if batch.shared else batch.opened()
    scope = None if batch.shared else opened or asked_for.request
    # Calls join each other around the same part, for the same request, on the same loop. What the tasks inside use from
    # outside is known by its identity: the calls that wait keep it.
    used = tuple([id(strand.kept[kept]) for kept in op.outside]) if op.outside else ()
    place = (op.part, scope, rt.home, used)
    strand.at = op.branch.low
    if op.branch.high - op.branch.low == 1:
        record_of(strand.run.log, op.branch.low).status = "running"  # its turn has come, even if it is only to wait
    caller = Caller(strand, op, part)
    call: BatchedCall | None = None
    first = False
    try:
        call, first = batch.join(place, key, value, caller=caller, deadline=strand.deadline, now=rt.now())
        group = call.group
        if first:
            parked = asked_for.request if scope is asked_for.request else None
            group.work = work = BatchWork(rt, group, asked_for.request)
            work.begin(parked)
        elif strand.observed:
            report_batch_joined(strand.run, batch, op.branch)
    except BaseException:  # it could not be started, or is interrupted
        if call is not None and first and (call.group.work is None or call.group.work.strand is None):
            BatchWork.of(rt, call.group, asked_for.request).over(None)
        elif call is not None:
            batch.leave(call)
        raise
    if group.due and group.work is not None:
        group.work.wake()
    return call


def _root_of(run: Run) -> Run:
    """The run that this one is a part of, or runs in the place of."""
    while run.root is None and run.around is not None:
        run = run.around
    return run


async def _waited(strand: Strand, call: BatchedCall) -> None:
    """Wait until there is an answer, or none will come."""
    batch: Batch = call.group.batch
    waiter = strand.rt.waiter()
    call.wake = waiter.wake  # it is called from here on; a change that came earlier is seen below
    work: BatchWork | None = call.group.work
    parked, contender, line = (None if work is None else work.parked), strand.contender, None
    if strand.contender is not None:
        strand.contender.pay()
    try:
        if call.state != "waiting":
            return
        line = None if parked is None else _line_of(strand, parked)
        if parked is not None and line is not None:
            parked.park(call, contender, line)
        await waiter.wait()
    except BaseException as exc:
        last = batch.leave(call)
        if parked is not None:
            parked.unpark([call])
        work = call.group.work  # on threads it may have been set since
        if last and work is not None and work.strand is not None:
            work.stop()
            if not isinstance(exc, GeneratorExit):  # then nothing can be awaited
                await _ended(strand, work.strand)
        if work is not None and (last or call.state == "lost"):
            _take_calls(call, work)
        raise


async def _ended(strand: Strand, work: SpawnedStrand) -> None:
    """Wait for the clean-up of a call, as the caller of a function would."""
    waiter = strand.rt.waiter()
    work.add_waker(waiter.wake)
    await waiter.wait_shielded()


def _line_of(strand: Strand, parked: ParkedRequest) -> RunLine | None:
    """The line that the strand is part of. None if a function has begun its run, and that function goes on."""
    root = _root_of(strand.run)
    asked_for = ASKED_FOR.get()
    if asked_for is not None and asked_for.run is root:
        return asked_for.line
    return parked.line if root.around is None else None


# --- a part of the answer ---------------------------------------------------------------------------------------


def _own_part(strand: Strand, op: BatchOp, call: BatchedCall, answer: Answer) -> Any:
    """The value of this call, noted in its run. The first that waited has the record of the call of all."""
    log, low, high = strand.run.log, op.branch.low, op.branch.high
    work: BatchWork = call.group.work
    if call.leads:
        _take_record(log, work.log, low, high)
    only = record_of(log, low) if high - low == 1 else None
    value = answer.value
    if not answer.failed:
        if only is None:
            close(log, low, high, None)
        else:
            only.succeeded(value)
        return value
    if isinstance(value, Raised):
        raise value.error
    if only is None:
        close(log, low, high, value)
    elif only.status in (None, "running", "succeeded") or only.value is not value:
        only.failed(value)
    raise NestedFail(value)


def _take_calls(call: BatchedCall, work: BatchWork) -> None:
    """The call was made, and has no answer: the caller that led it gets the record."""
    caller: Caller = call.caller
    if work.log and call.leads:
        _take_record(caller.strand.run.log, work.log, caller.op.branch.low, caller.op.branch.high)


def _take_record(log: Log, of_call: Log, low: int, high: int) -> None:
    for index in range(low, high):
        if of_call[index] is not None:
            found = record_of(of_call, index)
            total = item_totals_of(log, index) if isinstance(found, ItemTotals) else record_of(log, index)
            total.add_calls(found)
            if found.status not in (None, "running") or total.status in (None, "running"):
                total.take_end(found)  # on threads the run may have ended meanwhile: what still runs is not its end
