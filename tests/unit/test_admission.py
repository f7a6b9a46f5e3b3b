"""Admission: which turn gets a slot, and re-entrant work, which is deferred until a decision is complete."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from amid import amid

from rio_chain import BalancerClosed, QueueFull, Task
from rio_chain.balancer._admission import Admission
from rio_chain.balancer._priority_queue import Turn
from rio_chain.engine._current_run import Run

PLAN = Task(len).plan()


class Visited(Admission):
    """A core that is visited once, at the end of a decision and while its lock is held."""

    visitor: Callable[[], object] | None = None

    def decide(self, decision: Callable[..., Any], *args: Any) -> Any:
        def visited() -> Any:
            got = decision(*args)
            visitor, self.visitor = self.visitor, None
            if visitor is not None:
                visitor()
            return got

        return super().decide(visited)


def a_turn(wake: Callable[[], None] | None = None) -> Turn:
    return Turn(Run(PLAN), 0, wake=wake)


@pytest.mark.parametrize("call", ["admit", "leave", "withdraw", "give_up", "shut", "clear"])
def test_what_came_in_between_is_done_when_the_call_that_it_interrupted_returns(call: str) -> None:
    admission, woken = Visited(workers=1, buffer=9), list[str]()
    holder, waiting = a_turn(), a_turn()
    assert admission.admit(holder, bounded=True)
    assert not admission.admit(waiting, bounded=True)
    late = a_turn(lambda: woken.append(late.state))
    admission.visitor = lambda: admission.defer(late.tell)
    calls: dict[str, Callable[[], Any]] = {
        "admit": lambda: admission.admit(a_turn(), bounded=True),
        "leave": lambda: admission.leave(holder.run, 0, 0),
        "withdraw": lambda: admission.withdraw(waiting),
        "give_up": lambda: admission.give_up(waiting),
        "shut": admission.shut,
        "clear": admission.clear,
    }
    calls[call]()
    assert woken == ["waiting"], "not only when somebody calls next"


@pytest.mark.parametrize("workers", [1, 2])
def test_a_withdrawal_may_overtake_the_admission_that_was_put_aside(workers: int) -> None:
    """Several threads do what was put aside, each what it finds first."""
    admission, late = Admission(workers, buffer=9), a_turn()
    assert admission.admit(a_turn(), bounded=True)
    assert admission.withdraw(late)
    assert not admission.admit(late, bounded=False)
    assert (admission.queue.running, admission.queue.waiting, admission.queue._heap, late.state) == (1, 0, [], "gone")


class Turns:
    """An Admission, and turns that note when they are granted."""

    def __init__(self, workers: int = 1, buffer: int = 9) -> None:
        self.admission = Admission(workers, buffer)
        self.noted: list[str] = []

    def turn(self, name: str, priority: float = 0) -> Turn:
        return Turn(Run(PLAN), priority, wake=lambda: self.noted.append(name))

    def admitted(self, name: str, priority: float = 0, *, bounded: bool = True) -> Turn:
        turn = self.turn(name, priority)
        self.admission.admit(turn, bounded=bounded)
        return turn


def test_a_slot_is_handed_over_once() -> None:
    it = Turns()
    a, b, c = it.admitted("a"), it.admitted("b"), it.admitted("c", 1)
    assert (a.state, b.state, c.state, it.noted) == ("granted", "waiting", "waiting", [])
    it.admission.leave(a.run, 0, 0)
    it.admission.leave(c.run, 0, 0)
    it.admission.leave(b.run, 0, 0)
    assert it.noted == ["c", "b"]
    assert (it.admission.queue.running, it.admission.runs, it.admission.done) == (0, {}, 3)


def test_a_slot_that_was_taken_back_is_not_given_back_twice() -> None:
    it = Turns()
    a, b = it.admitted("a"), it.admitted("b")
    it.admission.give_up(a)
    assert (it.noted, b.state) == (["b"], "granted")
    it.admission.leave(a.run, 0, 0)
    it.admission.give_up(a)
    assert (it.admission.queue.running, it.admission.runs) == (1, {b.run: None})
    it.admission.leave(b.run, 0, 0)
    assert it.admission.queue.running == 0


def test_a_turn_given_up_between_hand_over_and_wake_passes_its_slot_on() -> None:
    it = Turns()
    a, b, c = it.admitted("a"), it.admitted("b"), it.admitted("c")
    it.admission.leave(a.run, 0, 0)
    assert not it.admission.withdraw(b)  # too late
    it.admission.give_up(b)
    assert (it.noted, c.state) == (["b", "c"], "granted")


def test_idle_is_called_when_nothing_runs_and_nothing_waits() -> None:
    it, idle = Turns(), list[str]()
    a, b = it.admitted("a"), it.admitted("b")
    it.admission.when_idle(lambda: idle.append("idle"))
    it.admission.withdraw(b)
    assert idle == []
    it.admission.leave(a.run, 0, 0)
    it.admission.leave(it.admitted("c").run, 0, 0)
    assert idle == ["idle"]
    it.admission.when_idle(lambda: idle.append("at once"))
    assert idle == ["idle", "at once"]


def test_an_admission_that_is_closed_or_full_refuses_and_counts() -> None:
    it = Turns(workers=1, buffer=1)
    it.admitted("a"), it.admitted("b")
    with pytest.raises(QueueFull):
        it.admitted("c")
    it.admitted("d", bounded=False)
    assert (it.admission.rejected, it.admission.queue.waiting) == (1, 2)
    assert (it.admission.shut(), it.admission.shut()) == (True, False)
    with pytest.raises(BalancerClosed):
        it.admitted("e", bounded=False)
    it.noted.clear()
    assert len(it.admission.clear()) == 1
    assert it.noted == ["b", "d"]


@pytest.mark.parametrize("closed", [False, True])
def test_re_entrant_work_is_deferred_until_the_decision_is_complete(closed: bool) -> None:
    """As a finaliser or a signal handler does that comes while its thread is in the middle of a decision."""
    it = Turns(workers=2)
    late = it.turn("late")
    seen: list[Any] = []
    with amid(it.admission):
        seen += [it.admission.admit(late, bounded=True), late.state, it.admission.queue.running]
        seen.append(it.admission.defer(lambda: it.admission.withdraw(late)))
        it.admission.closed = closed
        assert (it.noted, late.state) == ([], "waiting")
    assert seen == [False, "waiting", 0, True]
    assert it.noted == ["late"]
    assert late.state == ("gone" if closed else "granted")  # it had its slot before it could withdraw
    assert it.admission.queue.running == (not closed)


def test_work_of_other_threads_is_not_deferred() -> None:
    it = Turns()
    assert not it.admission.defer(lambda: None)
