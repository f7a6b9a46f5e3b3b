"""The search behind ``advise``: changes around single tasks, tried with few requests first, then with more."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from attrs import evolve

from rio_chain._core.quantiles import nearest_rank, quantile
from rio_chain.chain._compose import Composed
from rio_chain.simulation._distribution import PERCENTILES
from rio_chain.simulation._offered_load import FAR
from rio_chain.simulation._policy_changes import Change, Changes, TaskPolicies, changed, task_policies
from rio_chain.simulation._settings import Setting
from rio_chain.simulation._simulate import played
from rio_chain.simulation._simulation_result import Simulation

LOOK, CLOSER = 300, 1_000
"""Requests for a first look at many, and for a closer one at few."""
ROUNDS = 4
KEPT = 3
"""Of the candidates of a round so many are looked at closer."""
SHARES = (1.5, 1.0, 0.6, 0.3, 0.1)
"""Of the calls that may be made more, so many are made: where hedges and limits are tried."""


def more_calls(now: Simulation, then: Simulation) -> float:
    """By what share the calls of the backend grow that gets the most more."""
    grown = [then.backends[name].calls / each.calls - 1 for name, each in now.backends.items() if each.calls]
    return max(grown, default=0.0)


class Search:
    """One search under way."""

    def __init__(self, chain: Composed, given: Setting, goal: str, extra_load: float, tasks: Sequence[str]) -> None:
        self.chain = chain
        self.given = given
        self.q = PERCENTILES[goal]
        self.extra_load = extra_load
        self.tasks = tasks
        self.around = task_policies(chain)
        self.known: dict[tuple[int, tuple[tuple[str, Change], ...]], Simulation] = {}
        base = self.played({}, CLOSER)
        self.took = {name: sorted(base.took[name]) for name in tasks}
        self.fails = {name: load.failed + load.timed_out > 0 for name, load in base.backends.items()}

    def played(self, changes: Changes, requests: int) -> Simulation:
        """The chain with these changes, for a while."""
        key = requests, tuple(sorted(changes.items()))
        if key not in self.known:
            given = evolve(self.given, requests=requests, first=2 * FAR)
            self.known[key] = played(changed(self.chain, changes), given)
        return self.known[key]

    def best(self) -> list[Changes]:
        """What helps most, as far as can be told: one change after the other, each on top of those before.

        The best comes first. Those after it have fewer changes: it may be over the limits where more requests tell.
        """
        found: list[Changes] = [{}]
        for _ in range(ROUNDS):
            more = self._round(found[0])
            if more == found[0]:
                break
            found.insert(0, more)
        return found

    def _round(self, found: Changes) -> Changes:
        tried = [self._on_top(found, name, change) for name in self.tasks for change in self._coarse(found, name)]
        few = self._few([found, *tried])
        near = [self._on_top(found, *each) for changes in few[:2] for each in self._near(found, changes)]
        few = self._few([found, *few, *near])
        return self._fittest([found, *few], CLOSER, slack=1.0)[0]

    def _few(self, tried: Sequence[Changes]) -> list[Changes]:
        """Those worth a closer look: the best that seem to be within the limits, and the best that may be."""
        sure, perhaps = (self._fittest(tried, LOOK, slack) for slack in (1.0, 1.5))
        few = sure[:KEPT]
        return few + [each for each in perhaps if each not in few][: KEPT - 2]

    def _fittest(self, tried: Iterable[Changes], requests: int, slack: float) -> list[Changes]:
        """Those within the limits, the best first. What stands first in ``tried`` wins where they are alike."""
        now = self.played({}, requests)
        fit: list[tuple[float, int, Changes]] = []
        seen: list[Changes] = []
        for order, changes in enumerate(tried):
            if changes in seen:
                continue
            seen.append(changes)
            then = self.played(changes, requests)
            if self.allowed(now, then, slack):
                fit.append((self._score(then), order, changes))
        return [changes for _, _, changes in sorted(fit, key=lambda each: each[:2])]

    def allowed(self, now: Simulation, then: Simulation, slack: float = 1.0) -> bool:
        """Whether no backend gets too many calls, and no more requests fail; few requests tell it with some slack."""
        worse = sum(then.failures.values()) - sum(now.failures.values())
        return more_calls(now, then) <= slack * self.extra_load and worse <= (slack - 1) * 0.01 * now.requests

    def _score(self, simulation: Simulation) -> float:
        """The goal; of few requests the mean of what is near to it, which is surer. Nothing is worse than a failure."""
        ordered = sorted(min(each, 1e9) for each in simulation.ended)
        near = 0.7 * (1 - self.q)
        first, last = (nearest_rank(q, len(ordered)) for q in (self.q - near, self.q + near))
        some = ordered[first : last + 1]
        return math.fsum(some) / len(some)

    # --- what is tried ------------------------------------------------------------------------------------------

    def _on_top(self, found: Changes, name: str, change: Change) -> Changes:
        before = found.get(name, Change())
        return {
            **found,
            name: Change(
                before.after if change.after is None else change.after,
                before.timeout if change.timeout is None else change.timeout,
                before.retries if change.retries is None else change.retries,
            ),
        }

    def _coarse(self, found: Changes, name: str) -> list[Change]:
        """Hedges and limits where they make as many calls as may be made, or less; with a limit, a retry."""
        stack, took = self.around[name], self.took[name]
        if not took:
            return []
        late = [self._late(took, share * self.extra_load) for share in SHARES]
        retries = found.get(name, Change()).retries or stack.retries
        hedges = [Change(after=each) for each in dict.fromkeys(late) if each < stack.limit]
        limits = [
            Change(timeout=each, retries=max(retries, 2) if not stack.retries else None)
            for each in dict.fromkeys(nice(each * 1.1) for each in late)
            if each < stack.limit
        ]
        again = [Change(retries=retries + more) for more in (1, 2) if self.fails[name]]
        return [*hedges, *limits, *again]

    def _near(self, found: Changes, changes: Changes) -> list[tuple[str, Change]]:
        """Between what is good and its neighbours."""
        near: list[tuple[str, Change]] = []
        for name, change in changes.items():
            if change == found.get(name):
                continue
            for times in (0.85, 1.15, 1.4):
                if change.after is not None:
                    near.append((name, evolve(change, after=nice(change.after * times))))
                elif change.timeout is not None:
                    near.append((name, evolve(change, timeout=nice(change.timeout * times))))
        return [each for each in near if _within(each[1], self.around[each[0]])]

    @staticmethod
    def _late(took: Sequence[float], share: float) -> float:
        """What that share of the calls takes longer than."""
        return nice(quantile(took, 1 - min(share, 0.5)))


def _within(change: Change, stack: TaskPolicies) -> bool:
    return change.after is None or change.after < stack.limit


def nice(seconds: float) -> float:
    """To two digits, and whole milliseconds where that is as exact."""
    if seconds <= 0:
        return 1e-3
    digits = 1 - math.floor(math.log10(seconds))
    return max(1e-4, round(seconds, digits))
