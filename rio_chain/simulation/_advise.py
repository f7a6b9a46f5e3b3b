"""advise: finds hedges, limits and retries that would help a chain, by trying them in virtual time."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar, cast

from attrs import frozen

from rio_chain._core.units import flag, number, short_repr
from rio_chain.chain._compose import Composed
from rio_chain.errors import ChainDefinitionError
from rio_chain.inspect._text import Text
from rio_chain.inspect.live._screen import Shown
from rio_chain.simulation import _charts
from rio_chain.simulation._advice_progress import AdviceProgress
from rio_chain.simulation._changed_source import written
from rio_chain.simulation._compare import Comparison, figures
from rio_chain.simulation._distribution import PERCENTILES, plain_estimate, plain_number
from rio_chain.simulation._estimate import Estimate, short
from rio_chain.simulation._extra import require_statistics
from rio_chain.simulation._offered_load import offered_load
from rio_chain.simulation._policy_changes import Changes, changed
from rio_chain.simulation._search import Options, Search, more_calls
from rio_chain.simulation._settings import Setting, setting
from rio_chain.simulation._simulate import checked_chain, played
from rio_chain.simulation._simulation_result import Simulation, percent
from rio_chain.simulation._stage import Backend, backends_of

if TYPE_CHECKING:
    from rio_chain.dsl._chain import Chain

P = ParamSpec("P")
Out = TypeVar("Out", covariant=True)

SURE = 10_000
"""Requests for the final comparison."""
TRIES = 6
"""How often the final comparison is made with longer delays, if the backends get more calls than allowed."""
CAUTION = 0.02
"""So much less, as a share of the extra load, is aimed at each time."""
NOW, CHANGED = "now", "changed"


@frozen(eq=False, repr=False)
class Advice(Generic[P, Out]):
    """The result of ``advise``. ``print(advice)`` says what to write; a notebook also shows the difference.

    Attributes:
        chain: the changed chain, ready to use; if nothing helps, the chain unchanged.
        helps: whether a change helps: by more than noise, and within the limits.
        goal: the percentile to improve.
        gain: by how many milliseconds it improves.
        changes: for each changed task, what to write.
        comparison: the chain ``now`` and ``changed``, with requests that the search has not used.
    """

    chain: Chain[P, Out]
    helps: bool
    goal: str
    gain: Estimate
    changes: Mapping[str, str]
    comparison: Comparison

    @property
    def before(self) -> float:
        """The goal in milliseconds, now."""
        return figures(self.comparison.simulations[NOW])[self.goal]

    @property
    def after(self) -> float:
        """The goal in milliseconds with the changes, whether they help or not."""
        return figures(self.comparison.simulations[CHANGED])[self.goal]

    @property
    def extra_load(self) -> float:
        """The largest growth of calls to a backend, as a share of the calls that it gets now."""
        grown = more_calls(self.comparison.simulations[NOW], self.comparison.simulations[CHANGED])
        return max(grown.values(), default=0.0)

    def summary(self) -> Text:
        """What to write, and the gain, as text."""
        lines = [self._verdict()]
        if self.helps:
            lines += ["", *self.changes.values()]
        return Text("\n".join(lines))

    def _verdict(self) -> str:
        sure = f"{short(self.gain)} ms ({short(self.gain.low)} .. {short(self.gain.high)}) less"
        gained = f"{self.goal} {self._goal_text(self.before)} -> {self._goal_text(self.after)}"
        gained += f", {sure}" if math.isfinite(self.gain) else ""
        if self.helps:
            return f"{gained}; no backend gets more than {percent(self.extra_load)} more calls. Write:"
        if not self.changes:
            return f"Nothing within the limits lowers the {self.goal} of {self._goal_text(self.before)}."
        best = "; ".join(self.changes.values())
        return f"Nothing within the limits surely helps. The best that was found, {best}: {gained}."

    def _goal_text(self, value: float) -> str:
        if math.isfinite(value):
            return f"{short(value)} ms"
        return f"never (more than {percent(1 - PERCENTILES[self.goal])} of the requests fail)"

    def to_dict(self) -> dict[str, Any]:
        """The advice as plain data for ``json.dumps``."""
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
        change = f"{self._goal_text(self.before)} -> {self._goal_text(self.after)}"
        found = f"{self.goal} {change}" if self.helps else "nothing helps"
        return f"<Advice: {found}>"

    def _repr_html_(self) -> str:
        code = "".join(f"<p><code>{_charts.text(each)}</code></p>" for each in self.changes.values() if self.helps)
        return _charts.card("Advice", self._verdict(), code) + self.comparison.html()


def advise(
    chain: Chain[P, Out],
    backends: Mapping[str, Backend],
    *,
    goal: str = "p99",
    extra_load: float = 0.05,
    tasks: Iterable[str] | None = None,
    progress: bool = False,
    **options: Any,
) -> Advice[P, Out]:
    """Search hedges, limits and retries that lower a percentile, within limits. It also reports if nothing does.

    It tries ``.replica(2, after=...)``, ``.timeout(...)`` and ``.retry(...)`` around each task. The delays use the
    extra load that is allowed. All candidates meet the same backends, call by call, and none has a finding of ``lint``
    that the chain does not have. The final comparison uses requests that the search has not used; if these make too
    many extra calls, the delays become longer. A request that fails counts as one that never ends, and no more requests
    may fail than now.

    Hedges and retries repeat calls that may have been executed already. Name in ``tasks`` the tasks that allow it.

    Args:
        chain: the chain to change.
        backends: as for ``simulate``.
        goal: ``"p50"``, ``"p90"``, ``"p95"``, ``"p99"`` or ``"p99.9"`` of the time until a request has succeeded.
        extra_load: how many more calls any backend may get, as a share of the calls that it gets now. Default 0.05.
        tasks: the names of the tasks whose policies may be changed. Default: all but those that are ``.inline()``.
        progress: show how far the search is, as ``balancer.map(progress=True)`` does. Default False.
        options: as for ``simulate``; ``requests``, default 10,000, are those of the final comparison.

    Raises:
        ChainDefinitionError: the goal is not one of these, a task is not in the chain, or ``simulate`` refuses an
            argument.
        ImportError: the extra ``rio-chain[simulate]`` (numpy and scipy) is not installed.

    Example:
        >>> from rio_chain import Task, advise
        >>> from rio_chain.simulation import LatencyModel
        >>> async def fetch(user_id: int) -> str: ...
        >>> advice = advise(Task(fetch), {"fetch": LatencyModel.lognormal(20, p99=60).stalling(0.03, 400)})
        >>> advice.helps, advice.extra_load <= 0.05, advice.gain > 200
        (True, True, True)
    """
    require_statistics("advise")
    checked_chain(chain)
    wanted = None if tasks is None else _tasks(chain, tasks)
    if goal not in PERCENTILES:
        raise ChainDefinitionError(f"`goal` must be one of {', '.join(map(repr, PERCENTILES))}; got {short_repr(goal)}")
    limit = number(extra_load, "extra_load", least=0)
    shows = flag(progress, "progress")
    options.setdefault("requests", None if getattr(options.get("arrivals"), "limit", None) else SURE)
    given = setting(backends, **options)
    load = offered_load(chain, given)
    view = AdviceProgress(chain.plan().title, goal)
    with Shown(view) if shows else nullcontext() as shown:

        def look(requests: int, best: float) -> None:
            view.follow(requests, best)
            if shown is not None:
                shown()

        backed = _backed(chain, given, wanted)
        search = Search(chain, given, q=PERCENTILES[goal], extra_load=limit, tasks=backed, look=look)
        options_found = search.best()
        now = played(chain, given, load)
        found, then = _judged(search, options_found, now)
    comparison = Comparison({NOW: now, CHANGED: then})
    change = comparison.differences[CHANGED][goal]
    gain = Estimate(0.0 - change, 0.0 - change.high, 0.0 - change.low)
    helps = bool(found) and gain.low > 0 and search.within(more_calls(now, then), now, then)
    better = changed(chain, found)
    texts = {name: written(better, name) for name in found}
    return Advice(cast("Chain[P, Out]", better) if helps else chain, helps, goal, gain, texts, comparison)


def _judged(search: Search, options: Options, now: Simulation) -> tuple[Changes, Simulation]:
    """The changes, simulated with requests that the search has not used.

    If these make more extra calls than are allowed, the delays are made longer, and it is simulated again.
    """
    given, then = search.given, now
    found: Changes = {}
    target = search.extra_load
    for _ in range(TRIES):
        changes = search.changes(options)
        after = search.played_anew(changes, given)
        if not changes or after is None:
            break
        found, then = changes, after
        grown = more_calls(now, then)
        if search.within(grown, now, then):
            break
        target *= 1 - CAUTION
        later = search.corrected(options, grown, target)
        options = {**options, **{name: later[name] for name in options if grown.get(name, 0) > search.extra_load}}
    return found, then


def _backed(chain: Composed, given: Setting, tasks: list[str] | None) -> list[str]:
    """The tasks that may be changed: those that have a backend."""
    planned = chain.plan().tasks
    backed = [planned[index].name for index in backends_of(planned, given.backends)]
    for name in tasks or ():
        if name not in backed:
            raise ChainDefinitionError(
                f"`tasks` names {short_repr(name)}, which is `.inline()`: it calls no backend that a policy could help"
            )
    return backed if tasks is None else tasks


def _tasks(chain: Composed, tasks: Iterable[str]) -> list[str]:
    names = [task.name for task in chain.plan().tasks]
    given: Any = tasks
    found = [given] if isinstance(given, str) else list(tasks)
    for name in found:
        if name not in names:
            raise ChainDefinitionError(
                f"`tasks` names {short_repr(name)}, which is not a task of this chain; it has {', '.join(names)}"
            )
    return found
