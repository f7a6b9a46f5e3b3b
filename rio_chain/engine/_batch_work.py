"""The call that a batch makes for all who wait: a strand of its own."""

from __future__ import annotations

from contextvars import ContextVar
from functools import partial
from typing import NamedTuple

from rio_chain.engine._current_run import CURRENT, INF, Run, Strand
from rio_chain.engine._enter_policy import wait_at_most
from rio_chain.engine._frames import OuterExpired, RunPart
from rio_chain.engine._instructions import BatchOp
from rio_chain.engine._parked import ParkedRequest, RunLine
from rio_chain.engine._reports import report_batch_sent
from rio_chain.engine._runtime_protocol import Raised, Runtime, SpawnedStrand, Waiter
from rio_chain.policies._batch import OPENED
from rio_chain.policies._batch_group import BatchGroup, Ending
from rio_chain.results._outcome import Failed
from rio_chain.results._task_record import Log, close


class AskedFor(NamedTuple):
    """For whom the call of a batch is made."""

    run: Run
    """That of the call."""
    request: Run
    """The outermost run to which it counts."""
    line: RunLine | None
    waiting: tuple[Run, ...] = ()
    """Those that wait for it when it is made."""
    outer: AskedFor | None = None
    """What the call was asked for in, if that is a call of another batch."""


ASKED_FOR: ContextVar[AskedFor | None] = ContextVar("rio_chain_batch_asked_for", default=None)


class Caller(NamedTuple):
    """Who asks, and how it would make the call."""

    strand: Strand
    op: BatchOp
    part: RunPart


class BatchWork:
    """The strand of one group: it waits for further calls, makes the call and gives each caller its part.

    Attributes:
        parked: the request whose strands may ask for more; None where others may, too.
        group: None when it has ended, as that knows it, too.
        log: what was recorded of the call.
    """

    __slots__ = ("_calling", "_once", "_waiter", "group", "line", "log", "parked", "request", "rt", "strand")

    def __init__(self, rt: Runtime, group: BatchGroup, request: Run) -> None:
        self.rt = rt
        self.group: BatchGroup | None = group
        self.request = request
        self.parked: ParkedRequest | None = None
        self.line: RunLine | None = None
        self.strand: SpawnedStrand | None = None
        self.log: Log = []
        self._waiter: Waiter | None = None
        self._calling: Strand | None = None  # what makes the call, while it is made
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
            pass  # the deadlines of all callers have passed, which they notice themselves
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
                await self.rt.sleep(self.rt.turn)
            else:
                return

    async def _called(self, own: Strand, root: Run, group: BatchGroup) -> Ending | None:
        """Make the call, with the latest deadline of the callers that wait. Returns None if no caller waits."""
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
        waiting = tuple([call.caller.strand.run for call in calls])
        ASKED_FOR.set(AskedFor(root, request, self.line, waiting, ASKED_FOR.get()))
        run = caller.strand.run.part()
        run.around, run.step = root, None
        if run.observed:
            report_batch_sent(run, group.batch, branch, len(items), [call.caller.strand.run for call in calls])
        own.kept = caller.strand.kept
        strand = own.beside(run)
        token = CURRENT.set(strand)
        self.log = run.log
        self._calling = own
        try:
            got = await caller.part(strand, branch, items)
            failed = isinstance(got, Failed)
            close(run.log, branch.low, branch.high, got.error if failed else None)
        finally:
            self._calling = None
            CURRENT.reset(token)
            strand.close()
        return Ending(run.plan.tasks[branch.high - 1].name, got.error if failed else got, failed=failed)

    def stop(self) -> None:
        """No caller waits any more. A call that is made is interrupted as its timeout does that: once.

        The timeouts of all callers may have passed, and with them that of the call. A second interruption would meet
        the clean-up of the function.
        """
        calling = self._calling
        if calling is not None:
            calling.slot.stop()
        elif self.strand is not None:
            self.strand.cancel("nobody waits for it any more")

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
        """The call has ended, and how. None if it has no answer. A later end does not count."""
        group = self.group
        if group is None:
            return
        ended = group.batch.end(group, ending)
        if self._once and self.parked is not None:
            self._once.pop()
            self.parked.unpark(ended)  # before any is woken: one that goes on may ask for more
            self.parked.end(group, self.line)
        if ended and not any(call.leads for call in ended):
            ended[0].leads = True  # the first that waits still, as the one that led has left
        for call in ended:
            if call.wake is not None:
                call.wake()
        self.group = None

    def error_for(self, strand: Strand) -> BaseException | None:
        """Why there is no answer for this caller. None if another caller is the reason, so this one may ask again."""
        return self.strand.error if self.strand is not None and self.rt is strand.rt else None
