"""Races of strands; and what must hold for many of them, whatever thread switches come between."""

from __future__ import annotations

import contextvars
import random
import sys
import threading
import time
from functools import partial
from math import inf
from queue import SimpleQueue

import pytest
from strands import LATE, Body, answer_or_late, begin, make, pool_of, run, shut, within
from waiting import eventually

from rio_chain.engine._runtime_protocol import STOPPED
from rio_chain.executors._current_strand import current_strand
from rio_chain.executors._strand_slot import StrandCancelled

# --- races ------------------------------------------------------------------------------------------------------


def giving(rt, value, seconds=0.0):
    async def work():
        await rt.sleep(seconds)
        return await rt.call(lambda: value, (), {})

    return work


def never(_):
    return False


def test_a_race_nobody_wins_gives_all_results_in_order(rt):
    async def main():
        return await rt.race([giving(rt, k, 0.003 * (3 - k)) for k in range(3)], never), await rt.race([], never)

    assert run(rt, main) == ([0, 1, 2], [])


def test_the_first_that_decides_stops_those_that_are_called_parked_or_waiting(rt):
    body, ran = Body(), []

    async def called():
        await rt.call(body, (), {})
        ran.append("called")

    async def parked():
        await rt.sleep(30)
        ran.append("parked")

    async def decides():
        await rt.sleep(0.001)
        return await rt.call(lambda: body.begun.wait(5) and "won", (), {})

    async def main():
        got = await rt.race([parked, called, decides], lambda result: result == "won")
        return got, pool_of(rt).abandoned, ran

    assert run(rt, main) == ([STOPPED, STOPPED, "won"], 1, [])
    body.open.set()


def test_a_branch_that_has_not_begun_is_stopped_without_running():
    rt, ran = make(threads=1), []

    async def wins():
        return "won"

    async def loses():
        ran.append(1)

    async def main():
        return await rt.race([wins, *[loses] * 50], lambda result: result == "won")

    assert run(rt, main) == ["won", *[STOPPED] * 50]
    assert ran == []
    shut(rt)


def test_a_branch_that_is_driven_when_it_is_stopped_ends_at_its_next_wait(rt):
    running, ran = threading.Event(), []

    async def busy():
        running.set()
        eventually(lambda: current_strand()._flagged)
        await rt.call(ran.append, (1,), {})

    async def wins():
        return running.wait(5)

    async def main():
        return await rt.race([busy, wins], lambda result: result is True)

    assert run(rt, main) == [STOPPED, True]
    assert ran == []


def test_a_race_goes_on_only_when_the_clean_up_of_all_is_over(rt):
    cleaned = []

    async def tidy():
        try:
            await rt.sleep(30)
        finally:
            await rt.sleep(0.005)
            cleaned.append(1)

    async def main():
        got = await rt.race([tidy, giving(rt, 1, 0.002)], lambda result: result == 1)
        return got, list(cleaned)

    assert run(rt, main) == ([STOPPED, 1], [1])


def test_an_error_that_leaves_a_branch_stops_the_others_and_is_raised_as_itself(rt):
    error = KeyboardInterrupt()

    async def fails():
        raise error

    async def main():
        await rt.race([giving(rt, 1, 30), fails], never)

    assert run(rt, main).error is error


def test_a_predicate_that_raises_does_not_hang_the_race(rt):
    async def main():
        await rt.race([giving(rt, 1)], lambda result: 1 / 0)

    assert isinstance(run(rt, main).error, ZeroDivisionError)


def test_a_parent_that_is_interrupted_stops_all_branches_first(rt):
    begun, ended, lock = [], [], threading.Lock()

    async def branch(slot):
        with lock:
            begun.append(1)
            if len(begun) == 3:
                slot.stop()
        try:
            await rt.sleep(30)
        except StrandCancelled:
            ended.append(1)
            raise

    async def main():
        got = await within(rt, 30, lambda: rt.race([partial(branch, rt.slot())] * 3, never))
        return got, len(ended)

    assert run(rt, main) == (LATE, 3)


def test_nested_races_stop_all_the_way_down(rt):
    body = Body()

    async def inner():
        return await rt.race([giving(rt, 1, 30), partial(rt.call, body, (), {})], never)

    async def main():
        async def wins():
            await rt.call(body.begun.wait, (5,), {})
            return "won"

        return await rt.race([inner, wins], lambda result: result == "won")

    assert run(rt, main) == [STOPPED, "won"]
    eventually(lambda: rt.live == 0)
    assert pool_of(rt).abandoned == 1
    body.open.set()


def test_branches_have_limits_of_their_own_and_copies_of_the_context(rt):
    var = contextvars.ContextVar("var", default=0)

    async def branch(seconds):
        seen = var.get()
        var.set(2)
        return seen, await within(rt, seconds, giving(rt, "in time", 0.02))

    async def main():
        var.set(1)
        return await rt.race([partial(branch, 0.002), partial(branch, 5.0)], never), var.get()

    assert run(rt, main) == ([(1, LATE), (1, "in time")], 1)


# --- many -------------------------------------------------------------------------------------------------------


def test_a_thousand_sleeping_strands_need_two_threads():
    rt = make(threads=2)

    async def main():
        await rt.sleep(0.01)
        got = await rt.race([giving(rt, 1, 0.001), giving(rt, 2, 0.001)], never)
        return sum(got)

    ends = [begin(rt, main) for _ in range(1000)]
    assert [end.get(timeout=20) for end in ends] == [3] * 1000
    assert pool_of(rt).count <= 2
    shut(rt)


@pytest.fixture
def switching():
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


@pytest.mark.usefixtures("switching")
def test_expiry_against_finish_every_strand_ends_once_and_nothing_stays_abandoned():
    rt, ended = make(threads=4, max_abandoned=100_000), []

    def nap(seconds):
        time.sleep(seconds)
        return "in time"

    async def main(number):
        got = []
        for attempt in range(5):
            length = random.uniform(0.0008, 0.0013)  # and the limit is about what such a sleep really takes
            got.append(await within(rt, 0.0012, partial(rt.call, nap, (length,), {})))
            got.append(await within(rt, 0.001, partial(rt.sleep, 0.001)) or attempt)
        rt.slot().release()
        ended.append(number)
        assert set(got) <= {"in time", LATE, 0, 1, 2, 3, 4}

    ends = [begin(rt, partial(main, number)) for number in range(150)]
    assert [end.get(timeout=30) for end in ends] == [None] * 150
    assert sorted(ended) == list(range(150))
    shut(rt)
    assert all(limit.strand is None and limit.deadline == inf for limit in rt._kernel.limits)


@pytest.mark.usefixtures("switching")
def test_stops_and_races_from_everywhere_leave_nothing_behind():
    rt, slots, ended = make(threads=4, max_abandoned=100_000), SimpleQueue(), []

    async def branch(seconds):
        await rt.sleep(seconds)
        return await rt.call(lambda: time.sleep(0.0005) or seconds, (), {})

    async def main(number):
        slot = rt.slot()
        slots.put(slot)
        slot.arm(rt.now() + 0.001 * (1 + number % 4))
        works = [partial(branch, 0.0005 * k) for k in range(4)]
        await answer_or_late(slot, lambda: rt.race(works, lambda seconds: seconds == 0.001))
        slot.release()
        ended.append(number)

    ends = [begin(rt, partial(main, number)) for number in range(100)]
    for k in range(100):
        slot = slots.get(timeout=10)
        if k % 2:
            slot.stop()
    assert [end.get(timeout=30) for end in ends] == [None] * 100
    assert sorted(ended) == list(range(100))
    shut(rt)
