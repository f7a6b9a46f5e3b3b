"""LimitQueue: the permits, the tokens and the queue of one key of a Limit. It has no lock and wakes no calls."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Any, Protocol

from rio_chain.errors import LimitExceeded
from rio_chain.policies._permit import Answer, Clock, PendingPermit, Permit
from rio_chain.policies._token_bucket import Bucket, Rate


class Owner(Protocol):
    """The Limit that a queue belongs to, and whose lock guards it."""

    def ask(self, place: QueuedCall, clock: Clock) -> None:
        """A queued call asks whether its wait is over."""

    def quit(self, place: QueuedCall) -> None:
        """A queued call stops waiting."""

    def release(self, permit: LimitPermit) -> None:
        """The call with this permit has ended."""


class LimitPermit(Permit):
    """A call that was let through. It holds a place and has used a token."""

    __slots__ = ("clock", "line", "open", "owner")

    def __init__(self, owner: Owner, line: LimitQueue, clock: Clock) -> None:
        self.owner = owner
        self.line = line
        self.clock = clock
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


class QueuedCall(PendingPermit):
    """A call in the queue. ``until``: the instant at which it stops waiting."""

    __slots__ = ("clock", "first", "line", "owner", "since", "until")

    def __init__(self, owner: Owner, line: LimitQueue, clock: Clock, since: float, until: float | None) -> None:
        super().__init__()
        self.owner = owner
        self.line = line
        self.clock = clock
        self.since = since
        self.until = until
        self.first = False  # True: it was woken as the next one to get a token

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

    Waiting calls are served in order. ``total`` counts all keys.
    """

    __slots__ = ("bucket", "key", "places", "running", "total", "waiting")

    def __init__(self, key: Hashable, places: int | None, rate: Rate | None, total: WaitingCounts) -> None:
        self.key = key
        self.total = total
        self.places = places
        self.bucket = None if rate is None else Bucket(rate)
        self.running = 0
        self.waiting: OrderedDict[QueuedCall, None] = OrderedDict()

    def take(self, now: float) -> bool:
        """Take a place and a token, if both are free."""
        if not self.room() or (self.bucket is not None and not self.bucket.take(now)):
            return False
        self.running += 1
        return True

    def room(self) -> bool:
        """Whether a place is free."""
        return self.places is None or self.running < self.places

    def due(self, now: float) -> float:
        """The least number of seconds that a new call has to wait for its token."""
        return 0.0 if self.bucket is None else self.bucket.wait(now, ahead=len(self.waiting))

    def serve(self, now: float) -> list[QueuedCall]:
        """Let waiting calls through if possible. Returns those to wake: they are in, or wait only for a token."""
        changed: list[QueuedCall] = []
        while self.waiting:
            place = next(iter(self.waiting))
            if not self.take(now):
                if not place.first and self.room():
                    place.first = True
                    self.look(place, now)
                    changed.append(place)
                break
            del self.waiting[place]
            place.permit = LimitPermit(place.owner, self, place.clock)
            place.state = "granted"
            changed.append(place)
        return changed

    def look(self, place: QueuedCall, now: float) -> None:
        """Set when the call asks again: when its token comes, or when its patience ends."""
        token = self.bucket.wait(now) if place.first and self.bucket is not None and self.room() else None
        patience = None if place.until is None else max(0.0, place.until - now)
        place.after = min((x for x in (token, patience) if x is not None), default=None)

    def give_up(self, place: QueuedCall, error: LimitExceeded) -> None:
        """The patience of a queued call is over."""
        del self.waiting[place]
        place.answer = Answer(error, failed=True)
        place.state = "answered"

    def idle(self, now: float, *, rested: bool = True) -> bool:
        """Whether a new queue would be no different. Without ``rested`` a new one may have more tokens."""
        quiet = not self.running and not self.waiting
        return quiet and (not rested or self.bucket is None or self.bucket.full(now))
