"""The line against theory, in virtual time: an ideal priority M/G/k queue, Little's law, Cobham's mean waits."""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Callable
from typing import Any

import pytest
from laws.queue_model import SECOND, Load, Queueing, ideal, poisson
from virtual_loops import LOOPS, on_asyncio

on_each_loop = pytest.mark.parametrize("loop", LOOPS)


def heavy(draw: random.Random) -> float:
    """A mean of 1 s; most are short, some are long."""
    return draw.choice([0.25, 0.25, 0.5, 3.0]) * draw.uniform(0.5, 1.5)


@on_each_loop
@pytest.mark.parametrize("how", ["arun", "post"])
@pytest.mark.parametrize("aging", [None, 0.5, 4.0])
@pytest.mark.parametrize("workers", [1, 4, 8])
def test_it_is_an_ideal_priority_queue_sample_by_sample(loop: str, how: str, aging: float | None, workers: int) -> None:
    load = poisson(seed=workers, many=600, rate=0.95 * workers, service=heavy, priorities=[-1, 0, 0, 2, 5])
    expected = ideal(load, workers, None if aging is None else int(aging * SECOND))
    got = Queueing(load, workers=workers, aging=None if aging is None else aging * 1000)
    got._ask = getattr(got, how)
    LOOPS[loop](got.main)
    assert got.order == expected.order, "a wrong pick"
    assert got.waits == [wait / SECOND * 1000 for wait in expected.waits]
    assert sum(wait > 0 for wait in expected.waits) > 300, "the load was too light to tell"


@on_each_loop
@pytest.mark.parametrize("workers", [1, 4, 8])
def test_littles_law(loop: str, workers: int) -> None:
    """Requests in the line, over time, are the arrivals times their waits; those that run, times their services."""
    load = poisson(seed=9, many=1_000, rate=0.9 * workers, service=heavy, priorities=[0, 1])
    got = Queueing(load, workers=workers)
    LOOPS[loop](got.main)
    assert got.queued == sum(got.waits) / 1000
    assert got.running == sum(one.service for one in load) / SECOND


def test_with_aging_nothing_is_overtaken_by_what_came_much_later() -> None:
    low, high, aging = 0, 3, 2.0
    load = poisson(seed=3, many=3_000, rate=1.05, service=heavy, priorities=[low, high, high])

    def worst(aging: float | None) -> float:
        """By how much the latest customer that went before another one came after it."""
        got = Queueing(load, workers=1, aging=None if aging is None else aging * 1000)
        on_asyncio(got.main)
        latest, found = 0, 0
        for who in got.order:
            found = max(found, latest - load[who].arrives)
            latest = max(latest, load[who].arrives)
        return found / SECOND

    assert 0.8 * (high - low) * aging < worst(aging) <= (high - low) * aging
    assert worst(None) > 10 * (high - low) * aging, "priority alone starves the low ones at this load"


# --- mean waits -------------------------------------------------------------------------------------------------


def erlang_c(servers: int, offered: float) -> float:
    """The probability that a customer has to wait."""
    terms = [offered**n / math.factorial(n) for n in range(servers)]
    last = offered**servers / math.factorial(servers) * servers / (servers - offered)
    return last / (sum(terms) + last)


def error_of_the_mean(values: list[float], batches: int = 30) -> float:
    """Waits follow one another, so their error is that of the means of long batches."""
    size = len(values) // batches
    means = [statistics.fmean(values[n * size : (n + 1) * size]) for n in range(batches)]
    return statistics.stdev(means) / math.sqrt(batches)


SERVICES: dict[str, tuple[Callable[[random.Random], float], float]] = {  # each with a mean of 1 s: its second moment
    "exponential": (lambda draw: draw.expovariate(1), 2.0),
    "uniform": (lambda draw: draw.uniform(0, 2), 4 / 3),
    "two-point": (lambda draw: draw.choice([0.25, 0.25, 0.25, 3.25]), (3 * 0.25**2 + 3.25**2) / 4),
}


def mean_waits(load: Load, **options: Any) -> dict[int, tuple[float, float]]:
    """Of each class: its mean wait in seconds, and the error of that."""
    got = Queueing(load, **options)
    on_asyncio(got.main)
    waits: dict[int, list[float]] = {0: [], 1: []}
    for one, wait in zip(load, got.waits, strict=True):
        waits[one.priority].append(wait / 1000)
    return {priority: (statistics.fmean(found), error_of_the_mean(found)) for priority, found in waits.items()}


@pytest.mark.parametrize(
    ("workers", "kind"), [(1, "exponential"), (1, "uniform"), (1, "two-point"), (4, "exponential")]
)
def test_cobhams_mean_waits_of_two_classes(workers: int, kind: str) -> None:
    """One in three is of the high class. With several workers his formula holds for exponential services."""
    rho, (service, second_moment) = 0.7, SERVICES[kind]
    load = poisson(seed=5, many=12_000, rate=rho * workers, service=service, priorities=[0, 0, 1])
    residual = rho * second_moment / 2 if workers == 1 else erlang_c(workers, rho * workers) / workers
    expected = {1: residual / (1 - rho / 3), 0: residual / (1 - rho / 3) / (1 - rho)}
    for priority, (mean, error) in mean_waits(load, workers=workers).items():
        assert mean == pytest.approx(expected[priority], abs=3 * error)
        assert error < 0.1 * mean, "too few to tell"
