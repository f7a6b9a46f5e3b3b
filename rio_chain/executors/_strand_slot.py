"""The slot of a strand: arms its deadline, and interrupts it when that passes, at a stop or at a cancel.

If the strand is interrupted in a call, it is *taken over*: the call counts as abandoned, and another worker continues
the strand. During a call, a token is in its ``_claim``. Whoever pops the token owns the strand: the worker whose call
returns, or the code that interrupts it. A list's append and pop are atomic and cost a third of a lock. Each takeover
leaves a new claim for the next worker. So the stuck thread finds its old claim empty, and ends.
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
    """A limit of the strand has passed, or its slot was stopped."""


class StrandCancelled(BaseException):
    """A race is decided, and this strand is not needed."""


class StrandDeadline:
    """The timer entry of a strand. Pooled: its entry in the heap outlives the strand, and serves another one."""

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
        """Run until the strand is parked, over, or taken over (then True). It is an item of the pool."""

    @abstractmethod
    def _end(self, value: Any, error: BaseException | None) -> None:
        """The strand has ended."""

    def _interrupt(self, error: BaseException, limit: StrandDeadline | None = None, now: float = 0) -> bool:
        """Throw ``error`` in where the strand waits; the caller then submits it. False: it does not wait now.

        Call it under the lock, with the flag up: a strand that does not wait finds the flag later. With a ``limit``,
        interrupt only if that has passed. The strand arms without the lock, so it may be in its next call by now; or,
        if it sees the flag, just before that call.
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
        """Interrupt because of a limit; with ``now``, only if it has passed then. Under the lock, with the flag up."""
        if not (self._interrupt(error) if now is None else self._interrupt(error, limit, now)):
            return False
        limit.deadline = inf
        self._delivered = error
        self._stopping = self._expiring = False
        self._flagged = self._cancelling
        return True

    def _pending(self) -> BaseException | None:
        """Lower the flag, and give the interruption that came while the strand did not wait, if it still counts.

        Under the lock.
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
        """The timer reports that this limit has passed."""
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
        """End the strand with ``StrandCancelled``: now, or when it next waits. From any thread."""
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
        """Continue after an interruption. Nothing drives the strand before this, and it may then wait for a thread."""
        if self._on is not None and self._on.left is not None:
            self._on.left()
        self._submit()

    def look(self, now: float) -> None:
        """Repeat its wake-up or its expiry if that was lost."""
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
        """Have the pool drive it: it is ready, and nothing else will."""
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
        """As ``Slot.arm``: a float store, unless the heap has no entry that early."""
        limit = self._limit
        if limit is not None:
            limit.deadline = at
            if at < limit.entry_at:
                self.kernel.timers.push(limit, at)

    def settle(self, error: BaseException | None) -> bool:
        """As ``Slot.settle``; a cancellation is never ours."""
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
