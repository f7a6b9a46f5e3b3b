"""Deadlines: one lazy heap for many strands. The timer thread of the strands, or one timer of a loop, fires them.

To arm a slot, its owner only stores a float. A slot is pushed to the heap only if its new deadline is earlier than its
entry there. If an entry comes up before the slot's present deadline, it is pushed again with that deadline.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextvars import Context
from functools import partial
from heapq import heapify, heappop, heappush
from itertools import count
from math import inf
from typing import Any, Generic, Protocol, TypeVar

from rio_chain._core.unhandled_errors import report_unhandled, surely
from rio_chain.engine._runtime_protocol import Fires
from rio_chain.executors._start_thread import start_daemon


class Timed(Protocol):
    """An object with a deadline.

    Its owner writes ``deadline``, ``Deadlines`` writes ``entry_at``; both begin as inf.
    """

    deadline: float
    entry_at: float


T = TypeVar("T", bound=Timed)


class Deadlines(Generic[T]):
    """A lazy heap in which each slot has at most one valid entry. It has no threads and no locks; its user has.

    The owner of a slot moves its deadline like this, on any thread that is the only owner::

        slot.deadline = at
        if at < slot.entry_at:
            deadlines.push(slot, at)

    No deadline is lost if ``due`` runs on another thread meanwhile. ``due`` first takes the entry out and then reads
    the deadline; the owner first writes the deadline and then reads the entry.
    """

    __slots__ = ("_heap", "_live", "_order")

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, T]] = []
        self._live = 0
        self._order = count()  # so that two slots are never compared

    def push(self, slot: T, at: float) -> bool:
        """Check the slot at this instant, or earlier. True if it is now the earliest of all."""
        if at >= slot.entry_at:
            return False
        if slot.entry_at == inf:
            self._live += 1
        slot.entry_at = at
        entry = (at, next(self._order), slot)
        heappush(self._heap, entry)
        if len(self._heap) > 2 * self._live + 64:
            self._compact()
        return self._heap[0] is entry

    def due(self, now: float) -> list[T]:
        """Take out the slots whose deadline has passed. Their deadlines are not changed; the caller decides."""
        heap, over = self._heap, list[T]()
        while heap and heap[0][0] <= now:
            at, _, slot = heappop(heap)
            if at != slot.entry_at:
                continue  # an earlier entry took its place
            slot.entry_at = inf
            self._live -= 1
            deadline = slot.deadline
            if deadline <= now:
                over.append(slot)
            elif deadline < inf:
                self.push(slot, deadline)
        return over

    def drop(self, slot: T) -> None:
        """Forget the entry of the slot."""
        if slot.entry_at < inf:
            self._live -= 1
            slot.entry_at = inf

    def next(self) -> float:
        """When to call ``due`` again; ``inf``: not before the next push."""
        return self._heap[0][0] if self._heap else inf

    def live(self) -> Iterator[T]:
        """The slots that have a deadline; the first one is the slot that is checked next."""
        return (slot for at, _, slot in self._heap if at == slot.entry_at and slot.deadline < inf)

    def __len__(self) -> int:
        return len(self._heap)

    def _compact(self) -> None:
        self._heap[:] = [entry for entry in self._heap if entry[0] == entry[2].entry_at]
        heapify(self._heap)


class Clock(Protocol):
    """The clock of the timer thread."""

    def now(self) -> float:
        """Seconds, which never go back."""
        ...

    def wait(self, condition: threading.Condition, timeout: float | None) -> None:
        """Wait on the condition, which is held, until it is notified or this many seconds of this clock have passed."""
        ...


class MonotonicClock:
    """Real time."""

    now = staticmethod(time.monotonic)

    def wait(self, condition: threading.Condition, timeout: float | None) -> None:
        """As ``Condition.wait``, also for a timeout longer than the system can count."""
        condition.wait(None if timeout is None else min(timeout, threading.TIMEOUT_MAX))


class Timer(Timed, Protocol):
    """A slot that the timer thread can fire."""

    def fire(self, now: float) -> None:
        """The deadline has passed; check again, under your own lock. It must be quick and must not raise."""
        ...


class StrandTimer:
    """As ``Runtime.timer``, on threads. Pooled, as its entry in the heap outlives what it calls."""

    __slots__ = ("deadline", "entry_at", "target")

    def __init__(self) -> None:
        self.deadline = self.entry_at = inf
        self.target: Fires | None = None

    def fire(self, now: float) -> None:
        """Call its target, unless its deadline has changed meanwhile."""
        target = self.target
        if target is not None and self.deadline <= now:
            self.deadline = inf
            target.fire()


class TimerThread:
    """One daemon thread that fires timers. It starts with the first push, or with ``begin``."""

    def __init__(self, clock: Clock, name: str = "rio_chain-timer") -> None:
        self.now = clock.now
        self._clock = clock
        self._name = name
        self._deadlines = Deadlines[Timer]()
        self._lock = threading.RLock()  # a finaliser may re-enter
        self._condition = threading.Condition(self._lock)  # only its lock is entered, so a Ctrl-C can't leave it held
        self._thread: threading.Thread | None = None

    def push(self, alarm: Timer, at: float) -> None:
        """As ``Deadlines.push``, from any thread."""
        with self._lock:  # not the condition: a Ctrl-C in its Python `__enter__` could leave the lock held
            earliest = self._deadlines.push(alarm, at)
            if self._thread is None:
                self._start()
            elif earliest:
                self._condition.notify_all()

    def begin(self) -> None:
        """Start the thread, so that a later ``push`` need not. Raises RuntimeError if it can't be started."""
        if self._thread is None:
            with self._lock:
                if self._thread is None:
                    self._start()

    def close(self, *, wait: bool = True) -> None:
        """End the thread; with ``wait`` wait until it has ended. A later push starts a new one."""
        with self._lock:
            thread, self._thread = self._thread, None
            self._condition.notify_all()
        if wait and thread is not None and thread is not threading.current_thread():
            thread.join()

    def _start(self) -> None:
        self._thread = start_daemon(self._run, self._name)

    def _run(self) -> None:
        over: list[Timer] | None = []
        while over is not None:
            for alarm in over:
                try:
                    surely(partial(alarm.fire, self.now()))
                except BaseException as error:  # noqa: BLE001 - an internal error must not stop the timers of others
                    report_unhandled(error)
            try:
                over = self._wait()
            except BaseException as error:  # noqa: BLE001 - nor must a lack of memory
                report_unhandled(error)
                over = []

    def _wait(self) -> list[Timer] | None:
        """The timers to fire; None if this thread was closed."""
        with self._lock:
            while self._thread is threading.current_thread():
                now = self.now()
                over = self._deadlines.due(now)
                if over:
                    return over
                at = self._deadlines.next()
                self._clock.wait(self._condition, None if at == inf else at - now)
            return None


class _Handle(Protocol):
    """A timer of a loop."""

    def cancel(self) -> None: ...


class TimedLoop(Protocol):
    """A loop with timers, as asyncio's."""

    def time(self) -> float:
        """Seconds, never going back."""
        ...

    def call_at(self, when: float, callback: Callable[..., object], /, *args: Any, context: Context) -> _Handle:
        """Call it at that instant, in that context."""
        ...


L = TypeVar("L", bound=TimedLoop)


class SlotDeadline:
    """An entry in the heap, of a slot or of another object that fires. It outlives that object and serves the next one.

    So the heap has no more entries than there were objects at once.
    """

    __slots__ = ("deadline", "entry_at", "slot")

    def __init__(self) -> None:
        self.deadline = self.entry_at = inf
        self.slot: Fires | None = None


class LoopDeadlines(Generic[L]):
    """One timer of an event loop for the deadlines of all its runs; it is set to the earliest."""

    def __init__(self, loop: L) -> None:
        self.loop = loop
        self.free: list[SlotDeadline] = []
        self._deadlines: Deadlines[SlotDeadline] = Deadlines()
        self._timer: _Handle | None = None
        self._context = Context()  # the timer would else keep the context of the caller

    def push(self, alarm: SlotDeadline, at: float) -> None:
        """Check the entry at that instant."""
        if self._deadlines.push(alarm, at):
            self._set(at)

    def timer(self, target: Fires, at: float) -> SlotDeadline:
        """As ``Runtime.timer``."""
        alarm = self.free.pop() if self.free else SlotDeadline()
        alarm.slot = target
        alarm.deadline = at
        if at < alarm.entry_at:
            self.push(alarm, at)
        return alarm

    def free_timer(self, timer: SlotDeadline) -> None:
        """As ``Runtime.free_timer``."""
        timer.deadline = inf
        timer.slot = None
        self.free.append(timer)

    def drop(self, alarm: SlotDeadline) -> None:
        """The entry has fired: its next deadline must be pushed."""
        self._deadlines.drop(alarm)

    def _set(self, at: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self.loop.call_at(at, surely, self._look, context=self._context)

    def _look(self) -> None:
        self._timer = None
        for alarm in self._deadlines.due(self.loop.time()):
            alarm.deadline = inf
            if alarm.slot is not None:
                surely(alarm.slot.fire)
        at = self._deadlines.next()
        if at < inf:
            self._set(at)
