"""Blocking waits of plain code, in which Ctrl-C is heard."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from math import inf

SLICE = 0.1
"""Seconds."""


def waited(wait: Callable[[float], bool], seconds: float | None = None) -> bool:
    """``wait(seconds)`` that gives what it gives: True when what it is for has come, False when time is over.

    On the main thread, where signals are handled, it is cut into slices. A signal may come right between Python's look
    for one and the system call that waits, and would be heard only when that ends; seen once in a hundred interrupts.

    Args:
        wait: the wait of a lock or an event, with its most in seconds.
        seconds: the most in all; None: for ever.
    """
    end = inf if seconds is None else time.monotonic() + seconds
    piece = SLICE if threading.current_thread() is threading.main_thread() else threading.TIMEOUT_MAX
    while True:
        left = end - time.monotonic()
        if wait(max(0.0, min(left, piece))):
            return True
        if left <= piece:
            return False


def acquired(gate: threading.Lock, seconds: float | None = None) -> bool:
    """Wait until somebody releases it."""
    return waited(lambda most: gate.acquire(timeout=most), seconds)
