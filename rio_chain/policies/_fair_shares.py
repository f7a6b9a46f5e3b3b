"""FairShares: which tenant is next, so that each gets its share of the slot time.

This is start-time fair queueing: P. Goyal, H. M. Vin, H. Cheng, "Start-time Fair Queuing: A Scheduling Algorithm for
Integrated Services Packet Switching Networks", SIGCOMM 1996. Each tenant has a virtual time, which advances by what its
requests cost, divided by its weight. The tenant with the least virtual time is next. The virtual time of the whole is
the one at which the last request started. A tenant that comes, or comes again, continues from there, so idle time is
neither saved nor punished.

A packet has a known length, but nobody knows how long a request will hold its slot. So a start is charged with one
unit, the mean slot time of the tenant so far, and the charge is corrected when the request ends. Deficit round robin
(M. Shreedhar, G. Varghese, SIGCOMM 1995) would need the length before the start.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Mapping
from heapq import heapify, heappop, heappush
from itertools import count, islice

MOST_TENANTS = 10_000
"""With more tenants than this, idle ones are forgotten even if they have used more than their share."""
UNKNOWN = 1e-6
"""Seconds: the unit before any request has ended, and the least charge. It only makes tenants take turns."""
WEIGHT_OF_NEWEST = 0.2
"""The weight of the last slot time in the mean of a tenant."""

_entries = count().__next__


class Tenant:
    """What one tenant has used, and how many of its requests wait and run.

    Attributes:
        at: its virtual time: seconds of slot time, divided by its weight.
        unit: its mean slot time in seconds. None if none of its requests has ended.
    """

    __slots__ = ("at", "key", "running", "unit", "waiting", "weight")

    def __init__(self, key: Hashable, weight: float, at: float) -> None:
        self.key = key
        self.weight = weight
        self.at = at
        self.unit: float | None = None
        self.waiting = self.running = 0


class FairShares:
    """The tenants of one priority.

    Example:
        >>> shares = FairShares({"gold": 3.0})
        >>> gold, other = shares.tenant("gold"), shares.tenant("other")
        >>> for tenant in (gold, other):
        ...     for _ in range(9):
        ...         shares.wait(tenant)
        >>> order = []
        >>> for _ in range(8):
        ...     tenant = shares.next()
        ...     shares.end(tenant, shares.start(tenant, waited=True), 1.0)
        ...     order.append(tenant.key)
        >>> order.count("gold"), order.count("other")
        (6, 2)
    """

    def __init__(self, weights: Mapping[Hashable, float]) -> None:
        self._weights = weights
        self._tenants: OrderedDict[Hashable, Tenant] = OrderedDict()  # the last used is at the end
        self._heap: list[tuple[float, int, Tenant]] = []
        self._at = 0.0  # the virtual time of the whole
        self._unit: float | None = None  # the mean slot time of all
        self.waiting = 0
        self.running = 0

    def __len__(self) -> int:
        """How many tenants are known."""
        return len(self._tenants)

    def tenant(self, key: Hashable) -> Tenant:
        """The tenant with this key. It begins at the virtual time of the whole."""
        found = self._tenants.get(key)
        if found is not None:
            self._tenants.move_to_end(key)
            return found
        for old in list(islice(self._tenants.values(), 2)):  # for each new one, check the two not used for longest
            rested = old.at <= self._at or len(self._tenants) >= MOST_TENANTS
            if rested and not old.waiting and not old.running:
                del self._tenants[old.key]
            else:
                self._tenants.move_to_end(old.key)
        found = self._tenants[key] = Tenant(key, self._weights.get(key, 1.0), self._at)
        return found

    def wait(self, tenant: Tenant) -> None:
        """A request of this tenant waits."""
        tenant.waiting += 1
        self.waiting += 1
        if tenant.waiting == 1:
            tenant.at = max(tenant.at, self._at)
            self._push(tenant)

    def left(self, tenant: Tenant) -> None:
        """A request of this tenant waits no longer, and has not started."""
        tenant.waiting -= 1
        self.waiting -= 1

    def next(self) -> Tenant | None:
        """The tenant whose request is next. None if no request waits."""
        heap = self._heap
        while heap:
            at, _, tenant = heap[0]
            if tenant.waiting and at == tenant.at:
                return tenant
            heappop(heap)  # it does not wait any more, or has another virtual time by now, with an entry of its own
        return None

    def start(self, tenant: Tenant, *, waited: bool) -> float:
        """A request of this tenant starts. Returns the charge, which ``end`` corrects."""
        if waited:
            self.left(tenant)
        else:
            tenant.at = max(tenant.at, self._at)
        tenant.running += 1
        self.running += 1
        self._at = max(self._at, tenant.at)
        unit = tenant.unit if tenant.unit is not None else self._unit if self._unit is not None else UNKNOWN
        self._advance(tenant, unit)
        return unit

    def end(self, tenant: Tenant, charge: float, lasted: float | None) -> None:
        """A request that was charged with this has ended, after so many seconds. None: it did not run."""
        tenant.running -= 1
        self.running -= 1
        if lasted is None:
            self._advance(tenant, -charge)
            return
        lasted = max(lasted, UNKNOWN)
        self._advance(tenant, lasted - charge)
        tenant.unit = _mean(tenant.unit, lasted)
        self._unit = _mean(self._unit, lasted)

    def most_waiting(self, newcomer: Tenant) -> Tenant:
        """The tenant with the most waiting requests for its weight, if one more of ``newcomer`` waits."""
        most, found = (newcomer.waiting + 1) / newcomer.weight, newcomer
        for tenant in self._tenants.values():
            if tenant.waiting / tenant.weight > most:
                most, found = tenant.waiting / tenant.weight, tenant
        return found

    def _advance(self, tenant: Tenant, seconds: float) -> None:
        before = tenant.at
        tenant.at += seconds / tenant.weight
        if tenant.waiting and tenant.at != before:
            self._push(tenant)

    def _push(self, tenant: Tenant) -> None:
        heap = self._heap
        heappush(heap, (tenant.at, _entries(), tenant))
        if len(heap) > 4 * len(self._tenants) + 64:
            heap[:] = [(each.at, _entries(), each) for each in self._tenants.values() if each.waiting]
            heapify(heap)


def _mean(before: float | None, value: float) -> float:
    return value if before is None else before + WEIGHT_OF_NEWEST * (value - before)
