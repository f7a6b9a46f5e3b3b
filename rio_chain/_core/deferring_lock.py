"""A lock that a finaliser or signal handler may re-enter. It defers re-entrant work until the holder finishes."""

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
"""Seconds between two attempts to acquire the lock."""


Ts = TypeVarTuple("Ts")
T = TypeVar("T")


def acquire_by_polling(lock: threading.RLock) -> None:
    """Acquire a lock that another thread holds for a moment, without ever waiting for it with the GIL released.

    A thread that waits in ``acquire`` may get the lock and must then wait for the GIL, while the thread that has the
    GIL waits for the lock. Once two threads alternate in this way, they continue to: each acquisition then switches
    threads, and takes ten times as long.

    Do not call it on the main thread: a Ctrl-C may arrive between ``acquire`` and the code after it.
    """
    while not lock.acquire(blocking=False):
        time.sleep(PAUSE)


class DeferringLock:
    """A lock for decisions. Work that the same thread begins during a decision can be deferred until the decision ends.

    An exception may arrive between any two statements: from a signal handler, near the recursion limit, or when memory
    is exhausted. A decision that it interrupts may be half done; it is called *torn*. ``mend`` repairs it, at once or,
    if the same exception is raised again, before the next decision.

    This is not a context manager. An exception may arrive at the beginning of every Python function, also of
    ``__exit__``, and the lock would then never be released. Only the methods of the built-in lock can't be interrupted.

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
        self._owner = 0  # the thread that is making a decision
        self._inside = 0  # decisions in progress; more than one after a re-entrant call
        self.torn = False  # a decision was interrupted; the owner sets it too, when it finds something to mend
        self._deferred: deque[_Deferred] = deque()
        self._clearing = threading.Lock()  # only one thread at a time runs the deferred work
        after_fork(self._renew)

    def decide(self, decision: Callable[[*Ts], T], *args: *Ts) -> T:
        """Call ``decision`` while no other thread decides.

        It must not wait, and may call only code of the lock's owner.

        A decision raises no exception of its own, so every exception in it is an interruption.
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
                    finally:  # near the recursion limit even the call above may fail
                        self._inside -= 1
        finally:
            if self._deferred:
                self._run_deferred()
        return got

    def settle(self) -> None:
        """Mend now what is torn. An interruption of that is raised, and the next decision mends instead."""
        if self.torn:
            self.decide(_nothing)

    def mend(self) -> None:
        """Repair what an interrupted decision may have left half done. It may be called more than once."""

    def _mend(self) -> None:
        self.torn = False
        try:
            surely(self.mend)
        except BaseException:  # noqa: BLE001 - the next decision mends; the earlier interruption is raised already
            self.torn = True

    def _renew(self) -> None:
        """In a forked child, drop the decision of another thread, which will never complete.

        Its own decision goes on.
        """
        if self._inside and self._owner == get_ident():
            return
        self.torn = self.torn or self._inside > 0
        self._lock, self._inside, self._clearing = threading.RLock(), 0, threading.Lock()

    def _wait(self) -> None:
        """Wait until no other thread decides. It polls for the same reason as ``acquire_by_polling``."""
        while self._inside and self._owner != get_ident():
            time.sleep(PAUSE)

    def defer(self, work: Callable[[], None]) -> bool:
        """Whether this thread is inside a decision. If it is, ``work`` runs after the decision."""
        if not self._inside or self._owner != get_ident():
            return False
        self.after(work)
        return True

    def after(self, work: Callable[[], None]) -> None:
        """Run ``work`` when the decision in progress is complete. After an interruption it may run twice."""
        self._deferred.append(_Deferred(work))

    def _run_deferred(self) -> None:
        """Run the deferred work in a loop, not recursively: a garbage collection may have found thousands of objects.

        Each item stays in the queue until it is done, so an interruption loses none.
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
                        raise  # the next decision has more stack left
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
    """Deferred work, and how many attempts it has left."""

    __slots__ = ("tries", "work")

    def __init__(self, work: Callable[[], None]) -> None:
        self.work = work
        self.tries = 10


def _nothing() -> None:
    """Decide nothing: the call only mends what is torn."""
