"""ManagedAdmission: an Admission that shares its slots fairly, sheds requests if the buffer is full, or both.

It is a class of its own, so that a balancer without these options pays nothing for them.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from heapq import heapify, heappop, heappush
from itertools import count
from typing import TYPE_CHECKING, Any, Literal

from rio_chain._core.units import format_duration
from rio_chain.balancer._admission import Admission
from rio_chain.balancer._fair_queue import FairQueue
from rio_chain.balancer._priority_queue import Turn
from rio_chain.chain._plan import public_name
from rio_chain.engine._current_run import INF, Run
from rio_chain.errors import Abandoned, BalancerClosed, DeadlineExceeded, QueueFull, RequestShed, TaskTimedOut
from rio_chain.policies._measured_times import MeasuredTimes

if TYPE_CHECKING:
    from rio_chain.chain._request import Request
    from rio_chain.results._outcome import Outcome

OUT_OF_TIME = (DeadlineExceeded, TaskTimedOut, Abandoned)
Shed = Literal["lowest", "oldest"] | Callable[["Request[Any]"], float]


class ManagedAdmission(Admission):
    """As ``Admission``, with options that most balancers do not have.

    Args:
        workers, buffer, aging: as for ``Admission``.
        weights: of the tenants, if the slots are shared fairly. None: they are not.
        shed: which request goes if the buffer is full. None: the one that comes.
        late: whether a request is not begun that can't be done in time any more.
    """

    def __init__(  # noqa: PLR0917
        self,
        workers: int,
        buffer: int,
        aging: float | None,
        weights: Mapping[Hashable, float] | None,
        shed: Shed | None,
        late: bool,  # noqa: FBT001
    ) -> None:
        super().__init__(workers, buffer, aging)
        self.fair: FairQueue | None = None
        if weights is not None:
            self.fair = self.queue = FairQueue(workers, weights)
        self._aging = aging
        self._rule = shed
        self._times = MeasuredTimes() if late else None
        self._worst: list[tuple[float, int, Turn]] = []  # a heap; the first is shed first
        self._numbers = count().__next__

    def take(self, run: Run) -> bool:
        """As ``Admission.take``. It always asks for a turn, as a turn knows more of its request."""
        del run
        return False

    def _take_for(self, turn: Turn) -> bool:
        return self.queue.take() if self.fair is None else self.fair.take_for(turn)

    def _admit(self, turn: Turn, buffer: float) -> bool | BalancerClosed | QueueFull:
        if turn.state == "gone" or self.closed:
            return super()._admit(turn, buffer)
        if self.is_late(turn, turn.at):
            self._shed_late(turn, turn.at)
            self.after(turn.tell)
            return False
        if self._take_for(turn):
            self.runs[turn.run] = None
            turn.state = "granted"
            return True
        full = self.queue.waiting >= (self.buffer if self._rule is not None and turn.sheddable else buffer)
        if not full:
            self._enter(turn)
            return False
        return super()._admit(turn, buffer) if self._rule is None else self._make_room(turn, buffer)

    def _make_room(self, turn: Turn, buffer: float) -> bool | BalancerClosed | QueueFull:
        """Shed a request, which may be the one that comes."""
        worst = self._worst_with(turn)
        if worst is turn:
            if buffer < INF:
                return super()._admit(turn, buffer)
            turn.state = "gone"
        else:
            self.queue.withdraw(worst)
            self._enter(turn)
        text = f"{self.buffer} requests were waiting (buffer={self.buffer}), and another one was worth more"
        worst.error = self._error(text)
        self.after(worst.tell)
        return False

    def _error(self, text: str) -> RequestShed:
        error = RequestShed(text)
        error.retry_after = self.expected_wait()
        return error

    def _enter(self, turn: Turn) -> None:
        self.queue.enter(turn)
        if self._rule is None or not turn.sheddable or self._by_share:
            return
        heap = self._worst
        heappush(heap, (*self._rank(turn), turn))
        if len(heap) > 2 * self.queue.waiting + 64:
            heap[:] = [entry for entry in heap if entry[2].state == "waiting"]
            heapify(heap)

    @property
    def _by_share(self) -> bool:
        return self.fair is not None and self._rule == "lowest"

    def _rank(self, turn: Turn) -> tuple[float, int]:
        """The lowest of these is shed first. The number also keeps equal ones apart."""
        number = self._numbers()
        if self._rule == "oldest":
            return turn.at, number
        if self._rule != "lowest":
            return turn.worth, -number
        return (turn.priority if self._aging is None else turn.priority * self._aging - turn.at), -number

    def _worst_with(self, turn: Turn) -> Turn:
        """The one to shed: of those that wait, and the one that comes."""
        if self.fair is not None and self._by_share:
            return self.fair.lowest(turn)
        heap = self._worst
        while heap:
            rank, number, worst = heap[0]
            if worst.state == "waiting":
                return turn if self._rank(turn) < (rank, number) else worst
            heappop(heap)
        return turn

    # --- what can't be done in time ---------------------------------------------------------------------------------

    def is_late(self, turn: Turn, now: float) -> bool:
        """Whether the request of this turn can't be done in time any more, if it begins now."""
        if self._times is None or turn.end == INF:
            return False
        return now + self._times.expected(public_name(turn.run.plan)) > turn.end

    def shed_late(self, turn: Turn, now: float) -> None:
        """It is too late for the request of this turn: it gives back its slot."""
        self.give_up(turn)
        self.decide(self._shed_late, turn, now)

    def _shed_late(self, turn: Turn, now: float) -> None:
        turn.state = "gone"
        if self._times is None:
            return
        kind = public_name(turn.run.plan)
        text = f"it may take {format_duration(self._times.expected(kind))}, which is more than its deadline leaves"
        self._times.skipped(kind, now)
        turn.error = self._error(text)

    # --- what requests have used ------------------------------------------------------------------------------------

    def _measured(self, run: Run, lasted: float, outcome: Outcome[Any] | None) -> None:
        if self._times is not None and outcome is not None and (outcome.ok or type(outcome.error) in OUT_OF_TIME):
            self._times.add(public_name(run.plan), lasted)
        if self.fair is not None:
            self.fair.ended(run, lasted)

    def _leave(self, run: Run, waited: float, lasted: float, outcome: Outcome[Any] | None) -> None:
        self._measured(run, lasted, outcome)
        super()._leave(run, waited, lasted, outcome)

    def _hand_over(self, run: Run) -> None:
        if self.fair is not None:
            self.fair.ended(run, None)
        super()._hand_over(run)

    def _pass_on(  # noqa: PLR0917 - as in the base class
        self, run: Run, following: Run, priority: float, at: float, waited: float, lasted: float, outcome: Outcome[Any]
    ) -> Turn | None:
        turn = Turn(following, priority, at)
        if self.fair is not None:
            turn.tenant = self.fair.tenant_of(run)
        self.queue.enter(turn)
        self._leave(run, waited, lasted, outcome)
        if turn.state == "waiting" and self.queue.running < self.queue.workers:  # ``run`` held no slot
            self.queue.running += 1
            self.queue.leave(self._granted)
        return None if turn.state == "granted" else turn
