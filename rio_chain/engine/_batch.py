"""``.batch``: a call joins others and waits for its part of their answer. Which ones join is decided in ``policies/``.

The first call of a group begins a strand. That waits for further calls, makes the call of all of them and gives each
its part. So what happens to one caller does not matter to the others: a caller that is interrupted leaves, and only the
last one ends the strand.
"""

from __future__ import annotations

from contextvars import ContextVar
from functools import partial
from typing import Any, NamedTuple

from rio_chain.engine._current_run import CURRENT, INF, Run, Strand
from rio_chain.engine._enter_policy import wait_at_most
from rio_chain.engine._frames import LimitPassed, NestedFail, OuterExpired, RunPart, ask
from rio_chain.engine._instructions import BatchOp
from rio_chain.engine._parked import ParkedRequest, RunLine
from rio_chain.engine._reports import report_batch_joined, report_batch_sent
from rio_chain.engine._runtime_protocol import Raised, Runtime, SpawnedStrand, Waiter
from rio_chain.policies._batch import OPENED, Batch
from rio_chain.policies._batch_group import BatchedCall, BatchGroup, Ending
from rio_chain.policies._keys import PLAIN
from rio_chain.policies._permit import Answer
from rio_chain.results._outcome import Failed
from rio_chain.results._task_record import ItemTotals, Log, close, item_totals_of, record_of


class AskedFor(NamedTuple):
    """For whom the call of a batch is made."""

    run: Run
    """That of the call."""
    request: Run
    """The outermost run to which it counts."""
    line: RunLine | None
    leader: Run | None
    """One that waits for it."""


ASKED_FOR: ContextVar[AskedFor | None] = ContextVar("rio_chain_batch_asked_for", default=None)


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
        error = work.error_for(strand)  # the call of all was not made to its end
        if error is not None:
            raise NestedFail(error)
        if strand.rt.now() >= strand.deadline:
            raise LimitPassed


# --- joining ----------------------------------------------------------------------------------------------------


class Caller(NamedTuple):
    """Who asks, and how it would make the call."""

    strand: Strand
    op: BatchOp
    part: RunPart


def _joined(strand: Strand, op: BatchOp, key: Any, value: Any, part: RunPart) -> BatchedCall:
    batch, rt = op.policy, strand.rt
    outermost = _root_of(strand.run)
    while outermost.around is not None:
        outermost = outermost.around
    asked_for = ASKED_FOR.get()
    if asked_for is None or asked_for.run is not outermost:
        asked_for = AskedFor(outermost, outermost, None, None)
    opened = None if batch.shared else batch.opened()
    scope = None if batch.shared else opened or asked_for.request
    # Calls join each other around the same part, for the same request, on the same loop. What the tasks inside use from
    # outside is told by its identity: the calls that wait keep it.
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
            work.strand.cancel("nobody waits for it any more")
            if not isinstance(exc, GeneratorExit):  # then nothing can be awaited
                await _ended(strand, work.strand)
        raise


async def _ended(strand: Strand, work: SpawnedStrand) -> None:
    """Wait for the clean-up of a call, as the caller of a function would."""
    waiter = strand.rt.waiter()
    work.add_waker(waiter.wake)
    await waiter.wait_shielded()


def _line_of(strand: Strand, parked: ParkedRequest) -> RunLine | None:
    """The line that the strand is a part of. None: it is of a run that a function has begun, which goes on."""
    root = _root_of(strand.run)
    asked_for = ASKED_FOR.get()
    if asked_for is not None and asked_for.run is root:
        return asked_for.line
    return parked.line if root.around is None else None


# --- the call of all --------------------------------------------------------------------------------------------


class BatchWork:
    """The strand of one group: it waits for further calls, makes the call and gives each caller its part.

    Attributes:
        parked: the request whose strands may ask for more; None where others may, too.
        group: None when it has ended, as that knows it, too.
        log: what was recorded of the call.
    """

    __slots__ = ("_once", "_waiter", "group", "line", "log", "parked", "request", "rt", "strand")

    def __init__(self, rt: Runtime, group: BatchGroup, request: Run) -> None:
        self.rt = rt
        self.group: BatchGroup | None = group
        self.request = request
        self.parked: ParkedRequest | None = None
        self.line: RunLine | None = None
        self.strand: SpawnedStrand | None = None
        self.log: Log = []
        self._waiter: Waiter | None = None
        self._once = [None]  # popped by the first that ends it

    @classmethod
    def of(cls, rt: Runtime, group: BatchGroup, request: Run) -> BatchWork:
        """That of a group, which may have none yet."""
        work: BatchWork | None = group.work
        return work or cls(rt, group, request)

    def begin(self, parked: Run | None) -> None:
        """Begin the strand. ``parked``: the outermost run whose strands alone may ask for more."""
        if parked is not None and self.group is not None:
            self.parked = ParkedRequest.begin(parked, self.group, self.hurry)
        self.strand = self.rt.spawn(self.serve, INF)
        self.strand.add_waker(partial(self.over, None))

    async def serve(self) -> None:
        """What the strand runs."""
        root = CURRENT.get()
        assert root is not None  # noqa: S101 - ``spawn`` has set it
        own = root.fork()
        CURRENT.set(own)
        ending: Ending | None = None
        group = self.group
        assert group is not None  # noqa: S101 - it ends below
        try:
            await self._collected(own, group)
            ending = await self._called(own, root.run, group)
        except OuterExpired:
            pass  # the limits of all callers are over, which they notice themselves
        except BaseException as exc:
            if root.run.stop_error is not None or isinstance(exc, GeneratorExit):
                raise
            ending = Ending("", Raised(exc), failed=True)
        finally:
            own.end()
            self.over(ending)
            del self, own, ending, group

    async def _collected(self, own: Strand, group: BatchGroup) -> None:
        """Wait for further calls.

        On a loop that is busy ``wait`` may pass while others are about to join, so it goes round until none has.
        """
        joined = 0
        while not group.due:
            left = group.until - self.rt.now()
            if left > 0:
                self._waiter = waiter = self.rt.waiter()
                if not group.due:
                    await wait_at_most(own, waiter, left)
            elif joined < group.joined:
                joined = group.joined
                await self.rt.sleep(0)
            else:
                return

    async def _called(self, own: Strand, root: Run, group: BatchGroup) -> Ending | None:
        """Make the call, until the latest limit of those who wait. None: nobody does."""
        items, calls = group.batch.send(group), group.calls
        if not items or not calls:
            return None
        calls[0].leads = True
        caller: Caller = calls[0].caller
        branch, request = caller.op.branch, self.request
        own.deadline = own.parent_deadline = max(call.deadline for call in calls)
        own.slot.arm(own.deadline)
        if self.parked is not None:
            self.line = self.parked.send(group)
        if group.batch.shared:
            OPENED.set(())  # what the call asks for in its turn is not for the one user whose context it has
            request = root
        ASKED_FOR.set(AskedFor(root, request, self.line, caller.strand.run))
        run = caller.strand.run.part()
        run.around, run.step = root, None
        if run.observed:
            report_batch_sent(run, group.batch, branch, len(items), [call.caller.strand.run for call in calls])
        own.kept = caller.strand.kept
        strand = own.beside(run)
        token = CURRENT.set(strand)
        self.log = run.log
        try:
            got = await caller.part(strand, branch, items)
            failed = isinstance(got, Failed)
            close(run.log, branch.low, branch.high, got.error if failed else None)
        finally:
            CURRENT.reset(token)
            strand.close()
        return Ending(run.plan.tasks[branch.high - 1].name, got.error if failed else got, failed=failed)

    def hurry(self) -> None:
        """Nothing could join it any more."""
        group = self.group
        if group is not None:
            group.batch.hurry(group)
            self.wake()

    def wake(self) -> None:
        """It may be due. From any thread."""
        waiter = self._waiter
        if waiter is not None:
            waiter.wake()

    def over(self, ending: Ending | None) -> None:
        """It has ended, and how; None: without an answer. What comes later does not count."""
        group = self.group
        if group is None:
            return
        ended = group.batch.end(group, ending)
        if self._once and self.parked is not None:
            self._once.pop()
            self.parked.unpark(ended)  # before any is woken: one that goes on may ask for more
            self.parked.end(group, self.line)
        for call in ended:
            if call.wake is not None:
                call.wake()
        self.group = None

    def error_for(self, strand: Strand) -> BaseException | None:
        """Why there is no answer for this caller. None: for a reason that is another one's, so it may ask again."""
        return self.strand.error if self.strand is not None and self.rt is strand.rt else None


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


def _take_record(log: Log, of_call: Log, low: int, high: int) -> None:
    for index in range(low, high):
        if of_call[index] is not None:
            found = record_of(of_call, index)
            total = item_totals_of(log, index) if isinstance(found, ItemTotals) else record_of(log, index)
            total.add_calls(found)
            total.take_end(found)
