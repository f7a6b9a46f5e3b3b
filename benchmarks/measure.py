"""Taking samples of several cases in turn, so that a noisy machine is noisy for all of them alike."""

from __future__ import annotations

import gc
import math
import random
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from attrs import frozen

from benchmarks.table import Row

MOST = 1_000_000
"""Calls in one sample."""


@frozen
class Case:
    """Something to measure: one call does ``chains`` of whatever the table counts."""

    name: str
    call: Callable[[], Any]
    chains: int = 1


@frozen
class Effort:
    """How many samples of each case, and the least number of seconds that each of them takes."""

    samples: int
    seconds: float


FULL, QUICK = Effort(15, 0.03), Effort(5, 0.01)


async def on_loop(cases: list[Case], effort: Effort) -> list[Row]:
    """Samples of async cases, on whatever loop is running."""
    return await _samples(cases, effort, _awaited)


def plain(cases: list[Case], effort: Effort) -> list[Row]:
    """Samples of sync cases."""
    return _driven(_samples(cases, effort, _called))


async def _awaited(case: Case, number: int) -> float:
    call = case.call
    began = time.perf_counter()
    for _ in range(number):
        await call()
    return time.perf_counter() - began


async def _called(case: Case, number: int) -> float:
    call = case.call
    began = time.perf_counter()
    for _ in range(number):
        call()
    return time.perf_counter() - began


async def _samples(cases: list[Case], effort: Effort, timed: Callable[[Case, int], Awaitable[float]]) -> list[Row]:
    """Every case once per round, in a new order each time, after the rubbish of the one before is gone."""
    numbers = {case: await _number(case, effort, timed) for case in cases}
    rows = {case: Row(case.name) for case in cases}
    for _ in range(effort.samples):
        for case in random.sample(cases, len(cases)):
            gc.collect()
            seconds = await timed(case, numbers[case])
            rows[case].samples.append(seconds / numbers[case] / case.chains * 1e6)
    return list(rows.values())


async def _number(case: Case, effort: Effort, timed: Callable[[Case, int], Awaitable[float]]) -> int:
    """How many calls one sample takes. The first call is to warm up: caches, imports, threads."""
    await timed(case, 1)
    number, took = 1, await timed(case, 1)
    while took < effort.seconds / 4 and number < MOST:
        number *= 4
        took = await timed(case, number)
    return max(1, math.ceil(number * effort.seconds / took))


def _driven(coroutine: Coroutine[Any, Any, list[Row]]) -> list[Row]:
    """Run what never suspends: it ends with its first step."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        found: list[Row] = stop.value
        return found
    raise AssertionError("a sync case suspended")
