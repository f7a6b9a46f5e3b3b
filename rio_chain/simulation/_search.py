"""The search of ``advise``: which changes lower a percentile, within the limits.

It begins with a hedge around every task, as early as the extra load allows. Each backend has a budget of its own, and
two slow tasks must often be helped together before a percentile moves. Then it goes through the tasks, and tries for
each what else there is: no change, more retries, shorter limits, later or further hedges. All candidates meet the same
backends, call by call, so small samples are enough to compare them. What looks best is simulated with more requests,
and its delay is set again so that it uses the extra load that is left.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence

from attrs import evolve, field, frozen

from rio_chain._core.quantiles import quantile
from rio_chain._core.units import milliseconds
from rio_chain.chain._compose import Composed
from rio_chain.errors import ChainDefinitionError, Unstable
from rio_chain.inspect.lint import lint
from rio_chain.simulation._latency_models import LatencyModel
from rio_chain.simulation._offered_load import FAR, offered_load
from rio_chain.simulation._policy_changes import Change, Changes, changed, task_policies
from rio_chain.simulation._random_draws import Draws
from rio_chain.simulation._settings import Setting
from rio_chain.simulation._simulate import played
from rio_chain.simulation._simulation_result import Simulation
from rio_chain.simulation._stage import backends_of

LOOK, CLOSER = 1_500, 5_000
"""Requests for a first look at a candidate, and for those that look best."""
FITS = 3
"""How often the delays of a candidate are set again, until it uses the extra load that is allowed."""
STEPS = 2
"""How often a task may be changed further."""
USED = 0.97
"""A candidate that uses this share of what is allowed needs no other delay."""
DRAWN = 40_000
"""How many calls are drawn of each ``LatencyModel`` to learn how many exceed a delay."""
KEPT = 2
"""How many of the candidates of a first look are simulated with more requests."""
BETTER = 0.995
"""A change must lower the goal to this share of it at least, and one that does not is left out."""
LIMITS = (0.5, 0.2, 0.05)
"""Shorter limits are tried at delays that these shares of the allowed extra calls exceed."""
RARE = 1e-5
"""So many requests may fail because all attempts reach a new limit. It has as many retries as that takes."""
SLACK = 1.5
"""With few requests, so many times the allowed extra calls are taken for within."""


def more_calls(now: Simulation, then: Simulation) -> dict[str, float]:
    """The growth of calls to each backend, as a share."""
    return {
        name: round(then.backends[name].calls / each.calls - 1, 12)  # without the rounding error of the quotient
        for name, each in now.backends.items()
        if each.calls
    }


@frozen
class Option:
    """What may be changed around a task.

    Attributes:
        change: the change, without the delay of its hedge.
        hedge: the share of the extra load that the hedge may use; 0: there is no new hedge.
        share: the share of calls that take longer than the delay of its hedge.
    """

    change: Change = field(factory=Change)
    hedge: float = 0.0
    share: float = 0.0


Options = Mapping[str, Option]
"""The option of each task that is changed."""


@frozen(eq=False)
class Candidate:
    """Options that were simulated."""

    options: Options
    changes: Changes
    score: float


class Search:
    """A running search.

    ``look`` is called again and again, with the number of simulated requests and the best score.
    """

    def __init__(
        self,
        chain: Composed,
        given: Setting,
        *,
        q: float,
        extra_load: float,
        tasks: Sequence[str],
        look: Callable[[int, float], object],
    ) -> None:
        self.chain, self.given, self.q, self.extra_load, self.tasks = chain, given, q, extra_load, tasks
        self.around = task_policies(chain)
        self._look = look
        self._done, self._best = 0, math.inf
        self._known: dict[tuple[int, tuple[tuple[str, Change], ...]], Simulation | None] = {}
        self._findings = {(each.code, each.where) for each in lint(chain.plan())}
        base = self._base(CLOSER)
        self._took = {name: self._durations(name, base) for name in tasks}
        self._fails = {name: load.failed + load.timed_out > 0 for name, load in base.backends.items()}
        self._best = self.score(base)

    # --- what is simulated --------------------------------------------------------------------------------------

    def _base(self, requests: int) -> Simulation:
        base = self._played({}, requests)
        assert base is not None  # noqa: S101 - `advise` has measured its load
        return base

    def _played(self, changes: Changes, requests: int) -> Simulation | None:
        """Simulate the chain with these changes, once. None if they are not acceptable; see ``played_anew``."""
        limit = None if self.given.arrivals is None else self.given.arrivals.limit
        requests = requests if limit is None else max(1, min(requests, limit - self.given.warmup))
        key = requests, tuple(sorted(changes.items()))
        if key not in self._known:
            self._known[key] = self.played_anew(changes, evolve(self.given, requests=requests, first=2 * FAR))
        return self._known[key]

    def played_anew(self, changes: Changes, given: Setting) -> Simulation | None:
        """Simulate the chain with these changes. None if lint has a new finding, or if they make it unstable.

        With few requests it does not measure the load: then a queue that grows just has a bad score.
        """
        chain = self.accepted(changes)
        try:
            load = None if chain is None or given.requests <= LOOK else offered_load(chain, given)
        except Unstable:
            return None
        self._done += given.requests
        self._look(self._done, self._best)
        return None if chain is None else played(chain, given, load)

    def accepted(self, changes: Changes) -> Composed | None:
        """The changed chain. None if it is not valid, or if lint finds something that it did not find before."""
        try:
            chain = changed(self.chain, changes)
            found = {(each.code, each.where) for each in lint(chain.plan())}
        except ChainDefinitionError:
            return None
        return chain if found <= self._findings else None

    def score(self, simulation: Simulation) -> float:
        """The goal. It is a weighted mean of the values around it, which varies less than one of them."""
        from rio_chain.simulation._confidence_intervals import smooth_quantile  # noqa: PLC0415 - it imports numpy

        return smooth_quantile(simulation.ended, self.q)

    def _candidate(self, options: Options, requests: int, slack: float = 1.0) -> Candidate | None:
        """Simulate options. None if they exceed a limit; the extra load may be ``slack`` times what is allowed."""
        changes = self.changes(options)
        then, now = self._played(changes, requests), self._base(requests)
        if then is None or not self.within(self._expected(options, now, then), now, then, slack):
            return None
        return Candidate(options, changes, self.score(then))

    def within(self, grown: Mapping[str, float], now: Simulation, then: Simulation, slack: float = 1.0) -> bool:
        """Whether no backend gets too many calls, and no more requests fail."""
        most = max(grown.values(), default=0.0)
        return most <= slack * self.extra_load and sum(then.failures.values()) <= sum(now.failures.values())

    def changes(self, options: Options) -> Changes:
        """The change of each task."""
        all_of = {name: self._change(name, option) for name, option in options.items()}
        return {name: change for name, change in all_of.items() if not change.nothing}

    def _change(self, name: str, option: Option) -> Change:
        if not option.hedge:
            return option.change
        after = self.delay(name, option.share)
        return evolve(option.change, after=after if after < self.around[name].limit else None)

    def _durations(self, name: str, base: Simulation) -> Sequence[float]:
        """How long the calls of a task take, sorted: more calls than are simulated, if a model says it."""
        index, backend = next(
            (index, backend)
            for index, backend in backends_of(self.chain.plan().tasks, self.given.backends).items()
            if self.chain.plan().tasks[index].name == name
        )
        if not isinstance(backend, LatencyModel):
            return sorted(base.took[name])
        draws, always = Draws(self.given.seed), evolve(backend, outages=())
        return sorted(always.draw(draws.at(3 * FAR + i, index, 0)).delay for i in range(DRAWN))

    def delay(self, name: str, share: float) -> float:
        """The duration that this share of the calls of a task exceeds, in seconds; infinity for a share of 0."""
        took = self._took[name]
        return neat(quantile(took, 1 - share)) if took and 0 < share < 1 else 0.0 if share >= 1 else math.inf

    # --- the search ---------------------------------------------------------------------------------------------

    def best(self) -> Options:
        """The options that help most, as far as the search shows."""
        hedged = {name: self.hedge(1.0, calls=max(2, self.around[name].count)) for name in self.tasks}
        best = self._fitted(hedged) or self._candidate({}, CLOSER)
        assert best is not None  # noqa: S101 - the chain itself is always allowed
        for name in self.tasks:
            for _ in range(STEPS):
                better = self._step(best, name)
                if better is best:
                    break
                best = better
                self._best = min(self._best, best.score)
        return best.options if best.score < BETTER * self.score(self._base(CLOSER)) else {}

    def hedge(self, part: float, option: Option | None = None, calls: int = 2) -> Option:
        """An option with a hedge that uses this part of the extra load."""
        option = option or Option()
        share = min(1.0, part * self.target / (calls - 1))
        return evolve(option, change=evolve(option.change, count=calls), hedge=part, share=share)

    @property
    def target(self) -> float:
        """The extra load to aim at, so that the final comparison rarely has more than is allowed."""
        if self.extra_load >= 1:
            return self.extra_load
        error = math.sqrt(self.extra_load * (1 - self.extra_load) / self.given.requests)
        return max(0.0, self.extra_load - error)

    def _step(self, best: Candidate, name: str) -> Candidate:
        """The best candidate with another option for one task."""
        looked = [
            found
            for option in self._others(name, best.options.get(name, Option()))
            if (found := self._candidate({**best.options, name: option}, LOOK, SLACK)) is not None
        ]
        now = self._candidate(best.options, LOOK, math.inf)
        few = [each for each in looked if each.options[name] == Option()]
        few += [each for each in sorted(looked, key=lambda one: one.score) if each not in few][:KEPT]
        for each in few:
            needed = 1 / BETTER if each.options[name] == Option() else BETTER
            if now is None or each.score <= needed / BETTER * now.score:
                fitted = self._fitted(each.options)
                if fitted is not None and fitted.score <= needed * best.score:
                    return fitted
        return best

    def _fitted(self, options: Options) -> Candidate | None:
        """The candidate with delays that use the extra load which is allowed. None if that is not possible."""
        now, found = self._base(CLOSER), None
        for _ in range(FITS):
            changes = self.changes(options)
            then = self._played(changes, CLOSER)
            if then is None:
                return found
            grown = self._expected(options, now, then)
            if self.within(grown, now, then):
                score = self.score(then)
                if found is None or score < found.score:
                    found = Candidate(options, changes, score)
            more = self.corrected(options, grown, self.target)
            if self.changes(more) == changes:
                break
            options = more
        return found

    def _expected(self, options: Options, now: Simulation, then: Simulation) -> Mapping[str, float]:
        """The extra calls to expect, as a share, given those of one sample.

        How many calls exceed a delay is known from more calls than those of the sample. The difference is taken off (a
        control variate), so that the result has less noise.
        """
        grown = more_calls(now, then)
        for name, option in options.items():
            if option.hedge and now.took[name]:
                late = sum(each > self.delay(name, option.share) for each in now.took[name]) / len(now.took[name])
                grown[name] += option.share - late
        return grown

    def corrected(self, options: Options, grown: Mapping[str, float], target: float) -> Options:
        """Delays with which each backend gets the extra calls that are allowed, given those that it gets now."""
        return {name: self._corrected(option, grown.get(name, 0.0), target) for name, option in options.items()}

    @staticmethod
    def _corrected(option: Option, grown: float, target: float) -> Option:
        wanted = option.hedge * target
        if not option.hedge or USED * wanted <= grown <= wanted:
            return option
        return evolve(
            option, share=min(1.0, max(0.0, option.share + (wanted - grown) / ((option.change.count or 2) - 1)))
        )

    def _others(self, name: str, option: Option) -> Iterator[Option]:
        """The other options for a task: each differs from the present one in one respect."""
        around, change = self.around[name], option.change
        if option != Option():
            yield Option()
        retries = change.retries or around.retries
        for more in (1, 2) if self._fails[name] else ():
            yield evolve(option, change=evolve(change, retries=retries + more))
        if self.given.arrivals is not None or around.limit < math.inf:
            yield from self._limits(name, option)
        if option.hedge:
            yield evolve(option, hedge=0.0)
            yield self.hedge(option.hedge, option, (change.count or 2) + 1)
            yield self.hedge(option.hedge / 2, option, change.count or 2)
        else:
            yield self.hedge(1.0, option, max(2, around.count))

    def _limits(self, name: str, option: Option) -> Iterator[Option]:
        """Shorter limits for an attempt, with enough retries that hardly any request fails because of them."""
        around, change = self.around[name], option.change
        for part in LIMITS:
            share = min(0.5, part * self.extra_load)
            limit = self.delay(name, share)
            if not 0 < limit < min(around.limit, change.timeout or math.inf):
                continue
            attempts = math.ceil(math.log(RARE) / math.log(share))
            retries = max(attempts - 1, around.retries, change.retries or 0)
            yield evolve(option, change=evolve(change, timeout=limit, retries=retries))


def neat(seconds: float) -> float:
    """Rounded up to three digits of milliseconds, so that no more calls exceed it."""
    if not 0 < seconds < math.inf:
        return seconds
    ms = milliseconds(seconds)
    digits = 2 - math.floor(math.log10(ms))
    return round(math.ceil(ms * 10.0**digits - 1e-6) / 10.0**digits, max(0, digits)) / 1000
