"""Quantile: learns how long answers take."""

from __future__ import annotations

import math
import threading
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Callable, Hashable
from typing import Any

from attrs import frozen

from rio_chain._core.forks import after_fork, renewed
from rio_chain._core.quantiles import quantile
from rio_chain._core.units import Duration, count, format_duration, number, seconds, short_repr
from rio_chain.errors import ChainDefinitionError
from rio_chain.policies._keyed_states import KeyedStates
from rio_chain.policies._keys import Key, hashed, key_of
from rio_chain.policies._number_format import exact_number
from rio_chain.policies._permit import Clock
from rio_chain.policies._plain_data import Data
from rio_chain.policies._plain_data import key as plain_key
from rio_chain.policies._plain_data import number as plain_number
from rio_chain.policies._shared_clock import Timeline, clock_here
from rio_chain.policies._shared_state import Shared

_NO_KEY: Any = object()


@frozen
class QuantileState:
    """What a ``Quantile`` knows of a key.

    Attributes:
        answers: how many answers are kept.
        value: the quantile in seconds. None if there are too few answers.
    """

    answers: int
    value: float | None


class _Answers:
    """The latencies of the last answers: in their order of arrival, and sorted."""

    __slots__ = ("arrived", "sorted")

    def __init__(self) -> None:
        self.arrived: deque[float] = deque()
        self.sorted: list[float] = []

    def add(self, latency: float, window: int) -> None:
        if len(self.arrived) == window:
            del self.sorted[bisect_left(self.sorted, self.arrived.popleft())]
        self.arrived.append(latency)
        insort(self.sorted, latency)

    def mend(self) -> None:
        """In a forked child: repair one that was added in part."""
        self.sorted = sorted(self.arrived)


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
        key: a function of the input. Answers with different keys, such as hosts, are measured separately. Default: all
            together.
        keys: with ``key``, at most this many keys are kept; the least recently used one is forgotten. Default 1,000.
        idle: with ``key``, a key that was not used for this long is forgotten when new keys come. Milliseconds or a
            ``timedelta``; default 600,000.

    Attributes:
        key: the ``key`` as the engine calls it. None if there is no ``key``.

    Raises:
        ChainDefinitionError: an argument is out of its range, or ``warmup`` is more than ``window``.

    Example:
        >>> late = Quantile(0.5, warmup=3)
        >>> for seconds in (0.01, 0.02, 0.09):
        ...     late.add(seconds)
        >>> late.value(), late
        (0.02, <Quantile p50 of 3 answers: 20 ms>)
    """

    def __init__(
        self,
        q: float = 0.95,
        *,
        warmup: int = 20,
        window: int = 1000,
        key: Callable[..., Hashable] | None = None,
        keys: int = 1_000,
        idle: Duration = 600_000,
    ) -> None:
        self._q = number(q, "q", above=0)
        if self._q >= 1:
            raise ChainDefinitionError(f"`q` must be more than 0 and less than 1; got {short_repr(q)}")
        self._warmup = count(warmup, "warmup", least=1)
        self._window = count(window, "window", least=1)
        if self._warmup > self._window:
            raise ChainDefinitionError(
                f"`warmup` must be at most `window`, which is {window}, else there is never a value; got {warmup}"
            )
        self.key: Key | None = None if key is None else key_of(key)
        self._lock = threading.RLock()
        self._time = Timeline()
        self._alone = _Answers()
        self._by_key = KeyedStates(_Answers, count(keys, "keys", least=1), seconds(idle, "idle"))
        after_fork(self._renew)

    def add(self, latency: float, *, key: Hashable = _NO_KEY, clock: Clock | None = None) -> None:
        """Add the latency of an answer, in seconds. A number that can't be a latency is ignored.

        With a ``key``, its age is measured by ``clock``, the clock of the executor. Default: that of the running code.
        """
        if not 0 <= latency < math.inf:
            return
        with self._lock:
            self._used(key, clock).add(latency, self._window)

    def value(self, *, key: Hashable = _NO_KEY, clock: Clock | None = None) -> float | None:
        """The quantile in seconds, interpolated between two answers. None if there are too few answers."""
        with self._lock:
            return self._value(self._used(key, clock))

    def state_of(self, key: Hashable) -> QuantileState:
        """What is known of a key. To look at it is no use of the key.

        Raises:
            ChainDefinitionError: it has no ``key``.
        """
        self._check(key)
        with self._lock:
            answers = self._by_key.find(hashed(key)) or _Answers()
            return QuantileState(len(answers.arrived), self._value(answers))

    def _value(self, answers: _Answers) -> float | None:
        enough = len(answers.sorted) >= self._warmup
        return quantile(answers.sorted, self._q, interpolate=True) if enough else None

    def _used(self, key: Hashable, clock: Clock | None) -> _Answers:
        if self.key is None and key is _NO_KEY:
            return self._alone
        self._check(key)
        return self._by_key.get(hashed(key), self._time.now(clock or clock_here()))

    def _check(self, key: Hashable) -> None:
        if self.key is None:
            raise ChainDefinitionError(f"this quantile has no `key`, so it has one value for all calls; got {key!r}")
        if key is _NO_KEY:
            raise ChainDefinitionError("this quantile has a `key`, so each key has its own value: use state_of(key)")

    def _renew(self) -> None:
        """In a forked child: keep the answers."""
        self._lock = renewed(self._lock)
        for answers in (self._alone, *self._by_key):
            answers.mend()

    def to_dict(self) -> Data:
        """Its settings as plain data."""
        return {
            "kind": "quantile",
            "q": self._q,
            "warmup": plain_number(self._warmup),
            "window": plain_number(self._window),
            **({} if self.key is None else {"key": plain_key(self.key)}),
        }

    def __repr__(self) -> str:
        if self.key is not None:
            return f"<Quantile p{exact_number(self._q * 100)} for each {self.key!r}: {len(self._by_key)} keys>"
        value, many = self.value(), len(self._alone.arrived)
        now = (
            f"{many} of {self._warmup} answers to warm up"
            if value is None
            else f"of {many} answers: {format_duration(value)}"
        )
        return f"<Quantile p{exact_number(self._q * 100)} {now}>"

    def __str__(self) -> str:
        each = "" if self.key is None else f" for each {self.key!r}"
        return f"the p{exact_number(self._q * 100)} of latencies{each}"
