"""Several calls on the same input, of which one wins: hedged replicas, and races of chains.

One call runs in the strand that entered the race (``RaceFrame``), the others in strands beside it. Each call has a log
of its own, and the chooser checks its answer. At the end the logs are merged into one.
"""

from __future__ import annotations

import threading
from functools import partial
from typing import TYPE_CHECKING, Any

from rio_chain._core.tracebacks import drop_frames
from rio_chain.engine._current_run import INF
from rio_chain.engine._discarded_results import close_all, close_here
from rio_chain.engine._frames import Fail, budget_of, first_over
from rio_chain.engine._hedge_log import HedgeLog, not_accepted
from rio_chain.engine._instructions import Branch
from rio_chain.engine._race import Contender, Race
from rio_chain.engine._refused_answers import refused_by
from rio_chain.engine._retries_in import retries_in
from rio_chain.engine._runtime_protocol import Timer, Waiter
from rio_chain.engine._side_call import SideCall
from rio_chain.engine._side_strands import SideStrands
from rio_chain.engine._thread_bound_values import Pinned
from rio_chain.errors import CallbackFailed, NotAccepted
from rio_chain.policies._chooser import Arrival, Decision
from rio_chain.policies._first import First
from rio_chain.policies._permit import Permit
from rio_chain.policies._wrong_loop_errors import of_another_loop
from rio_chain.results._task_record import Log, record_of

if TYPE_CHECKING:
    from rio_chain.engine._race_frame import RaceFrame

_FIRST = First()


class HedgeRace:
    """One such race: which calls may start, which answers have come, and what the chooser decides.

    When it begins, its first call is already running, in the strand of its frame.
    """

    def __init__(self, frame: RaceFrame) -> None:
        op, parent = frame.op, frame.strand
        self.frame = frame
        self.parent = parent
        self.rt = parent.rt
        self.branches = op.branches
        self.replica = op.replica
        self.delays = frame.plan or op.replica
        self.hedge = op.hedge  # whether its calls are replicas of one, and not chains of their own
        self.judges = op.replica.pick != _FIRST  # whether the chooser has to check the answers
        self.budget = budget_of(parent, frame.frames) if op.hedge else None
        self.around = frame.contender  # not the strand's: that may belong to a race inside this one by now
        self.race = Race(self.around, op.replica.count)
        self.permits, self.rounds = parent.permits, frame.rounds + retries_in(frame.frames)
        self.log = HedgeLog(frame)
        self._lock = threading.RLock()  # on threads the calls run side by side
        self.sides = SideStrands(self.rt, self._lock, self.is_over, self._tell_strand)
        self.started = self.running = 1
        self.denied = self.ended = 0
        self.cut = False  # a call has failed in a way in which any further call would fail as well
        self.last: int | None = None  # the call whose error has ended the race, as `on` does not select it
        self.decision = Decision(missing=op.replica.pick.least)
        self._hopeless = False
        self.arrived: list[Arrival] = []
        self.errors: dict[int, Any] = {}
        self.took: dict[int, float] = {}
        self.late: list[Any] = frame.later or []  # answers that are not needed
        self.kept: dict[int, list[Any]] = {}  # the values that each call has kept for later tasks
        self.pinned: dict[int, tuple[Pinned, ...]] = {}  # the values of each call for an `each` after the race
        self.broken: Exception | None = None
        self._next = 1  # the call that may start next
        self._at = frame.at  # when it starts, if nothing happens before
        least = op.replica.pick.least
        self._allowed = op.replica.starts(started=0, running=0, missing=least) - 1  # calls that need not wait
        self.in_place: Contender | None = Contender(self.race)  # the call that runs in the strand of the frame
        self.lost = self._over = False  # it was interrupted; the strand was notified, or need not be
        self._dropped: Contender | None = None  # the call in the strand, if it was left without an answer
        self._began = frame.entered
        self._extra: Permit | None = None
        self._waiter: Waiter | None = None
        self._timer: Timer | None = None
        self._judges = 0  # minus the number of strands in which the chooser was asked because of the time

    def branch(self, number: int) -> Branch:
        """The branch that this call runs."""
        return self.branches[number % len(self.branches)]

    # --- when calls begin ----------------------------------------------------------------------------------------

    def begin(self, now: float) -> None:
        """Start the calls that are due. From the strand, or from the timer."""
        with self._lock:
            if self.in_place is not None:
                self.parent.contender = self.in_place
        self.start_due(now)

    def start_due(self, now: float) -> None:
        """Start the calls that are due, each in a strand of its own."""
        while (number := self._due(now)) is not None:
            self.sides.start(number, SideCall(self, number).run, self.frame.context)
        if self._next >= self.replica.count and self.decision.until is None and self._timer is None:
            return
        with self._lock:
            until = self.decision.until
            at = self._at if self._next < self.replica.count else INF
            if until is not None and until > now:
                at = min(at, until)
            timer, self._timer = self._timer, None
            if timer is not None:
                self.rt.free_timer(timer)
            if at < INF and not self._over and not self.race.over:
                self._timer = self.rt.timer(self, at)

    def fire(self) -> None:
        """A call is due, or the chooser wants to decide again. Called by the timer."""
        now = self.rt.now()
        with self._lock:
            timer, self._timer = self._timer, None
            if timer is not None:
                self.rt.free_timer(timer)
            until = self.decision.until
        if until is not None and now >= until:
            self._judges -= 1
            self.sides.start(self._judges, partial(self._judge, self._judges), self.frame.context)
        self.start_due(now)

    async def _judge(self, number: int) -> None:
        """Ask the chooser again, even if no answer has come. In a strand, as a chooser calls the user's code."""
        self._decide(self.rt.now())
        self.start_due(self.rt.now())
        self.sides.ended(number)

    def _due(self, now: float) -> int | None:
        """The number of a call that begins now, or None."""
        if self._next >= self.replica.count:
            return None
        with self._lock:
            number = self._next
            if number >= self.replica.count or self.race.over or not (self._allowed > 0 or now >= self._at):
                return None
            self._allowed = max(0, self._allowed - 1)
            self._next = number + 1
            delay = self.delays.delay(self._next)
            self._at = INF if delay is None else now + delay
            return number

    # --- the calls -----------------------------------------------------------------------------------------------

    def begins(self, number: int, log: Log, kept: list[Any], *, denied: bool) -> bool:
        """This call begins in a strand of its own, unless the budget has denied it."""
        if denied:
            self._ended(denied=True)
            return False
        with self._lock:
            self.started += 1
            self.running += 1
        self.log.own[number] = log
        self.kept[number] = kept
        return True

    def answered(self, number: int, value: Any, mark: Any, times: tuple[float, float], log: Log, *, good: bool) -> None:
        """This call has answered. ``times``: when it began and ended."""
        if not good:
            branch = self.branch(number)
            error = not_accepted(self.parent.run.plan, branch.low, value)
            if branch.high - branch.low == 1:
                record_of(log, branch.low).failed(error)
            self.failed(number, error)
            return
        with self._lock:
            if self.is_over():
                self.unneeded(number, value)
                return
            # an answer that came because the calls before it are slow took at least as long as they do
            began, ended = times
            self.took[number] = ended - (began if self.errors else self.frame.entered)
            self.arrived.append(Arrival(number, value, mark, self.rt.now()))
            self._ended()

    def failed(self, number: int, error: Any, *, last: bool = False) -> None:
        """This call has failed, or its answer was refused. ``last``: that ends the race."""
        with self._lock:
            self.last = number if last and not self.is_over() else self.last
            drop_frames(error)
            self.errors[number] = error
            self.cut = self.cut or (self.hedge and len(self.branches) == 1 and of_another_loop(error))
            for value in refused_by((error,)):
                self.unneeded(number, value)
            self._ended(failed=True)

    # --- the call in the strand ----------------------------------------------------------------------------------

    def answered_in_place(self, value: Any, mark: Any, ended: float, *, good: bool) -> None:
        """The call in the strand has answered."""
        number, log = self.frame.number, self.parent.run.log
        contender = self._out_of_place()
        self._take_log()
        self.answered(number, value, mark, (self._began, ended), log if good else self.log.own[number], good=good)
        contender.ended()

    def failed_in_place(self, error: Any, *, last: bool = False) -> None:
        """The call in the strand has failed."""
        contender = self._out_of_place()
        self._take_log()
        self.failed(self.frame.number, error, last=last)
        contender.ended()

    def lost_in_place(self) -> None:
        """The call in the strand was interrupted, as the race is over."""
        contender = self._out_of_place()
        self._take_log()
        contender.ended()

    def _take_log(self) -> None:
        parent, number = self.parent, self.frame.number
        self.log.take(number)
        self.kept[number] = parent.kept.copy() if parent.kept else parent.kept

    def _out_of_place(self) -> Contender:
        """The call in the strand is over; from now on the race interrupts the strand no more."""
        frame, parent = self.frame, self.parent
        with self._lock:
            contender, self.in_place = self.in_place or Contender(self.race), None
            lost = self.lost
            parent.contender = self.around
        if lost:
            parent.slot.settle(None)
        extra, self._extra = self._extra, None
        if extra is not None:
            extra.dropped()
        elif self.budget is not None:
            first_over(frame.frames, self.budget)
        return contender

    def next_in_place(self, now: float) -> int | None:
        """The number of the call that begins now in the strand. None if the strand waits for the other calls."""
        while (number := self._due(now)) is not None:
            if self.budget is not None:
                self._extra = self.budget.extra(clock=self.rt.now)
                if self._extra is None:
                    self._ended(denied=True)
                    self.log.denied(self, number)
                    continue
            with self._lock:
                self.started += 1
                self.running += 1
                self._began = now
                self.in_place = self.parent.contender = Contender(self.race)
            if self.hedge:
                self.parent.run.hedge_started(self.branch(number).low, self.rounds + 1, number)
            break
        self.start_due(now)
        return number

    def _tell_strand(self) -> None:
        """The race is over without the call in the strand: interrupt it, or wake the strand. On any thread."""
        with self._lock:
            self.race.decided = self._over = True
            if self.in_place is not None:
                self.lost = True
                self.parent.slot.interrupt()
            elif self._waiter is not None:
                self._waiter.wake()

    # --- the decision --------------------------------------------------------------------------------------------

    def is_over(self) -> bool:
        """Whether the race is decided, or no further answer can come."""
        with self._lock:
            if self.cut and not self.running:
                return True
            if self._hopeless and (self.arrived or self.errors):  # else there is no error to fail with
                return True
            decided = self.decision.winner is not None or self.broken is not None or self.last is not None
            return decided or self.ended == self.replica.count

    def _ended(self, *, failed: bool = False, denied: bool = False) -> None:
        """A call has ended, or was not allowed to start. Decide how the race goes on."""
        with self._lock:
            self.ended += 1
            self.denied += denied
            self.running -= not denied
        self._decide(self.rt.now(), failed=failed)

    def _decide(self, now: float, *, failed: bool = False) -> None:
        with self._lock:
            try:
                left = self.running if self.cut else self.replica.count - self.ended if self.last is None else 0
                decision = self.replica.pick.decide(self.arrived, left=left, now=now)
                hopeless = bool(decision.hopeless)
                more = self.replica.starts(
                    started=self._next, running=self.running, missing=decision.missing, failed=failed
                )
            except Exception as exc:  # noqa: BLE001 - a chooser compares the user's values, or is the user's own
                self.broken = CallbackFailed("pick", repr(self.replica.pick), exc)
                self.race.decided = True
                drop_frames(self.broken)
                return
            self.decision, self._hopeless = decision, hopeless
            self.race.decided = self.race.decided or self.is_over()
            if self.cut:
                self._allowed, self._at = 0, INF
            else:
                self._allowed += more

    # --- the end -------------------------------------------------------------------------------------------------

    async def result(self) -> Any:
        """Wait until the race is over. Returns the answer that has won, or raises ``Fail``."""
        while True:
            with self._lock:
                if self._over or self.is_over():
                    break
                self._waiter = waiter = self.rt.waiter()
            await waiter.wait()
        self._stop()
        await self.sides.end()
        self.sides.check()
        self.log.merge(self)
        winner, won = self.decision.winner, self._won()
        error = None if winner is not None and self.broken is None else self.log.error(self)
        kept = error.value if isinstance(error, NotAccepted) else won
        self.parent.pinned = sum(self.pinned.values(), self.parent.pinned)
        unwanted = [value for value in self.unwanted() if value is not kept]
        if unwanted:
            await close_all(self.parent, unwanted)
        if winner is None or self.broken is not None:
            self.log.close(self, error)
            self._forget()
            raise Fail(error)
        for place in self.branch(winner).keeps:  # a branch beside the race may keep other values
            self.parent.kept[place] = self.kept[winner][place]
        self.delays.learn(self.took[winner])
        self._forget()
        return won

    def drop(self) -> None:
        """Leave the race without an answer: its calls are stopped."""
        with self._lock:
            self.race.decided = True
            running = self.in_place is not None
        if running:
            self._dropped = self._out_of_place()
        self._stop()

    async def gone(self) -> None:
        """After ``drop``: wait for all calls, then raise any interruption. Errors of the calls are ignored."""
        try:
            await self.sides.end()
        finally:
            self.clean_up()

    def clean_up(self) -> None:
        """No answer is used. Races inside this one were cleaned up before, so their permits and logs are here."""
        dropped, self._dropped = self._dropped, None
        if dropped is not None:
            self._take_log()
            dropped.ended()
        if not self.log.merged:
            close_here(self.unwanted())
            self.log.merge(self)
        self._forget()

    def _stop(self) -> None:
        with self._lock:
            self._over = True
            timer, self._timer = self._timer, None
        if timer is not None:
            self.rt.free_timer(timer)
        self.sides.stop()

    def unneeded(self, number: int, value: Any) -> None:
        """An answer that this race does not need. It is closed at the end, unless a cache or other call may hold it."""
        if not self.branch(number).shared:
            self.late.append(value)

    def unwanted(self) -> list[Any]:
        """All answers that may be closed."""
        return [*self.late, *(one.value for one in self.arrived if not self.branch(one.index).shared)]

    def _won(self) -> Any:
        winner = self.decision.winner
        return next((one.value for one in self.arrived if one.index == winner), None)

    def closed_late(self, number: int, value: Any) -> None:
        """An answer came after its call had been given up, maybe long after the race."""
        won = id(self._won())  # read first: when the answer is forgotten, `frame.given` has its id
        if not self.branch(number).shared and id(value) != (self.frame.given or won):
            close_here([value])

    def _forget(self) -> None:
        """Forget all answers at the end. An abandoned call, or a timer's context, may keep this object for long."""
        self.frame.forget(id(self._won()))
        self.arrived, self.errors, self.late, self.kept, self.pinned = [], {}, [], {}, {}
        self.sides.forget()
        self.log.forget()
