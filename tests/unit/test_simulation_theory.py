"""Simulation equals theory: closed forms of queues, hedges and retries, within 3 %, on fixed seeds."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

from rio_chain import Backoff, Chain, Task, current_attempt
from rio_chain.simulation import LatencyModel, poisson, simulate
from rio_chain.testing import sleep

CLOSE = 0.03


async def fetch(number: int) -> int:
    raise NotImplementedError


def near(value: float) -> Any:
    return pytest.approx(value, rel=CLOSE)


def erlang_c(workers: int, load: float) -> float:
    """The chance to wait, of M/M/k at a load of so many busy workers."""
    busy = load**workers / math.factorial(workers) * workers / (workers - load)
    return busy / (sum(load**i / math.factorial(i) for i in range(workers)) + busy)


def test_the_fastest_of_n_exponentials_takes_an_nth() -> None:
    simulation = simulate(Task(fetch).replica(3), {"fetch": LatencyModel.exponential(90)}, requests=3000)
    assert simulation.latency.mean == near(90 / 3)
    assert simulation.backends["fetch"].calls == 3 * 3000


def test_a_hedge_at_the_p95_makes_5_percent_more_calls() -> None:
    """And its tail: slower than t > d are those whose first call takes t and whose second takes t - d.

    The first calls are an even sample of the distribution, in random order, so there is no luck in how many are late.
    """
    requests = 4000
    late = 100 * math.log(20)  # the p95 of an exponential of mean 100
    shares = random.Random(1).sample([(i + 0.5) / requests for i in range(requests)], requests)
    second = random.Random(2)

    async def even(number: int) -> None:
        share = second.random() if current_attempt().replica else shares[number]
        await sleep(-100 * math.log1p(-share))

    simulation = simulate(Task(fetch).replica(2, after=late), {"fetch": even}, requests=requests)
    assert simulation.extra_load == near(0.05)
    p99 = (late + 100 * math.log(100)) / 2  # where exp(-t / 100) * exp(-(t - late) / 100) is 0.01
    assert simulation.latency.p99 == near(p99)


def test_mm1_waits_as_pollaczek_and_khinchine_say() -> None:
    load, service, requests = 0.5, 10.0, 8000
    simulation = simulate(
        Task(fetch),
        {"fetch": LatencyModel.exponential(service)},
        arrivals=poisson(load * 1000 / service),
        workers=1,
        requests=requests,
    )
    wait = load * service / (1 - load)
    assert simulation.wait.mean == near(wait)
    assert simulation.wait.mean.low < wait < simulation.wait.mean.high
    assert simulation.utilisation == near(load)
    p90 = service / (1 - load) * math.log(load / 0.1)  # P(W > t) = load * exp(-(1 - load) t / service)
    assert simulation.wait.p90 == near(p90)


def test_mmk_waits_as_erlang_says() -> None:
    workers, load, service, requests = 4, 2.4, 10.0, 8000
    simulation = simulate(
        Task(fetch),
        {"fetch": LatencyModel.exponential(service)},
        arrivals=poisson(load * 1000 / service),
        workers=workers,
        requests=requests,
    )
    chance = erlang_c(workers, load)
    wait = chance * service / (workers - load)
    assert sum(wait > 0 for wait in simulation.wait.values) / requests == near(chance)
    assert simulation.wait.mean == near(wait)
    assert simulation.wait.mean.low < wait < simulation.wait.mean.high


def test_priorities_wait_as_cobham_says() -> None:
    """M/M/1, two classes: W_p = W0 / ((1 - s_(p-1)) (1 - s_p)), where the urgent come first."""
    load, service = 0.5, 10.0
    simulation = simulate(
        Task(fetch),
        {"fetch": LatencyModel.exponential(service)},
        arrivals=poisson(load * 1000 / service),
        workers=1,
        requests=8000,
        priority=lambda number: int(random.Random(number).random() < 1 / 3),
        seed=5,
    )
    rest = load * service  # on average, of the request that runs
    urgent = load / 3
    assert simulation.waits[1].mean == near(rest / (1 - urgent))
    assert simulation.waits[0].mean == near(rest / ((1 - urgent) * (1 - load)))


@pytest.mark.parametrize("retries", [1, 5])
def test_retries_amplify_calls_by_the_truncated_series(retries: int) -> None:
    failing = 0.4
    chain = Task(fetch).retry(retries, backoff=None)
    model = LatencyModel.constant(1).failing(failing, OSError)
    simulation = simulate(chain, {"fetch": model}, requests=3000)
    assert sum(simulation.calls) / 3000 == near((1 - failing ** (retries + 1)) / (1 - failing))
    assert simulation.succeeded == near(1 - failing ** (retries + 1))


def test_full_jitter_sleeps_half_of_its_bound_on_average() -> None:
    base, cap, retries = 50, 300, 5
    chain = Task(fetch).retry(retries, backoff=Backoff(base=base, cap=cap))
    model = LatencyModel.constant(0).failing(1, OSError)
    simulation = simulate(chain, {"fetch": model}, requests=1500)
    assert simulation.latency.mean == near(sum(min(cap, base * 2**i) / 2 for i in range(retries)))
    assert simulation.failures == {"OSError": 1500}


@pytest.mark.parametrize("around", [lambda task: task, lambda task: task.timeout(30).retry(2)])
def test_littles_law_holds_for_every_backend(around: Callable[[Any], Chain[..., Any]]) -> None:
    """Calls at once = calls a millisecond * how long they take."""
    simulation = simulate(
        around(Task(fetch)), {"fetch": LatencyModel.exponential(20)}, arrivals=poisson(100), requests=1000
    )
    load = simulation.backends["fetch"]
    took = sum(simulation.took["fetch"]) * 1000 / load.calls
    assert load.in_flight == pytest.approx(load.calls / simulation.lasted * took)


def test_a_tail_that_waits_longer_is_never_shorter() -> None:
    """More load, longer waits, request by request nearly: the same luck at every rate."""
    means = [
        simulate(
            Task(fetch),
            {"fetch": LatencyModel.exponential(10)},
            arrivals=poisson(rate),
            workers=1,
            requests=1000,
        ).wait.mean
        for rate in (20, 50, 80)
    ]
    assert all(low < high for low, high in pairwise(means))
