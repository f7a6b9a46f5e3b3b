"""The search of ``advise``: it tries changes around single tasks, first with few requests, then with more."""

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
"""Requests for a first trial of many candidates, and for a second trial of few."""
ROUNDS = 4
KEPT = 3
"""How many candidates of a round are tried again."""
SHARES = (1.5, 1.0, 0.6, 0.3, 0.1)
"""Hedges and limits are tried at delays that cause these shares of the allowed extra calls."""


def more_calls(now: Simulation, then: Simulation) -> float:
    """The largest growth of calls to a backend, as a share."""
    grown = [then.backends[name].calls / each.calls - 1 for name, each in now.backends.items() if each.calls]
    return max(grown, default=0.0)


class Search:
    """A running search."""

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
        """Simulate the chain with these changes."""
        key = requests, tuple(sorted(changes.items()))
        if key not in self.known:
            given = evolve(self.given, requests=requests, first=2 * FAR)
            self.known[key] = played(changed(self.chain, changes), given)
        return self.known[key]

    def best(self) -> list[Changes]:
        """The changes that help most, as far as few requests show: found one by one, each on top of those before.

        The best comes first. The next ones have fewer changes, in case more requests show that the best exceeds a
        limit.
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
        """The candidates for a second trial: the best within the limits, and the best of those that may be within."""
        sure, perhaps = (self._fittest(tried, LOOK, slack) for slack in (1.0, 1.5))
        few = sure[:KEPT]
        return few + [each for each in perhaps if each not in few][: KEPT - 2]

    def _fittest(self, tried: Iterable[Changes], requests: int, slack: float) -> list[Changes]:
        """The candidates within the limits, the best first. Of equal ones the first in ``tried`` wins."""
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
        """Whether no backend gets too many calls, and no more requests fail.

        With few requests ``slack`` allows more.
        """
        worse = sum(then.failures.values()) - sum(now.failures.values())
        return more_calls(now, then) <= slack * self.extra_load and worse <= (slack - 1) * 0.01 * now.requests

    def _score(self, simulation: Simulation) -> float:
        """The goal, as the mean of the values near it, which varies less. A failed request counts as the slowest."""
        ordered = sorted(min(each, 1e9) for each in simulation.ended)
        near = 0.7 * (1 - self.q)
        first, last = (nearest_rank(q, len(ordered)) for q in (self.q - near, self.q + near))
        some = ordered[first : last + 1]
        return math.fsum(some) / len(some)

    # --- candidates ---------------------------------------------------------------------------------------------

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
        """Hedges and limits that cause at most about the allowed extra calls; with a limit also a retry."""
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
        """Changes with values near the good ones."""
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
        """The duration that this share of the calls exceeds."""
        return nice(quantile(took, 1 - min(share, 0.5)))


def _within(change: Change, stack: TaskPolicies) -> bool:
    return change.after is None or change.after < stack.limit


def nice(seconds: float) -> float:
    """Round to two digits."""
    if seconds <= 0:
        return 1e-3
    digits = 1 - math.floor(math.log10(seconds))
    return max(1e-4, round(seconds, digits))
