"""Timeline: one axis of time over the clocks of many executors."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable

from rio_chain.policies.hold import Clock

_finders: list[Callable[[], Clock | None]] = []


def find_clock_with(finder: Callable[[], Clock | None]) -> None:
    """Say how to find the clock of the code that asks. Executors know it, and policies can't import them."""
    _finders[:] = [finder]


def clock_here() -> Clock | None:
    """The clock by which the code that asks runs; None outside of any run and loop, or before there was one."""
    return _finders[0]() if _finders else None


class Timeline:
    """Seconds on one axis that never jumps and never runs back.

    Each executor has a clock of its own: trio's begins at a random number, a test's moves by hand. The axis moves
    with the clock that was used last. When another one is handed in, it goes on from where the first one now stands.

    Example:
        >>> line = Timeline()
        >>> line.now(lambda: 5.0), line.now(lambda: 1_000_000.0)
        (5.0, 5.0)
    """

    __slots__ = ("_clock", "_last", "_lock", "_offset")

    def __init__(self) -> None:
        self._clock: Clock | None = None
        self._offset = 0.0
        self._last = -math.inf
        self._lock = threading.RLock()

    def now(self, clock: Clock | None = None) -> float:
        """Where the axis stands, by ``clock``; without one by that of the last call."""
        with self._lock:
            if self._clock is None:  # the first clock is the axis itself
                self._clock = clock or time.monotonic
            elif clock is not None and clock != self._clock:
                offset = self._read() - clock()
                self._clock, self._offset = clock, offset  # at once: whoever comes back in must not read half of it
            self._last = self._read()
            return self._last

    def _read(self) -> float:
        assert self._clock is not None  # noqa: S101 - set by now()
        try:
            return max(self._last, self._clock() + self._offset)
        except Exception:  # noqa: BLE001 - the clock of an executor that is over may be so too
            return self._last
