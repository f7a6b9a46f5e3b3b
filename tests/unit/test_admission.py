"""What comes back into the core amid a decision, as a finaliser does, is done as soon as that is complete."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from rio_chain import Task
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
    admission, told = Visited(workers=1, buffer=9), list[str]()
    holder, waiting = a_turn(), a_turn()
    assert admission.admit(holder, bounded=True)
    assert not admission.admit(waiting, bounded=True)
    late = a_turn(lambda: told.append(late.state))
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
    assert told == ["waiting"], "not only when somebody calls next"


@pytest.mark.parametrize("workers", [1, 2])
def test_a_withdrawal_may_overtake_the_admission_that_was_put_aside(workers: int) -> None:
    """Several threads do what was put aside, each what it finds first."""
    admission, late = Admission(workers, buffer=9), a_turn()
    assert admission.admit(a_turn(), bounded=True)
    assert admission.withdraw(late)
    assert not admission.admit(late, bounded=False)
    assert (admission.queue.running, admission.queue.waiting, admission.queue._heap, late.state) == (1, 0, [], "gone")
