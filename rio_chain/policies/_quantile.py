"""Quantile: how long answers take, learned from those that came."""

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

    Exact over the last ``window`` answers, so old ones age away with the traffic. Only accepted answers feed it, as
    losers and failures say nothing of how long an answer takes. That of a hedge counts from the first call, which
    takes at least as long; else every hedge would teach to hedge sooner, and the p95 become the p90. Before
    ``warmup`` of them have come it has no value, and no hedge is started for being late.

    Args:
        q: more than 0 and less than 1. Default 0.95.
        warmup: answers needed before it has a value. Default 20.
        window: answers it remembers. Default 1000.

    Raises:
        ChainDefinitionError: an argument out of its range; a ``warmup`` that the ``window`` has no room for.

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
                f"`warmup` must be at most `window`, which is {window}: it would have no value ever; got {warmup}"
            )
        self._lock = threading.RLock()
        self._arrived: deque[float] = deque()
        self._sorted: list[float] = []
        after_fork(self._renew)

    def add(self, seconds: float) -> None:
        """An answer took so long. What can't be a latency is not counted."""
        if not 0 <= seconds < math.inf:
            return
        with self._lock:
            if len(self._arrived) == self._window:
                del self._sorted[bisect_left(self._sorted, self._arrived.popleft())]
            self._arrived.append(seconds)
            insort(self._sorted, seconds)

    def value(self) -> float | None:
        """The quantile in seconds, between the two nearest answers in proportion; None: too few have come."""
        with self._lock:
            return None if len(self._sorted) < self._warmup else quantile(self._sorted, self._q, interpolate=True)

    def _renew(self) -> None:
        """In a forked child: the answers are kept; one may have been added in part."""
        self._lock = renewed(self._lock)
        self._sorted = sorted(self._arrived)

    def to_dict(self) -> Data:
        """What it was made with, as plain data."""
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
