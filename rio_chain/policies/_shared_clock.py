"""Timeline: one axis of time over the clocks of many executors."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable

from rio_chain._core.forks import after_fork, renewed
from rio_chain.policies._permit import Clock

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

    __slots__ = ("__weakref__", "_base", "_last", "_lock")

    def __init__(self) -> None:
        self._base: tuple[Clock, float] | None = None  # the clock, and what is added to it
        self._last = -math.inf
        self._lock = threading.RLock()
        after_fork(self._renew)

    def now(self, clock: Clock | None = None) -> float:
        """Where the axis stands, by ``clock``; without one by that of the last call."""
        with self._lock:
            base = self._base
            if base is None:  # the first clock is the axis itself
                base = self._base = clock or time.monotonic, 0.0
            elif clock is not None and clock != base[0]:
                # one store: whoever comes back in, or forks, must not see half of it
                base = self._base = clock, self._read(*base) - clock()
            self._last = self._read(*base)
            return self._last

    def follow(self, clock: Clock) -> None:
        """Go by this clock from now on. Cheaper than ``now``, where that is not needed."""
        base = self._base
        if base is None or clock != base[0]:
            self.now(clock)

    def _read(self, clock: Clock, offset: float) -> float:
        try:
            return max(self._last, clock() + offset)
        except Exception:  # noqa: BLE001 - the clock of an executor that is over may be so too
            return self._last

    def _renew(self) -> None:
        """In a forked child: the axis goes on."""
        self._lock = renewed(self._lock)
