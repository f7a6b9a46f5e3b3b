"""Twice the load that it can bear, in virtual time: what is too late is shed, and the work that is done is of use."""

from __future__ import annotations

import random
from typing import Any

import pytest
from laws.queue_model import SECOND, Customer, Queueing, poisson
from virtual_loops import on_asyncio, on_trio

from rio_chain import Balancer, DeadlineExceeded, Outcome, QueueFull

WORKERS, DEADLINE = 10, 5_000


def service(draw: random.Random) -> float:
    """A mean of 1 s, and up to 2."""
    return draw.uniform(0, 2)


LOAD = poisson(seed=4, many=6_000, rate=2 * WORKERS, service=service, priorities=[0, 0, 1])


def goodput(loop: Any = on_asyncio, buffer: int = 100_000, **terms: Any) -> tuple[float, Queueing]:
    """The share of the workers' time that went into answers that came within the deadline."""

    async def ask(balancer: Balancer, who: int, one: Customer) -> Outcome[Any]:
        return await balancer.arun(got.body(who), priority=one.priority, deadline=DEADLINE, **terms)

    got = Queueing(LOAD, ask, workers=WORKERS, buffer=buffer)
    loop(got.main)
    useful = [
        LOAD[who].service
        for who, found in got.outcomes.items()
        if isinstance(found, Outcome) and found[0].status == "succeeded"
    ]
    return sum(useful) / SECOND / (WORKERS * got.lasted), got


@pytest.mark.parametrize("loop", [on_asyncio, on_trio])
@pytest.mark.parametrize(
    "terms", [{"queue_timeout": DEADLINE - 2_000}, {"buffer": 2 * WORKERS, "on_full": "reject"}], ids=lambda t: [*t][-1]
)
def test_goodput_stays_above_90_percent_of_capacity(loop: Any, terms: dict[str, Any]) -> None:
    share, got = goodput(loop, **terms)
    assert 0.9 < share <= 1.0
    called = set(got.order)
    for who, found in got.outcomes.items():
        if isinstance(found, Outcome) and who not in called:
            assert isinstance(found.result.failure(), DeadlineExceeded)
            assert found[0].attempts == 0
        else:
            assert who in called or isinstance(found, QueueFull)
    assert len(got.outcomes) == len(LOAD)
    assert 0.4 * len(LOAD) < len(called) < 0.6 * len(LOAD), "about half of them was shed, and never ran"
    if "buffer" in terms:
        assert got.balancer.stats().rejected == sum(isinstance(found, QueueFull) for found in got.outcomes.values())


def test_a_deadline_alone_lets_the_work_begin_that_ends_too_late() -> None:
    """Why there is a ``queue_timeout``: those at the head of a long line have waited for nearly all of their time."""
    share, got = goodput()
    assert share < 0.75
    assert len(got.order) > 0.85 * len(LOAD)
