"""Ticket: one answer for everybody who waits for it, on any thread or loop."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import threading
from typing import Any

import pytest
import trio
from interrupting import SIGNALS, Interruption, everywhere

from rio_chain import Balancer, ChainDefinitionError, Request, Task, Ticket, TicketCancelled, UsageError
from rio_chain.engine._run import outcome_of_unbegun
from rio_chain.executors._blocking_wait import BackgroundHost, once, release_once

EXECUTORS = ("asyncio", "trio", "thread")
REQUEST: Request[int] = Task(len).named("size")("four")


def a_ticket() -> Ticket[int]:
    return Ticket(REQUEST, BackgroundHost())


def an_outcome(ticket: Ticket[Any], reason: str = "why not") -> Any:
    return outcome_of_unbegun(ticket.request, ticket.run, TicketCancelled(reason), 0.0, 1.0)


# --- by itself ----------------------------------------------------------------------------------------------------


def test_the_first_answer_is_kept() -> None:
    ticket = a_ticket()
    first = an_outcome(ticket)
    ticket.resolve(first)
    ticket.resolve(an_outcome(ticket))
    ticket.fail(SystemExit())
    assert ticket.done
    assert ticket.wait() is ticket.wait(0) is first


def test_callbacks_before_and_after_the_answer_are_called_once() -> None:
    ticket, called = a_ticket(), list[str]()
    ticket.on_done(lambda: called.append("before"))
    assert called == []
    ticket.resolve(an_outcome(ticket))
    ticket.on_done(lambda: called.append("after"))
    ticket.resolve(an_outcome(ticket))
    assert called == ["before", "after"]


async def is_async() -> None:
    pass


@pytest.mark.parametrize(("given", "got"), [(None, "got None"), (is_async, "got the async function `is_async`")])
def test_a_callback_that_is_none_is_refused(given: Any, got: str) -> None:
    ticket = a_ticket()
    with pytest.raises(ChainDefinitionError, match=f"`callback` must be a plain function that needs no arg.*{got}"):
        ticket.on_done(given)
    ticket.resolve(an_outcome(ticket))


def test_a_second_call_of_a_waker_does_nothing() -> None:
    """The thread that answers a ticket, and one that has just begun to wait, may both call it."""
    ticket, called = a_ticket(), list[str]()
    ticket.on_done(lambda: called.append("callback"))
    (waker,) = ticket._wakers
    waker()
    waker()
    ticket.resolve(an_outcome(ticket))
    assert called == ["callback"]
    waker = once(lambda: called.append("once"))
    waker()
    waker()
    assert called == ["callback", "once"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError, MemoryError])
@pytest.mark.parametrize("fails", [False, True])
def test_wherever_a_signal_handler_raises_all_waiters_are_woken(
    fails: bool, error: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threading, "excepthook", lambda _: None)  # in the callback, it counts as the callback's own

    def interrupted(interruption: Interruption) -> None:
        ticket, gates, called = a_ticket(), [threading.Lock() for _ in range(3)], list[str]()
        for gate in gates:
            gate.acquire()
            ticket.add_waker(release_once(gate))
        ticket.on_done(lambda: called.append("callback"))
        answer = an_outcome(ticket)
        with contextlib.suppress(error), interruption.here():
            ticket.fail(SystemExit()) if fails else ticket.resolve(answer)
        if ticket.done:
            assert not any(gate.locked() for gate in gates)
            assert len(called) <= 1
            with contextlib.suppress(SystemExit):
                ticket.wait()

    def comes() -> None:
        raise error

    gc.disable()  # else it may come into the finaliser of an earlier ticket
    try:
        assert len(everywhere(interrupted, comes, after=SIGNALS)) > 5
    finally:
        gc.enable()


def test_all_threads_that_wait_are_woken() -> None:
    ticket, got = a_ticket(), list[Any]()
    threads = [threading.Thread(target=lambda: got.append(ticket.wait(20_000))) for _ in range(20)]
    for thread in threads:
        thread.start()
    outcome = an_outcome(ticket)
    ticket.resolve(outcome)
    for thread in threads:
        thread.join(20)
    assert got == [outcome] * 20


def test_a_wait_that_is_over_leaves_the_request_alone() -> None:
    ticket = a_ticket()
    with pytest.raises(TimeoutError, match=r"^no Outcome within 1 ms; the request goes on$"):
        ticket.wait(1)
    with pytest.raises(TimeoutError):
        ticket.wait(0)
    assert not ticket.done
    assert ticket.run.stop_error is None
    ticket.resolve(an_outcome(ticket))
    assert ticket.wait(0)


@pytest.mark.parametrize("timeout", [-1, True, "1", float("nan")])
def test_a_timeout_that_is_none(timeout: Any) -> None:
    with pytest.raises(ChainDefinitionError, match="`timeout` must be a finite number of milliseconds"):
        a_ticket().wait(timeout)


class Blocking(BackgroundHost):
    def on_loop_thread(self) -> bool:
        return True


def test_waiting_where_it_would_block_its_own_loop_is_refused() -> None:
    ticket = Ticket(REQUEST, Blocking())
    with pytest.raises(UsageError, match="write `await ticket`"):
        ticket.wait()
    ticket.resolve(an_outcome(ticket))
    assert ticket.wait()  # now it does not block


def test_awaiting_outside_of_any_loop_is_refused() -> None:
    with pytest.raises(UsageError, match="`await` needs a running asyncio or trio loop"):
        a_ticket().__await__().send(None)


def test_an_error_that_ended_the_run_is_raised_as_itself_wherever_it_is_asked_for() -> None:
    ticket, error = a_ticket(), SystemExit(3)
    ticket.fail(error)
    for _ in range(2):
        with pytest.raises(SystemExit) as caught:
            ticket.wait()
        assert caught.value is error


def test_an_error_that_nobody_asked_for_goes_to_the_excepthook(monkeypatch: pytest.MonkeyPatch) -> None:
    reported: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", reported.append)
    ticket, error = a_ticket(), SystemExit(3)
    ticket.fail(error)
    del ticket
    gc.collect()
    assert [args.exc_value for args in reported] == [error]


def test_one_that_was_asked_for_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    reported: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", reported.append)
    ticket = a_ticket()
    ticket.fail(SystemExit(3))
    with pytest.raises(SystemExit):
        ticket.wait()
    del ticket
    gc.collect()
    assert reported == []


def test_it_shows_what_it_is_for_and_no_argument() -> None:
    ticket = a_ticket()
    assert repr(ticket) == "<Ticket of size: open>"
    ticket.resolve(an_outcome(ticket))
    assert repr(ticket) == "<Ticket of size: done>"


# --- on a balancer ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("executor", EXECUTORS)
def test_it_can_be_waited_for_and_awaited_anywhere_and_as_often_as_one_likes(executor: str, gate: Any) -> None:
    got: list[Any] = []

    async def await_it() -> None:
        got.append(await ticket)
        got.append(await ticket)

    with Balancer(executor) as balancer:
        ticket = balancer.post(Task(gate.stay)(7))
        works = [lambda: got.append(ticket.wait()), lambda: asyncio.run(await_it()), lambda: trio.run(await_it)]
        threads = [threading.Thread(target=work) for work in works]
        for thread in threads:
            thread.start()
        gate.wait_begun()
        assert not ticket.done
        gate.open.set()
        for thread in threads:
            thread.join(20)
        assert len(got) == 5
        assert all(outcome is ticket.wait() for outcome in got)
        assert got[0].unwrap() == 7


@pytest.mark.parametrize("executor", EXECUTORS)
def test_cancelling_an_await_leaves_the_request_running(executor: str, gate: Any) -> None:
    async def on_asyncio() -> None:
        waiting = asyncio.ensure_future(_await(ticket))
        await asyncio.sleep(0.001)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    async def on_trio() -> None:
        with trio.move_on_after(0.001):
            await ticket

    with Balancer(executor) as balancer:
        ticket = balancer.post(Task(gate.stay)(7))
        asyncio.run(on_asyncio())
        trio.run(on_trio)
        assert not ticket.done
        gate.open.set()
        assert ticket.wait(20_000).unwrap() == 7


async def _await(ticket: Ticket[int]) -> Any:
    return await ticket


@pytest.mark.parametrize("executor", EXECUTORS)
def test_cancelling_what_runs(executor: str, gate: Any) -> None:
    with Balancer(executor) as balancer:
        ticket = balancer.post((Task(gate.stay) >> Task(str))(7))
        gate.wait_begun()
        ticket.cancel("we have enough")
        outcome = ticket.wait(20_000)
        assert str(outcome.result.failure()) == "cancelled: we have enough"
        assert [response.status for response in outcome] == ["cancelled", "skipped"]
        gate.open.set()


@pytest.mark.parametrize("executor", EXECUTORS)
@pytest.mark.parametrize("limit", [None, 30_000])
def test_cancelling_what_is_queued(executor: str, limit: float | None, gate: Any) -> None:
    called: list[int] = []
    with Balancer(executor, workers=1) as balancer:
        running = balancer.post(Task(gate.stay)(7))
        gate.wait_begun()
        ticket = balancer.post(Task(called.append)(1), queue_timeout=limit)
        assert balancer.stats().queued == 1
        ticket.cancel()
        assert ticket.done
        assert balancer.stats().queued == 0
        outcome = ticket.wait()
        assert isinstance(outcome.result.failure(), TicketCancelled)
        assert (outcome.only.status, outcome.only.attempts, outcome.elapsed) == ("skipped", 0, 0)
        gate.open.set()
        assert running.wait(20_000).unwrap() == 7
    assert not called


@pytest.mark.parametrize("executor", EXECUTORS)
def test_cancelling_what_is_over_changes_nothing(executor: str) -> None:
    with Balancer(executor) as balancer:
        ticket = balancer.post(REQUEST)
        outcome = ticket.wait()
        ticket.cancel()
        ticket.cancel()
        assert ticket.wait() is outcome
        assert outcome.unwrap() == 4


def test_the_reason_is_there_before_it_is_out_of_the_line(gate: Any) -> None:
    """Its strand may find it withdrawn before its cancel has answered it."""
    with Balancer("asyncio", workers=1) as balancer:
        running = balancer.post(Task(gate.stay)(7))
        ticket = balancer.post(REQUEST, queue_timeout=30_000)
        seen: list[Any] = []
        withdraw = ticket.withdraw
        assert withdraw is not None

        def slowly(error: Exception) -> None:
            seen.append(ticket.run.stop_error)
            withdraw(error)

        ticket.withdraw = slowly
        ticket.cancel("first")
        ticket.cancel("second")
        assert str(ticket.wait(20_000).result.failure()) == "cancelled: first"
        assert [str(error) for error in seen] == ["cancelled: first"]
        gate.open.set()
        assert running.wait(20_000).unwrap() == 7
