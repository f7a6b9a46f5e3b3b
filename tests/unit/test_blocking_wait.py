"""Blocking waits: in slices where signals are handled; a caller that does not wait any more leaves nothing behind."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from rio_chain import Request, Task, Ticket, TicketCancelled
from rio_chain.engine._run import outcome_of_unbegun
from rio_chain.executors._blocking_wait import SLICE, BackgroundHost, acquire_interruptible
from rio_chain.executors._run_ticket import wait_for

REQUEST: Request[int] = Task(len)("four")


class Gate:
    """A lock that is never free, or from a given wait on; it moves the clock by what was waited."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, free_at: int | None = None) -> None:
        self.waits: list[float] = []
        self.free_at = free_at
        monkeypatch.setattr(time, "monotonic", lambda: sum(self.waits, 50.0))

    def acquire(self, *, timeout: float) -> bool:
        self.waits.append(timeout)
        return len(self.waits) == self.free_at


def test_on_the_main_thread_a_wait_is_cut_into_slices_and_ends_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    gate: Any = Gate(monkeypatch)
    assert acquire_interruptible(gate, 2.5 * SLICE) is False
    assert gate.waits == [pytest.approx(SLICE), pytest.approx(SLICE), pytest.approx(SLICE / 2)]
    assert SLICE <= 0.2, "Ctrl-C is heard at once, as people see it"


def test_no_time_at_all_is_one_look(monkeypatch: pytest.MonkeyPatch) -> None:
    gate: Any = Gate(monkeypatch)
    assert acquire_interruptible(gate, 0) is False
    assert gate.waits == [0]


def test_without_a_limit_it_goes_on_until_it_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    gate: Any = Gate(monkeypatch, free_at=40)
    assert acquire_interruptible(gate)
    assert len(gate.waits) == 40


def test_on_other_threads_it_waits_in_one_go(monkeypatch: pytest.MonkeyPatch) -> None:
    gate: Any = Gate(monkeypatch)
    said: list[bool] = []
    current = threading.Thread()
    monkeypatch.setattr(threading, "current_thread", lambda: current)
    said.append(acquire_interruptible(gate, 5))
    assert (said, gate.waits) == ([False], [pytest.approx(5)])


# --- tickets --------------------------------------------------------------------------------------------------------


def a_ticket() -> Ticket[int]:
    return Ticket(REQUEST, BackgroundHost())


def answered(ticket: Ticket[int]) -> None:
    ticket.resolve(outcome_of_unbegun(ticket.request, ticket.run, TicketCancelled("why not"), 0.0, 1.0))


def test_who_waits_no_more_is_forgotten_by_the_ticket() -> None:
    ticket = a_ticket()
    for _ in range(3):
        with pytest.raises(TimeoutError):
            ticket.wait(0)

    async def main() -> None:
        for _ in range(3):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(ticket, 0.001)

    asyncio.run(main())
    assert ticket._wakers == []


class Interrupted(Ticket[int]):
    """Ctrl-C comes as often as ``times`` while somebody waits for it."""

    __slots__ = ("before", "times")

    def __init__(self, times: int, before: Callable[[Ticket[int]], None] = lambda _: None) -> None:
        super().__init__(REQUEST, BackgroundHost())
        self.times, self.before = times, before

    def wait(self, timeout: Any = None) -> Any:
        self.before(self)
        self.times -= 1
        if self.times >= 0:
            raise KeyboardInterrupt
        return super().wait(timeout)


@pytest.mark.parametrize("times", [1, 2, 3])
def test_an_interrupted_wait_cancels_and_waits_once_more_and_then_raises(times: int) -> None:
    ticket = Interrupted(times)
    ticket.withdraw = lambda _error: answered(ticket)
    with pytest.raises(KeyboardInterrupt):
        wait_for(ticket)
    assert ticket.times == times - 2, "a second Ctrl-C does not wait"
    assert "interrupted" in str(ticket.run.stop_error)


def test_an_interrupt_that_comes_after_the_answer_cancels_nothing() -> None:
    ticket = Interrupted(1, answered)
    with pytest.raises(KeyboardInterrupt):
        wait_for(ticket)
    assert (ticket.times, ticket.run.stop_error) == (0, None)
