"""advise: what hedge, limit and retries would do for a chain, found by trying them in virtual time."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Generic, ParamSpec, TypeVar, cast

from attrs import evolve, frozen

from rio_chain.compose import Composed
from rio_chain.dsl import Chain
from rio_chain.errors import ChainDefinitionError
from rio_chain.show.text import Text
from rio_chain.simulation import picture
from rio_chain.simulation.changes import Change, Changes, Stack, changed, stacks, written
from rio_chain.simulation.comparing import Comparison, compared, figures
from rio_chain.simulation.distribution import PERCENTILES, plain_estimate, plain_number
from rio_chain.simulation.intervals import Estimate, rank, short
from rio_chain.simulation.result import Simulation, percent
from rio_chain.simulation.simulating import FAR, Setting, check_load, checked_chain, played, setting
from rio_chain.simulation.stage import Backend
from rio_chain.units import number, shown

P = ParamSpec("P")
Out = TypeVar("Out", covariant=True)

LOOK, CLOSER, SURE = 300, 1_000, 5_000
"""Requests for a first look at many, for a closer one at few, and for the verdict."""
ROUNDS = 4
KEPT = 3
"""Of the candidates of a round so many are looked at closer."""
SHARES = (1.5, 1.0, 0.6, 0.3, 0.1)
"""Of the calls that may be made more, so many are made: where hedges and limits are tried."""
NOW, CHANGED = "now", "changed"


@frozen(eq=False, repr=False)
class Advice(Generic[P, Out]):
    """What ``advise`` gives. ``print(advice)`` says what to write; in a notebook it shows the difference as well.

    Attributes:
        chain: the chain as it should be, ready to be used; where nothing helps, the chain as it was.
        helps: whether something does: by more than noise, within the limits.
        goal: the percentile that was to be better.
        gain: by how many milliseconds it is.
        changes: for each task that is changed, what to write.
        comparison: the chain ``now`` and ``changed``, with requests that the search has not seen.
    """

    chain: Chain[P, Out]
    helps: bool
    goal: str
    gain: Estimate
    changes: Mapping[str, str]
    comparison: Comparison

    @property
    def before(self) -> float:
        """Milliseconds of the goal now."""
        return figures(self.comparison.simulations[NOW])[self.goal]

    @property
    def after(self) -> float:
        """Milliseconds of the goal with the changes, whether they help or not."""
        return figures(self.comparison.simulations[CHANGED])[self.goal]

    @property
    def extra_load(self) -> float:
        """How many more calls the backend gets that gets the most more, as a share of what it gets now."""
        return more_calls(self.comparison.simulations[NOW], self.comparison.simulations[CHANGED])

    def summary(self) -> Text:
        """What to write and what it gives, as text."""
        lines = [self._verdict()]
        if self.helps:
            lines += ["", *(f"  {each}" for each in self.changes.values())]
        return Text("\n".join(lines))

    def _verdict(self) -> str:
        sure = f"{short(self.gain)} ms ({short(self.gain.low)} .. {short(self.gain.high)}) less"
        gained = f"{self.goal} {self._told(self.before)} -> {self._told(self.after)}"
        gained += f", {sure}" if math.isfinite(self.gain) else ""
        if self.helps:
            return f"{gained}; no backend gets more than {percent(self.extra_load)} more calls. Write:"
        if not self.changes:
            return f"Nothing within the limits brings the {self.goal} down from {self._told(self.before)}."
        best = "; ".join(self.changes.values())
        return f"Nothing within the limits helps for sure. The best found, {best}: {gained}."

    def _told(self, value: float) -> str:
        if math.isfinite(value):
            return f"{short(value)} ms"
        return f"never (more than {percent(1 - PERCENTILES[self.goal])} of the requests fail)"

    def to_dict(self) -> dict[str, Any]:
        """Plain data, which ``json.dumps`` takes as it is."""
        return {
            "helps": self.helps,
            "goal": self.goal,
            "before_ms": plain_number(self.before),
            "after_ms": plain_number(self.after),
            "gain_ms": plain_estimate(self.gain),
            "extra_load": plain_number(self.extra_load),
            "changes": dict(self.changes),
            "comparison": self.comparison.to_dict(),
        }

    def __str__(self) -> str:
        return str(self.summary())

    def __repr__(self) -> str:
        found = f"{self.goal} {self._told(self.before)} -> {self._told(self.after)}" if self.helps else "nothing helps"
        return f"<Advice: {found}>"

    def _repr_html_(self) -> str:
        code = "".join(f"<p><code>{picture.text(each)}</code></p>" for each in self.changes.values() if self.helps)
        return picture.card("Advice", self._verdict(), code) + self.comparison.html()


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
        self.around = stacks(chain)
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

    def best(self) -> Changes:
        """What helps most, as far as can be told: one change after the other, each on top of those before."""
        found: Changes = {}
        for _ in range(ROUNDS):
            more = self._round(found)
            if more == found:
                break
            found = more
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
        some = ordered[rank(self.q - near, len(ordered)) : rank(self.q + near, len(ordered)) + 1]
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
        return nice(took[rank(1 - min(share, 0.5), len(took))])


def _within(change: Change, stack: Stack) -> bool:
    return change.after is None or change.after < stack.limit


def nice(seconds: float) -> float:
    """To two digits, and whole milliseconds where that is as exact."""
    if seconds <= 0:
        return 1e-3
    digits = 1 - math.floor(math.log10(seconds))
    return max(1e-4, round(seconds, digits))


def advise(
    chain: Chain[P, Out],
    backends: Mapping[str, Backend],
    *,
    goal: str = "p99",
    extra_load: float = 0.05,
    tasks: Iterable[str] | None = None,
    **options: Any,
) -> Advice[P, Out]:
    """Search hedges, limits and retries that bring a percentile down, within limits; and say when nothing does.

    Around each task by itself it tries ``.replica(2, after=...)``, ``.timeout(...)`` and ``.retry(...)``: a coarse
    grid, then what is near the best, with more and more requests. All candidates meet the same backends. The verdict
    comes from requests that the search has not seen. A request that fails counts as one that never ends, and no more
    may fail than now.

    Hedges and retries call again what may have been done already: name in ``tasks`` those that bear it.

    Args:
        chain: to be changed.
        backends: as for ``simulate``.
        goal: ``"p50"``, ``"p90"``, ``"p95"``, ``"p99"`` or ``"p99.9"``, until a request has succeeded.
        extra_load: how many more calls any backend may get, as a share of those that it gets now.
        tasks: the names of those whose policies may be changed. Default: all.
        options: as for ``simulate``; ``requests``, default 5000, are those of the verdict.

    Raises:
        ChainDefinitionError: a goal that is none, a task that is not there, and whatever ``simulate`` refuses.

    Example:
        >>> from rio_chain import Task, advise
        >>> from rio_chain.simulation import LatencyModel
        >>> async def fetch(user_id: int) -> str: ...
        >>> advice = advise(Task(fetch), {"fetch": LatencyModel.lognormal(20, p99=60).stalling(0.03, 400)})
        >>> advice.helps, advice.extra_load <= 0.05, advice.gain > 200
        (True, True, True)
    """
    checked_chain(chain)
    wanted = [task.name for task in chain.plan().tasks] if tasks is None else _tasks(chain, tasks)
    if goal not in PERCENTILES:
        raise ChainDefinitionError(f"`goal` must be one of {', '.join(map(repr, PERCENTILES))}; got {shown(goal)}")
    limit = number(extra_load, "extra_load", least=0)
    options.setdefault("requests", None if getattr(options.get("arrivals"), "limit", None) else SURE)
    given = setting(backends, **options)
    check_load(chain, given)
    search = Search(chain, given, goal, limit, wanted)
    found = search.best()
    better = changed(chain, found)
    comparison = compared({NOW: chain, CHANGED: better}, given)
    change = comparison.differences[CHANGED][goal]
    gain = Estimate(0.0 - change, 0.0 - change.high, 0.0 - change.low)
    now, then = comparison.simulations.values()
    helps = bool(found) and gain.low > 0 and search.allowed(now, then, 1.1)
    texts = {name: written(better, name) for name in found}
    return Advice(cast("Chain[P, Out]", better) if helps else chain, helps, goal, gain, texts, comparison)


def _tasks(chain: Composed, tasks: Iterable[str]) -> list[str]:
    names = [task.name for task in chain.plan().tasks]
    given: Any = tasks
    found = [given] if isinstance(given, str) else list(tasks)
    for name in found:
        if name not in names:
            raise ChainDefinitionError(
                f"`tasks` names {shown(name)}, which is no task of this chain; it has {', '.join(names)}"
            )
    return found
