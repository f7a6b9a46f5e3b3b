"""Cache: keeps answers for some time and uses them instead of calls."""

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

    Raises:
        ChainDefinitionError: an argument is out of its range.

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
        self._kept: OrderedDict[Hashable, tuple[float, Any]] = OrderedDict()  # the last used is at the end
        self._hits = self._misses = 0

    def enter(self, call: Call) -> Answer | Permit:
        """Answer the call, or let it through and keep its value."""
        found = self.get(call.key, call.clock)
        return Answer(found.value) if found.hit else _Keep(self, call.key, call.clock)

    def get(self, key: Hashable, clock: Clock) -> CacheLookup:
        """The answer for a key (a result of ``self.key``), if there is a fresh one."""
        found, gone = self._lock.decide(self._get, hashed(key), clock)
        del gone
        return found

    # Removed answers are returned: dropping the last reference may run user code, which must not run under the lock.

    def _get(self, key: Hashable, clock: Clock) -> tuple[CacheLookup, Any]:
        kept = self._kept.get(key)
        if kept is None or self._time.now(clock) >= kept[0]:
            self._misses += 1
            return MISS, self._kept.pop(key, None)
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
        """Do nothing: errors are not kept."""

    def dropped(self) -> None:
        """Do nothing: there is no value."""
