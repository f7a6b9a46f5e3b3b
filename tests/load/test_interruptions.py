"""Posts and cancels from where code comes back in: finalisers and signal handlers, on a thread that is busy posting."""

from __future__ import annotations

import asyncio
import gc
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import trio
from leaks.baseline import EXECUTORS, Bodies, bodies, is_idle, pause
from waiting import eventually

from rio_chain import Balancer, QueueFull, Task, Ticket, TicketCancelled

pytestmark = [
    pytest.mark.timeout(50),
    pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs interval timers"),
]


@contextmanager
def interrupted_by(handler: Callable[[], None], *, once: bool = False) -> Iterator[None]:
    """The handler runs on this thread again and again, wherever it is; or once, when the thread has come to rest."""
    before = signal.signal(signal.SIGALRM, lambda *_: handler())
    signal.setitimer(signal.ITIMER_REAL, *((0.03, 0) if once else (0.0005, 0.0005)))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


class Poster:
    """Posts, and cancels every other ticket; keeps them all."""

    def __init__(self, balancer: Balancer, body: Bodies) -> None:
        self.balancer = balancer
        self.chain = Task(body.answer).inline()
        self.tickets: list[Ticket[Any]] = []

    def __call__(self) -> None:
        number = len(self.tickets)
        limit = 10_000 if number % 3 == 0 else None
        try:
            ticket = self.balancer.post(self.chain(number), priority=number % 2, queue_timeout=limit)
        except QueueFull:
            return
        self.tickets.append(ticket)
        if number % 4 == 0:
            ticket.cancel()

    def check(self) -> None:
        for ticket in self.tickets:
            result = ticket.wait(20_000).result
            assert ticket.wait()[0].status == "succeeded" or isinstance(result.failure(), TicketCancelled)


@pytest.mark.parametrize("executor", EXECUTORS)
def test_a_signal_handler_posts_while_its_thread_posts(executor: str) -> None:
    with bodies() as body, Balancer(executor, workers=2, buffer=10_000) as balancer:
        busy, handler = Poster(balancer, body), Poster(balancer, body)
        with interrupted_by(handler):
            while len(handler.tickets) < 100:
                busy()
                balancer.run(busy.chain(1))
                repr(balancer)
        busy.check()
        handler.check()
        eventually(lambda: is_idle(balancer))


async def keep_busy(balancer: Balancer, busy: Poster, until: Callable[[], bool]) -> None:
    while not until():
        busy()
        assert (await balancer.arun(busy.chain(1))).unwrap() == 1
        await pause(0.001)  # so that handlers come while the loop waits for events, too


@pytest.mark.parametrize("native", ["asyncio", "trio"])
def test_a_signal_handler_posts_while_its_thread_runs_the_loop(native: str) -> None:
    async def main() -> None:
        async with Balancer(workers=2, buffer=10_000) as balancer:
            busy, handler = Poster(balancer, body), Poster(balancer, body)
            with interrupted_by(handler):
                await keep_busy(balancer, busy, lambda: len(handler.tickets) >= 100)
            for ticket in handler.tickets + busy.tickets:
                await ticket
            busy.check()
            handler.check()

    with bodies() as body:
        asyncio.run(main()) if native == "asyncio" else trio.run(main)


def test_a_signal_handler_wakes_an_asyncio_loop_that_waits_for_events() -> None:
    """Trio is woken by every signal; asyncio goes on waiting until something tells it."""

    async def main() -> None:
        async with Balancer() as balancer:
            answered, late = asyncio.Event(), list[bool]()
            asyncio.get_running_loop().call_later(3, late.append, True)  # the loop wakes then, at the latest
            tickets: list[Ticket[int]] = []

            def handler() -> None:
                tickets.append(balancer.post(Task(body.aanswer)(7)))
                tickets[0].on_done(answered.set)

            with interrupted_by(handler, once=True):
                await answered.wait()
            assert (tickets[0].wait().unwrap(), late) == (7, [])

    with bodies() as body:
        asyncio.run(main())


class Finalised:
    """Does something when it is collected. It is in a cycle, so that happens anywhere."""

    def __init__(self, action: Callable[[], None]) -> None:
        self.action = action
        self.me = self

    def __del__(self) -> None:
        self.action()


@pytest.fixture
def eager_collector() -> Iterator[None]:
    before = gc.get_threshold()
    gc.set_threshold(20, 2, 2)
    yield
    gc.set_threshold(*before)


@pytest.mark.usefixtures("eager_collector")
@pytest.mark.parametrize("executor", EXECUTORS)
def test_finalisers_post_while_threads_post(executor: str) -> None:
    with bodies() as body, Balancer(executor, workers=2, buffer=100_000) as balancer:
        posters = [Poster(balancer, body) for _ in range(4)]
        finaliser = Poster(balancer, body)

        def post_on(poster: Poster) -> None:
            for _ in range(100):
                poster()
                Finalised(finaliser)

        threads = [threading.Thread(target=post_on, args=(poster,)) for poster in posters]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        gc.collect()
        for poster in (*posters, finaliser):
            poster.check()
        assert len(finaliser.tickets) == 400
        eventually(lambda: is_idle(balancer))


@pytest.mark.usefixtures("eager_collector")
@pytest.mark.parametrize("native", ["asyncio", "trio"])
def test_finalisers_post_on_the_thread_of_the_loop(native: str) -> None:
    async def main() -> None:
        async with Balancer(workers=2, buffer=100_000) as balancer:
            busy, finaliser = Poster(balancer, body), Poster(balancer, body)
            for _ in range(150):
                Finalised(finaliser)
                busy()
                assert (await balancer.arun(busy.chain(1))).unwrap() == 1
            gc.collect()
            assert len(finaliser.tickets) == 150
            for ticket in finaliser.tickets + busy.tickets:
                await ticket
            busy.check()
            finaliser.check()

    with bodies() as body:
        asyncio.run(main()) if native == "asyncio" else trio.run(main)
