"""The balancer's state and its decisions, safe on every thread and for re-entrant calls.

A finaliser or a signal handler may call ``post`` or ``cancel`` at any moment, even while its thread is making a
decision. The lock is re-entrant, so that does not deadlock. ``_inside`` shows that it happened; such work is deferred
until the decision is complete. While the lock is held, no user code runs and no waiter is woken.

An interruption may come at any point, even in the clean-up after another one. So a run that must not have a slot is
first marked (``run.dropped``, ``admission.torn``: two stores, which can't be interrupted), and ``mend`` does the rest.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rio_chain._core.deferring_lock import DeferringLock
from rio_chain._core.forks import keep_alive
from rio_chain._core.unhandled_errors import surely
from rio_chain.balancer._priority_queue import Turn, TurnQueue
from rio_chain.balancer._stats import EndCounter, HistogramCounter, Stats
from rio_chain.engine._current_run import INF, Run
from rio_chain.errors import BalancerClosed, QueueFull

if TYPE_CHECKING:
    from rio_chain.results._outcome import Outcome


class Admission(DeferringLock):
    """The slots, queue, counts and closed state of one balancer."""

    def __init__(self, workers: int, buffer: int, aging: float | None = None) -> None:
        super().__init__()
        self.buffer = buffer
        self.queue = TurnQueue(workers, aging)
        self.runs: dict[Run, None] = {}  # the runs that hold a slot, oldest first; this dict is authoritative
        self.closed = False
        self.why = ""  # the reason why it is closed
        self.rejected = 0
        self.done = 0
        self.ends = EndCounter()
        self.waits = HistogramCounter()
        self.lasted = HistogramCounter()
        self._idle: list[Callable[[], None]] = []

    def take(self, run: Run) -> bool:
        """Take a slot now, for a run without a turn. If this returns False, call ``admit`` with a turn."""
        queue = self.queue
        if self._inside or queue.waiting or queue.running >= queue.workers:
            return False
        return self.decide(self._take, run)

    def _take(self, run: Run) -> bool:
        if self.closed or not self.queue.take():
            return False
        self.runs[run] = None
        return True

    def admit(self, turn: Turn, *, bounded: bool) -> bool:
        """Take a slot now (True), or enter the queue (False).

        Raises:
            BalancerClosed: it is closed.
            QueueFull: ``bounded``, and the buffer is full.
        """
        if self._inside and self.defer(lambda: self._admit_late(turn)):
            return False
        try:
            got = self.decide(self._admit, turn, self.buffer if bounded else INF)
        finally:
            self._after()
        if isinstance(got, Exception):
            raise got
        return got

    def _admit(self, turn: Turn, buffer: float) -> bool | BalancerClosed | QueueFull:
        if turn.state == "gone":  # several threads run deferred work, so its withdrawal may come first
            return False
        if self.closed:
            return self.refusal()
        if self.queue.take():
            self.runs[turn.run] = None
            turn.state = "granted"
            return True
        if self.queue.waiting >= buffer:
            self.rejected += 1
            text = f"{self.buffer} requests are waiting already (buffer={self.buffer}); this one was not accepted"
            full = QueueFull(text)
            full.retry_after = self.expected_wait()
            return full
        self.queue.enter(turn)
        return False

    def is_late(self, turn: Turn, now: float) -> bool:  # noqa: ARG002 - a ``ManagedAdmission`` uses it
        """Whether the request of this turn can't be done in time any more, if it begins now."""
        return False

    def shed_late(self, turn: Turn, now: float) -> None:
        """It is too late for the request of this turn: it gives back its slot."""
        raise NotImplementedError

    def expected_wait(self) -> float | None:
        """Estimate the seconds until a request that comes now would get a slot, from how long earlier requests ran.

        Returns None if no request has ended yet.
        """
        mean = self.lasted.mean()
        return None if mean is None else mean * (self.queue.waiting + 1) / self.queue.workers

    def refusal(self) -> BalancerClosed:
        """The error of a closed balancer."""
        return BalancerClosed(f"this balancer is closed; `with` or `async with` opens it again ({self.why})")

    def go_on_counting(self, before: Admission) -> None:
        """Continue the counters of an Admission that has closed."""
        self.rejected, self.done, self.waits, self.lasted = before.rejected, before.done, before.waits, before.lasted
        self.ends = before.ends

    def _admit_late(self, turn: Turn) -> None:
        """Admit deferred work. It was accepted already, so it gets an answer even if the balancer has closed since."""
        try:
            if not self.admit(turn, bounded=False):
                return
        except BalancerClosed:
            turn.state = "gone"
        turn.tell()

    def _granted(self, turn: Turn) -> None:
        self.runs[turn.run] = None
        self.after(turn.tell)

    def leave(self, run: Run, waited: float, lasted: float, outcome: Outcome[Any] | None = None) -> None:
        """A run ends. It has waited and run for this many seconds. Its slot goes to the next turn in the queue."""
        if self._inside and self.defer(lambda: self.leave(run, waited, lasted, outcome)):  # a coroutine was collected
            return
        try:
            self.decide(self._leave, run, waited, lasted, outcome)
        except BaseException:
            self._drop(run)
            raise
        self._after()

    def _drop(self, run: Run) -> None:
        """Giving back a slot was interrupted: mark the run as dropped."""
        run.dropped = self.torn = True
        with contextlib.suppress(BaseException):  # if this fails, the next decision does it
            surely(self.settle)

    def unbegun(self, outcome: Outcome[Any] | None) -> None:
        """Count a request that has ended and never began. ``outcome`` is None if it ended with an exception."""
        if self._inside and self.defer(lambda: self.unbegun(outcome)):
            return
        self.decide(self.ends.add, outcome)

    def _leave(self, run: Run, waited: float, lasted: float, outcome: Outcome[Any] | None) -> None:
        self.done += 1
        if outcome is not None and outcome.ok:
            self.ends.succeeded += 1
        else:
            self.ends.add(outcome)
        self.waits.add(waited)
        self.lasted.add(lasted)
        self._hand_over(run)

    def _hand_over(self, run: Run) -> None:
        """Pass the slot of a run to the next turn in the queue, and wake it. Does nothing if the run holds no slot."""
        if self.runs.pop(run, self) is not self:
            self.queue.leave(self._granted)

    def pass_on(  # noqa: PLR0917 - called for every item of a map
        self, run: Run, following: Run, priority: float, at: float, waited: float, lasted: float, outcome: Outcome[Any]
    ) -> Turn | None:
        """As ``leave``, and then take a slot for another run, ``following``.

        That run was accepted earlier, so it may run even if the balancer is closed by now. ``at`` is the instant when
        it was posted.

        Returns None if the run has the slot. Returns its turn if it has to wait, because others come first.
        """
        try:
            return self.decide(self._pass_on, run, following, priority, at, waited, lasted, outcome)
        except BaseException:
            self._drop(run)
            raise

    def _pass_on(  # noqa: PLR0917 - as above
        self, run: Run, following: Run, priority: float, at: float, waited: float, lasted: float, outcome: Outcome[Any]
    ) -> Turn | None:
        self.done += 1
        if outcome.ok:
            self.ends.succeeded += 1
        else:
            self.ends.add(outcome)
        self.waits.add(waited)
        self.lasted.add(lasted)
        if not self.queue.waiting and (self.runs.pop(run, self) is not self or self.queue.take()):
            self.runs[following] = None
            return None
        turn = Turn(following, priority, at)
        self.queue.enter(turn)
        self._hand_over(run)
        return None if turn.state == "granted" else turn

    def withdraw(self, turn: Turn) -> bool:
        """Take a turn out of the queue. Returns False if it was granted a slot, or is out of the queue already."""
        waited = self.decide(self._withdraw, turn)
        self._after()
        return waited

    def _withdraw(self, turn: Turn) -> bool:
        if turn.state != "waiting":
            return False
        self.after(turn.tell)
        return self.queue.withdraw(turn)

    def give_up(self, turn: Turn) -> None:
        """The owner of a turn is gone: take it out of the queue, or pass its slot to the next turn."""
        turn.run.dropped = True
        if self._inside and self.defer(lambda: self.give_up(turn)):
            return
        try:
            if not self.withdraw(turn):
                turn.state = "gone"
                self.release(turn.run)
        except BaseException:
            self._drop(turn.run)
            raise

    def release(self, run: Run) -> None:
        """Pass on the slot of a run that will never begin. Does nothing if the run holds no slot."""
        run.dropped = True
        if self._inside and self.defer(lambda: self.release(run)):
            return
        try:
            self.decide(self._hand_over, run)
        except BaseException:
            self._drop(run)
            raise
        self._after()

    def shut(self, why: str = "it was closed by close()") -> bool:
        """Accept no more requests; ``why`` is the reason in errors. Returns False if this was called before."""
        first = self.decide(self._shut, why)
        self._after()
        return first

    def _shut(self, why: str) -> bool:
        if self.closed:
            return False
        self.why, self.closed = why, True
        return True

    def clear(self) -> list[Run]:
        """Empty the queue, and wake the owners of its turns. Gives the runs that hold a slot."""
        running = self.decide(self._clear)
        self._after()
        return running

    def _clear(self) -> list[Run]:
        for turn in self.queue.clear():
            self.after(turn.tell)
        return list(self.runs)

    def mend(self) -> None:
        """As ``DeferringLock.mend``. The runs and the turns determine who holds a slot and who waits."""
        runs, queue = self.runs, self.queue
        for run in [run for run in runs if run.dropped]:
            del runs[run]
        for turn in queue.over():
            self.after(turn.tell)
            if turn.state == "granted":
                runs[turn.run] = None
        queue.recount(len(runs))
        while queue.waiting and queue.running < queue.workers:
            queue.running += 1
            queue.leave(self._granted)

    def _renew(self) -> None:
        """In a forked child: the requests belong to the parent. They stay counted, and no slot is granted here."""
        super()._renew()
        if not self._inside:
            self.torn = False
            keep_alive(list(self._deferred))
            self._deferred.clear()

    def when_idle(self, call: Callable[[], None]) -> None:
        """Call ``call`` once, as soon as nothing runs and nothing waits."""
        self._idle.append(call)
        self._after()

    def stats(self, abandoned: int) -> Stats:
        """All counts, from one decision."""
        return self.decide(self._stats, abandoned)

    def _stats(self, abandoned: int) -> Stats:
        counts = self.queue.running, self.queue.waiting, abandoned, self.done, self.rejected
        ends = self.ends
        ended = ends.succeeded, ends.failed, ends.timed_out, ends.cancelled, ends.shed
        return Stats(*counts, self.waits.frozen(), self.lasted.frozen(), *ended)

    def _after(self) -> None:
        """Run what must follow a decision when the lock is free."""
        while self._idle and not self.queue.running and not self.queue.waiting:
            call = self._idle[-1]  # kept until the call is made, so an interruption does not lose it
            call()
            with contextlib.suppress(ValueError):  # another thread has made it as well
                self._idle.remove(call)
