"""SingleFlight: one call for all concurrent calls with the same key."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable
from typing import TYPE_CHECKING, Any

from rio_chain._core.deferring_lock import DeferringLock
from rio_chain._core.forks import after_fork, keep_alive
from rio_chain._renamed import names_today
from rio_chain.policies._keys import hashed, key_of
from rio_chain.policies._permit import Answer, Call, PendingPermit, Permit
from rio_chain.policies._plain_data import Data
from rio_chain.policies._plain_data import key as plain_key
from rio_chain.policies._policy import Facts, Label, Policy, PolicyBounds
from rio_chain.policies._shared_state import Shared

_FACTS = Facts(shares=True)


class SingleFlight(Shared, Policy):
    """Makes one call for all concurrent calls with the same key, in all chains that use this object.

    The first call with a key is the leader, and is made. Calls with that key that come while it runs are followers:
    they wait, and get the leader's value or error, as the same object. Nothing is kept: a later call is made again. If
    the leader is cancelled or runs out of time, the next follower becomes the leader. Cancelling a follower does not
    affect the others.

    Args:
        key: a function of the input that returns the key. Default: the input itself.

    Raises:
        ChainDefinitionError: ``key`` is not a sync function.

    Example:
        >>> SingleFlight()
        <SingleFlight by the input: 0 in flight, 0 follow>
    """

    builder_call = "single_flight"
    variable = "flights"
    held = "race"

    def __init__(self, key: Callable[..., Hashable] | None = None) -> None:
        self.key = key_of(key)
        self._lock = DeferringLock()
        self._flights: dict[Hashable, Flight] = {}
        after_fork(self._renew)

    def enter(self, call: Call) -> Leader | Follower:
        """Become the leader or a follower. Only the key of the call matters."""
        return self._lock.decide(self._enter, hashed(call.key))

    def _enter(self, key: Hashable) -> Leader | Follower:
        flight = self._flights.get(key)
        if flight is None:
            flight = self._flights[key] = Flight(self._flights, key)
            return Leader(self, flight)
        follower = Follower(self, flight)
        flight.behind[follower] = None
        return follower

    def ended(self, leader: Leader, answer: Answer) -> None:
        """The leader has an answer. All followers get it."""
        for follower in self._lock.decide(self._ended, leader, answer):
            follower.tell()

    def _ended(self, leader: Leader, answer: Answer) -> Iterable[Follower]:
        if not leader.open:
            return ()
        leader.open = False
        behind = leader.flight.end()
        for follower in behind:
            follower.answer = answer
            follower.state = "answered"
        return behind

    def dropped(self, leader: Leader) -> None:
        """The leader has no answer. The next follower becomes the leader."""
        if self._lock.defer(lambda: self.dropped(leader)):
            return
        follower = self._lock.decide(self._dropped, leader)
        if follower is not None:
            follower.tell()

    def _dropped(self, leader: Leader) -> Follower | None:
        if not leader.open:
            return None
        leader.open = False
        flight = leader.flight
        if not flight.behind:
            flight.end()
            return None
        follower, _ = flight.behind.popitem(last=False)
        follower.permit = Leader(self, flight)
        follower.state = "granted"
        return follower

    def quit(self, follower: Follower) -> None:
        """As ``PendingPermit.quit``."""
        if self._lock.defer(lambda: self.quit(follower)):
            return
        if self._lock.decide(self._quit, follower) and follower.permit is not None:
            follower.permit.dropped()

    def _quit(self, follower: Follower) -> bool:
        state, follower.state = follower.state, "gone"
        if state == "waiting":
            del follower.flight.behind[follower]
        return state == "granted"

    def _renew(self) -> None:
        """In a forked child: nothing is in flight. Calls of the parent keep the old dict."""
        keep_alive(self._flights)
        self._flights = {}

    # --- its description ----------------------------------------------------------------------------------------

    def label(self) -> Label:
        """As ``Policy.label``."""
        return Label("single flight", "share")

    def awaited(self) -> str:
        """As ``Policy.awaited``."""
        return f"the answer of another call: {self!r}"

    def to_dict(self) -> Data:
        """As ``Policy.to_dict``."""
        return {"kind": "single_flight", "key": plain_key(self.key)}

    def bounds(self, inner: float, _limit: float = math.inf, /) -> PolicyBounds:
        """As ``Policy.bounds``: at most another call that is cancelled at its last moment, and then one's own."""
        return PolicyBounds(2 * inner)

    def facts(self) -> Facts:
        """As ``Policy.facts``."""
        return _FACTS

    def __repr__(self) -> str:
        flying, behind = self._lock.decide(self._counts)
        return f"<SingleFlight by {self.key!r}: {flying} in flight, {behind} follow>"

    def _counts(self) -> tuple[int, int]:
        return len(self._flights), sum(len(flight.behind) for flight in self._flights.values())

    def __str__(self) -> str:
        return f"single flight by {self.key!r}"


class Flight:
    """One call in flight, and its followers in the order in which they came.

    ``flying`` is the dict that holds it. In a forked child, flights that begin there are in another dict.
    """

    __slots__ = ("behind", "flying", "key")

    def __init__(self, flying: dict[Hashable, Flight], key: Hashable) -> None:
        self.flying = flying
        self.key = key
        self.behind: OrderedDict[Follower, None] = OrderedDict()

    def end(self) -> OrderedDict[Follower, None]:
        """Remove it from the calls in flight. Returns its followers, which it no longer holds."""
        del self.flying[self.key]
        behind, self.behind = self.behind, OrderedDict()
        return behind


class Leader(Permit):
    """The permit of the call that is made."""

    __slots__ = ("flight", "flights", "open")

    def __init__(self, flights: SingleFlight, flight: Flight) -> None:
        self.flights = flights
        self.flight = flight
        self.open = True

    def succeeded(self, value: Any, /) -> None:
        """As ``Permit.succeeded``."""
        self.flights.ended(self, Answer(value))

    def failed(self, error: Any, /) -> None:
        """As ``Permit.failed``."""
        self.flights.ended(self, Answer(error, failed=True))

    def dropped(self) -> None:
        """As ``Permit.dropped``."""
        self.flights.dropped(self)


class Follower(PendingPermit):
    """A call that waits for the leader's answer."""

    __slots__ = ("flight", "flights")

    def __init__(self, flights: SingleFlight, flight: Flight) -> None:
        super().__init__()
        self.flights = flights
        self.flight = flight

    def quit(self) -> None:
        """As ``PendingPermit.quit``."""
        self.flights.quit(self)


if not TYPE_CHECKING:
    __getattr__ = names_today(__name__, {"Flights": "SingleFlight"})
