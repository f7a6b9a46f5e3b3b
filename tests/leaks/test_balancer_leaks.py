"""However a request ends, its balancer, its threads and its descriptors are back where they were."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest
import trio
from leaks.baseline import EXECUTORS, Bodies, is_idle, nothing_left
from waiting import eventually

from rio_chain import Balancer, BalancerClosed, Outcome, Request, Task, TaskTimedOut, Ticket, TicketCancelled, settle

Ending = Callable[[Balancer, Bodies], None]


def success(balancer: Balancer, body: Bodies) -> None:
    chain = Task(body.answer) >> (Task(body.answer) & Task(body.aanswer))
    assert [outcome.unwrap() for outcome in balancer.map(chain, range(20))] == [(n, n) for n in range(20)]


def failure(balancer: Balancer, body: Bodies) -> None:
    chain = (Task(body.afail) & Task(body.astay)).retry(2, backoff=None)
    assert isinstance(balancer.run(chain(1)).result.failure(), ValueError)
    assert body.cleaned_up == body.begun._value  # as often as it began: losers are awaited
    assert isinstance(balancer.run(Task(body.fail)(1)).result.failure(), ValueError)


def timeout(balancer: Balancer, body: Bodies) -> None:
    for chain in (Task(body.astay), Task(body.stay), settle(Task(body.astay), Task(body.stay))):
        assert isinstance(balancer.run(chain.timeout(10)(1)).result.failure(), TaskTimedOut)
    assert balancer.stats().abandoned <= 2  # or one had not begun
    body.open.set()


def ticket_cancelled(balancer: Balancer, body: Bodies) -> None:
    for chain in (Task(body.astay), Task(body.stay), Task(body.astay) & Task(body.stay)):
        ticket = balancer.post(chain(1))
        body.wait_begun()
        ticket.cancel()
        assert isinstance(ticket.wait(5_000).result.failure(), TicketCancelled)
    body.open.set()


def cancelled_in_the_queue(balancer: Balancer, body: Bodies) -> None:
    running = [balancer.post(Task(body.astay)(n)) for n in range(2)]
    waiting = [balancer.post(Task(body.answer)(n), queue_timeout=t) for n in range(40) for t in (None, 30_000)]
    for ticket in (*waiting, *running):
        ticket.cancel()
    for ticket in (*waiting, *running):
        assert isinstance(ticket.wait(5_000).result.failure(), TicketCancelled)


def waited_too_long(balancer: Balancer, body: Bodies) -> None:
    running = [balancer.post(Task(body.stay)(n)) for n in range(2)]
    assert balancer.run(Task(body.answer)(1), queue_timeout=5)[0].status == "skipped"
    assert balancer.run(Task(body.answer)(1), deadline=5)[0].status == "skipped"
    body.open.set()
    assert [ticket.wait(5_000).unwrap() for ticket in running] == [0, 1]


def outer_cancel(balancer: Balancer, body: Bodies) -> None:
    async def on_asyncio() -> None:
        task = asyncio.create_task(balancer.arun((Task(body.astay) & Task(body.stay))(1)))
        await asyncio.to_thread(body.wait_begun)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    async def on_trio() -> None:
        with trio.move_on_after(0.01) as scope:
            await balancer.arun((Task(body.astay) & Task(body.stay))(1))
        assert scope.cancelled_caught

    asyncio.run(on_asyncio())
    trio.run(on_trio)
    body.open.set()


def quitting(balancer: Balancer, body: Bodies) -> None:
    with pytest.raises(SystemExit):
        balancer.run((Task(body.quit) & Task(body.astay))(1))


def impatience(balancer: Balancer, body: Bodies) -> None:
    """A wait that gives up leaves nothing at the ticket."""
    ticket = balancer.post(Task(body.stay)(1))
    for _ in range(3):
        with pytest.raises(TimeoutError):
            ticket.wait(1)

    async def on_asyncio() -> None:
        for _ in range(3):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(_of(ticket), 0.001)

    async def on_trio() -> None:
        for _ in range(3):
            with trio.move_on_after(0.001):
                await ticket

    asyncio.run(on_asyncio())
    trio.run(on_trio)
    assert not ticket._wakers
    body.open.set()
    assert ticket.wait(5_000).unwrap() == 1


async def _of(ticket: Ticket[Any]) -> Outcome[Any]:
    return await ticket


ENDINGS = [
    success,
    failure,
    timeout,
    ticket_cancelled,
    cancelled_in_the_queue,
    waited_too_long,
    outer_cancel,
    quitting,
    impatience,
]


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("executor", EXECUTORS)
def test_everything_is_back(executor: str, ending: Ending, body: Bodies) -> None:
    with nothing_left(), Balancer(executor, workers=2, max_abandoned=9) as balancer:
        for _ in range(2):
            body.open.clear()
            try:
                ending(balancer, body)
            finally:
                body.open.set()
            eventually(lambda: is_idle(balancer), f"that {balancer} was idle")


@pytest.mark.parametrize("grace", [0, 5])
@pytest.mark.parametrize("executor", EXECUTORS)
def test_close_answers_all_and_leaves_nothing(executor: str, grace: int, body: Bodies) -> None:
    with nothing_left():
        balancer = Balancer(executor, workers=2)
        tickets = [balancer.post(chain(1)) for chain in (Task(body.astay), Task(body.stay), Task(body.answer))]
        tickets += [balancer.post(Task(body.answer)(1), queue_timeout=30_000)]
        balancer.close(grace=grace)
        assert all(ticket.done for ticket in tickets)
        assert all(isinstance(ticket.wait().result.failure(), TicketCancelled) for ticket in tickets)
        body.open.set()
        eventually(lambda: is_idle(balancer), f"that {balancer} was idle")


@pytest.mark.parametrize("executor", EXECUTORS)
def test_many_balancers_leave_nothing(executor: str, body: Bodies) -> None:
    with nothing_left():
        for n in range(30):
            with Balancer(executor, workers=2) as balancer:
                assert balancer.run((Task(body.aanswer) >> Task(body.answer).timeout(5_000))(n)).unwrap() == n


@pytest.mark.parametrize("executor", EXECUTORS)
def test_a_map_that_is_left_early_leaves_nothing(executor: str, body: Bodies) -> None:
    def mixed(n: int) -> Request[int]:
        return Task(body.aanswer)(n) if n == 0 else Task(body.astay)(n)

    with nothing_left(), Balancer(executor, workers=2) as balancer:
        for outcome in balancer.map(mixed, range(100)):
            assert outcome.unwrap() == 0
            break
        eventually(lambda: is_idle(balancer), f"that {balancer} was idle")


def test_a_closed_balancer_starts_no_thread(body: Bodies) -> None:

    balancer = Balancer()
    balancer.close()
    with nothing_left():
        for call in (balancer.run, balancer.post):
            with pytest.raises(BalancerClosed, match=r"this balancer is closed; .* opens it again"):
                call(Task(body.answer)(1))


def test_a_balancer_that_was_never_used_starts_no_thread() -> None:
    with nothing_left():
        threads = threading.active_count()
        balancer = Balancer("thread")
        assert threading.active_count() == threads
        balancer.close()
