"""The balancer's parts by themselves: histograms, and the decisions of the core."""

from __future__ import annotations

from typing import Any

import pytest
from amid import amid
from hypothesis import given
from hypothesis import strategies as st

from rio_chain import BalancerClosed, QueueFull, Task
from rio_chain.balancer._admission import Admission
from rio_chain.balancer._priority_queue import Turn
from rio_chain.balancer._stats import SIZE, Histogram, HistogramCounter
from rio_chain.engine._current_run import Run

PLAN = Task(len).plan()
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


class Told:
    """A core, and turns that note when they are told."""

    def __init__(self, workers: int = 1, buffer: int = 9) -> None:
        self.admission = Admission(workers, buffer)
        self.told: list[str] = []

    def turn(self, name: str, priority: float = 0) -> Turn:
        return Turn(Run(PLAN), priority, wake=lambda: self.told.append(name))

    def admitted(self, name: str, priority: float = 0, *, bounded: bool = True) -> Turn:
        turn = self.turn(name, priority)
        self.admission.admit(turn, bounded=bounded)
        return turn


def test_a_slot_is_handed_over_and_told_once() -> None:
    it = Told()
    a, b, c = it.admitted("a"), it.admitted("b"), it.admitted("c", 1)
    assert (a.state, b.state, c.state, it.told) == ("granted", "waiting", "waiting", [])
    it.admission.leave(a.run, 0, 0)
    it.admission.leave(c.run, 0, 0)
    it.admission.leave(b.run, 0, 0)
    assert it.told == ["c", "b"]
    assert (it.admission.queue.running, it.admission.runs, it.admission.done) == (0, {}, 3)


def test_a_slot_that_was_taken_back_is_not_given_back_twice() -> None:
    it = Told()
    a, b = it.admitted("a"), it.admitted("b")
    it.admission.give_up(a)
    assert (it.told, b.state) == (["b"], "granted")
    it.admission.leave(a.run, 0, 0)
    it.admission.give_up(a)
    assert (it.admission.queue.running, it.admission.runs) == (1, {b.run: None})
    it.admission.leave(b.run, 0, 0)
    assert it.admission.queue.running == 0


def test_one_who_gives_up_between_hand_over_and_wake_passes_it_on() -> None:
    it = Told()
    a, b, c = it.admitted("a"), it.admitted("b"), it.admitted("c")
    it.admission.leave(a.run, 0, 0)
    assert not it.admission.withdraw(b)  # too late
    it.admission.give_up(b)
    assert (it.told, c.state) == (["b", "c"], "granted")


def test_idle_is_told_when_nothing_runs_and_nothing_waits() -> None:
    it, idle = Told(), list[str]()
    a, b = it.admitted("a"), it.admitted("b")
    it.admission.when_idle(lambda: idle.append("idle"))
    it.admission.withdraw(b)
    assert idle == []
    it.admission.leave(a.run, 0, 0)
    it.admission.leave(it.admitted("c").run, 0, 0)
    assert idle == ["idle"]
    it.admission.when_idle(lambda: idle.append("at once"))
    assert idle == ["idle", "at once"]


def test_a_closed_or_full_core_refuses_and_counts() -> None:
    it = Told(workers=1, buffer=1)
    it.admitted("a"), it.admitted("b")
    with pytest.raises(QueueFull):
        it.admitted("c")
    it.admitted("d", bounded=False)
    assert (it.admission.rejected, it.admission.queue.waiting) == (1, 2)
    assert (it.admission.shut(), it.admission.shut()) == (True, False)
    with pytest.raises(BalancerClosed):
        it.admitted("e", bounded=False)
    it.told.clear()
    assert len(it.admission.clear()) == 1
    assert it.told == ["b", "d"]


@pytest.mark.parametrize("closed", [False, True])
def test_what_comes_back_in_is_put_aside_until_the_decision_is_complete(closed: bool) -> None:
    """As a finaliser or a signal handler does that comes while its thread is in the middle of a decision."""
    it = Told(workers=2)
    late = it.turn("late")
    seen: list[Any] = []
    with amid(it.admission):
        seen += [it.admission.admit(late, bounded=True), late.state, it.admission.queue.running]
        seen.append(it.admission.defer(lambda: it.admission.withdraw(late)))
        it.admission.closed = closed
        assert (it.told, late.state) == ([], "waiting")
    assert seen == [False, "waiting", 0, True]
    assert it.told == ["late"]
    assert late.state == ("gone" if closed else "granted")  # it had its slot before it could withdraw
    assert it.admission.queue.running == (not closed)


def test_nothing_is_put_aside_for_other_threads() -> None:
    it = Told()
    assert not it.admission.defer(lambda: None)
