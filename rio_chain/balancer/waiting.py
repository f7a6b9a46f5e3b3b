"""Blocking waits of plain code, in which Ctrl-C is heard."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from math import inf

SLICE = 0.1
"""Seconds."""


def acquired(gate: threading.Lock, seconds: float | None = None) -> bool:
    """Wait until somebody releases it; False: not in so many seconds.

    On the main thread, where signals are handled, it is cut into slices. A signal may come right between Python's look
    for one and the system call that waits, and would be heard only when that ends; seen once in a hundred interrupts.
    """
    end = inf if seconds is None else time.monotonic() + seconds
    piece = SLICE if threading.current_thread() is threading.main_thread() else threading.TIMEOUT_MAX
    while True:
        left = end - time.monotonic()
        if gate.acquire(timeout=max(0.0, min(left, piece))):
            return True
        if left <= piece:
            return False


def told(
    register: Callable[[Callable[[], None]], None],
    seconds: float | None = None,
    meanwhile: Callable[[], None] | None = None,
) -> bool:
    """Hand over what ends this waiting, and wait until it is called; False: not in so many seconds.

    ``meanwhile`` is called again and again, every ``SLICE``. It waits without end then.

    No Event: whoever calls may be a signal handler on this very thread, which would find the Event's own lock taken.
    """
    gate = threading.Lock()
    gate.acquire()
    register(gate.release)
    while meanwhile is not None and not acquired(gate, SLICE):
        meanwhile()
    return meanwhile is not None or acquired(gate, seconds)
