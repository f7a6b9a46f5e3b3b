"""What ``advise`` finds, against an exhaustive search. ``python -m benchmarks.advised [SEEDS] [SCENARIO ...]``.

The exhaustive search shares no code with ``advise``: it computes the latency of each hedge, limit and retry of a fine
grid with numpy, on the same random numbers, and takes the best that keeps the extra load. Each advice is then judged by
the same computation: how far its percentile is above the best one. The program fails if one is more than 5 % above it,
makes more calls than allowed in the requests that it was measured with, has a finding of lint, or does not run as code.
"""

from __future__ import annotations

import itertools
import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np

from rio_chain import Task, advise
from rio_chain.simulation import Advice, LatencyModel
from rio_chain.simulation._policy_changes import TaskPolicies, task_policies

Floats = np.ndarray[Any, np.dtype[np.float64]]

SEEDS = 12
CLOSE = 0.05
EXTRA = 0.05
DRAWN = 200_000
ATTEMPTS = 4
BACKOFF_BASE, BACKOFF_CAP = 50.0, 1000.0
DELAYS = 90
LIMITS = 12
FEW = 1e-5
"""More requests than now, as a share, that may fail."""


async def fetch(number: int) -> int:
    raise NotImplementedError


async def store(number: int) -> int:
    raise NotImplementedError


f, s = Task(fetch), Task(store)


class Backend(NamedTuple):
    """A backend, for both sides."""

    model: LatencyModel
    latency: Callable[[Any], Floats]
    stalls: float = 0.0
    stall_ms: float = 0.0
    fails: float = 0.0


def lognormal(median: float, p99: float, stalls: float = 0.0, stall_ms: float = 0.0, fails: float = 0.0) -> Backend:
    sigma = math.log(p99 / median) / NormalDist().inv_cdf(0.99)
    model = LatencyModel.lognormal(median, p99=p99)
    model = model.failing(fails, ConnectionError) if fails else model
    model = model.stalling(stalls, stall_ms) if stalls else model
    return Backend(model, lambda rng: median * np.exp(sigma * rng.standard_normal(DRAWN)), stalls, stall_ms, fails)


def exponential(mean: float) -> Backend:
    return Backend(LatencyModel.exponential(mean), lambda rng: rng.exponential(mean, DRAWN))


class Scenario(NamedTuple):
    chain: Any
    backends: Mapping[str, Backend]
    together: Callable[..., Floats]
    goal: float = 0.99
    extra: float = EXTRA


def only(took: Floats) -> Floats:
    return took


STALLS = lognormal(20, 60, 0.03, 400)
SCENARIOS = {
    "stalls": Scenario(f, {"fetch": STALLS}, only),
    "exponential": Scenario(f, {"fetch": exponential(100)}, only),
    "heavy tail": Scenario(f, {"fetch": lognormal(50, 600)}, only),
    "late stalls": Scenario(f, {"fetch": lognormal(40, 190, 0.02, 1500)}, only),
    "failures": Scenario(f, {"fetch": lognormal(30, 120, fails=0.03)}, only),
    "many stalls, 20 % more": Scenario(f, {"fetch": lognormal(20, 60, 0.08, 400)}, only, extra=0.2),
    "p95, 20 % more": Scenario(f, {"fetch": exponential(100)}, only, goal=0.95, extra=0.2),
    "timeout and retry": Scenario(f.timeout(300).retry(2), {"fetch": lognormal(20, 90, 0.03, 1500)}, only),
    "one after the other": Scenario(f >> s, {"fetch": STALLS, "store": exponential(30)}, np.add),
    "both stall": Scenario(f >> s, {"fetch": STALLS, "store": STALLS}, np.add),
    "side by side": Scenario(f & s, {"fetch": STALLS, "store": exponential(100)}, np.maximum),
}


# --- the exhaustive search --------------------------------------------------------------------------------------


class Drawn:
    """What each call of a task does in each request: call 0 or 1 of a hedge, in each attempt."""

    def __init__(self, backend: Backend, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.calls: list[list[tuple[Floats, Any]]] = []
        for _ in range(ATTEMPTS):
            pair: list[tuple[Floats, Any]] = []
            for _ in range(2):
                took, luck = backend.latency(rng), rng.random(DRAWN)
                failed = luck < backend.fails
                stalled = ~failed & (luck < backend.fails + backend.stalls)
                pair.append((np.where(stalled, backend.stall_ms, took), failed))
            self.calls.append(pair)
        self.jitter = [rng.random(DRAWN) for _ in range(ATTEMPTS)]
        self.first = np.sort(self.calls[0][0][0])

    def latency(self, around: TaskPolicies) -> tuple[Floats, Floats]:
        """How long a task takes in each request, infinite if it fails, and how many calls it makes."""
        after = math.inf if around.count == 1 or around.after is None else around.after * 1000
        limit = math.inf if around.timeout is None else around.timeout * 1000
        took, calls, alive = np.zeros(DRAWN), np.zeros(DRAWN), np.ones(DRAWN, dtype=bool)
        for attempt in range(around.retries + 1):
            (x, x_failed), (y, y_failed) = self.calls[attempt]
            begin = np.where(x_failed, np.minimum(x, after), after) if after < math.inf else np.full(DRAWN, math.inf)
            second = (x_failed | (x > begin)) & (begin < limit)
            other = np.where(second, begin + y, math.inf)
            found = np.minimum(np.where(x_failed, math.inf, x), np.where(second & ~y_failed, other, math.inf))
            ended = np.where(np.isinf(found), np.maximum(x, np.where(second, other, 0.0)), found)
            good = (found < limit) & alive
            took += alive * np.minimum(ended, limit)
            calls += alive * (1.0 + second)
            alive &= ~good
            if attempt < around.retries:
                took += alive * self.jitter[attempt] * min(BACKOFF_CAP, BACKOFF_BASE * 2**attempt)
        return np.where(alive, math.inf, took), calls

    def late(self, share: float) -> float:
        """The delay in seconds that this share of the calls exceeds."""
        return float(self.first[max(0, int((1 - share) * DRAWN) - 1)]) / 1000


class Setting(NamedTuple):
    around: TaskPolicies
    took: Floats
    growth: float


def settings(name: str, drawn: Drawn, around: TaskPolicies, extra: float, *, several: bool) -> Iterator[Setting]:
    """All settings of one task that keep the extra load. With ``several`` tasks there is no grid of limits."""
    now = float(drawn.latency(around)[1].mean())
    limits = [] if several else [drawn.late(share) for share in np.geomspace(0.0005, 0.4, LIMITS)]
    retries = sorted({around.retries, 1, 2, 3})
    delays = [None, *(drawn.late(share) for share in np.geomspace(extra / 30, 3 * extra, DELAYS))]
    for after, limit, again in itertools.product(delays, [None, *limits], retries):
        timeout = around.timeout if limit is None else min(limit, around.timeout or math.inf)
        if after is not None and timeout is not None and after >= timeout:
            continue
        tried = TaskPolicies(name, after, 1 if after is None else 2, timeout, again, around.limit)
        took, calls = drawn.latency(tried)
        growth = float(calls.mean()) / now - 1
        if growth <= extra:
            yield Setting(tried, took, growth)


def percentile(took: Floats, q: float) -> float:
    rank = math.ceil(q * len(took)) - 1
    return float(np.partition(took, rank)[rank])


class Found(NamedTuple):
    value: float
    settings: tuple[Setting, ...]


class Exhaustive:
    """All combinations of settings of a scenario."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.drawn = {name: Drawn(backend, 7 + i) for i, (name, backend) in enumerate(scenario.backends.items())}
        self.now = task_policies(scenario.chain)
        self.base, self.growth, self.failed = self.judged(self.now)

    def judged(self, around: Mapping[str, TaskPolicies]) -> tuple[float, float, float]:
        """The goal, the largest growth of calls, and the share of failures."""
        times, grown = [], []
        for name, drawn in self.drawn.items():
            took, calls = drawn.latency(around[name])
            times.append(took)
            grown.append(float(calls.mean()) / float(drawn.latency(self.now[name])[1].mean()) - 1)
        took = self.scenario.together(*times)
        return percentile(took, self.scenario.goal), max(grown), float(np.isinf(took).mean())

    def best(self) -> Found:
        several = len(self.drawn) > 1
        each = [
            list(settings(name, drawn, self.now[name], self.scenario.extra, several=several))
            for name, drawn in self.drawn.items()
        ]
        if several:  # about 40 of each task are combined
            each = [tried[:: max(1, len(tried) // 40)] + tried[-1:] for tried in each]
        found = Found(self.base, ())
        for these in itertools.product(*each):
            took = self.scenario.together(*(one.took for one in these))
            value = percentile(took, self.scenario.goal)
            if value < found.value and float(np.isinf(took).mean()) <= self.failed + FEW:
                found = Found(value, these)
        return found


# --- the advice -------------------------------------------------------------------------------------------------


def advised(scenario: Scenario, seed: int) -> tuple[Advice[..., Any], float]:
    began = time.process_time()
    names = {0.99: "p99", 0.95: "p95"}
    models = {name: backend.model for name, backend in scenario.backends.items()}
    advice = advise(scenario.chain, models, goal=names[scenario.goal], extra_load=scenario.extra, seed=seed)
    return advice, time.process_time() - began


def faults(scenario: Scenario, advice: Advice[..., Any], off: float) -> Iterator[str]:
    """What is wrong with an advice."""
    if off > CLOSE:
        yield f"{off:.1%} above the best"
    if advice.extra_load > scenario.extra:
        yield f"{advice.extra_load:.2%} more calls"
    known = {finding.code for finding in scenario.chain.lint()}
    if new := [finding.code for finding in advice.chain.lint() if finding.code not in known]:
        yield f"lint finds {new}"
    for name, text in advice.changes.items():
        if task_policies(eval(text, globals()))[name] != task_policies(advice.chain)[name]:  # noqa: S307
            yield f"{text} is another chain"


def main() -> int:
    seeds = int(sys.argv[1]) if len(sys.argv) > 1 else SEEDS
    bad = 0
    print(f"{seeds} seeds each; the goal in ms: now, the best of the grid, and how far the advice is above it")
    print(f"  {'':24} {'now':>7} {'best':>7} {'close':>7} {'mean':>6} {'worst':>6} {'calls':>12} {'CPU':>6}")
    for name in sys.argv[2:] or SCENARIOS:
        scenario = SCENARIOS[name]
        exhaustive = Exhaustive(scenario)
        best = exhaustive.best()
        offs, growths, took = [], [], []
        for seed in range(seeds):
            advice, seconds = advised(scenario, seed)
            value, growth, _ = exhaustive.judged(task_policies(advice.chain))
            offs.append(value / best.value - 1)
            growths.append(growth)
            took.append(seconds)
            for fault in faults(scenario, advice, offs[-1]):
                bad += 1
                print(f"  {name}, seed {seed}: {fault}: {dict(advice.changes)}")
        close = sum(off <= CLOSE for off in offs)
        calls = f"{min(growths):.1%}-{max(growths):.1%}"
        print(
            f"  {name:24} {exhaustive.base:7.1f} {best.value:7.1f} {close:4}/{seeds:<2} {sum(offs) / seeds:6.1%} "
            f"{max(offs):6.1%} {calls:>12} {max(took):4.1f} s",
            flush=True,
        )
    print(f"{bad} faults")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
