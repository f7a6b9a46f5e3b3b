"""Limit: how many calls at once, and how many in a time, for all calls or for each key."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable
from contextlib import suppress
from itertools import islice

from rio_chain._core.deferring_lock import DeferringLock
from rio_chain._core.forks import after_fork, keep_alive
from rio_chain._core.units import Duration, count, format_duration, number, seconds, short_repr
from rio_chain.errors import ChainDefinitionError, LimitExceeded
from rio_chain.policies._keys import Key, as_given, hashed, key_of
from rio_chain.policies._limit_queue import LimitPermit, LimitQueue, QueuedCall, WaitingCounts
from rio_chain.policies._number_format import exact_number
from rio_chain.policies._permit import Call, Clock
from rio_chain.policies._plain_data import Data, ms
from rio_chain.policies._plain_data import key as plain_key
from rio_chain.policies._plain_data import number as plain_number
from rio_chain.policies._policy import Facts, Policy, PolicyBounds
from rio_chain.policies._shared_clock import Timeline
from rio_chain.policies._shared_state import Shared
from rio_chain.policies._token_bucket import EARLY, Rate

MOST_KEYS = 100_000
"""With more keys than this, unused keys are forgotten even if their rate has not recovered."""


class Limit(Shared, Policy):
    """A limit, shared by all chains that use the object: first come, first served.

    A call holds one of the ``concurrency`` permits until it ends, however it ends. An abandoned blocking call holds its
    permit until it returns. The rate is a bucket that holds up to ``burst`` tokens and gets ``rate`` new ones in every
    ``per``. A call takes one token and never gives it back. A call that gets no permit or token waits in a queue, or
    fails with ``LimitExceeded``.

    Args:
        concurrency: how many calls may run at once. Default None: no limit.
        rate: how many calls may begin in each ``per``, on average. May be a fraction. Default None: no limit.
        per: milliseconds or a ``timedelta``; default 1000.
        burst: how many calls may begin together after a pause. Default: the rate, and at least 1. So in the first
            second of ``Limit(rate=100)``, 100 calls can begin together, and about 99 more as new tokens arrive.
            ``burst=1`` spaces calls evenly.
        wait: the longest wait, in milliseconds or as a ``timedelta``. 0 refuses at once. Default None: a call waits
            until a timeout around it expires. A call whose token surely comes too late is refused at once.
        key: a function of the input. Calls with different keys, such as customers or hosts, are limited separately.
            Default: all calls together.

    Attributes:
        concurrency: how many calls may run at once. None if there is no limit.
        key: the ``key`` as the engine calls it. None if there is no ``key``.
        patience: ``wait`` in seconds.

    Raises:
        ChainDefinitionError: an argument is out of its range, or there is neither ``concurrency`` nor ``rate``.

    Example:
        >>> Limit(10, rate=100)
        <Limit 10 at once, 100 per 1000 ms: 0 running, 0 waiting>
    """

    builder_call = "limit"
    held = "calls"

    def __init__(
        self,
        concurrency: int | None = None,
        *,
        rate: float | None = None,
        per: Duration = 1000,
        burst: int | None = None,
        wait: Duration | None = None,
        key: Callable[..., Hashable] | None = None,
    ) -> None:
        if concurrency is None and rate is None:
            raise ChainDefinitionError("a Limit needs `concurrency` or `rate`, such as Limit(10) or Limit(rate=100)")
        if burst is not None and rate is None:
            raise ChainDefinitionError(f"`burst` belongs to a `rate`, such as Limit(rate=100, burst=1); got {burst!r}")
        self.concurrency = None if concurrency is None else count(concurrency, "concurrency", least=1)
        length = seconds(per, "per")
        self._rate: Rate | None = None
        rules = [] if concurrency is None else [f"{concurrency} at once"]
        if rate is not None:
            rate = number(rate, "rate", above=0)
            depth = max(1, int(rate)) if burst is None else count(burst, "burst", least=1)
            self._rate = Rate(length / rate, depth)
            rules.append(
                f"{exact_number(rate)} per {format_duration(length)}" + ("" if burst is None else f" (burst {burst})")
            )
        self.patience = None if wait is None else seconds(wait, "wait", zero=True)
        self._rule = ", ".join(rules)
        self.key: Key | None = None if key is None else key_of(key)
        self._lock = DeferringLock()
        self._time = Timeline()
        self._lines: OrderedDict[Hashable, LimitQueue] = OrderedDict()  # the last used is at the end
        self._total = WaitingCounts()
        after_fork(self._renew)

    # --- called by the engine -----------------------------------------------------------------------------------

    def enter(self, call: Call) -> LimitPermit | QueuedCall | LimitExceeded:
        """Let a call through, put it in the queue, or refuse it."""
        given, changed = self._lock.decide(self._enter, hashed(call.key), call.clock)
        _tell(changed)
        return given

    def _enter(self, key: Hashable, clock: Clock) -> tuple[LimitPermit | QueuedCall | LimitExceeded, list[QueuedCall]]:
        now = self._time.now(clock)
        line = self._line(key, now)
        changed = self._serve(line, now)
        if not line.waiting and line.take(now):
            line.total.running += 1
            return LimitPermit(self, line, clock), changed
        return self._queue(line, clock, now), changed

    def _queue(self, line: LimitQueue, clock: Clock, now: float) -> QueuedCall | LimitExceeded:
        due = line.due(now)
        if self.patience is not None and (due > self.patience or not self.patience):
            return self._refusal(line, due)
        place = QueuedCall(self, line, clock, now, None if self.patience is None else now + self.patience)
        place.first = not line.waiting and line.room()
        line.waiting[place] = None
        line.look(place, now)
        line.total.waiting += 1
        return place

    def _refusal(self, line: LimitQueue, due: float, waited: float = 0.0) -> LimitExceeded:
        """The error. Its ``retry_after`` is the seconds until the next token is free, or None if that is unknown."""
        key = "" if self.key is None else f" for {short_repr(as_given(line.key))}"
        text = f"the limit of {self._rule}{key} is reached"
        text += f", after {format_duration(waited)} in the queue" if waited else ""
        text += f"; the next may begin in {format_duration(due)}" if due else ""
        error = LimitExceeded(text)
        error.retry_after, error.keyed = due or None, self.key is not None
        return error

    # --- called by queued calls and permits ---------------------------------------------------------------------

    def ask(self, place: QueuedCall, clock: Clock) -> None:
        """As ``PendingPermit.ask``."""
        changed = self._lock.decide(self._ask, place, clock)
        _tell(other for other in changed if other is not place)

    def _ask(self, place: QueuedCall, clock: Clock) -> list[QueuedCall]:
        if place.state != "waiting":
            return []
        line, now = place.line, self._time.now(clock)
        changed = self._serve(line, now)
        if place in line.waiting:
            if place.until is not None and now >= place.until - EARLY:
                line.total.waiting -= 1
                line.give_up(place, self._refusal(line, 0.0, now - place.since))
                changed += self._serve(line, now)
            else:
                line.look(place, now)
        return changed

    def quit(self, place: QueuedCall) -> None:
        """As ``PendingPermit.quit``."""
        if self._lock.defer(lambda: self.quit(place)):
            return
        granted, changed = self._lock.decide(self._quit, place)
        if granted and place.permit is not None:
            place.permit.dropped()
        _tell(changed)

    def _quit(self, place: QueuedCall) -> tuple[bool, list[QueuedCall]]:
        state, place.state = place.state, "gone"
        if state != "waiting":
            return state == "granted", []
        del place.line.waiting[place]
        place.line.total.waiting -= 1
        return False, self._serve(place.line, self._time.now(place.clock))

    def release(self, permit: LimitPermit) -> None:
        """The call of a permit has ended, in whatever way."""
        if self._lock.defer(lambda: self.release(permit)):
            return
        _tell(self._lock.decide(self._release, permit))

    def _release(self, permit: LimitPermit) -> list[QueuedCall]:
        if not permit.open:
            return []
        permit.open = False
        line = permit.line
        line.running -= 1
        line.total.running -= 1
        return self._serve(line, self._time.now(permit.clock)) if line.waiting else []

    def _serve(self, line: LimitQueue, now: float) -> list[QueuedCall]:
        changed = line.serve(now) if line.waiting else []
        granted = sum(place.state == "granted" for place in changed)
        line.total.waiting -= granted
        line.total.running += granted
        return changed

    # --- keys ---------------------------------------------------------------------------------------------------

    def _line(self, key: Hashable, now: float) -> LimitQueue:
        line = self._lines.get(key)
        if line is not None:
            self._lines.move_to_end(key)
            return line
        for old in list(islice(self._lines, 2)):  # for each new key, check the two that were used least recently
            if self._lines[old].idle(now, rested=len(self._lines) < MOST_KEYS):
                del self._lines[old]
            else:
                self._lines.move_to_end(old)
        line = self._lines[key] = LimitQueue(key, self.concurrency, self._rate, self._total)
        return line

    def _renew(self) -> None:
        """In a forked child: each key keeps its tokens. Calls in progress or waiting belong to the parent's queues."""
        old, self._lines, self._total = self._lines, OrderedDict(), WaitingCounts()
        keep_alive(old)
        for key, line in old.items():
            with suppress(Exception):  # the hash of a key may raise now
                new = self._lines[key] = LimitQueue(key, self.concurrency, self._rate, self._total)
                if new.bucket is not None and line.bucket is not None:
                    new.bucket.full_at = line.bucket.full_at

    # --- called by users ----------------------------------------------------------------------------------------

    @property
    def running(self) -> int:
        """How many calls have a permit. This includes abandoned calls that still run."""
        return self._total.running

    @property
    def waiting(self) -> int:
        """How many calls are in the queue."""
        return self._total.waiting

    # --- its description ----------------------------------------------------------------------------------------

    def to_dict(self) -> Data:
        """As ``Policy.to_dict``."""
        rate = self._rate
        return {
            "kind": "limit",
            "concurrency": plain_number(self.concurrency),
            "interval_ms": None if rate is None else ms(rate.interval),
            "burst": None if rate is None else plain_number(rate.burst),
            "wait_ms": ms(self.patience),
            "key": plain_key(self.key),
        }

    def bounds(self, inner: float, _limit: float = math.inf, /) -> PolicyBounds:
        """As ``Policy.bounds``."""
        return PolicyBounds(math.inf if self.patience is None else inner + self.patience)

    def facts(self) -> Facts:
        """As ``Policy.facts``."""
        return Facts(places=self.concurrency, waits=self.patience is None)

    def __repr__(self) -> str:
        each = "" if self.key is None else f" for each {self.key!r}"
        keys = "" if self.key is None else f", {len(self._lines)} keys"
        return f"<Limit {self._rule}{each}: {self.running} running, {self.waiting} waiting{keys}>"

    def __str__(self) -> str:
        text = f"limit {self._rule}" + ("" if self.key is None else f" for each {self.key!r}")
        if self.patience is None:
            return text
        return text + (f", waiting {format_duration(self.patience)} at most" if self.patience else ", no waiting")


def _tell(changed: Iterable[QueuedCall]) -> None:
    for place in changed:
        place.tell()
