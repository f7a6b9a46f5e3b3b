"""A loop may end under its balancer at any moment: every ticket is answered, and every wait for one ends."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import trio
from leaks.baseline import Bodies, is_idle, nothing_left
from leaks.loops import LOOPS, Loop, OnAsyncio, eventually_here

from rio_chain import Balancer, BalancerClosed, QueueFull, Task, TicketCancelled


@pytest.fixture(params=LOOPS)
def loop(request: pytest.FixtureRequest) -> Loop:
    return LOOPS[request.param]


def test_running_and_queued_tickets_are_answered(loop: Loop, body: Bodies) -> None:
    got: list[Any] = []

    async def main() -> None:
        await balancer.arun(Task(body.aanswer)(0))
        chains = [Task(body.astay), Task(body.stay), Task(body.astay) & Task(body.stay), Task(body.aanswer)]
        tickets = [balancer.post(chain(1), queue_timeout=t) for chain in chains * 3 for t in (None, 30_000)]
        waiters.extend(threading.Thread(target=lambda t=t: got.append(t.wait(20_000))) for t in tickets)  # type: ignore[misc]
        for waiter in waiters:
            waiter.start()
        await eventually_here(lambda: balancer.stats().running == 2)

    with nothing_left():
        balancer, waiters = Balancer(workers=2), list[threading.Thread]()
        loop.run(main)
        for waiter in waiters:
            waiter.join(20)
        assert len(got) == 24
        assert all(isinstance(outcome.result.failure(), TicketCancelled) for outcome in got)
        body.open.set()
        with pytest.raises(BalancerClosed):
            balancer.post(Task(body.answer)(1))
        balancer.close()
        assert is_idle(balancer)


def test_a_request_that_was_only_just_posted_is_answered(loop: Loop, body: Bodies) -> None:
    async def main() -> Any:
        await balancer.arun(Task(body.aanswer)(0))
        return [balancer.post(Task(body.astay)(1), queue_timeout=t) for t in (None, 30_000) for _ in range(2)]

    for _ in range(20):
        balancer = Balancer(workers=1)
        for ticket in loop.run(main):
            assert isinstance(ticket.wait(20_000).result.failure(), TicketCancelled)
        balancer.close(grace=0)
        assert is_idle(balancer)


def test_a_caller_on_another_loop_gets_the_error(loop: Loop, body: Bodies) -> None:

    async def main() -> None:
        await balancer.arun(Task(body.aanswer)(0))
        caller.start()
        await eventually_here(lambda: balancer.stats().running == 1)

    async def elsewhere() -> None:
        got.append(await balancer.arun(Task(body.astay)(1)))

    got: list[Any] = []
    balancer = Balancer()
    caller = threading.Thread(target=lambda: OnAsyncio().run(elsewhere))
    loop.run(main)
    caller.join(20)
    assert isinstance(got[0].result.failure(), TicketCancelled)


@pytest.mark.parametrize("posted_before", [False, True])
def test_posts_at_the_very_end_are_answered_or_refused(loop: Loop, body: Bodies, posted_before: bool) -> None:
    def post_on() -> None:
        begin.wait()
        try:
            while True:
                try:
                    tickets.append(balancer.post(Task(body.aanswer)(1)))
                except QueueFull:
                    continue
        except BalancerClosed:
            return

    async def main() -> None:
        await balancer.arun(Task(body.aanswer)(0))
        if posted_before:
            await balancer.post(Task(body.aanswer)(0))
        begin.set()

    for _ in range(30):
        balancer, begin, tickets = Balancer(workers=2, buffer=50), threading.Event(), list[Any]()
        poster = threading.Thread(target=post_on)
        poster.start()
        loop.run(main)
        poster.join(20)
        assert not poster.is_alive()
        for ticket in tickets:
            ticket.wait(20_000)
        balancer.close(grace=0)
        assert is_idle(balancer)


def test_a_post_that_trio_takes_no_more_is_answered(monkeypatch: pytest.MonkeyPatch, body: Bodies) -> None:
    """Between the end of its system tasks and that of the run, trio still calls functions, but starts no tasks."""

    def refuse(*_args: object, **_keywords: object) -> None:
        raise RuntimeError("Nursery is closed to new arrivals")

    async def main() -> Any:
        await balancer.arun(Task(body.aanswer)(0))
        monkeypatch.setattr(trio.lowlevel, "spawn_system_task", refuse)
        return balancer.post(Task(body.aanswer)(1))

    balancer = Balancer()
    ticket = trio.run(main)
    assert isinstance(ticket.wait(20_000).result.failure(), TicketCancelled)
    balancer.close(grace=0)
    assert is_idle(balancer)
