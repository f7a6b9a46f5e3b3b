"""Quantile: learns how long answers take."""

from __future__ import annotations

import math
import threading
from bisect import bisect_left, insort
from collections import deque

from rio_chain._core.forks import after_fork, renewed
from rio_chain._core.quantiles import quantile
from rio_chain._core.units import count, format_duration, number, short_repr
from rio_chain.errors import ChainDefinitionError
from rio_chain.policies._number_format import exact_number
from rio_chain.policies._plain_data import Data
from rio_chain.policies._plain_data import number as plain_number
from rio_chain.policies._shared_state import Shared


class Quantile(Shared):
    """A moving quantile of latencies, for ``.replica(2, after=Quantile(0.95))``.

    It is exact over the last ``window`` answers. Only accepted answers are counted, because failed and cancelled calls
    do not show how long an answer takes. The latency of a hedge is counted from the start of the first call, which
    takes at least that long. Otherwise each hedge would make the next one earlier, and the p95 would become the p90.
    Before there are ``warmup`` answers, it has no value, and no hedge is started because a call is late.

    Args:
        q: more than 0 and less than 1. Default 0.95.
        warmup: how many answers are needed before it has a value. Default 20.
        window: how many answers are kept. Default 1000.

    Raises:
        ChainDefinitionError: an argument is out of its range, or ``warmup`` is more than ``window``.

    Example:
        >>> late = Quantile(0.5, warmup=3)
        >>> for seconds in (0.01, 0.02, 0.09):
        ...     late.add(seconds)
        >>> late.value(), late
        (0.02, <Quantile p50 of 3 answers: 20 ms>)
    """

    def __init__(self, q: float = 0.95, *, warmup: int = 20, window: int = 1000) -> None:
        self._q = number(q, "q", above=0)
        if self._q >= 1:
            raise ChainDefinitionError(f"`q` must be more than 0 and less than 1; got {short_repr(q)}")
        self._warmup = count(warmup, "warmup", least=1)
        self._window = count(window, "window", least=1)
        if self._warmup > self._window:
            raise ChainDefinitionError(
                f"`warmup` must be at most `window`, which is {window}, else there is never a value; got {warmup}"
            )
        self._lock = threading.RLock()
        self._arrived: deque[float] = deque()
        self._sorted: list[float] = []
        after_fork(self._renew)

    def add(self, seconds: float) -> None:
        """Add the latency of an answer. A number that can't be a latency is ignored."""
        if not 0 <= seconds < math.inf:
            return
        with self._lock:
            if len(self._arrived) == self._window:
                del self._sorted[bisect_left(self._sorted, self._arrived.popleft())]
            self._arrived.append(seconds)
            insort(self._sorted, seconds)

    def value(self) -> float | None:
        """The quantile in seconds, interpolated between two answers. None if there are too few answers."""
        with self._lock:
            return None if len(self._sorted) < self._warmup else quantile(self._sorted, self._q, interpolate=True)

    def _renew(self) -> None:
        """In a forked child: keep the answers, and repair one that was added in part."""
        self._lock = renewed(self._lock)
        self._sorted = sorted(self._arrived)

    def to_dict(self) -> Data:
        """Its settings as plain data."""
        return {
            "kind": "quantile",
            "q": self._q,
            "warmup": plain_number(self._warmup),
            "window": plain_number(self._window),
        }

    def __repr__(self) -> str:
        value, many = self.value(), len(self._arrived)
        now = (
            f"{many} of {self._warmup} answers to warm up"
            if value is None
            else f"of {many} answers: {format_duration(value)}"
        )
        return f"<Quantile p{exact_number(self._q * 100)} {now}>"

    def __str__(self) -> str:
        return f"the p{exact_number(self._q * 100)} of latencies"
