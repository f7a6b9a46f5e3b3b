"""Cache: answers that are still fresh are not asked for again."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any

from attrs import frozen

from rio_chain._core.deferring_lock import DeferringLock
from rio_chain._core.units import Duration, count, format_duration, seconds
from rio_chain.policies._keys import hashed, key_of
from rio_chain.policies._permit import Answer, Call, Clock, Permit
from rio_chain.policies._plain_data import Data, ms, number
from rio_chain.policies._plain_data import key as plain_key
from rio_chain.policies._policy import Facts, Label, Policy
from rio_chain.policies._shared_clock import Timeline
from rio_chain.policies._shared_state import Shared


@frozen
class CacheLookup:
    """What a cache knows: ``hit`` says whether ``value`` is an answer."""

    hit: bool
    value: Any = None


MISS = CacheLookup(hit=False)


_FACTS = Facts(shares=True, keeps_values=True)


class Cache(Shared, Policy):
    """The latest answers, shared by all chains that are given it. Failures are never kept.

    Everybody gets the same object: who changes it, changes it for all.

    Args:
        ttl: how long an answer is fresh, counted from when it came; milliseconds or a ``timedelta``.
        key: a function of the input that gives what the answer is filed under. Default: the input itself.
        size: how many answers are kept; the one not used for longest goes first. Default 1000.

    Raises:
        ChainDefinitionError: an argument out of its range.

    Example:
        >>> Cache(60_000)
        <Cache 0/1000 fresh for 60000 ms: 0 hits, 0 misses>
    """

    builder_call = "cache"

    def __init__(self, ttl: Duration, *, key: Callable[..., Hashable] | None = None, size: int = 1000) -> None:
        self._ttl = seconds(ttl, "ttl")
        self._size = count(size, "size", least=1)
        self.key = key_of(key)
        self._lock = DeferringLock()
        self._time = Timeline()
        self._kept: OrderedDict[Hashable, tuple[float, Any]] = OrderedDict()  # the one used last stands last
        self._hits = self._misses = 0

    def enter(self, call: Call) -> Answer | Permit:
        """Answer the call, or let it in and keep its value."""
        found = self.get(call.key, call.clock)
        return Answer(found.value) if found.hit else _Keep(self, call.key, call.clock)

    def get(self, key: Hashable, clock: Clock) -> CacheLookup:
        """The answer for what ``self.key`` gave, if there is one that is fresh."""
        found, gone = self._lock.decide(self._get, hashed(key), clock)
        del gone
        return found

    # What is thrown away is given back: its end may run code of its own, and not under the lock.

    def _get(self, key: Hashable, clock: Clock) -> tuple[CacheLookup, Any]:
        kept = self._kept.get(key)
        if kept is None or self._time.now(clock) >= kept[0]:
            self._misses += 1
            return MISS, self._kept.pop(key, None)
        self._hits += 1
        self._kept.move_to_end(key)
        return CacheLookup(hit=True, value=kept[1]), None

    def put(self, key: Hashable, value: Any, clock: Clock) -> None:
        """Keep an answer that has just come."""
        self._lock.decide(self._put, hashed(key), value, clock)

    def _put(self, key: Hashable, value: Any, clock: Clock) -> tuple[Any, Any]:
        old = self._kept.pop(key, None)
        self._kept[key] = self._time.now(clock) + self._ttl, value
        return old, [self._kept.popitem(last=False) for _ in range(len(self._kept) - self._size)]

    def forget(self, key: Hashable) -> None:
        """Drop one answer, by its key; nothing happens when there is none."""
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
        """An empty cache is a cache."""
        return True

    # --- what it says of itself ---------------------------------------------------------------------------------

    def label(self) -> Label:
        """As ``Policy.label``."""
        return Label("cache", "share")

    def to_dict(self) -> Data:
        """As ``Policy.to_dict``."""
        return {"kind": "cache", "ttl_ms": ms(self._ttl), "size": number(self._size), "key": plain_key(self.key)}

    def facts(self) -> Facts:
        """As ``Policy.facts``."""
        return _FACTS

    def __repr__(self) -> str:
        return (
            f"<Cache {len(self._kept)}/{self._size} fresh for {format_duration(self._ttl)}: "
            f"{self._hits} hits, {self._misses} misses>"
        )

    def __str__(self) -> str:
        return f"cache for {format_duration(self._ttl)} by {self.key!r}, up to {self._size}"


@frozen
class _Keep(Permit):
    """Puts the value into the cache when it comes."""

    cache: Cache
    key: Hashable
    clock: Clock

    def succeeded(self, value: Any) -> None:
        self.cache.put(self.key, value, self.clock)

    def failed(self, error: Any) -> None:
        """Errors are not kept."""

    def dropped(self) -> None:
        """Nothing is kept."""
