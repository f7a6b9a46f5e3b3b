"""A lock for decisions that code may come back into: in a finaliser, or in a signal handler."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable

PAUSE = 2e-5
"""Seconds."""


def patient(lock: threading.RLock) -> None:
    """Acquire a lock that another thread holds, for a moment, and never without the GIL.

    Who waits in ``acquire`` may get the lock and then have to wait for the GIL, while the one who has that waits for
    the lock. Once threads do so in turn, they go on: each acquisition changes threads, and takes ten times as long.
    """
    while not lock.acquire(blocking=False):
        time.sleep(PAUSE)


class Aside:
    """A lock for threads. What its own thread comes back in with can be put aside, and is done when it is left.

    Example:
        >>> lock, order = Aside(), []
        >>> with lock:
        ...     aside = lock.put_aside(lambda: order.append("after"))
        ...     order.append("first")
        >>> aside, order, lock.put_aside(print)
        (True, ['first', 'after'], False)
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._inside = 0  # decisions under way; more than one when we came back in
        self._aside: deque[Callable[[], None]] = deque()
        self._clearing: set[int] = set()  # the threads that do what was put aside

    def __enter__(self) -> None:
        if not self._lock.acquire(blocking=False):
            patient(self._lock)
        self._inside += 1

    def __exit__(self, *exc: object) -> None:
        self._inside -= 1
        self._lock.release()
        if self._aside:
            self._clear_aside()

    def put_aside(self, work: Callable[[], None]) -> bool:
        """Whether we came back in while a decision is being made; then the work is done after it."""
        if not self._inside:
            return False
        with self._lock:  # only the thread that holds it can get in while a decision is being made
            if self._inside:
                self._aside.append(work)
            return self._inside > 0

    def _clear_aside(self) -> None:
        """One after the other, not one in the other: a collector may have found thousands."""
        me = threading.get_ident()
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
