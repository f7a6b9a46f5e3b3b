"""A lock for decisions that code may come back into: in a finaliser, or in a signal handler."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from threading import get_ident
from typing import TypeVar, TypeVarTuple

PAUSE = 2e-5
"""Seconds."""


Ts = TypeVarTuple("Ts")
T = TypeVar("T")


def patient(lock: threading.RLock) -> None:
    """Acquire a lock that another thread holds, for a moment, and never without the GIL.

    Who waits in ``acquire`` may get the lock and then have to wait for the GIL, while the one who has that waits for
    the lock. Once threads do so in turn, they go on: each acquisition changes threads, and takes ten times as long.

    Not for the main thread: a Ctrl-C may come between ``acquire`` and what follows.
    """
    while not lock.acquire(blocking=False):
        time.sleep(PAUSE)


class Aside:
    """A lock for decisions. What a thread comes back in with, while it decides, can be put aside and is done after.

    No context manager: a Ctrl-C may come at the beginning of each function that is written in Python, also of an
    ``__exit__``, and then the lock would never be released. Only those of the lock itself can't be interrupted.

    Example:
        >>> lock, order = Aside(), []
        >>> def decision(first):
        ...     aside = lock.put_aside(lambda: order.append("after"))
        ...     order.append(first)
        ...     return aside
        >>> lock.decide(decision, "first"), order, lock.put_aside(print)
        (True, ['first', 'after'], False)
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._owner = 0  # the thread that decides
        self._inside = 0  # decisions under way; more than one when it came back in
        self._torn = False  # a decision was interrupted
        self._aside: deque[Callable[[], None]] = deque()
        self._clearing: set[int] = set()  # the threads that do what was put aside

    def decide(self, decision: Callable[[*Ts], T], *args: *Ts) -> T:
        """Call it while no other thread decides. It may not wait, nor call what does not belong to the lock's owner."""
        if self._inside:
            self._wait()
        try:
            with self._lock:
                self._owner = get_ident()
                self._inside += 1
                try:
                    got = decision(*args)
                except BaseException as error:
                    self._torn = self._torn or not isinstance(error, Exception)
                    raise
                finally:
                    self._inside -= 1
                    if self._torn and not self._inside:
                        self._torn = False
                        self.mend()
        finally:
            if self._aside:
                self._clear_aside()
        return got

    def mend(self) -> None:
        """A Ctrl-C came in the middle of a decision: count anew what goes by the rest."""

    def _wait(self) -> None:
        """Until no other thread decides: as ``patient`` does, and for its reason."""
        while self._inside and self._owner != get_ident():
            time.sleep(PAUSE)

    def put_aside(self, work: Callable[[], None]) -> bool:
        """Whether we came back in while a decision is being made; then the work is done after it."""
        if not self._inside or self._owner != get_ident():
            return False
        self._aside.append(work)
        return True

    def _clear_aside(self) -> None:
        """One after the other, not one in the other: a collector may have found thousands."""
        me = get_ident()
        while self._aside and not self._inside and me not in self._clearing:
            self._clearing.add(me)
            try:
                for work in iter(self._next, None):
                    work()
            finally:
                self._clearing.discard(me)

    def _next(self) -> Callable[[], None] | None:
        try:
            return self._aside.popleft()
        except IndexError:  # another thread took the last one
            return None
