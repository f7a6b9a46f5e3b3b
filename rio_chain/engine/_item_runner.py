"""Many runs of one part of a chain, some of them at once: the common part of ``each`` and ``expand``.

The workers are a few strands. Each worker takes one piece of work at a time. Every piece has a log of its own. When the
piece has ended, its log is added to the totals of the tasks and then freed. So a hundred thousand pieces do not keep a
hundred thousand logs in memory.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Awaitable, Callable, Hashable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from returns.result import Failure, Success

from rio_chain._core.tracebacks import drop_frames
from rio_chain.chain._nodes import Each
from rio_chain.engine._ask import predicate_holds
from rio_chain.engine._current_run import CURRENT, INF, Run, Strand
from rio_chain.engine._frames import Fail, Frame, NestedFail, OuterExpired, RunPart, budget_of
from rio_chain.engine._instructions import ItemsOp
from rio_chain.engine._item_commits import ItemCommits
from rio_chain.engine._race import Race, RaceOver
from rio_chain.engine._refused_answers import close_refused
from rio_chain.engine._runtime_protocol import Waiter
from rio_chain.engine._time_limit import TimeIsUp, is_up, limit_from_now, timed_out
from rio_chain.engine._yield_to_loop import yield_to_loop
from rio_chain.errors import NotEnoughSuccesses, TaskTimedOut
from rio_chain.policies import AtLeast, Retry
from rio_chain.policies._match_errors import Match, matches
from rio_chain.results._error_summary import add_error
from rio_chain.results._outcome import Failed
from rio_chain.results._task_record import ItemTotals, Log, close, item_totals_of

if TYPE_CHECKING:
    from rio_chain.engine._item_keys import ItemKeys
    from rio_chain.engine._journal_protocol import Write

KEPT_ERRORS = 1_000
"""The most errors that ``NotEnoughSuccesses`` holds."""
MAX_WORKERS = 1_000
"""The most workers if the amount of work is not known: all of them are started, though most may be unnecessary."""


class PendingItem:
    """One piece of work."""

    __slots__ = ("commits", "item", "key", "last", "number", "value", "write")

    def __init__(self, number: int, item: Any) -> None:
        self.number = number
        self.item = item
        self.key: Hashable = NO_KEY  # what names it in a journal, in place of its number
        self.commits: ItemCommits | None = None  # in a run with a journal
        self.write: Write | None = None  # the record of its last answer, if its worker does not wait for that
        self.value: Any = DROPPED  # its value in the result
        self.last = False  # whether the result ends before it

    def __str__(self) -> str:
        """The name of the runner in an idempotency key (``way_to``). When the ``each`` runs again, it is the same."""
        return f"item {self.number}" if self.key is NO_KEY else f"item key {self.key!r}"


NO_KEY: Hashable = object()


class Dropped:
    """Marks a piece of work that has no value in the result."""


DROPPED = Dropped()


class ItemFlow(Protocol):
    """Gives work to the workers, and collects the results."""

    async def take(self, strand: Strand) -> PendingItem | None:
        """Wait for the next piece of work and return it.

        Returns None if there is no more work, or if the item runner has been stopped. An implementation calls
        ``strand.pay()`` before it waits: a waiting strand must not keep places of a ``Limit``.
        """

    def more(self, strand: Strand) -> PendingItem | None:
        """As ``take``, of what need not be waited for; None also where there may be more later."""

    async def done(self, strand: Strand, work: PendingItem, got: Any) -> None:
        """A piece of work has ended. ``got`` is its value or ``Failed``; ``work.value`` goes into the result."""

    def stop(self) -> None:
        """Give out no more work, and wake the workers that wait in ``take``."""


class ItemRunner:
    """One EACH or EXPAND that runs."""

    def __init__(self, strand: Strand, op: ItemsOp, frames: list[Frame], part: RunPart) -> None:
        branch = op.branch
        self.parent = strand
        self.op = op
        self.low, self.high = branch.low, branch.high
        self.branch, self.part = branch, part
        self.frames = frames
        self.on_error = op.node.on_error
        self.drop = op.node.drop
        self.budget = budget_of(strand, frames)
        self.rounds = strand.rounds + sum(frame.retries for frame in frames if type(frame.layer) is Retry)
        self.lock = threading.RLock()  # on threads the workers run side by side
        self.totals: list[ItemTotals] = []
        self.race = Race(strand.contender)
        self.succeeded = 0
        self.errors: list[Any] = []
        self.failure: Failed | None = None
        self.failed_log: Log | None = None  # of the item whose failure ended the whole
        self.matters: Callable[[int], bool] = _always  # whether the item of this number is a part of the result
        self.enough = False  # the result is complete, though items may still run
        self.expected: int | None = None  # how many items there are, if that is known
        self.rests = False  # whether a worker yields to the event loop
        self.resting = Condition()
        self.commits: ItemCommits | None = None
        self.keys: ItemKeys | None = None  # of an `each` with `key=` in a run with a journal
        self.time_limit: float | None = None  # in seconds
        self.keeps = False  # whether the values that have come by then are enough
        if isinstance(op.node, Each):
            self.time_limit, self.keeps = op.node.time_limit, op.node.keeps
        self.until = INF
        self.up = False  # the time limit is reached

    @property
    def ends_at_failure(self) -> bool:
        """Whether the failure of any item is the failure of the whole."""
        return self.on_error == "raise" and self.drop is None and self.matters is _always

    def again(self, value: Any) -> bool:
        """Whether a retry runs this ``each`` or ``expand`` again with the same input."""
        return any(type(f.layer) is Retry and f.retries and f.place[2] is value for f in self.frames)

    async def run(
        self,
        flow: ItemFlow,
        workers: int,
        beside: Sequence[Callable[[], Awaitable[Failed | None]]] = (),
        *,
        commits: bool = False,
    ) -> None:
        """Do all work.

        Args:
            flow: gives out the work.
            workers: how many strands take work.
            beside: further strands, which take no work. They end when all work has ended. If one of them fails, the
                work ends.
            commits: whether an item may wait for its commit without its worker.

        Raises:
            NestedFail: the item runner has failed.
            TimeIsUp: the time limit is reached, and the values that have come are enough.
        """
        self.until = limit_from_now(self.parent, self.time_limit)
        self.totals = [item_totals_of(self.parent.run.log, index) for index in range(self.low, self.high)]
        for totals_of_task in self.totals:
            totals_of_task.restart()
            totals_of_task.drops = self.drop is not None or self.on_error not in ("raise", "keep", "stop")

        self.race.expect(workers)
        if commits and workers:
            self.commits = ItemCommits(self, flow, workers)
            beside = [*beside, self.commits.run]

        async def worker() -> Failed | None:
            try:
                return await self._worker(flow)
            finally:
                if self.commits is not None:
                    self.commits.worker_ended()

        if workers:
            await self.parent.rt.race([*[worker] * workers, *beside], _is_failure)
        least = self.on_error.least if isinstance(self.on_error, AtLeast) else 0
        if self.failure is None and self.succeeded < least:
            self.failure = Failed(NotEnoughSuccesses(least, self.succeeded, tuple(self.errors)))
        error = None if self.failure is None else self.failure.error
        self._close(self.timed_out() if self.up and error is None else error)
        self.parent.run.merged(self.low, self.high, won=self.failure is None)
        if self.failure is not None:
            raise NestedFail(self.failure.error)
        if self.up:
            raise TimeIsUp

    def left_out(self, count: int) -> None:
        """So many items have not begun, as the time limit was reached."""
        for totals_of_task in self.totals:
            totals_of_task.counts["skipped"] += count

    def timed_out(self) -> TaskTimedOut:
        """The error of what has not ended when the time limit is reached."""
        return timed_out(self.parent.run, self.low, self.high, self.time_limit or 0)

    def fail(self, error: Any, log: Log | None = None) -> None:
        """The whole ``each`` or ``expand`` has failed. The first failure is kept."""
        drop_frames(error)
        with self.lock:
            self.race.decided = True
            if self.failure is None:
                self.failure, self.failed_log = Failed(error), log

    def _close(self, error: Any) -> None:
        for index, totals_of_task in enumerate(self.totals, start=self.low):
            if self.up and self.failure is not None and self.failed_log is None:
                totals_of_task.end(error, sibling=False)
                continue
            totals_of_task.close_open(error, sibling=not self.up)
            totals_of_task.done(None if self.failed_log is None else self.failed_log[index], error)

    # --- the workers ---------------------------------------------------------------------------------------------

    async def _worker(self, flow: ItemFlow) -> Failed | None:
        own = self.parent.fork(self.race, self.until)
        own.budget, own.rounds = self.budget, self.rounds
        CURRENT.set(own)
        rt = own.rt
        try:
            while self.failure is None and not self.enough:
                own.slot.arm(own.deadline)
                t = rt.now()
                if t >= rt.look_at:  # before an item is taken, so that no item begins and is interrupted
                    await self._give_way(own, t)
                work = await flow.take(own)
                if work is None:
                    break
                await self.one(own, flow, work)
        except RaceOver:
            if not self.race.decided:  # a race around this one is over
                raise
        except Exception as exc:  # noqa: BLE001 - from the user's functions, keys and iterators
            self.fail(exc.error if isinstance(exc, Fail) else exc)
        except BaseException as exc:
            self.race.decided = True
            flow.stop()  # a worker whose body swallowed the same interruption would wait for this unfinished work
            if not self._reached_limit(own, exc):
                raise
        finally:
            own.end()
        if self.failure is not None:
            flow.stop()
        return self.failure or (ENOUGH if self.enough else None)

    def _reached_limit(self, own: Strand, exc: BaseException) -> bool:
        """Whether a worker was interrupted because the time limit is reached."""
        if not own.slot.settle(exc) and type(exc) is not OuterExpired:
            return False
        if not is_up(self.parent, self.until):  # a timeout around the whole has expired, and its strand may not know
            raise OuterExpired from None
        self.up = True
        if not self.keeps:
            self.fail(self.timed_out())
        return True

    async def _give_way(self, own: Strand, t: float) -> None:
        """Yield to the event loop if it is time. One worker yields, and the others wait for it.

        Waking a thousand workers may take longer than their items. So each worker that continues wakes only two
        others, which do the same.
        """
        while t >= own.rt.look_at:
            waiter = self.resting.enter(own) if self.rests else None
            if waiter is not None:
                await waiter.wait()
                t = own.rt.now()
                continue
            self.rests = True
            try:
                t = await yield_to_loop(own, own.deadline, t)
            finally:
                self.rests = False
        self.resting.open(2)

    async def one(self, own: Strand, flow: ItemFlow, work: PendingItem) -> None:
        """Do this piece of work, and maybe more."""
        if self.keys is not None:
            await self.keys.give(own, work)
        run = self.parent.run.part(item=work.number)
        run.step = work
        work.commits = self.commits
        strand = own.beside(run)
        token = CURRENT.set(strand)
        try:
            got = await self.part(strand, self.branch, work.item)
        except BaseException:
            self.note(work, run.log)
            raise
        finally:
            CURRENT.reset(token)
            strand.close()
        await self.ended(own, flow, work, run, got)

    async def ended(self, own: Strand, flow: ItemFlow, work: PendingItem, run: Run, got: Any) -> None:
        """A piece of work has ended so; ``run`` is that of it alone."""
        failed = type(got) is Failed
        close(run.log, self.low, self.high, got.error if failed else None)
        if failed:
            run.given_up(self.low, self.high)
        elif run.observed:
            run.branch_gave(self.branch.name, got)
        self.note(work, run.log)
        own.slot.arm(own.deadline)
        drops = failed and self.drop is not None and await self._drops(own, self.drop, got.error)
        drops = drops or (failed and not self.matters(work.number))
        if failed and self.on_error == "raise" and not drops:
            self.fail(got.error, run.log)
            if not self.branch.shared and self.failure is not None and self.failure.error is not got.error:
                await close_refused(own, got.error)
            return
        if work.write is not None and self.commits is not None:
            self.commits.add(work, got)
            return
        await self.done(own, flow, work, got, drops=drops)

    async def done(self, own: Strand, flow: ItemFlow, work: PendingItem, got: Any, *, drops: bool = False) -> None:
        """A piece of work is done, and its value goes into the result."""
        failed = type(got) is Failed
        work.value = DROPPED if drops else self._handed_on(got)
        work.last = failed and self.on_error == "stop" and not drops
        if failed and work.value is DROPPED and not self.branch.shared:
            await close_refused(own, got.error)
        await flow.done(own, work, got)

    async def _drops(self, own: Strand, drop: Match, error: Any) -> bool:
        """Whether an item with this error is only left out."""
        found = matches(drop, error)
        return await predicate_holds(own, "drop", drop, error) if found is None else found  # type: ignore[arg-type]

    def note(self, work: PendingItem, log: Log) -> None:
        """The totals take up what it left."""
        with self.lock:
            for index, totals_of_task in enumerate(self.totals, start=self.low):
                totals_of_task.add(work.number, log[index])

    def _handed_on(self, got: Any) -> Any:
        if type(got) is not Failed:
            with self.lock:
                self.succeeded += 1
            return Success(got) if self.on_error == "keep" else got
        with self.lock:
            if len(self.errors) < KEPT_ERRORS:
                add_error(self.errors, got.error)
        return Failure(got.error) if self.on_error == "keep" else DROPPED


def _always(_: int) -> bool:
    return True


ENOUGH = Failed(None)
"""Returned by a worker when the result is complete, so that the other workers are stopped."""


def _is_failure(got: Failed | None) -> bool:
    return got is not None


class Condition:
    """Workers wait here for a change of the state. When they are woken, they check the state again."""

    def __init__(self) -> None:
        self._waiters: deque[Waiter] = deque()

    def waiting(self) -> int:
        """How many wait."""
        return len(self._waiters)

    def enter(self, strand: Strand) -> Waiter:
        """Returns a waiter. Call this under the lock that guards the state, and wait after releasing the lock."""
        waiter = strand.rt.waiter()
        self._waiters.append(waiter)
        return waiter

    def open(self, count: int | None = None) -> bool:
        """Wake ``count`` waiting workers, or all of them. Call this under the same lock as ``enter``.

        Returns False if no worker was waiting.
        """
        left = len(self._waiters) if count is None else count
        found = bool(self._waiters)
        while left and self._waiters:
            left -= 1
            self._waiters.popleft().wake()
        return found
