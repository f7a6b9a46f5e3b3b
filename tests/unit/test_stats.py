"""What a histogram counts where, and the line that shows it."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rio_chain import Balancer, QueueFull, Task
from rio_chain.balancer._stats import SIZE, Histogram, HistogramCounter, Stats, status_line


def test_the_steps_are_1_2_5_in_each_power_of_ten() -> None:
    steps = HistogramCounter().frozen().steps
    assert steps[:7] == (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1)
    assert [step for step in steps if 1 <= step <= 1_000] == [1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000]
    assert steps[-1] == 500_000_000
    assert len(steps) == SIZE - 1


@pytest.mark.parametrize("place", range(1, SIZE - 2))
def test_a_bucket_counts_up_to_its_step(place: int) -> None:
    tally = HistogramCounter()
    step = tally.frozen().steps[place]
    tally.add(step / 1000 * 1.01)
    assert tally.buckets.index(1) == place + 1
    tally.add(step / 1000 * 0.99)
    assert tally.buckets.index(1) == place
    assert tally.frozen().quantile(0) == step


def test_stats_say_how_requests_have_ended() -> None:
    async def main() -> None:
        release, began = asyncio.Event(), asyncio.Event()

        async def held(_: int) -> None:
            began.set()
            await release.wait()

        def fail(_: int) -> None:
            raise OSError

        def leave(_: int) -> None:
            raise SystemExit

        async with Balancer(workers=1, buffer=2) as balancer:
            await balancer.arun(Task(abs).inline()(1))
            await balancer.arun(Task(fail).inline()(1))
            await balancer.arun(Task(held).timeout(1)(1))
            with pytest.raises(SystemExit):
                await balancer.arun(Task(leave).inline()(1))
            began.clear()
            ticket = balancer.post(Task(held)(1))
            await began.wait()
            late = balancer.post(Task(abs).inline()(1), queue_timeout=1)
            await late
            withdrawn = balancer.post(Task(abs).inline()(1))
            withdrawn.cancel()
            waiting = [balancer.post(Task(abs).inline()(1)) for _ in range(2)]
            with pytest.raises(QueueFull):
                balancer.post(Task(abs).inline()(1))
            ticket.cancel()
            for one in (ticket, *waiting):
                await one
            got = balancer.stats()
            assert (got.succeeded, got.failed, got.timed_out, got.cancelled, got.rejected) == (3, 2, 2, 2, 1)
            assert got.done == 7

    asyncio.run(main())


def test_the_status_line_tells_both_medians() -> None:
    waits, runs = HistogramCounter(), HistogramCounter()
    for seconds in (0.0001, 0.0001, 9.0):
        waits.add(seconds)
        runs.add(seconds * 1_000)
    line = status_line("trio open", 2, 5, Stats(1, 2, 3, 4, 5, waits.frozen(), runs.frozen()))
    assert line == (
        "<Balancer trio open: 1/2 running, 2/5 queued, 3 abandoned, 5 rejected, 4 done, "
        "p50 wait <= 0.1 ms, run <= 100 ms>"
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


durations = st.floats(0, 1e4)


@given(st.lists(durations, min_size=1, max_size=50), st.floats(0, 1))
def test_a_quantile_is_the_step_above_its_share(values: list[float], share: float) -> None:
    tally = HistogramCounter()
    for value in values:
        tally.add(value)
    histogram = tally.frozen()
    assert histogram.count == len(values)
    bound = histogram.quantile(share)
    below = [value for value in values if value * 1000 <= bound]
    assert len(below) >= share * len(values) - 1e-9
    assert bound in histogram.steps
    assert bound <= max(2.5 * max(values) * 1000 + 1e-9, 0.001)


def test_a_histogram_of_nothing_and_of_the_very_long() -> None:
    assert HistogramCounter().frozen().quantile(0.5) == 0
    tally = HistogramCounter()
    tally.add(1e12)
    assert tally.frozen() == Histogram((0,) * (SIZE - 1) + (1,))


def test_a_histogram_shows_its_units() -> None:
    tally = HistogramCounter()
    for value in (0.0001, 0.0001, 0.1):
        tally.add(value)
    assert repr(tally.frozen()) == "<Histogram of 3: p50 <= 0.1 ms, p99 <= 100 ms>"
