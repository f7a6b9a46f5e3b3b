"""The one queue: who runs now, who waits, who is next. Pure and synchronous; it decides and never waits.

Work-conserving: nobody waits while a slot is free. Higher priority first, then arrival; with ``aging``, whoever waits
gains on those who come later. A slot that comes back is handed over to the next in line; it is never freed and raced
for. Entering, leaving and withdrawing cost O(log n), the last two taken over all calls.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heapify, heappop, heappush
from itertools import count
from typing import Literal

from rio_chain._core.units import seconds
from rio_chain.engine._current_run import Run
from rio_chain.errors import ChainDefinitionError

State = Literal["waiting", "granted", "gone"]


class Turn:
    """One run's place in the line. ``wake`` is called, outside of any lock, by whoever ends its waiting.

    ``at``: the instant it was queued, in seconds of any one clock.
    """

    __slots__ = ("at", "lined_up", "priority", "run", "state", "wake")

    def __init__(self, run: Run, priority: float, at: float = 0.0, wake: Callable[[], None] | None = None) -> None:
        self.run = run
        self.priority = priority
        self.at = at
        self.state: State = "waiting"
        self.lined_up = False  # whether it counts
        self.wake = wake

    def tell(self) -> None:
        """Tell the one who waits that the waiting is over."""
        if self.wake is not None:
            self.wake()


class TurnQueue:
    """``workers`` slots and the line in front of them.

    Args:
        workers: how many slots there are.
        aging: how many seconds of waiting one step of priority is worth. Each turn then has a virtual deadline, the
            instant it was queued less ``priority * aging``, and the earliest goes first. It is fixed when the turn is
            queued, so the order of those who wait never changes. Default: priority alone, then arrival.

    Example:
        >>> from rio_chain import Task
        >>> run = Run(Task(len).plan())
        >>> queue = TurnQueue(workers=1)
        >>> queue.take()
        True
        >>> low, high = Turn(run, 0), Turn(run, 5)
        >>> queue.enter(low), queue.enter(high)
        (None, None)
        >>> queue.leave() is high, queue.leave() is low, queue.leave(), queue.running
        (True, True, None, 0)
    """

    __slots__ = ("_aging", "_heap", "_numbers", "running", "waiting", "workers")

    def __init__(self, workers: int, aging: float | None = None) -> None:
        self.workers = workers
        self.running = 0
        self.waiting = 0
        self._aging = aging
        self._heap: list[tuple[float, int, Turn]] = []
        self._numbers = count()

    def take(self) -> bool:
        """A slot for one who just came; False: enter the line."""
        if self.waiting or self.running >= self.workers:
            return False
        self.running += 1
        return True

    def enter(self, turn: Turn) -> None:
        """Stand in the line."""
        aging = self._aging
        key = -turn.priority if aging is None else turn.at - turn.priority * aging
        entry = key, next(self._numbers), turn
        turn.lined_up = True
        heappush(self._heap, entry)
        self.waiting += 1

    def leave(self, granted: Callable[[Turn], None] | None = None) -> Turn | None:
        """A slot comes back. Gives the turn it was handed to, which must be told; None: nobody waits.

        ``granted`` is called with the turn while that is still in the heap, where an interruption does not lose it.
        """
        heap = self._heap
        while heap:
            turn = heap[0][2]
            waited = turn.state == "waiting"
            if waited:
                turn.state = "granted"
                if granted is not None:
                    granted(turn)
            heappop(heap)
            if waited:
                self.waiting -= 1
                self._tidy()
                return turn
        self.running -= 1
        return None

    def withdraw(self, turn: Turn) -> bool:
        """Step out of the line. False: too late, it was granted a slot, which it must pass on by ``leave``."""
        if turn.state != "waiting":
            return turn.state == "gone"
        turn.state = "gone"
        if turn.lined_up:
            self.waiting -= 1
        self._tidy()
        return True

    def _tidy(self) -> None:
        """Those who are gone stay in the heap until they outnumber those who wait, so that each is dropped in O(1)."""
        if len(self._heap) > 2 * self.waiting + 64:
            self._heap = [entry for entry in self._heap if entry[2].state == "waiting"]
            heapify(self._heap)

    def over(self) -> list[Turn]:
        """The turns in the heap that do not wait any more, after a change that was interrupted.

        They may not be told yet. They stay there until ``recount``. Whoever was dropped steps out.
        """
        turns = [entry[2] for entry in self._heap]
        for turn in turns:
            if turn.run.dropped:
                turn.state = "gone"
        return [turn for turn in turns if turn.state != "waiting"]

    def recount(self, running: int) -> None:
        """The counts anew, after a change that was interrupted: so many slots are taken."""
        self._heap = [entry for entry in self._heap if entry[2].state == "waiting"]
        heapify(self._heap)
        self.running = running
        self.waiting = len(self._heap)

    def clear(self) -> list[Turn]:
        """Everybody steps out of the line, in no order. Gives those who waited, who must be told."""
        turns = [entry[2] for entry in self._heap if entry[2].state == "waiting"]
        for turn in turns:
            turn.state = "gone"
        self._heap.clear()
        self.waiting = 0
        return turns


def checked_aging(value: object) -> float | None:
    """The ``aging`` of a balancer in seconds."""
    try:
        return None if value is None else seconds(value, "aging")
    except ChainDefinitionError as error:
        right = "`aging=1_000` for a second of waiting per step of priority, `aging=None` for priority alone"
        raise ChainDefinitionError(f"{error}; write {right}") from None
