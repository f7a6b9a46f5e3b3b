"""The resources of a balancer: how much of each is free, and the policy that takes them for each call of a task."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from heapq import heapify, heappop, heappush
from itertools import count
from typing import TypeVarTuple

from attrs import frozen

from rio_chain._core.deferring_lock import DeferringLock
from rio_chain._core.forks import after_fork, keep_alive
from rio_chain.policies._number_format import exact_number
from rio_chain.policies._permit import Call, Clock, PendingPermit, Permit
from rio_chain.policies._policy import Facts, Policy
from rio_chain.policies._shared_clock import Timeline
from rio_chain.policies._token_bucket import EARLY

Needs = tuple[tuple[str, float], ...]
"""Names of resources with amounts, sorted."""
Ts = TypeVarTuple("Ts")
MOST_GONE = 64
"""So many calls that wait no longer may stay in a queue, besides half of it."""


class ResourcePool:
    """All resources of a balancer. One decision gives a call all that it needs, or nothing.

    Calls with the same needs wait in one queue, by rank. A call that waits blocks, for those behind it in all queues,
    each resource that it was ever short of. So it is served at last, and the other resources are used meanwhile.

    Args:
        totals: how much there is of each.
        aging: seconds, as for ``Balancer``.
    """

    def __init__(self, totals: Mapping[str, float], aging: float | None) -> None:
        self.totals = dict(sorted(totals.items()))
        self._aging = aging
        self._lock = DeferringLock()
        self._time = Timeline()
        self._numbers = count().__next__
        self._begin()
        after_fork(self._begin)

    def _begin(self) -> None:
        """All is free. In a forked child too: the calls belong to the parent."""
        keep_alive(getattr(self, "_queues", None))
        self._used = dict.fromkeys(self.totals, 0.0)
        self._holders = dict.fromkeys(self.totals, 0)
        self._waiting = dict.fromkeys(self.totals, 0)
        self._queues: dict[Needs, ResourceQueue] = {}
        self._granted = deque[WaitingForResources]()  # to be woken

    def use(self, name: str) -> tuple[float, float, int]:
        """How much of it is used, how much there is, and how many calls wait that need it."""
        return self._used[name], self.totals[name], self._waiting[name]

    # --- called by the engine -----------------------------------------------------------------------------------

    def enter(self, needs: Needs, call: Call) -> ResourcePermit | WaitingForResources:
        """Let a call through, or put it in a queue."""
        place = WaitingForResources(self, needs)
        try:
            self._decide(self._enter, place, call)
        except BaseException:  # an interruption: no caller waits
            self.quit(place)
            raise
        return place.permit if isinstance(place.permit, ResourcePermit) else place

    def _enter(self, place: WaitingForResources, call: Call) -> None:
        now = self._time.now(call.clock)
        rank = -call.priority if self._aging is None else now - call.priority * self._aging
        queue = self._queues.setdefault(place.needs, ResourceQueue())
        heappush(queue.heap, (rank, self._numbers(), place))
        self._count(place.needs, 1)
        self._serve()

    def quit(self, place: WaitingForResources) -> None:
        """As ``PendingPermit.quit``."""
        if not self._lock.defer(lambda: self.quit(place)):
            self._decide(self._quit, place)

    def _quit(self, place: WaitingForResources) -> None:
        state, place.state = place.state, "gone"
        if state == "granted" and isinstance(place.permit, ResourcePermit):
            self._release(place.permit)  # the call has not begun
        elif state == "waiting" and place.needs in self._queues:
            self._count(place.needs, -1)
            self._queues[place.needs].forget_one()
            self._serve()

    def release(self, permit: ResourcePermit) -> None:
        """The call of a permit has ended, in whatever way."""
        if not self._lock.defer(lambda: self.release(permit)):
            self._decide(self._release, permit)

    def _release(self, permit: ResourcePermit) -> None:
        if permit.used is not self._used:  # given back before, or of the parent of a fork
            return
        permit.used = None
        for name, amount in permit.needs:
            self._holders[name] -= 1
            self._used[name] = self._used[name] - amount if self._holders[name] else 0.0  # sums of floats are rounded
        self._serve()

    def _decide(self, decision: Callable[[*Ts], None], *args: *Ts) -> None:
        """Decide, and then wake the calls that were let through: never under the lock."""
        try:
            self._lock.decide(decision, *args)
        finally:  # also after an interruption
            with suppress(IndexError):
                while True:
                    self._granted.popleft().tell()

    # --- decisions ----------------------------------------------------------------------------------------------

    def _serve(self) -> None:
        """Let waiting calls through if possible."""
        while (place := self._next()) is not None:
            heappop(self._queues[place.needs].heap)
            self._count(place.needs, -1)
            for name, amount in place.needs:
                self._holders[name] += 1
                self._used[name] += amount
            place.permit = ResourcePermit(self, place.needs, self._used)
            place.state = "granted"
            self._granted.append(place)

    def _next(self) -> WaitingForResources | None:
        """The first call that can have all that it needs, and is not blocked by one before it."""
        heads: list[tuple[float, int, WaitingForResources]] = []
        for needs, queue in list(self._queues.items()):
            if queue.has_head():
                heads.append(queue.heap[0])
            else:
                del self._queues[needs]
        blocked: set[str] = set()
        for _, _, place in sorted(heads):
            short = {name for name, amount in place.needs if name in blocked or not self._fits(name, amount)}
            if not short:
                return place
            place.short |= short
            blocked |= place.short
        return None

    def _fits(self, name: str, amount: float) -> bool:
        return self._used[name] + amount <= self.totals[name] * (1 + EARLY)

    def _count(self, needs: Needs, change: int) -> None:
        for name, _ in needs:
            self._waiting[name] += change

    def __repr__(self) -> str:
        each = (
            f"{exact_number(used)} of {exact_number(self.totals[name])} {name}" for name, used in self._used.items()
        )
        return f"<resources: {', '.join(each)} used>"


class ResourceQueue:
    """The calls that wait with the same needs, by rank and number."""

    __slots__ = ("gone", "heap")

    def __init__(self) -> None:
        self.heap: list[tuple[float, int, WaitingForResources]] = []
        self.gone = 0  # at most so many in it wait no longer

    def has_head(self) -> bool:
        """Whether one waits. Then it is at the top of the heap."""
        heap = self.heap
        while heap and heap[0][2].state != "waiting":
            heappop(heap)
        return bool(heap)

    def forget_one(self) -> None:
        """One waits no longer, and its state says so."""
        self.gone += 1
        if self.gone > MOST_GONE + len(self.heap) // 2:
            self.heap = [entry for entry in self.heap if entry[2].state == "waiting"]
            heapify(self.heap)
            self.gone = 0


class ResourcePermit(Permit):
    """A call that was let through. ``used``: what it counts in; None: it was given back."""

    __slots__ = ("needs", "pool", "used")

    def __init__(self, pool: ResourcePool, needs: Needs, used: dict[str, float]) -> None:
        self.pool = pool
        self.needs = needs
        self.used: dict[str, float] | None = used

    def succeeded(self, value: object, /) -> None:  # noqa: ARG002 - of the protocol
        """As ``Permit.succeeded``."""
        self.pool.release(self)

    def failed(self, error: object, /) -> None:  # noqa: ARG002 - of the protocol
        """As ``Permit.failed``."""
        self.pool.release(self)

    def dropped(self) -> None:
        """As ``Permit.dropped``."""
        self.pool.release(self)


class WaitingForResources(PendingPermit):
    """A call that waits. ``short``: the resources that it was ever short of."""

    __slots__ = ("needs", "pool", "short")

    def __init__(self, pool: ResourcePool, needs: Needs) -> None:
        super().__init__()
        self.pool = pool
        self.needs = needs
        self.short: set[str] = set()

    def ask(self, clock: Clock) -> None:
        """As ``PendingPermit.ask``: it is woken when its state has changed."""

    def quit(self) -> None:
        """As ``PendingPermit.quit``."""
        self.pool.quit(self)


@frozen(eq=False)
class TakesResources(Policy):
    """Directly around a task: each call waits until all of its resources are free, and takes all or none."""

    builder_call = "limit"
    held = "function"

    pool: ResourcePool
    needs: Needs

    @property
    def _name(self) -> str:
        """The name in events."""
        return ", ".join(name for name, _ in self.needs)

    def enter(self, call: Call) -> Permit | PendingPermit:
        """Let a call through, or put it in a queue."""
        return self.pool.enter(self.needs, call)

    def facts(self) -> Facts:
        """As ``Policy.facts``."""
        return Facts(waits=True)

    def awaited(self) -> str:
        """As ``Policy.awaited``."""
        return f"its turn at {self.pool!r}"
