"""Several calls on the same input, of which one wins: hedged replicas, and races of chains.

Every contender is a work of one race. It waits at the gate until it may start, runs its branch with a log of its own,
and has its answer looked at by the chooser. When all is over the logs become one.
"""

from __future__ import annotations

import threading
from functools import partial
from typing import Any

from rio_chain._core.tracebacks import drop_frames
from rio_chain._core.unhandled_errors import surely
from rio_chain.engine._current_run import CURRENT, INF, Run, Strand
from rio_chain.engine._discarded_results import ClosingRuntime, close_all, close_here
from rio_chain.engine._enter_policy import wait_at_most
from rio_chain.engine._frames import Fail, Frame, OuterExpired, RunPart, ask, budget_of, first_over
from rio_chain.engine._instructions import Branch, RaceOp
from rio_chain.engine._race import Race, RaceOver
from rio_chain.engine._refused_answers import refused_by
from rio_chain.engine._runtime_protocol import Waiter
from rio_chain.engine._thread_bound_values import Pinned
from rio_chain.errors import CallbackFailed, NotAccepted
from rio_chain.policies import Budget, Quantile, Replica, Retry
from rio_chain.policies._chooser import Arrival, Decision
from rio_chain.policies._wrong_loop_errors import of_another_loop
from rio_chain.results._outcome import Failed
from rio_chain.results._task_record import Log, close, merge, record_of


async def run_hedge(strand: Strand, op: RaceOp, value: Any, frames: list[Frame], part: RunPart) -> Any:
    """Run the contenders of a RACE; give the answer that wins, or raise ``Fail``."""
    _, branches, replica, hedge, _ = op
    race = HedgeRace(strand, branches, replica, budget_of(strand, frames) if hedge else None)
    race.rounds += sum(frame.retries for frame in frames if type(frame.layer) is Retry)
    race.frames = frames
    race.hedge = hedge
    works = [partial(race.contender, number, value, part) for number in range(replica.count)]
    try:
        try:
            await strand.rt.race([*works, race.timekeeper], race.is_over)
        except BaseException:
            close_here(race.unwanted())
            raise
        finally:
            race.merge_logs()
        return await race.result()
    finally:
        race.forget()


def _left_open(_: Any) -> None:
    """An answer that others may hold as well."""


class HedgeRace:
    """One such race: who may start, what has come, and what the chooser says to that."""

    def __init__(self, parent: Strand, branches: tuple[Branch, ...], replica: Replica, budget: Budget | None) -> None:
        self.parent = parent
        self.branches = branches
        self.replica = replica
        self.budget = budget
        self.race = Race(parent.contender, replica.count)
        self.rounds = parent.rounds
        self.frames: list[Frame] = []  # around the race; nobody changes them while it runs
        self.hedge = False  # whether its calls are replicas of one, and not chains of their own
        self.started = self.running = self.denied = self.ended = 0
        self.cut = False  # one has failed as any further call would
        self.decision = Decision(missing=replica.pick.least)
        self.arrived: list[Arrival] = []
        self.errors: dict[int, Any] = {}
        self.took: dict[int, float] = {}
        self.began = 0.0
        self.late: list[Any] = []  # answers that nobody needs
        self.logs: list[Log | None] = [None] * replica.count
        self.kept: dict[int, list[Any]] = {}  # what each has found for tasks further down
        self.pinned: dict[int, tuple[Pinned, ...]] = {}  # what each has for an `each` after the race
        self.broken: Exception | None = None
        self._given = 0  # the id of the answer that was handed on, when all is over
        self._turn = 0  # who may start next
        self._at = INF  # when, if nothing happens before
        self._allowed = replica.starts(started=0, running=0, missing=replica.pick.least)  # so many need not wait
        self._waiters: dict[int, Waiter] = {}  # of those who stand at the gate; -1: the timekeeper
        self._lock = threading.RLock()  # on threads the contenders run side by side

    # --- the strands ---------------------------------------------------------------------------------------------

    async def contender(self, number: int, value: Any, part: RunPart) -> None:
        """One call: wait for the start, run, tell what came."""
        parent = self.parent
        shared = self.branches[number % len(self.branches)].shared
        rt = ClosingRuntime(parent.rt, _left_open if shared else self._unwanted, partial(self._late, number))
        strand = parent.fork(self._part_run(number), rt, self.race)
        strand.replica, strand.rounds = number, self.rounds
        CURRENT.set(strand)
        extra = None
        try:
            await self._start(strand, number)
            if self.budget is not None and number:
                extra = self.budget.extra()
                if extra is None:
                    self._ended(number, denied=True)
                    return
            with self._lock:
                self.began = self.began if self.started else strand.rt.now()
                self.started += 1
                self.running += 1
            self.logs[number], self.kept[number] = strand.run.log, strand.kept
            if self.hedge and number:
                strand.run.hedge_started(self.branches[number % len(self.branches)].low, self.rounds + 1, number)
            await self._run(strand, number, value, part)
        except RaceOver:
            if not self.race.decided:  # one around it is over
                raise
        except BaseException as exc:
            self.race.decided = True  # or it is broken
            if strand.slot.settle(exc):  # a limit around the race is over, and who keeps it may not know yet
                raise OuterExpired from None
            raise
        finally:
            if extra is not None:
                extra.dropped()
            elif self.budget is not None and not number:
                first_over(self.frames, self.budget)
            strand.end()

    def _part_run(self, number: int) -> Run:
        run = self.parent.run.part()
        if self.hedge:  # the same call at another place has the same idempotency key
            run.step = self.branches[number % len(self.branches)].low - self.branches[0].low
        return run

    async def _run(self, strand: Strand, number: int, value: Any, part: RunPart) -> None:
        branch = self.branches[number % len(self.branches)]
        now, log = strand.rt.now, strand.run.log
        began = now()
        try:
            value = await part(strand, branch, value)
            if type(value) is Failed:
                self._ended(number, error=value.error)
                return
            ended = now()
            strand.deadline = strand.parent_deadline
            strand.slot.arm(strand.deadline)  # a limit in it was left in time, and has no say in how it is judged
            mark, good = await self._judged(strand, number, value)
        except (Fail, CallbackFailed) as exc:
            self._ended(number, error=exc.error if isinstance(exc, Fail) else exc)
            return
        if not good:
            name = self.parent.run.plan.tasks[branch.low].name
            error = NotAccepted(name, value)
            if branch.high - branch.low == 1:
                record_of(log, branch.low).failed(error)
            self._ended(number, error=error)
            return
        self.pinned[number] = strand.pinned
        # an answer that came because the calls before it are late took at least as long as they do
        self.took[number] = ended - (began if self.errors else self.began)
        self._ended(number, arrival=Arrival(number, value, mark, now()))

    async def _judged(self, strand: Strand, number: int, value: Any) -> tuple[Any, bool]:
        """What the chooser's function makes of an answer, and whether that answer may win."""
        pick = self.replica.pick
        try:
            mark = None if pick.ask is None else await ask(strand, pick.ask.role, pick.ask.fn, value)
            return mark, await ask(strand, "pick", pick.good, mark)  # that may ask the mark whether it is true
        except BaseException:
            self._late(number, value)
            raise

    async def timekeeper(self) -> None:
        """Decide again when the chooser says so, whether or not anything has come."""
        strand = self.parent.fork()
        try:
            while not self.is_over(None):
                waiter = strand.rt.waiter()
                with self._lock:
                    self._waiters[-1] = waiter
                    until = self.decision.until
                if until is None:
                    await waiter.wait()
                    continue
                await wait_at_most(strand, waiter, until - strand.rt.now())
                if strand.rt.now() >= until:
                    self._decide(strand.rt.now())
        finally:
            strand.end()

    # --- the gate ------------------------------------------------------------------------------------------------

    async def _start(self, strand: Strand, number: int) -> None:
        """Wait until this contender may start: so long after the last start, or when one is wanted at once."""
        while True:
            waiter = strand.rt.waiter()
            left = self._left(number, strand.rt.now(), waiter)
            if left <= 0:
                self._tell(self._turn)
                return
            await wait_at_most(strand, waiter, None if left == INF else left)

    def _left(self, number: int, now: float, waiter: Waiter) -> float:
        """Seconds until it may start, as far as that can be known; 0: it starts."""
        with self._lock:
            if self.race.over:
                return INF
            if self._turn == number and (self._allowed or now >= self._at):
                self._allowed = max(0, self._allowed - 1)
                self._turn = number + 1
                delay = self.replica.delay()
                self._at = INF if delay is None else now + delay
                return 0
            self._waiters[number] = waiter
            return self._at - now if self._turn == number else INF

    def _tell(self, number: int) -> None:
        with self._lock:
            waiter = self._waiters.get(number)
        if waiter is not None:
            surely(waiter.wake)

    # --- the decision --------------------------------------------------------------------------------------------

    def is_over(self, _: object) -> bool:
        """Whether it is decided, or there is nothing more to come."""
        with self._lock:
            if self.cut and not self.running:
                return True
            hopeless = self.decision.hopeless and (self.arrived or self.errors)  # else there is nothing to fail with
            decided = self.decision.winner is not None or hopeless or self.broken is not None
            return bool(decided) or self.ended == self.replica.count

    def _ended(self, number: int, *, arrival: Arrival | None = None, error: Any = None, denied: bool = False) -> None:
        """A contender has ended, with an answer, with an error, or because it was not allowed to start."""
        with self._lock:
            if arrival is not None and self.is_over(None):
                self._late(number, arrival.value)
                return
            self.ended += 1
            self.denied += denied
            self.running -= not denied
            if arrival is not None:
                self.arrived.append(arrival)
            elif not denied:
                drop_frames(error)
                self.errors[number] = error
                self.cut = self.cut or (self.hedge and len(self.branches) == 1 and of_another_loop(error))
                for value in refused_by((error,)):
                    self._late(number, value)
        self._decide(self.parent.rt.now(), failed=arrival is None and not denied)

    def _decide(self, now: float, *, failed: bool = False) -> None:
        with self._lock:
            try:
                left = self.running if self.cut else self.replica.count - self.ended
                self.decision = decision = self.replica.pick.decide(self.arrived, left=left, now=now)
            except Exception as exc:  # noqa: BLE001 - it compares the user's values
                self.broken = CallbackFailed("pick", repr(self.replica.pick), exc)
                self.race.decided = True
                drop_frames(self.broken)
                return
            self.race.decided = self.race.decided or self.is_over(None)
            if self.cut:
                self._allowed, self._at = 0, INF
            else:
                self._allowed += self.replica.starts(
                    started=self._turn, running=self.running, missing=decision.missing, failed=failed
                )
            turn = self._turn
        self._tell(turn)
        self._tell(-1)

    # --- the end -------------------------------------------------------------------------------------------------

    def merge_logs(self) -> None:
        """Make one log of those of all contenders. The winner's says how it ended; else that of who failed."""
        winner = self.decision.winner
        log = self.parent.run.log
        wasted = self.started - (winner is not None)
        for index, branch in enumerate(self.branches):
            own = [(i, found) for i, found in enumerate(self.logs) if found and i % len(self.branches) == index]
            merge(log, branch.low, branch.high, own, self._speaker())
            if winner is not None and winner % len(self.branches) != index:
                close(log, branch.low, branch.high, None, sibling=True)
            for task in range(branch.low, branch.high):
                entry = record_of(log, task)
                entry.started, entry.wasted = self.started, wasted
                entry.denied += self.denied
                entry.winner = winner or 0
            self.parent.run.merged(branch.low, branch.high, won=winner is not None)

    def _speaker(self) -> int | None:
        """Who says how it ended; None: nobody, as it was interrupted."""
        if self.decision.winner is not None or not self.is_over(None):
            return self.decision.winner
        return min(self.errors, default=self.arrived[0].index if self.arrived else None)

    def _late(self, number: int, value: Any) -> None:
        """An answer that nobody here needs; it is closed in the end, unless somebody else may hold it."""
        if not self.branches[number % len(self.branches)].shared:
            self.late.append(value)

    def unwanted(self) -> list[Any]:
        """All answers that may be closed."""
        arrived = [one for one in self.arrived if not self.branches[one.index % len(self.branches)].shared]
        return [*self.late, *(one.value for one in arrived)]

    def _won(self) -> Any:
        winner = self.decision.winner
        return next((one.value for one in self.arrived if one.index == winner), None)

    def _unwanted(self, value: Any) -> None:
        """An answer came when its contender had gone, maybe long after the race."""
        won = id(self._won())  # read first: once that is forgotten, its id is known
        if id(value) != (self._given or won):
            close_here([value])

    def forget(self) -> None:
        """All is over. A call that was abandoned, or the context of one in a timer, may keep this for long."""
        self._given = id(self._won())
        self.arrived, self.errors, self.late, self.kept, self.frames = [], {}, [], {}, []
        self.pinned = {}
        self.logs.clear()

    async def result(self) -> Any:
        """The answer that has won, or ``Fail``. What the others answered is closed, if it can be."""
        winner, won = self.decision.winner, self._won()
        error = None if winner is not None and self.broken is None else self._error()
        kept = error.value if isinstance(error, NotAccepted) else won
        for pinned in self.pinned.values():
            self.parent.pinned += pinned
        await close_all(self.parent, (value for value in self.unwanted() if value is not kept))
        if winner is None or self.broken is not None:
            self._close_logs(error)
            raise Fail(error)
        for place in self.branches[winner % len(self.branches)].keeps:  # a branch beside the race may keep others
            self.parent.kept[place] = self.kept[winner][place]
        after = self.replica.after
        if isinstance(after, Quantile):
            after.add(self.took[winner])
        return won

    def _close_logs(self, error: Any) -> None:
        """Nobody has won: those who still ran were stopped, and an answer of one task alone was not accepted.

        Where one has failed, its log says how it ended: its task may have succeeded, and a bridge after it not.
        """
        for branch in self.branches:
            refused = self.hedge and not self.errors and branch.high - branch.low == 1
            for index in range(branch.low, branch.high):
                entry = record_of(self.parent.run.log, index)
                if entry.status == "running":
                    entry.end(error, sibling=True)
                elif refused and entry.status == "succeeded":
                    entry.failed(error)

    def _error(self) -> Any:
        if self.broken is not None:
            return self.broken
        if self.errors:
            return self.errors[min(self.errors)]
        name = self.parent.run.plan.tasks[self.branches[0].low].name
        return NotAccepted(name, self.arrived[0].value)
