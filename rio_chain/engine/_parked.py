"""Whether any strand of a run can still ask a batch for more, or all of them wait in batches.

A *line* is what may ask: the outermost run with its branches, and each call that a batch makes for it. A strand is
*parked* while it waits in a batch. A race is parked when all strands in it that have not ended are, and then so is the
strand that runs it. When all lines of a request are parked, nothing more can come: its batches need not wait.

A function that runs is not parked, whatever it awaits. So where a body makes requests of its own, ``wait`` decides.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from rio_chain._core.deferring_lock import DeferringLock
from rio_chain._core.forks import after_fork, keep_alive

if TYPE_CHECKING:
    from rio_chain.engine._current_run import Run
    from rio_chain.engine._race import Contender, Race
    from rio_chain.policies._batch_group import BatchedCall

_LOCK = DeferringLock()
"""One for all requests: what is decided under it takes a microsecond."""
_requests: dict[Run, ParkedRequest] = {}


class ParkedRequest:
    """The lines of one outermost run, and the calls of batches that wait for more of them.

    Attributes:
        calls: batches of it that have not ended.
        waiting: for each of these that still takes calls, what makes it take no more.
        running: how many lines are not parked.
        line: that of the run itself. None when all these batches have ended: the line knows this.
    """

    __slots__ = ("_counts", "_run", "calls", "line", "running", "waiting")

    def __init__(self, run: Run) -> None:
        self._run: Run | None = run
        self.calls = 0
        self.running = 1
        self.waiting: dict[object, Callable[[], None]] = {}
        self.line: RunLine | None = RunLine(self)
        self._counts: dict[Race, int] = {}

    @classmethod
    def begin(cls, run: Run, group: object, hurry: Callable[[], None]) -> ParkedRequest:
        """A batch waits for further calls of an outermost run. ``hurry`` is called when none can come."""
        return _LOCK.decide(cls._begin, run, group, hurry)

    @classmethod
    def _begin(cls, run: Run, group: object, hurry: Callable[[], None]) -> ParkedRequest:
        found = _requests.get(run)
        if found is None:
            found = _requests[run] = cls(run)
        found.calls += 1
        found.waiting[group] = hurry
        return found

    def send(self, group: object) -> RunLine:
        """That batch takes no more calls, and makes its own. Gives the line of that."""
        return _LOCK.decide(self._send, group)

    def _send(self, group: object) -> RunLine:
        if self.waiting.pop(group, None) is not None:
            self.running += 1  # else it was hurried, and counts already
        return RunLine(self)

    def end(self, group: object, line: RunLine | None) -> None:
        """That batch has ended, with or without a call of its own."""
        if _LOCK.defer(lambda: self.end(group, line)):
            return
        _LOCK.decide(self._end, group, line)

    def _end(self, group: object, line: RunLine | None) -> None:
        if self.waiting.pop(group, None) is None and (line is None or not line.parked):
            self.running -= 1
        self.calls -= 1
        self.look()
        if not self.calls and self._run is not None:
            _requests.pop(self._run, None)
            self._run = self.line = None

    # --- the strands ---------------------------------------------------------------------------------------------

    def look(self) -> None:
        """Let the batches wait no longer if no line goes on. Under the lock."""
        if self.running > 0:
            return
        waiting, self.waiting = self.waiting, {}
        self.running += len(waiting)
        for hurry in waiting.values():
            _LOCK.after(hurry)

    def park(self, call: BatchedCall, contender: Contender | None, line: RunLine) -> None:
        """The strand of a call, which is of that line, waits in a batch."""
        _LOCK.decide(self._park_call, call, contender, line)

    def _park_call(self, call: BatchedCall, contender: Contender | None, line: RunLine) -> None:
        if call.state == "waiting":
            call.parked_at = contender, line
            self._park(contender, line)

    def _park(self, contender: Contender | None, line: RunLine) -> None:
        while contender is not None:
            if contender in line.parked_in:
                return
            race = contender.race
            race.line = line
            line.parked_in.add(contender)
            self._counts[race] = self._counts.get(race, 0) + 1
            if not self._is_full(race):
                return
            contender = race.around
        if not line.parked:
            line.parked = True
            self.running -= 1
            self.look()

    def unpark(self, calls: Iterable[BatchedCall]) -> None:
        """Their strands go on, or are about to be woken."""
        if _LOCK.defer(lambda: self.unpark(calls)):  # a coroutine was collected
            return
        _LOCK.decide(self._unpark_calls, calls)

    def _unpark_calls(self, calls: Iterable[BatchedCall]) -> None:
        for call in calls:
            parked_at, call.parked_at = call.parked_at, None
            if parked_at is not None:
                self._unpark(*parked_at)

    def _unpark(self, contender: Contender | None, line: RunLine) -> None:
        while contender is not None and contender in line.parked_in:
            line.parked_in.discard(contender)
            race = contender.race
            left = self._counts.pop(race) - 1
            if left:
                self._counts[race] = left
            contender = race.around
        if contender is None and line.parked:
            line.parked = False
            self.running += 1

    def look_at(self, race: Race, line: RunLine) -> None:
        """A strand of the race has ended, or waits for the others."""
        if _LOCK.defer(lambda: self.look_at(race, line)):
            return
        _LOCK.decide(self._look_at, race, line)

    def _look_at(self, race: Race, line: RunLine) -> None:
        around = race.around
        if self._is_full(race) and not line.parked and (around is None or around not in line.parked_in):
            self._park(around, line)

    def _is_full(self, race: Race) -> bool:
        parked = self._counts.get(race, 0)
        idle = 0 if race.idle is None else race.idle()
        return parked > 0 and len(race.left) <= parked + idle


class RunLine:
    """One line of a request."""

    __slots__ = ("parked", "parked_in", "request")

    def __init__(self, request: ParkedRequest) -> None:
        self.request = request
        self.parked = False
        self.parked_in: set[Contender] = set()
        """Where strands of it are parked, and the strands around those races."""

    def look_at(self, race: Race) -> None:
        """A strand of that race has ended, or waits for the others."""
        self.request.look_at(race, self)


def _renew() -> None:
    """In a forked child: the runs of before go on in the parent alone."""
    keep_alive(_requests.copy())
    _requests.clear()


after_fork(_renew)
