"""LimitLines: the decisions of a Limit, under its lock, for the queues of all its keys."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Hashable, Iterable
from contextlib import suppress
from itertools import count, islice

from rio_chain._core.deferring_lock import DeferringLock
from rio_chain._core.forks import after_fork, keep_alive
from rio_chain._core.units import format_duration, short_repr
from rio_chain.errors import LimitExceeded
from rio_chain.policies._keys import Key, as_given, hashed
from rio_chain.policies._limit_queue import Arrival, LimitPermit, LimitQueue, QueuedCall, WaitingCounts
from rio_chain.policies._limit_settings import LimitRules
from rio_chain.policies._number_format import exact_number
from rio_chain.policies._permit import Call, Clock
from rio_chain.policies._shared_clock import Timeline
from rio_chain.policies._token_bucket import EARLY

next_number = count().__next__
"""Of the arrivals at all limits, so that calls of several limits have one order everywhere."""
MOST_KEYS = 100_000
"""With more keys than this, unused keys are forgotten even if their rate has not recovered."""


class LimitLines:
    """What the engine calls. ``Limit`` adds the settings and the description."""

    key: Key | None
    _rules: LimitRules
    _rule: str

    def _begin(self) -> None:
        self._lock = DeferringLock()
        self._time = Timeline()
        self._lines: OrderedDict[Hashable, LimitQueue] = OrderedDict()  # the last used is at the end
        self._total = WaitingCounts()
        after_fork(self._renew)

    # --- called by the engine -----------------------------------------------------------------------------------

    def enter(self, call: Call) -> LimitPermit | QueuedCall | LimitExceeded:
        """Let a call through, put it in the queue, or refuse it."""
        given, changed = self._lock.decide(self._enter, hashed(call.key), call, None)
        wake(changed)
        return given

    def enter_as(self, call: Call, arrival: Arrival) -> LimitPermit | QueuedCall | LimitExceeded:
        """As ``enter``, for a call that arrived earlier and waited elsewhere."""
        given, changed = self._lock.decide(self._enter, hashed(call.key), call, arrival)
        wake(changed)
        return given

    def arrival(self, clock: Clock) -> Arrival:
        """The arrival of a call that comes now."""
        return Arrival(self._time.now(clock), next_number())

    def _enter(
        self, key: Hashable, call: Call, arrival: Arrival | None
    ) -> tuple[LimitPermit | QueuedCall | LimitExceeded, list[QueuedCall]]:
        clock, cost = call.clock, call.cost
        now = self._time.now(clock)
        line = self._line(key, now)
        changed = self._serve(line, now)
        if not line.waiting and line.take(now, cost):
            line.total.running += 1
            return LimitPermit(self, line, clock, cost, now), changed
        return self._queue(line, call, now, arrival), changed

    def _queue(
        self, line: LimitQueue, call: Call, now: float, arrival: Arrival | None
    ) -> LimitPermit | QueuedCall | LimitExceeded:
        cost, rules = call.cost, line.rules
        if cost > rules.most:
            return self._too_large(line, cost)
        since = now if arrival is None else arrival.since
        rank = line.rank(call.priority, since)
        number = math.inf if arrival is None else arrival.number
        if line.waiting and line.overtakes(rank, number) and line.take(now, cost):
            line.total.running += 1
            return LimitPermit(self, line, call.clock, cost, now)
        due = line.due(now, cost, rank)
        if rules.queue is not None and line.waiting >= rules.queue and arrival is None:
            return self._refusal(line, due, queue=rules.queue)
        left = None if rules.patience is None else rules.patience - (now - since)
        if left is not None and (due > left or left <= 0):
            return self._refusal(line, due, now - since)
        place = QueuedCall(self, line, call.clock, arrival or Arrival(now, next_number()), cost, rank)
        place.several = arrival is not None
        line.enter(place)
        line.look(place, now)
        return place

    def _too_large(self, line: LimitQueue, cost: float) -> LimitExceeded:
        most = exact_number(line.rules.most)
        error = LimitExceeded(
            f"this call costs {exact_number(cost)}, and the limit ({self._rule}) allows at most {most}"
        )
        error.keyed = self.key is not None
        return error

    def _refusal(self, line: LimitQueue, due: float, waited: float = 0.0, *, queue: int | None = None) -> LimitExceeded:
        """The error. Its ``retry_after`` is the seconds until the next token is free, or None if that is unknown."""
        key = "" if self.key is None else f" for {short_repr(as_given(line.key))}"
        text = f"the limit of {self._rule}{key} is reached"
        text += f", and {queue} calls wait already (queue={queue})" if queue else ""
        text += f", after {format_duration(round(waited, 4))} in the queue" if waited else ""
        text += f"; the next may begin in {format_duration(round(due, 4))}" if due else ""
        error = LimitExceeded(text)
        error.retry_after, error.keyed = due or None, self.key is not None
        return error

    # --- called by queued calls and permits ---------------------------------------------------------------------

    def ask(self, place: QueuedCall, clock: Clock) -> None:
        """As ``PendingPermit.ask``."""
        changed = self._lock.decide(self._ask, place, clock)
        wake(other for other in changed if other is not place)

    def _ask(self, place: QueuedCall, clock: Clock) -> list[QueuedCall]:
        if place.state != "waiting":
            return []
        line, now = place.line, self._time.now(clock)
        changed = self._serve(line, now)
        if place.state == "waiting":
            if place.until is not None and now >= place.until - EARLY:
                line.give_up(place, self._refusal(line, 0.0, now - place.arrival.since))
                changed += self._serve(line, now)
            else:
                line.look(place, now)
        return changed

    def claim(self, place: QueuedCall, clock: Clock) -> LimitPermit | None:
        """Take what a call of several limits was offered. None: another call was quicker, and it waits on."""
        permit, changed = self._lock.decide(self._claim, place, clock)
        wake(changed)
        return permit

    def _claim(self, place: QueuedCall, clock: Clock) -> tuple[LimitPermit | None, list[QueuedCall]]:
        line, now = place.line, self._time.now(clock)
        place.offered = False
        if line.head() is not place or not line.take(now, place.cost):
            line.look(place, now)
            return None, self._serve(line, now)
        return line.grant(place, now), self._serve(line, now)

    def quit(self, place: QueuedCall) -> None:
        """As ``PendingPermit.quit``."""
        if self._lock.defer(lambda: self.quit(place)):
            return
        granted, changed = self._lock.decide(self._quit, place)
        if granted and isinstance(place.permit, LimitPermit):
            self.undo(place.permit)  # the call has not begun
        wake(changed)

    def _quit(self, place: QueuedCall) -> tuple[bool, list[QueuedCall]]:
        state, place.state = place.state, "gone"
        if state != "waiting":
            return state == "granted", []
        place.line.leave(place)
        return False, self._serve(place.line, self._time.now(place.clock))

    def release(self, permit: LimitPermit) -> None:
        """The call of a permit has ended, in whatever way."""
        if self._lock.defer(lambda: self.release(permit)):
            return
        wake(self._lock.decide(self._release, permit))

    def _release(self, permit: LimitPermit) -> list[QueuedCall]:
        if not permit.open:
            return []
        permit.open = False
        line = permit.line
        line.give_back(permit.cost)
        line.total.running -= 1
        return self._serve(line, self._time.now(permit.clock)) if line.waiting else []

    def undo(self, permit: LimitPermit) -> None:
        """A permit was not used: give back its place and its tokens."""
        if self._lock.defer(lambda: self.undo(permit)):
            return
        wake(self._lock.decide(self._undo, permit))

    def _undo(self, permit: LimitPermit) -> list[QueuedCall]:
        if not permit.open:
            return []
        return self._correct(permit, 0.0) + self._release(permit)

    def correct(self, permit: LimitPermit, cost: float) -> None:
        """The call of a permit has in fact cost this. Its tokens are corrected."""
        wake(self._lock.decide(self._correct, permit, cost))

    def _correct(self, permit: LimitPermit, cost: float) -> list[QueuedCall]:
        line, more, now = permit.line, cost - permit.cost, self._time.now(permit.clock)
        if line.bucket is None or not more:
            return []
        line.bucket.correct(now, more, permit.since)
        return self._again(line, now)

    def _again(self, line: LimitQueue, now: float) -> list[QueuedCall]:
        """Serve the queue after its tokens have changed: the call that waits for them sets its timer again."""
        head = line.head()
        if head is not None:
            head.first = False
        return self._serve(line, now)

    @staticmethod
    def _serve(line: LimitQueue, now: float) -> list[QueuedCall]:
        return line.serve(now) if line.waiting else []

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
        line = self._lines[key] = LimitQueue(key, self._rules, self._total)
        return line

    def _renew(self) -> None:
        """In a forked child: each key keeps its tokens. Calls in progress or waiting belong to the parent's queues."""
        old, self._lines, self._total = self._lines, OrderedDict(), WaitingCounts()
        keep_alive(old)
        for key, line in old.items():
            with suppress(Exception):  # the hash of a key may raise now
                new = self._lines[key] = LimitQueue(key, self._rules, self._total)
                new.bucket = line.bucket


def wake(changed: Iterable[QueuedCall]) -> None:
    """Wake queued calls. Never call it under the lock."""
    for place in changed:
        place.tell()
