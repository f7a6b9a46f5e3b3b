"""The slot of a strand: sets the deadline of the strand, and interrupts the strand.

A strand is interrupted when its deadline has passed, when its run is stopped, or when the strand is cancelled.

If the strand is interrupted in a call, it is *taken over*: the call counts as abandoned, and another worker continues
the strand. During a call, a token is in the list ``_claim``. Whichever pops the token first owns the strand: the worker
when its call returns, or the code that interrupts the strand. ``append`` and ``pop`` of a list are atomic, and take
a third of the time of a lock. Each takeover makes a new claim list for the next worker. So the stuck thread finds its
old list empty, and ends.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Coroutine
from contextvars import Context
from functools import partial
from math import inf
from typing import TYPE_CHECKING, Any

from rio_chain._core.unhandled_errors import surely

if TYPE_CHECKING:
    from typing import Self

    from rio_chain.executors._thread_kernel import Kernel
    from rio_chain.executors._thread_waiter import ThreadWaiter

READY, DRIVEN, PARKED, DONE = "ready", "driven", "parked", "done"
CHECK_EVERY = 1.0
"""Seconds between two checks for lost wake-ups; an expiry this late is taken as lost."""


class Expired(BaseException):
    """The deadline of the strand has passed, or its slot was stopped or interrupted."""


class StrandCancelled(BaseException):
    """A race is decided, and this strand is not needed any more."""


class StrandDeadline:
    """The deadline of a strand, as the timer sees it.

    The objects are reused. When the strand has ended, the entry in the timer's heap remains, and the next strand gets
    this object together with that entry.
    """

    __slots__ = ("deadline", "entry_at", "strand")

    def __init__(self) -> None:
        self.deadline = self.entry_at = inf
        self.strand: StrandSlot | None = None

    def fire(self, now: float) -> None:
        """Interrupt the strand, if its deadline has not moved."""
        strand = self.strand
        if strand is not None:
            strand.expire(self, now)


class StrandSlot(ABC):
    """A ``Slot``, with the state of the strand that an interruption reads and changes under the lock."""

    __slots__ = (
        "_cancelling", "_claim", "_coro", "_delivered", "_error", "_expiring", "_flagged", "_limit", "_lock", "_on",
        "_state", "_stopped", "_stopping", "context", "kernel",
    )  # fmt: skip

    def __init__(self, kernel: Kernel, context: Context) -> None:
        self.kernel = kernel
        self.context = context
        self._coro: Coroutine[Any, Any, Any] | None = None
        self._lock = threading.RLock()
        self._state = READY
        self._claim: list[None] = []
        self._on: ThreadWaiter | None = None  # the waiter on which it is parked
        self._error: BaseException | None = None  # thrown in when it is driven next
        self._limit: StrandDeadline | None = None
        self._delivered: Expired | None = None  # an interruption that is not settled
        self._flagged = False  # whether one of these waits for the next trap:
        self._cancelling = self._expiring = self._stopping = False
        self._stopped = False

    @abstractmethod
    def drive(self) -> bool:
        """Run the strand until it is parked, has ended or is taken over. The pool calls this as a work item.

        Returns True if the strand was taken over, which means that the calling thread was given up.
        """

    @abstractmethod
    def _end(self, value: Any, error: BaseException | None) -> None:
        """The strand has ended."""

    def _interrupt(self, error: BaseException, limit: StrandDeadline | None = None, now: float = 0) -> bool:
        """Interrupt the strand with ``error`` if it is parked or in a call.

        Returns True if the strand was interrupted: the caller must then call ``_go_on``. Returns False if the strand is
        neither parked nor in a call; it will find the flag before its next call or wait.

        Call this under the lock, with ``_flagged`` set. With a ``limit``, interrupt only if the deadline that it holds
        has passed. The strand moves its deadline without the lock, so the deadline is read again after the claim is
        taken: the strand may be in another call by now, with a later deadline.
        """
        if limit is not None and limit.deadline > now:
            return False
        on = self._on
        if self._state == PARKED and on is not None and not on.shielded:
            self._state = READY
            self._error = error
            return True
        if self._state != DRIVEN:
            return False
        try:
            self._claim.pop()
        except IndexError:
            return False  # it is not in a call
        if limit is not None and limit.deadline > now:
            self._claim.append(None)
            return False
        self._state = READY
        self._error = error
        self._claim = []
        self.kernel.pool.give_up(self.drive, self.context)
        return True

    def _expire(self, limit: StrandDeadline, error: Expired, now: float | None = None) -> bool:
        """Interrupt the strand because of its deadline. With ``now``, only if the deadline has passed at that time.

        Call this under the lock, with ``_flagged`` set.
        """
        if not (self._interrupt(error) if now is None else self._interrupt(error, limit, now)):
            return False
        limit.deadline = inf
        self._delivered = error
        self._stopping = self._expiring = False
        self._flagged = self._cancelling
        return True

    def _pending(self) -> BaseException | None:
        """Clear the flag, and return the interruption that came while the strand was neither parked nor in a call.

        Returns None if there is none, or if the strand has moved its deadline since. Call this under the lock.
        """
        if self._cancelling:
            self._cancelling = False
            self._flagged = self._expiring or self._stopping
            return StrandCancelled()
        limit, stopping, expiring = self._limit, self._stopping, self._expiring
        self._flagged = self._stopping = self._expiring = False
        if limit is None or not (stopping or (expiring and limit.deadline <= self.kernel.timers.now())):
            return None
        limit.deadline = inf
        self._delivered = Expired()
        return self._delivered

    def expire(self, limit: StrandDeadline, now: float) -> None:
        """The timer calls this when the deadline has passed."""
        error = Expired()
        with self._lock:
            if self._limit is not limit or limit.deadline > now:
                return  # released or armed again meanwhile, which has pushed a new entry
            self._flagged = self._expiring = True
            interrupted = self._expire(limit, error, now)
        if interrupted:
            surely(self._go_on)

    def stop(self) -> None:
        """As ``Slot.stop``."""
        error = Expired()
        with self._lock:
            limit = self._limit
            if limit is None or self._stopped:
                return
            self._stopped = self._flagged = self._stopping = True
            interrupted = self._expire(limit, error)
        if interrupted:
            surely(self._go_on)

    def interrupt(self) -> None:
        """As ``Slot.interrupt``."""
        error = Expired()
        with self._lock:
            limit = self._limit
            if limit is None:
                return
            self._flagged = self._stopping = True
            interrupted = self._expire(limit, error)
        if interrupted:
            surely(self._go_on)

    def cancel(self) -> None:
        """End the strand with ``StrandCancelled``: now, or when it next waits or calls. From any thread."""
        error = StrandCancelled()
        with self._lock:
            if self._state == DONE:
                return
            begun = self._state != READY or self._coro is not None
            interrupted = False
            if begun:
                self._flagged = self._cancelling = True
                interrupted = self._interrupt(error)
                if interrupted:
                    self._cancelling = False
                    self._flagged = self._expiring or self._stopping
            else:
                self._state = DONE
        if interrupted:
            surely(self._go_on)
        elif not begun:
            surely(partial(self._end, None, error))

    def _go_on(self) -> None:
        """Submit an interrupted strand to the pool. Until then no thread runs it, so call this after each interruption.

        If no thread is free, the strand waits for one.
        """
        if self._on is not None and self._on.left is not None:
            self._on.left()
        self._submit()

    def look(self, now: float) -> None:
        """Repeat a wake-up or an expiry that the strand has not received."""
        with self._lock:
            limit, on = self._limit, self._on
            if self._state == PARKED and on is not None and on.woken:
                self._state = READY
            lost = self._state == READY and not self.kernel.pool.queued(self.drive)
        if lost:
            self._submit()
        elif limit is not None and limit.deadline < now - CHECK_EVERY:
            self.expire(limit, now)

    def _submit(self) -> None:
        """Submit the strand to the pool. It is ready, and no thread runs it."""
        try:
            self.kernel.go_on(self.drive)
        except MemoryError:
            surely(partial(self.kernel.go_on, self.drive))

    # --- the slot ---------------------------------------------------------------------------------------------

    def slot(self) -> Self:
        """The strand itself as a ``Slot``, with nothing armed."""
        if self._limit is None:
            try:
                limit = self.kernel.limits.pop()
            except IndexError:
                limit = StrandDeadline()
            self._stopped = False
            self._limit = limit
            limit.strand = self
        return self

    @property
    def alarm(self) -> StrandDeadline:
        """As ``Slot.alarm``."""
        if self._limit is None:
            raise RuntimeError("the slot is released")
        return self._limit

    def arm(self, at: float) -> None:
        """As ``Slot.arm``. It only stores a float, except if the timer's heap has no entry that is early enough."""
        limit = self._limit
        if limit is not None:
            limit.deadline = at
            if at < limit.entry_at:
                self.kernel.timers.push(limit, at)

    def settle(self, error: BaseException | None) -> bool:
        """As ``Slot.settle``. Returns False for a ``StrandCancelled``, as that does not come from the deadline."""
        delivered, self._delivered = self._delivered, None
        if self._stopping and not self._stopped:  # an interruption that came while the strand did not wait
            with self._lock:
                self._stopping = self._stopped
                self._flagged = self._cancelling or self._expiring or self._stopping
        return delivered is not None and not isinstance(error, StrandCancelled)

    def release(self) -> None:
        """As ``Slot.release``."""
        with self._lock:
            limit, self._limit = self._limit, None
            self._expiring = self._stopping = False
            self._flagged = self._cancelling
        if limit is not None:
            limit.deadline = inf
            limit.strand = None
            self.kernel.limits.append(limit)
