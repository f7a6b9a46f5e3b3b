"""Hedging as theory has it, and a backend that is down and not stormed: thousands of requests in virtual time."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio
import trio.testing
from conformance.harness import pause
from virtual_loops import on_asyncio, on_trio

from rio_chain import Backoff, Budget, Outcome, Quantile, Task, current_attempt

MEAN = 20.0  # milliseconds
P95 = -math.log(0.05)  # of an exponential latency, in means


both = pytest.mark.parametrize("run", [on_asyncio, on_trio])


class Exponential:
    """A backend whose latency is exponential; how long a call takes depends on its number and replica alone."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.calls = 0

    async def fetch(self, number: int) -> int:
        self.calls += 1
        draw = random.Random(f"{self.seed}/{number}/{current_attempt().replica}")
        await pause(draw.expovariate(1 / MEAN))
        return number


def quantile(values: list[float], q: float) -> float:
    ordered = sorted(values)
    return ordered[math.ceil(q * len(ordered)) - 1]


def p99_of_two(after: float) -> float:
    """The p99 when a second call begins after so many means: P(latency > t) is e^-t, then e^-t * e^-(t - after)."""
    return (-math.log(0.01) + after) / 2


async def latencies(request: Callable[[int], Awaitable[Outcome[Any]]], many: int) -> list[float]:
    """One after the other, as in virtual time nothing is gained by doing them together."""
    return [(await request(number)).elapsed for number in range(many)]


@both
def test_a_hedge_after_the_p95_costs_5_percent_and_gives_the_p99_of_theory(run: Callable[..., Any]) -> None:
    many, backend = 5_000, Exponential(seed=1)
    chain = Task(backend.fetch).replica(2, after=MEAN * P95)
    took = run(lambda: latencies(chain, many))
    extra = backend.calls / many - 1
    plain = -math.log(0.01) * MEAN
    assert extra == pytest.approx(0.05, abs=0.01)
    assert quantile(took, 0.99) == pytest.approx(p99_of_two(P95) * MEAN, rel=0.05)
    assert quantile(took, 0.99) < 0.86 * plain
    assert sum(took) / many == pytest.approx((1 - 0.05 / 2) * MEAN, rel=0.05)


def test_a_hedge_after_a_learned_p95_does_the_same() -> None:
    many, backend = 5_000, Exponential(seed=2)
    chain = Task(backend.fetch).replica(2, after=Quantile(0.95, window=1_000))
    took = on_asyncio(lambda: latencies(chain, many))
    assert backend.calls / many - 1 == pytest.approx(0.05, abs=0.01)
    assert quantile(took, 0.99) == pytest.approx(p99_of_two(P95) * MEAN, rel=0.05)


@pytest.mark.parametrize("n", [2, 3, 5])
def test_the_fastest_of_n_takes_one_nth(n: int) -> None:
    many, backend = 2_500, Exponential(seed=2)
    took = on_asyncio(lambda: latencies(Task(backend.fetch).replica(n), many))
    assert sum(took) / many == pytest.approx(MEAN / n, rel=0.05)
    assert quantile(took, 0.99) == pytest.approx(-math.log(0.01) * MEAN / n, rel=0.15)
    assert backend.calls == n * many


# --- storms -----------------------------------------------------------------------------------------------------


class Down:
    """A backend that always fails, after a while. ``calls`` are those made while load was offered."""

    def __init__(self) -> None:
        self.calls = 0
        self.offered = True

    async def fetch(self, _: int) -> int:
        self.calls += self.offered
        await pause(50)
        raise OSError("down")


def storm_on_asyncio(backend: Down, request: Callable[[int], Awaitable[Any]], every: float, many: int) -> None:
    async def main() -> None:
        async def one(number: int) -> None:
            await request(number)

        async with asyncio.TaskGroup() as group:
            for number in range(many):
                group.create_task(one(number))
                await pause(every)
            backend.offered = False

    on_asyncio(main)


def storm_on_trio(backend: Down, request: Callable[[int], Awaitable[Any]], every: float, many: int) -> None:
    async def one(number: int) -> None:
        await request(number)

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            for number in range(many):
                nursery.start_soon(one, number)
                await pause(every)
            backend.offered = False

    on_trio(main)


RATIO, FLOOR = 0.2, 3
OFFERED = 2_000  # in 4 seconds: one every 2 ms, so that 25 first attempts are in flight


@pytest.mark.parametrize("storm", [storm_on_asyncio, storm_on_trio])
@pytest.mark.parametrize("backoff", [None, Backoff(base=20, factor=1, jitter="full")], ids=["at once", "backoff"])
def test_a_backend_that_is_down_is_not_stormed_by_retries(storm: Callable[..., None], backoff: Backoff | None) -> None:
    backend, budget = Down(), Budget(RATIO, floor=FLOOR)
    storm(backend, Task(backend.fetch).retry(3, backoff=backoff).budget(budget), 2, OFFERED)
    assert OFFERED < backend.calls <= (1 + RATIO) * OFFERED + FLOOR
    assert (budget.executions, budget.extras) == (0, 0)
    assert budget.denied > OFFERED / 2


@pytest.mark.parametrize("storm", [storm_on_asyncio, storm_on_trio])
@pytest.mark.parametrize(("after", "retries"), [(10, 3), (49, 3), (49, 0)])
def test_nor_by_hedges(storm: Callable[..., None], after: float, retries: int) -> None:
    backend, budget = Down(), Budget(RATIO, floor=FLOOR)
    chain = Task(backend.fetch).replica(2, after=after).retry(retries, backoff=None).budget(budget)
    storm(backend, chain, 2, OFFERED)
    assert OFFERED < backend.calls <= (1 + RATIO) * OFFERED + FLOOR
    assert (budget.executions, budget.extras) == (0, 0)


def test_without_a_budget_it_is() -> None:
    backend = Down()
    storm_on_asyncio(backend, Task(backend.fetch).retry(3, backoff=None), 20, 500)
    assert backend.calls > 1_950


def test_the_floor_lets_a_lone_caller_retry() -> None:
    """With little traffic a share of it would be nothing: three retries in flight are always allowed."""
    backend, budget = Down(), Budget(RATIO, floor=FLOOR)
    storm_on_asyncio(backend, Task(backend.fetch).retry(3, backoff=None).budget(budget), 500, 20)
    assert backend.calls == 80
    assert budget.denied == 0
