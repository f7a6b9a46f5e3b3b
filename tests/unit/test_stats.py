"""What a histogram counts where, and the line that shows it."""

from __future__ import annotations

import asyncio

import pytest

from rio_chain import Balancer, Task
from rio_chain.balancer._stats import SIZE, HistogramCounter, Stats, status_line


@pytest.mark.parametrize("power", range(SIZE - 2))
def test_each_bucket_ends_at_a_power_of_two_of_a_microsecond(power: int) -> None:
    tally = HistogramCounter()
    tally.add((2**power + 0.1) / 1e6)
    assert tally.buckets.index(1) == power + 1
    if power:
        tally.add((2**power - 0.1) / 1e6)
        assert tally.buckets.index(1) == power
        assert tally.frozen().quantile(0) == 2**power / 1e3


def test_the_status_line_tells_both_medians() -> None:
    waits, runs = HistogramCounter(), HistogramCounter()
    for seconds in (0.0001, 0.0001, 9.0):
        waits.add(seconds)
        runs.add(seconds * 1_000)
    line = status_line("trio open", 2, 5, Stats(1, 2, 3, 4, 5, waits.frozen(), runs.frozen()))
    assert line == (
        "<Balancer trio open: 1/2 running, 2/5 queued, 3 abandoned, 5 rejected, 4 done, "
        "p50 wait <= 0.128 ms, run <= 131.072 ms>"
    )


def test_what_runs_in_the_callers_own_task_is_counted_as_long_as_it_took() -> None:
    async def main() -> None:
        async with Balancer(workers=1) as balancer:
            assert (await balancer.arun(Task(len).inline()("four"))).unwrap() == 4
            stats = balancer.stats()
            assert (stats.waits.count, stats.runs.count) == (1, 1)
            assert stats.waits.quantile(1) <= stats.runs.quantile(1) < 10_000

    asyncio.run(main())


def test_a_balancer_is_bound_as_soon_as_its_block_is_entered() -> None:
    balancer = Balancer("thread")
    assert balancer._host is None
    with balancer:
        assert balancer._host is not None
