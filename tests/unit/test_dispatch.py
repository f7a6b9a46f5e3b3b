"""The dispatcher on a host by hand: slots that come between two steps, waits that are counted, strands that need not
be.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from math import inf
from types import SimpleNamespace
from typing import Any

import pytest
from amid import amid
from fake_clock import FakeClock

from rio_chain import BalancerClosed, DeadlineExceeded, Task, Ticket, TicketCancelled
from rio_chain.balancer._admission import Admission
from rio_chain.balancer._dispatch import Dispatcher
from rio_chain.balancer._posted_request import request_options
from rio_chain.balancer._priority_queue import Turn
from rio_chain.engine._current_run import Run
from rio_chain.engine._runtime_protocol import HostGone
from rio_chain.executors._run_ticket import LOST

REQUEST = Task(len)("four")


class WouldWait(BaseException):
    """No Exception, which the strand would answer with."""


class NoWaiter:
    """Its strand must not wait: whoever would wake it has been here."""

    def wake(self) -> None: ...

    async def wait(self) -> None:
        raise WouldWait("nobody will wake it")


class Slot:
    """Of a strand that nobody interrupts."""

    def __init__(self) -> None:
        self.alarm = SimpleNamespace(deadline=inf, entry_at=inf)

    def arm(self, at: float) -> None: ...

    def stop(self) -> None: ...

    def release(self) -> None: ...

    def settle(self, exc: object) -> bool:
        del exc
        return False


class ByHand:
    """An Admission with one slot, which is taken, a Dispatcher, and a host whose strands run when the test says so."""

    def __init__(self, admission: Admission | None = None) -> None:
        self.clock = FakeClock(1_000.0)
        self.strands: list[Callable[[], Coroutine[Any, Any, None]]] = []
        self.admission = admission or Admission(1, 9)
        self.dispatcher = Dispatcher(self.admission, 30.0, lambda: None)
        self.holder = Turn(Run(REQUEST.plan), 0)
        self.admission.admit(self.holder, bounded=True)
        self.on_waiter: Callable[[], None] = lambda: None
        runtime = SimpleNamespace(
            now=self.clock,
            waiter=self.waiter,
            slot=Slot,
            reserve=lambda: None,
            call=self.call,
            direct=True,
            policies=None,
            places=True,
            look_at=inf,
        )
        self.host: Any = SimpleNamespace(
            runtime=runtime,
            on_loop_thread=lambda: False,
            spawn=lambda main, _context, accepted=False: self.strands.append(main),
            forked=lambda: False,
            cancelled=KeyError,
        )

    def waiter(self) -> NoWaiter:
        self.on_waiter()
        return NoWaiter()

    async def call(self, fn: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        self.clock.move(0.25)  # what it takes
        return fn(*args, **kwargs)

    def post(self, **terms: Any) -> Ticket[int]:
        return self.dispatcher.post(self.host, REQUEST, request_options(self.clock, **terms))

    def free(self) -> None:
        self.admission.leave(self.holder.run, 0, 0)

    def run(self) -> None:
        """Run the one strand there is, which does not wait."""
        (strand,) = self.strands
        self.strands.clear()
        with pytest.raises(StopIteration):
            strand().send(None)


def test_who_waits_without_a_limit_has_no_strand_before_its_slot_comes() -> None:
    it = ByHand()
    ticket = it.post()
    assert it.strands == []
    it.free()
    it.run()
    assert ticket.wait(0).unwrap() == 4


def test_who_is_cancelled_in_the_line_never_gets_a_strand() -> None:
    it = ByHand()
    ticket = it.post()
    ticket.cancel("not needed")
    it.free()
    assert it.strands == []
    assert "not needed" in str(ticket.wait(0).result.failure())


def test_a_cancel_keeps_its_reason_when_the_balancer_closes_before_the_post_was_taken() -> None:
    it = ByHand()
    with amid(it.admission):  # a finaliser that posts and cancels in the middle of a decision
        ticket = it.post()
        ticket.run.stop(ValueError("not needed"))
        it.admission.closed = True
    it.admission.when_idle(lambda: None)
    assert "not needed" in str(ticket.wait(0).result.failure())
    assert it.strands == []


class Quick(Admission):
    """Who comes into the line gets its slot before ``admit`` has returned: another thread was quick."""

    quick: Callable[[], None] | None = None

    def admit(self, turn: Turn, *, bounded: bool) -> bool:
        got = super().admit(turn, bounded=bounded)
        if self.quick is not None:
            self.quick()
        return got


@pytest.mark.parametrize("terms", [{}, {"queue_timeout": 100}], ids=["no limit", "a limit"])
def test_a_slot_that_comes_while_it_is_being_posted_starts_one_strand(terms: dict[str, float]) -> None:
    admission = Quick(1, 9)
    it = ByHand(admission)
    admission.quick = it.free
    ticket = it.post(**terms)
    it.run()
    assert ticket.wait(0).unwrap() == 4
    assert (admission.done, it.dispatcher.posted) == (2, set())


def test_a_slot_that_comes_as_it_begins_to_wait_is_not_waited_for() -> None:
    it = ByHand()
    it.on_waiter = it.free
    ticket = it.post(queue_timeout=100)
    it.run()
    assert ticket.wait(0).unwrap() == 4


def test_a_slot_that_came_in_time_is_too_late_for_a_strand_that_begins_after_its_time() -> None:
    it = ByHand()
    ticket = it.post(queue_timeout=100)
    it.free()
    it.clock.move(0.1)
    it.run()
    outcome = ticket.wait(0)
    assert type(outcome.result.failure()) is DeadlineExceeded
    assert (outcome.only.attempts, it.admission.queue.running) == (0, 0)
    assert outcome.only.result.failure().cause is outcome.result.failure()


def test_what_a_posted_request_waited_and_ran_is_counted() -> None:
    it = ByHand()
    it.post()
    it.clock.move(4.0)
    it.free()
    it.run()
    waits, runs = it.admission.waits.frozen(), it.admission.lasted.frozen()
    assert (waits.count, 4_000 <= waits.quantile(1) < 8_400) == (2, True)
    assert (runs.count, 250 <= runs.quantile(1) < 530) == (2, True)


# --- cancelled, and lost --------------------------------------------------------------------------------------------


def test_a_cancel_amid_a_decision_is_done_after_it() -> None:
    it = ByHand()
    ticket = it.post()
    with amid(it.admission):
        ticket.cancel("not needed")
        assert (ticket.done, it.admission.queue.waiting) == (False, 1)
    it.admission.when_idle(lambda: None)
    assert ticket.done
    assert it.admission.queue.waiting == 0


def test_a_cancel_keeps_its_reason_when_the_line_is_cleared_in_the_same_moment() -> None:
    it = ByHand()
    ticket = it.post(queue_timeout=100)
    ticket.run.stop(TicketCancelled("not needed"))
    it.admission.clear()
    it.run()
    assert "not needed" in str(ticket.wait(0).result.failure())


def is_lost(ticket: Ticket[int]) -> bool:
    error = ticket.wait(0).result.failure()
    return type(error) is TicketCancelled and LOST in str(error)


def test_a_strand_that_ends_with_its_loop_while_it_waits_answers_and_leaves_the_line() -> None:
    it = ByHand()
    ticket = it.post(queue_timeout=100)
    with pytest.raises(WouldWait, match="nobody will wake it"):
        it.strands[0]().send(None)
    assert is_lost(ticket)
    assert (it.admission.queue.waiting, it.dispatcher.posted) == (0, set())


@pytest.mark.parametrize("seen", [True, False], ids=["the host says so", "it took the strand and does not run it"])
def test_what_is_posted_on_a_loop_that_has_ended_is_answered(seen: bool) -> None:
    it = ByHand()

    def gone(_main: object, _context: object, *, accepted: bool) -> None:
        if seen:
            raise HostGone
        it.dispatcher.lost()  # what the host calls, before it knows of this strand

    it.free()
    real, it.host.spawn = it.host.spawn, gone
    ticket = it.post()
    it.host.spawn = real
    assert is_lost(ticket)
    assert (it.admission.queue.running, it.dispatcher.posted) == (0, set())
    with pytest.raises(BalancerClosed):
        it.post()


def test_all_that_wait_or_run_are_answered_when_the_loop_has_ended() -> None:
    it = ByHand()
    it.free()
    tickets = [it.post(), it.post(), it.post(queue_timeout=100)]
    it.dispatcher.lost()
    assert [ticket.done for ticket in tickets] == [True] * 3
    assert is_lost(tickets[0])
    assert (it.admission.queue.running, it.admission.queue.waiting, it.dispatcher.posted) == (0, 0, set())
