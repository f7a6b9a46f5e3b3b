"""A schedule ends with its balancer, in whatever way that ends."""

from __future__ import annotations

import gc
import os
import warnings

import pytest
from leaks.baseline import EXECUTORS, Bodies, nothing_left
from leaks.loops import LOOPS, eventually_here
from waiting import eventually

from rio_chain import Balancer, Schedule


@pytest.mark.parametrize("executor", EXECUTORS)
def test_a_closed_balancer_leaves_nothing_of_its_schedules(executor: str, body: Bodies) -> None:
    with nothing_left():
        for _ in range(20):
            with Balancer(executor, workers=2) as balancer:
                schedules = [balancer.every(period, body.aanswer) for period in (1, 3_600_000)]
                eventually(lambda schedules=schedules: schedules[0].counts.started)
            assert all(schedule.done for schedule in schedules)
            del balancer, schedules


@pytest.mark.parametrize("executor", EXECUTORS)
def test_a_schedule_does_not_keep_a_dropped_balancer(executor: str, body: Bodies) -> None:
    with warnings.catch_warnings(), nothing_left():
        warnings.simplefilter("ignore", ResourceWarning)
        for _ in range(20):
            balancer = Balancer(executor, workers=2)
            balancer.every(1, body.aanswer)
            balancer.every(3_600_000, body.aanswer)
            del balancer
        gc.collect()


@pytest.mark.parametrize("executor", EXECUTORS)
def test_its_handle_keeps_the_balancer_open(executor: str, body: Bodies) -> None:
    schedule = Balancer(executor).every(1, body.aanswer)
    gc.collect()
    seen = schedule.counts.started
    eventually(lambda: schedule.counts.started > seen + 2)
    balancer = schedule._balancer
    assert isinstance(balancer, Balancer)
    balancer.close()
    assert schedule.done


@pytest.mark.parametrize("name", LOOPS)
def test_the_end_of_the_loop_ends_it(name: str, body: Bodies) -> None:
    schedules: list[Schedule] = []

    async def main() -> None:
        schedules.extend(balancer.every(period, body.aanswer) for period in (1, 3_600_000))
        await eventually_here(lambda: schedules[0].counts.started)

    with nothing_left():
        balancer = Balancer(workers=2)
        LOOPS[name].run(bound(balancer, main))
        assert all(schedule.done for schedule in schedules)
        balancer.close()


def bound(balancer: Balancer, main: object) -> object:
    async def run() -> None:
        await balancer.__aenter__()
        await main()  # type: ignore[operator]

    return run


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_leaves_the_schedule_to_its_parent(body: Bodies) -> None:
    with Balancer("thread") as balancer, warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forks beside threads
        schedule = balancer.every(1, body.answer)
        child = os.fork()
        if not child:
            schedule.cancel()
            os._exit(0 if not schedule.done else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        seen = schedule.counts.started
        eventually(lambda: schedule.counts.started > seen)
