"""Timeline: one time axis over the clocks of several executors."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable

from rio_chain._core.forks import after_fork, renewed
from rio_chain.policies._permit import Clock

_finders: list[Callable[[], Clock | None]] = []


def find_clock_with(finder: Callable[[], Clock | None]) -> None:
    """Set how to find the clock of the running code. Executors know it, and policies can't import executors."""
    _finders[:] = [finder]


def clock_here() -> Clock | None:
    """The clock of the running code; None outside of any run and loop, or before an executor was imported."""
    return _finders[0]() if _finders else None


class Timeline:
    """Seconds on one axis that never jumps and never runs backwards.

    Each executor has its own clock: trio's begins at a random number, and a test moves its clock by hand. The axis
    follows the clock that was used last. When another clock is passed, the axis continues from its current value.

    Example:
        >>> line = Timeline()
        >>> line.now(lambda: 5.0), line.now(lambda: 1_000_000.0)
        (5.0, 5.0)
    """

    __slots__ = ("__weakref__", "_base", "_last", "_lock")

    def __init__(self) -> None:
        self._base: tuple[Clock, float] | None = None  # the clock, and the offset to add to it
        self._last = -math.inf
        self._lock = threading.RLock()
        after_fork(self._renew)

    def now(self, clock: Clock | None = None) -> float:
        """The current value, by ``clock``; without one by the clock of the last call."""
        with self._lock:
            base = self._base
            if base is None:  # the first clock defines the axis
                base = self._base = clock or time.monotonic, 0.0
            elif clock is not None and clock != base[0]:
                # a single store, so that a re-entrant call or a fork never sees half of the change
                base = self._base = clock, self._read(*base) - clock()
            self._last = self._read(*base)
            return self._last

    def follow(self, clock: Clock) -> None:
        """Use this clock from now on. It is cheaper than ``now``, for a caller that does not need the time."""
        base = self._base
        if base is None or clock != base[0]:
            self.now(clock)

    def _read(self, clock: Clock, offset: float) -> float:
        try:
            return max(self._last, clock() + offset)
        except Exception:  # noqa: BLE001 - the executor of the clock may have ended
            return self._last

    def _renew(self) -> None:
        """In a forked child: keep the value and renew the lock."""
        self._lock = renewed(self._lock)
