"""The priority queue: which requests run, which wait, and which is next. Synchronous; it decides and never waits.

It is work-conserving: no request waits while a slot is free. Higher priority goes first, then arrival. With ``aging``,
a waiting request gains on those that come later. A free slot is passed directly to the next turn; it never becomes
available to all. Entering, leaving and withdrawing cost O(log n), the last two amortised.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable
from heapq import heapify, heappop, heappush
from itertools import count
from typing import Literal

from rio_chain.engine._current_run import Run

State = Literal["waiting", "granted", "gone"]


class Turn:
    """The place of one run in the queue. ``wake`` is called, without any lock, when its wait ends.

    Attributes:
        at: the instant when it was queued, in seconds of any one clock.
        end: the instant of its deadline.
        tenant: whose request it is, if the slots are shared fairly.
        worth: what a ``shed=`` function says of it.
        sheddable: whether it may be dropped if the buffer is full.
        error: why it was dropped. None if it was not, or for another reason.
    """

    __slots__ = (
        "at", "end", "error", "lined_up", "priority", "run", "sheddable", "state", "tenant", "wake", "worth",
    )  # fmt: skip

    def __init__(self, run: Run, priority: float, at: float = 0.0, wake: Callable[[], None] | None = None) -> None:
        self.run = run
        self.priority = priority
        self.at = at
        self.state: State = "waiting"
        self.lined_up = False  # whether it is in ``waiting``
        self.wake = wake
        self.end = math.inf
        self.tenant: Hashable = None
        self.worth = 0.0
        self.sheddable = False
        self.error: Exception | None = None

    def tell(self) -> None:
        """Wake the waiter: the wait is over."""
        if self.wake is not None:
            self.wake()


class TurnQueue:
    """``workers`` slots and the queue for them.

    Args:
        workers: how many slots there are.
        aging: how many seconds of waiting one step of priority counts for. Each turn then has a virtual deadline: the
            instant when it was queued, minus ``priority * aging``. The turn with the earliest one goes first. The
            virtual deadline is fixed when the turn is queued, so the order in the queue never changes. With None, the
            default, priority decides, and among equals arrival.

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
        """Take a slot for a new run. If this returns False, enter the queue."""
        if self.waiting or self.running >= self.workers:
            return False
        self.running += 1
        return True

    def enter(self, turn: Turn) -> None:
        """Enter the queue."""
        aging = self._aging
        key = -turn.priority if aging is None else turn.at - turn.priority * aging
        entry = key, next(self._numbers), turn
        turn.lined_up = True
        heappush(self._heap, entry)
        self.waiting += 1

    def leave(self, granted: Callable[[Turn], None] | None = None) -> Turn | None:
        """A slot is given back. Returns the turn that gets it, which must be woken, or None if no turn waits.

        ``granted`` is called while the turn is still in the heap, so an interruption does not lose it.
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
        """Leave the queue. Returns False if the turn has a slot already, which it must pass on with ``leave``."""
        if turn.state != "waiting":
            return turn.state == "gone"
        turn.state = "gone"
        if turn.lined_up:
            self.waiting -= 1
        self._tidy()
        return True

    def _tidy(self) -> None:
        """Remove turns that are gone once they outnumber those that wait, so that each removal costs O(1)."""
        if len(self._heap) > 2 * self.waiting + 64:
            self._heap = [entry for entry in self._heap if entry[2].state == "waiting"]
            heapify(self._heap)

    def over(self) -> list[Turn]:
        """The turns in the heap that do not wait any more, after a change that was interrupted.

        They may not be woken yet. They stay in the heap until ``recount``. Turns of dropped runs leave the queue.
        """
        turns = [entry[2] for entry in self._heap]
        for turn in turns:
            if turn.run.dropped:
                turn.state = "gone"
        return [turn for turn in turns if turn.state != "waiting"]

    def recount(self, running: int) -> None:
        """Correct the counts after a change that was interrupted: ``running`` slots are taken."""
        self._heap = [entry for entry in self._heap if entry[2].state == "waiting"]
        heapify(self._heap)
        self.running = running
        self.waiting = len(self._heap)

    def clear(self) -> list[Turn]:
        """Remove all turns, in any order. Returns those that waited, which must be woken."""
        turns = [entry[2] for entry in self._heap if entry[2].state == "waiting"]
        for turn in turns:
            turn.state = "gone"
        self._heap.clear()
        self.waiting = 0
        return turns
