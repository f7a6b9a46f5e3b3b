"""Waiting until something has become true, where nothing says when."""

from __future__ import annotations

import time
from collections.abc import Callable

SPARE = 5.0
"""Seconds that something may take on a busy machine before it counts as never."""


def eventually(truth: Callable[[], object], what: str = "it", seconds: float = 2 * SPARE) -> None:
    """Wait until it is true, and fail if it never is."""
    until = time.monotonic() + seconds
    while not truth():
        assert time.monotonic() < until, f"{what} never came true"
        time.sleep(0.001)
