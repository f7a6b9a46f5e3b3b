"""A lock for decisions that code may come back into: in a finaliser, or in a signal handler."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from threading import get_ident
from typing import TypeVar, TypeVarTuple

from rio_chain._core.forks import after_fork
from rio_chain._core.unhandled_errors import surely

PAUSE = 2e-5
"""Seconds."""


Ts = TypeVarTuple("Ts")
T = TypeVar("T")


def acquire_by_polling(lock: threading.RLock) -> None:
    """Acquire a lock that another thread holds, for a moment, and never without the GIL.

    Who waits in ``acquire`` may get the lock and then have to wait for the GIL, while the one who has that waits for
    the lock. Once threads do so in turn, they go on: each acquisition changes threads, and takes ten times as long.

    Not for the main thread: a Ctrl-C may come between ``acquire`` and what follows.
    """
    while not lock.acquire(blocking=False):
        time.sleep(PAUSE)


class DeferringLock:
    """A lock for decisions. What a thread comes back in with, while it decides, can be put aside and is done after.

    An exception may arrive between any two statements: from a signal handler, near the recursion limit, where memory
    ends. A decision that it left half made is *torn*. ``mend`` puts that right, at once or, where the same exception
    comes again, before the next decision.

    No context manager: an interruption may come at the beginning of each function that is written in Python, also of an
    ``__exit__``, and then the lock would never be released. Only those of the lock itself can't be interrupted.

    Example:
        >>> lock, order = DeferringLock(), []
        >>> def decision(first):
        ...     deferred = lock.defer(lambda: order.append("after"))
        ...     order.append(first)
        ...     return deferred
        >>> lock.decide(decision, "first"), order, lock.defer(print)
        (True, ['first', 'after'], False)
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._owner = 0  # the thread that decides
        self._inside = 0  # decisions under way; more than one when it came back in
        self.torn = False  # a decision was interrupted; whoever sees that it must be mended sets it, too
        self._deferred: deque[_Deferred] = deque()
        self._clearing = threading.Lock()  # one thread at a time does what was put aside
        after_fork(self._renew)

    def decide(self, decision: Callable[[*Ts], T], *args: *Ts) -> T:
        """Call it while no other thread decides. It may not wait, nor call what does not belong to the lock's owner.

        It raises nothing of its own: whatever comes out of it is an interruption.
        """
        if self._inside:
            self._wait()
        try:
            with self._lock:
                self._owner = get_ident()
                self._inside += 1
                try:
                    if self.torn and self._inside == 1:
                        self._mend()
                    got = decision(*args)
                except BaseException:
                    self.torn = True
                    raise
                finally:
                    try:
                        if self.torn and self._inside == 1:
                            self._mend()
                    finally:  # near the recursion limit not even the call above can be made
                        self._inside -= 1
        finally:
            if self._deferred:
                self._run_deferred()
        return got

    def settle(self) -> None:
        """Mend now what is torn; what interrupts that is raised, and the next decision does it."""
        if self.torn:
            self.decide(_nothing)

    def mend(self) -> None:
        """Put right what a decision that was interrupted may have left half done. It may be called again."""

    def _mend(self) -> None:
        self.torn = False
        try:
            surely(self.mend)
        except BaseException:  # noqa: BLE001 - the next decision does it; what interrupted the last one goes on
            self.torn = True

    def _renew(self) -> None:
        """In a forked child: a decision of another thread is never completed. This one's own goes on."""
        if self._inside and self._owner == get_ident():
            return
        self.torn = self.torn or self._inside > 0
        self._lock, self._inside, self._clearing = threading.RLock(), 0, threading.Lock()

    def _wait(self) -> None:
        """Until no other thread decides: as ``acquire_by_polling`` does, and for its reason."""
        while self._inside and self._owner != get_ident():
            time.sleep(PAUSE)

    def defer(self, work: Callable[[], None]) -> bool:
        """Whether we came back in while a decision is being made; then the work is done after it."""
        if not self._inside or self._owner != get_ident():
            return False
        self.after(work)
        return True

    def after(self, work: Callable[[], None]) -> None:
        """Do this when the decision under way is complete. An interruption may have it done twice."""
        self._deferred.append(_Deferred(work))

    def _run_deferred(self) -> None:
        """One after the other, not one in the other: a collector may have found thousands.

        Each stays in the line until it is done, so that an interruption loses none.
        """
        interruption: BaseException | None = None
        clearing = self._clearing
        while self._deferred and not self._inside and clearing.acquire(blocking=False):
            try:
                while self._deferred and not self._inside:
                    later = self._deferred[0]
                    try:
                        later.work()
                    except RecursionError:
                        raise  # the next decision has more room
                    except BaseException as error:  # noqa: BLE001 - raised when all is done
                        later.tries -= 1
                        if later.tries:
                            interruption = interruption if isinstance(error, MemoryError) else error
                            continue
                        interruption = error
                    self._deferred.popleft()
            finally:
                clearing.release()
        if interruption is not None:
            raise interruption


class _Deferred:
    """Work that was put aside, and how often it may be begun."""

    __slots__ = ("tries", "work")

    def __init__(self, work: Callable[[], None]) -> None:
        self.work = work
        self.tries = 10


def _nothing() -> None:
    """No decision; it lets mend what is torn."""
