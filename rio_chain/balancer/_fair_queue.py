"""FairQueue: the queue of a balancer with ``fair=``. Within one priority each tenant gets its share of slot time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Iterator, Mapping
from heapq import heappop, heappush
from typing import NamedTuple

from rio_chain.balancer._priority_queue import Turn, TurnQueue
from rio_chain.engine._current_run import Run
from rio_chain.policies._fair_shares import FairShares, Tenant


class Level:
    """The requests of one priority: the shares of its tenants, and the turns of each, in order of arrival."""

    __slots__ = ("lines", "listed", "priority", "shares")

    def __init__(self, priority: float, weights: Mapping[Hashable, float]) -> None:
        self.priority = priority
        self.shares = FairShares(weights)
        self.lines: dict[Tenant, deque[Turn]] = {}
        self.listed = False  # whether it is in the heap of levels


class Charge(NamedTuple):
    """What the slot of a run is charged to."""

    level: Level
    tenant: Tenant
    seconds: float


class FairQueue(TurnQueue):
    """``workers`` slots and the queue for them. The highest priority goes first; within it, tenants by their shares."""

    __slots__ = ("_charges", "_levels", "_lined_up", "_priorities", "_weights")

    def __init__(self, workers: int, weights: Mapping[Hashable, float]) -> None:
        super().__init__(workers)
        self._weights = weights
        self._levels: dict[float, Level] = {}
        self._priorities: list[float] = []  # a heap of the negative priorities of the levels with turns
        self._lined_up: dict[Turn, None] = {}  # all turns that wait; this dict is authoritative
        self._charges: dict[Run, Charge] = {}

    def take_for(self, turn: Turn) -> bool:
        """As ``take``, for the run of this turn."""
        if not super().take():
            return False
        self._start(turn, waited=False)
        return True

    def _level(self, priority: float) -> Level:
        found = self._levels.get(priority)
        if found is None:
            found = self._levels[priority] = Level(priority, self._weights)
        return found

    def _start(self, turn: Turn, *, waited: bool) -> None:
        level = self._level(turn.priority)
        tenant = level.shares.tenant(turn.tenant)
        self._charges[turn.run] = Charge(level, tenant, level.shares.start(tenant, waited=waited))

    def ended(self, run: Run, lasted: float | None) -> None:
        """A run has given back its slot, which it had for so many seconds. None: it did not run."""
        charge = self._charges.pop(run, None)
        if charge is not None:
            charge.level.shares.end(charge.tenant, charge.seconds, lasted)
            self._forget(charge.level)

    def _forget(self, level: Level) -> None:
        """A level where nothing waits and runs has no state worth keeping: the next request begins a busy period."""
        shares = level.shares
        if not shares.waiting and not shares.running and self._levels.get(level.priority) is level:
            del self._levels[level.priority]

    def tenant_of(self, run: Run) -> Hashable:
        """The tenant whose slot a run holds."""
        charge = self._charges.get(run)
        return None if charge is None else charge.tenant.key

    def enter(self, turn: Turn) -> None:
        """As ``TurnQueue.enter``."""
        turn.lined_up = True
        self._lined_up[turn] = None
        self.waiting += 1
        self._add(turn)

    def _add(self, turn: Turn) -> None:
        level = self._level(turn.priority)
        tenant = level.shares.tenant(turn.tenant)
        level.lines.setdefault(tenant, deque()).append(turn)
        level.shares.wait(tenant)
        if not level.listed:
            level.listed = True
            heappush(self._priorities, -turn.priority)

    def leave(self, granted: Callable[[Turn], None] | None = None) -> Turn | None:
        """As ``TurnQueue.leave``."""
        turn = self._next()
        if turn is None:
            self.running -= 1
            return None
        turn.state = "granted"
        if granted is not None:
            granted(turn)
        level = self._level(turn.priority)
        self._start(turn, waited=True)
        self._remove(level, level.shares.tenant(turn.tenant))
        del self._lined_up[turn]
        self.waiting -= 1
        return turn

    def _next(self) -> Turn | None:
        priorities = self._priorities
        while priorities:
            level = self._levels.get(-priorities[0])
            tenant = None if level is None else level.shares.next()
            if level is not None and tenant is not None:
                return next(turn for turn in level.lines[tenant] if turn.state == "waiting")
            heappop(priorities)
            if level is not None:
                level.listed = False
                self._forget(level)
        return None

    @staticmethod
    def _remove(level: Level, tenant: Tenant) -> None:
        """Remove turns that do not wait from the line of a tenant: all at its head, and the rest if they are many."""
        line = level.lines[tenant]
        while line and line[0].state != "waiting":
            line.popleft()
        if len(line) > 2 * tenant.waiting + 16:
            line = level.lines[tenant] = deque(turn for turn in line if turn.state == "waiting")
        if not line:
            del level.lines[tenant]

    def withdraw(self, turn: Turn) -> bool:
        """As ``TurnQueue.withdraw``."""
        if turn.state != "waiting":
            return turn.state == "gone"
        turn.state = "gone"
        if turn.lined_up:
            del self._lined_up[turn]
            self.waiting -= 1
            level = self._level(turn.priority)
            tenant = level.shares.tenant(turn.tenant)
            level.shares.left(tenant)
            self._remove(level, tenant)
            self._forget(level)
        return True

    def over(self) -> list[Turn]:
        """As ``TurnQueue.over``."""
        for turn in self._lined_up:
            if turn.run.dropped:
                turn.state = "gone"
        return [turn for turn in self._lined_up if turn.state != "waiting"]

    def recount(self, running: int) -> None:
        """As ``TurnQueue.recount``. Shares of what runs are counted anew, so nothing is lost or counted twice."""
        turns = [turn for turn in self._lined_up if turn.state == "waiting"]
        self._levels, self._priorities, self._charges = {}, [], {}
        self._lined_up = dict.fromkeys(turns)
        for turn in turns:
            self._add(turn)
        self.running = running
        self.waiting = len(turns)

    def clear(self) -> list[Turn]:
        """As ``TurnQueue.clear``."""
        turns = [turn for turn in self._lined_up if turn.state == "waiting"]
        for turn in turns:
            turn.state = "gone"
        self._lined_up.clear()
        self._levels, self._priorities, self.waiting = {}, [], 0
        return turns

    def lowest(self, newcomer: Turn) -> Turn:
        """The turn that is worth least, of those that wait and may be shed, and the newcomer.

        That is one of the lowest priority. Among these it is the newest of the tenant with the most waiting requests
        for its weight.
        """
        worst = min((turn.priority for turn in self._sheddable()), default=newcomer.priority)
        if newcomer.priority < worst:
            return newcomer
        level = self._level(worst)
        if newcomer.priority > worst:
            tenant = max(level.lines, key=lambda each: each.waiting / each.weight)
        else:
            own = level.shares.tenant(newcomer.tenant)
            tenant = level.shares.most_waiting(own)
            if tenant is own:
                return newcomer
        waits = (turn for turn in reversed(level.lines[tenant]) if turn.state == "waiting" and turn.sheddable)
        return next(waits, newcomer)

    def _sheddable(self) -> Iterator[Turn]:
        return (turn for turn in self._lined_up if turn.sheddable)
