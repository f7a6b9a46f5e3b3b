"""The middle of a decision, for what a finaliser or a signal handler does there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import get_ident

from rio_chain._core.deferring_lock import DeferringLock


@contextmanager
def amid(lock: DeferringLock) -> Iterator[None]:
    """The body is a part of a decision."""
    try:
        with lock._lock:
            lock._owner = get_ident()
            lock._inside += 1
            try:
                yield
            finally:
                lock._inside -= 1
    finally:
        lock.decide(lambda: None)  # which ends with what was put aside
