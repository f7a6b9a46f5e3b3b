"""LimitQueue: the permits, the tokens and the queue of one key of a Limit. It has no lock and wakes no calls."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from heapq import heapify, heappop, heappush
from itertools import count
from typing import Any, Protocol

from attrs import frozen

from rio_chain.errors import LimitExceeded
from rio_chain.policies._limit_settings import LimitRules
from rio_chain.policies._permit import Answer, Clock, PendingPermit, Permit
from rio_chain.policies._sliding_window import tokens
from rio_chain.policies._token_bucket import EARLY, Tokens

_entries = count().__next__


class Owner(Protocol):
    """The Limit that a queue belongs to, and whose lock guards it."""

    def ask(self, place: QueuedCall, clock: Clock) -> None:
        """A queued call asks whether its wait is over."""

    def quit(self, place: QueuedCall) -> None:
        """A queued call stops waiting."""

    def release(self, permit: LimitPermit) -> None:
        """The call with this permit has ended."""

    def correct(self, permit: LimitPermit, cost: float) -> None:
        """The call with this permit has in fact cost this."""


class LimitPermit(Permit):
    """A call that was let through. It holds a place and has used tokens, as many as its cost.

    ``since``: when it was let through.
    """

    __slots__ = ("clock", "cost", "line", "open", "owner", "since")

    def __init__(self, owner: Owner, line: LimitQueue, clock: Clock, cost: float, since: float) -> None:
        self.owner = owner
        self.line = line
        self.clock = clock
        self.cost = cost
        self.since = since
        self.open = True

    def succeeded(self, value: Any, /) -> None:  # noqa: ARG002 - of the protocol
        """As ``Permit.succeeded``."""
        self.owner.release(self)

    def failed(self, error: Any, /) -> None:  # noqa: ARG002 - of the protocol
        """As ``Permit.failed``."""
        self.owner.release(self)

    def dropped(self) -> None:
        """As ``Permit.dropped``."""
        self.owner.release(self)

    def correct(self, costs: Iterator[float | None]) -> None:
        """The call has answered, and has in fact cost this. None: it is as estimated."""
        cost = next(costs)
        if cost is not None:
            self.owner.correct(self, cost)


@frozen
class Arrival:
    """When a call arrived at a limit, and its number there."""

    since: float
    number: int


class QueuedCall(PendingPermit):
    """A call in the queue.

    ``until``: the instant at which it stops waiting. ``several``: it needs other limits as well. Such a call is not let
    through by the queue, because it would hold this limit until it runs and tries the others: calls that do so could
    hinder each other for ever. It is ``offered`` its turn, and claims it when it tries all.
    """

    __slots__ = ("arrival", "clock", "cost", "first", "line", "offered", "owner", "rank", "several", "until")

    def __init__(  # noqa: PLR0917
        self, owner: Owner, line: LimitQueue, clock: Clock, arrival: Arrival, cost: float, rank: float
    ) -> None:
        super().__init__()
        self.owner = owner
        self.line = line
        self.clock = clock
        self.arrival = arrival
        self.cost = cost
        self.rank = rank
        patience = line.rules.patience
        self.until = None if patience is None else arrival.since + patience
        self.first = False  # True: it was woken as the next one to get a token
        self.several = self.offered = False

    def ask(self, clock: Clock) -> None:
        """As ``PendingPermit.ask``."""
        self.owner.ask(self, clock)

    def quit(self) -> None:
        """As ``PendingPermit.quit``."""
        self.owner.quit(self)


class WaitingCounts:
    """How many calls run and wait, in all queues of a Limit."""

    __slots__ = ("running", "waiting")

    def __init__(self) -> None:
        self.running = self.waiting = 0


class LimitQueue:
    """The running calls and the waiting calls of one key.

    Waiting calls are served by rank, the lowest first, and by number among equals. The first one is never overtaken by
    a later one that costs less, so it is served at last. ``total`` counts all keys.
    """

    __slots__ = ("_heap", "_last", "ahead", "bucket", "key", "rules", "running", "total", "used", "waiting")

    def __init__(self, key: Hashable, rules: LimitRules, total: WaitingCounts) -> None:
        self.key = key
        self.total = total
        self.rules = rules
        self.bucket: Tokens | None = None if rules.rate is None else tokens(rules.rate)
        self.running = 0
        self.used = 0.0  # what the running calls cost
        self.waiting = 0
        self.ahead = 0.0  # what the waiting calls cost
        self._heap: list[tuple[float, int, int, QueuedCall]] = []  # the second number keeps equal ones apart
        self._last = 0.0  # the highest rank of a waiting call, or higher

    def rank(self, priority: float, since: float) -> float:
        """The place of a call in the order: by priority, or with ``aging`` by a virtual deadline."""
        aging = self.rules.aging
        return -priority if aging is None else since - priority * aging

    def take(self, now: float, cost: float = 1) -> bool:
        """Take a place and tokens, if both are free."""
        if not self.room(cost) or (self.bucket is not None and not self.bucket.take(now, cost)):
            return False
        self.running += 1
        self.used += cost
        return True

    def give_back(self, cost: float) -> None:
        """A call that took a place has ended."""
        self.running -= 1
        self.used = self.used - cost if self.running else 0.0  # sums of floats are rounded

    def room(self, cost: float = 1) -> bool:
        """Whether a place is free."""
        places = self.rules.places
        return places is None or self.used + cost <= places * (1 + EARLY)

    def due(self, now: float, cost: float, rank: float) -> float:
        """The least number of seconds that a new call has to wait for its tokens."""
        if self.bucket is None:
            return 0.0
        ahead = self.ahead
        if self.waiting and rank < self._last:
            ahead = sum(place.cost for place in self.places() if place.rank <= rank)
        return self.bucket.wait(now, cost, ahead)

    def places(self) -> Iterator[QueuedCall]:
        """The waiting calls, in any order."""
        return (place for *_, place in self._heap if place.state == "waiting")

    def head(self) -> QueuedCall | None:
        """The waiting call that is next."""
        heap = self._heap
        while heap:
            place = heap[0][3]
            if place.state == "waiting":
                return place
            heappop(heap)
        return None

    def overtakes(self, rank: float, number: float) -> bool:
        """Whether a call of this rank is next. ``number``: that of its arrival, or infinite if it comes now."""
        head = self.head()
        return head is None or (rank, number) < (head.rank, head.arrival.number)

    def fits(self, now: float, cost: float) -> bool:
        """Whether a place and tokens are free."""
        return self.room(cost) and (self.bucket is None or self.bucket.wait(now, cost) <= EARLY)

    def enter(self, place: QueuedCall) -> None:
        """Put a call into the queue."""
        self._last = max(self._last, place.rank) if self.waiting else place.rank
        heappush(self._heap, (place.rank, place.arrival.number, _entries(), place))
        self.waiting += 1
        self.ahead += place.cost
        self.total.waiting += 1

    def leave(self, place: QueuedCall) -> None:
        """Count a call that waits no longer. Its state has changed already."""
        self.waiting -= 1
        self.ahead = self.ahead - place.cost if self.waiting else 0.0
        self.total.waiting -= 1
        if len(self._heap) > 2 * self.waiting + 64:
            self._heap = [entry for entry in self._heap if entry[3].state == "waiting"]
            heapify(self._heap)

    def serve(self, now: float) -> list[QueuedCall]:
        """Let waiting calls through if possible. Returns those to wake: they are in, or wait only for tokens."""
        changed: list[QueuedCall] = []
        while (place := self.head()) is not None:
            if place.several and self.fits(now, place.cost):
                if not place.offered:
                    place.offered = True
                    changed.append(place)
                break
            if place.several or not self.take(now, place.cost):
                if not place.first and self.room(place.cost):
                    place.first = True
                    self.look(place, now)
                    changed.append(place)
                break
            self.grant(place, now)
            changed.append(place)
        return changed

    def grant(self, place: QueuedCall, now: float) -> LimitPermit:
        """Let a waiting call through, for which a place and tokens were taken."""
        place.permit = permit = LimitPermit(place.owner, self, place.clock, place.cost, now)
        place.state = "granted"
        self.leave(place)
        self.total.running += 1
        return permit

    def look(self, place: QueuedCall, now: float) -> None:
        """Set when the call asks again: when its tokens come, or when its patience ends."""
        place.first = self.head() is place and self.room(place.cost)
        times = [] if place.until is None else [max(0.0, place.until - now)]
        if place.first and self.bucket is not None:
            times.append(self.bucket.wait(now, place.cost))
        place.after = min(times, default=None)

    def give_up(self, place: QueuedCall, error: LimitExceeded) -> None:
        """A queued call is refused."""
        place.answer = Answer(error, failed=True)
        place.state = "answered"
        self.leave(place)

    def change(self, rules: LimitRules, now: float, refused: Callable[[QueuedCall], LimitExceeded]) -> list[QueuedCall]:
        """Go on under other rules. Returns the calls to wake. Those that cost more than the limit are refused."""
        if rules.rate is None:
            self.bucket = None
        elif self.bucket is None:
            self.bucket = tokens(rules.rate)
        elif self.bucket.rate != rules.rate:
            self.bucket = self.bucket.changed(rules.rate, now)
        self.rules = rules
        changed: list[QueuedCall] = []
        for place in list(self.places()):
            place.first = False
            if place.cost > rules.most:
                self.give_up(place, refused(place))
                changed.append(place)
        return changed + self.serve(now)

    def idle(self, now: float, *, rested: bool = True) -> bool:
        """Whether a new queue would be no different. Without ``rested`` a new one may have more tokens."""
        quiet = not self.running and not self.waiting
        return quiet and (not rested or self.bucket is None or self.bucket.full(now))
