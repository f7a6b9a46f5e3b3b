"""Cache: keeps answers for some time and uses them instead of calls."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from typing import Any
from weakref import ref

from attrs import frozen

from rio_chain._core.deferring_lock import DeferringLock
from rio_chain._core.forks import after_fork, keep_alive
from rio_chain._core.units import Duration, count, escape_nonprintable, format_duration, seconds
from rio_chain.policies._checks import callback, title
from rio_chain.policies._keys import hashed, key_of
from rio_chain.policies._permit import Answer, Call, Clock, Permit, StaleAnswer
from rio_chain.policies._plain_data import Data, function, ms, number
from rio_chain.policies._plain_data import key as plain_key
from rio_chain.policies._policy import Facts, Label, Policy
from rio_chain.policies._shared_clock import Timeline
from rio_chain.policies._shared_state import Shared


@frozen
class CacheLookup:
    """The result of a lookup: if ``hit``, ``value`` is the answer."""

    hit: bool
    value: Any = None


MISS = CacheLookup(hit=False)


_FACTS = Facts(shares=True, keeps_values=True)


class Cache(Shared, Policy):
    """The latest answers, shared by all chains that use the object. Failures are never kept.

    All callers get the same object. So if one caller changes the object, all others see the change.

    Args:
        ttl: how long an answer is used, from when it arrived; milliseconds or a ``timedelta``.
        key: a function of the input that returns the key of the answer. Default: the input itself.
        size: how many answers are kept. The least recently used answer is removed first. Default 1000.
        stale: how long an answer is still used after its ``ttl``; milliseconds or a ``timedelta``. A caller gets the
            old answer at once, and the call is made in the background. If it fails, the old answer stays.
            There is one such call at a time for each key. Default None: an old answer is never used.
        when: a function of the answer that says whether to keep it. Default: every answer is kept.

    Raises:
        ChainDefinitionError: an argument is out of its range.

    Example:
        >>> Cache(60_000)
        <Cache 0/1000 fresh for 60000 ms: 0 hits, 0 misses>
    """

    builder_call = "cache"

    def __init__(
        self,
        ttl: Duration,
        *,
        key: Callable[..., Hashable] | None = None,
        size: int = 1000,
        stale: Duration | None = None,
        when: Callable[[Any], bool] | None = None,
    ) -> None:
        self._ttl = seconds(ttl, "ttl")
        self._size = count(size, "size", least=1)
        self._stale = 0.0 if stale is None else seconds(stale, "stale")
        self._when = when
        if when is not None:
            rule = "a function of the answer that returns True or False"
            self.about_answer = (("when", Truth(callback(when, "when", rule))),)
        self.key = key_of(key)
        self._lock = DeferringLock()
        self._time = Timeline()
        self._kept: OrderedDict[Hashable, tuple[float, Any]] = OrderedDict()  # the last used is at the end
        self._refreshing: dict[Hashable, ref[_Keep]] = {}  # weak: a call that is lost must not block the next
        self._hits = self._misses = self._old = 0
        after_fork(self._renew)

    def enter(self, call: Call) -> Answer | Permit:
        """Answer the call, or let it through and keep its value."""
        if self._stale:
            answer, gone = self._lock.decide(self._enter, hashed(call.key), call.clock)
            del gone
            return answer
        found = self.get(call.key, call.clock)
        return Answer(found.value) if found.hit else _Keep(self, call.key, call.clock)

    def _enter(self, key: Hashable, clock: Clock) -> tuple[Answer | Permit, Any]:
        kept = self._kept.get(key)
        if kept is not None and 0 <= self._time.now(clock) - kept[0] < self._stale:
            self._old += 1
            self._kept.move_to_end(key)
            refresh = None
            behind = self._refreshing.get(key)
            if behind is None or behind() is None:
                refresh = _Keep(self, key, clock)
                self._refreshing[key] = ref(refresh)
            return StaleAnswer(kept[1], refresh=refresh), None
        found, gone = self._get(key, clock)
        return Answer(found.value) if found.hit else _Keep(self, key, clock), gone

    def refreshed(self, key: Hashable, permit: _Keep) -> None:
        """The call that was made in the background has ended."""
        if self._lock.defer(lambda: self.refreshed(key, permit)):
            return
        self._lock.decide(self._refreshed, key, permit)

    def _refreshed(self, key: Hashable, permit: _Keep) -> Any:
        behind = self._refreshing.get(key)
        return self._refreshing.pop(key) if behind is not None and behind() is permit else None

    def _renew(self) -> None:
        """In a forked child: no call is made in the background."""
        keep_alive(self._refreshing)
        self._refreshing = {}

    def get(self, key: Hashable, clock: Clock) -> CacheLookup:
        """The answer for a key (a result of ``self.key``), if there is a fresh one."""
        found, gone = self._lock.decide(self._get, hashed(key), clock)
        del gone
        return found

    @property
    def refreshes(self) -> bool:
        """Whether a call may be made in the background."""
        return self._stale > 0

    # Removed answers are returned: dropping the last reference may run user code, which must not run under the lock.

    def _get(self, key: Hashable, clock: Clock) -> tuple[CacheLookup, Any]:
        kept = self._kept.get(key)
        late = math.inf if kept is None else self._time.now(clock) - kept[0]
        if kept is None or late >= 0:
            self._misses += 1
            return MISS, None if late < self._stale else self._kept.pop(key, None)
        self._hits += 1
        self._kept.move_to_end(key)
        return CacheLookup(hit=True, value=kept[1]), None

    def put(self, key: Hashable, value: Any, clock: Clock) -> None:
        """Keep an answer, from now on."""
        self._lock.decide(self._put, hashed(key), value, clock)

    def _put(self, key: Hashable, value: Any, clock: Clock) -> tuple[Any, Any]:
        old = self._kept.pop(key, None)
        self._kept[key] = self._time.now(clock) + self._ttl, value
        return old, [self._kept.popitem(last=False) for _ in range(len(self._kept) - self._size)]

    def forget(self, key: Hashable) -> None:
        """Drop the answer with this key, if there is one."""
        if self._lock.defer(lambda: self.forget(key)):
            return
        self._lock.decide(self._forget, hashed(key))

    def _forget(self, key: Hashable) -> Any:
        return self._kept.pop(key, None)

    def clear(self) -> None:
        """Drop all answers."""
        if self._lock.defer(self.clear):
            return
        self._lock.decide(self._clear)

    def _clear(self) -> Any:
        gone, self._kept = self._kept, OrderedDict()
        return gone

    def __len__(self) -> int:
        """How many answers are kept, fresh or not."""
        return len(self._kept)

    def __bool__(self) -> bool:
        """True, also if it is empty."""
        return True

    # --- its description ----------------------------------------------------------------------------------------

    def label(self) -> Label:
        """As ``Policy.label``."""
        return Label("cache", "share")

    def to_dict(self) -> Data:
        """As ``Policy.to_dict``."""
        return {
            "kind": "cache",
            "ttl_ms": ms(self._ttl),
            "size": number(self._size),
            "key": plain_key(self.key),
            "stale_ms": ms(self._stale) if self._stale else None,
            "when": function(self._when),
        }

    def facts(self) -> Facts:
        """As ``Policy.facts``."""
        return _FACTS

    def __repr__(self) -> str:
        return (
            f"<Cache {len(self._kept)}/{self._size} fresh for {format_duration(self._ttl)}: "
            f"{self._hits} hits, {self._misses} misses{f', {self._old} stale' if self._stale else ''}>"
        )

    def __str__(self) -> str:
        stale = f", stale for {format_duration(self._stale)} more" if self._stale else ""
        when = "" if self._when is None else f", when {escape_nonprintable(title(self._when))}"
        return f"cache for {format_duration(self._ttl)}{stale} by {self.key!r}, up to {self._size}{when}"


class _Keep(Permit):
    """Puts the value into the cache when it comes."""

    __slots__ = ("__weakref__", "cache", "clock", "key", "wanted")

    def __init__(self, cache: Cache, key: Hashable, clock: Clock) -> None:
        self.cache = cache
        self.key = key
        self.clock = clock
        self.wanted = True

    def correct(self, answers: Iterator[bool]) -> None:
        """What the ``when`` of the cache says about the value."""
        self.wanted = next(answers)

    def succeeded(self, value: Any, /) -> None:
        if self.wanted:
            self.cache.put(self.key, value, self.clock)
        self.dropped()

    def failed(self, error: Any, /) -> None:  # noqa: ARG002 - errors are not kept
        self.dropped()

    def dropped(self) -> None:
        if self.cache.refreshes:
            self.cache.refreshed(self.key, self)


class Truth:
    """A predicate whose answer is made True or False where the predicate is called, as that may raise, too."""

    def __init__(self, fn: Callable[[Any], Any]) -> None:
        self._fn = fn

    @property
    def __name__(self) -> str:
        """The name of the user's function, for errors."""
        return title(self._fn)

    def __call__(self, value: Any) -> bool:
        """What the predicate says."""
        return bool(self._fn(value))
