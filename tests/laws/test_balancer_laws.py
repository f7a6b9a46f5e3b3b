"""Whatever is done to a balancer: every ticket gets exactly one Outcome, and everything is given back."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import pytest
import sniffio
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from rio_chain import Balancer, BalancerClosed, QueueFull, Request, Task, Ticket

EXECUTORS = ("asyncio", "trio", "thread")


class Bodies:
    def __init__(self) -> None:
        self.open = threading.Event()
        self.blocked = threading.Semaphore(0)
        self.now = self.most = 0

    def quick(self, x: int) -> int:
        return x

    def fails(self, x: int) -> int:
        raise ValueError(x)

    async def stays(self, x: int) -> int:
        self.now += 1  # all async bodies of a balancer run on one loop
        self.most = max(self.most, self.now)
        try:
            await (trio.sleep if sniffio.current_async_library() == "trio" else asyncio.sleep)(30)
        finally:
            self.now -= 1
        return x

    def blocks(self, x: int) -> int:
        self.blocked.release()
        self.open.wait(30)
        return x

    def quits(self, x: int) -> int:
        raise SystemExit(x)

    def request(self, kind: str, x: int) -> Request[Any]:
        task = Task(getattr(self, kind))
        inline = kind in ("quick", "quits")
        return (task.inline() if inline else task)(x)


posts = st.tuples(
    st.just("post"),
    st.sampled_from(["quick", "quick", "fails", "stays", "blocks", "quits"]),
    st.integers(-1, 1),
    st.sampled_from([None, None, 0, 2, 30_000]),
)
cancels = st.tuples(st.just("cancel"), st.integers(0, 50))
closes = st.tuples(st.just("close"), st.sampled_from([0, 1]))
actions = st.lists(st.one_of(posts, posts, cancels, closes), max_size=25)


class Counted:
    """A ticket, and how often it was answered."""

    def __init__(self, ticket: Ticket[Any]) -> None:
        self.ticket = ticket
        self.answers = 0
        ticket.on_done(self.answered)

    def answered(self) -> None:
        self.answers += 1


def play(balancer: Balancer, bodies: Bodies, script: list[Any]) -> list[Counted]:
    made: list[Counted] = []
    closed = False
    for action, *how in script:
        if action == "post":
            kind, priority, limit = how
            try:
                request = bodies.request(kind, len(made))
                made.append(Counted(balancer.post(request, priority=priority, queue_timeout=limit)))
                assert not closed
            except QueueFull:
                assert balancer.stats().rejected
            except BalancerClosed:
                assert closed
        elif action == "cancel" and made:
            made[how[0] % len(made)].ticket.cancel()
        elif action == "close":
            balancer.close(grace=how[0])
            closed = True
    return made


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("executor", EXECUTORS)
@settings(max_examples=150, deadline=None)
@given(script=actions, workers=st.integers(1, 3), buffer=st.integers(0, 8))
def test_every_ticket_gets_exactly_one_outcome(executor: str, script: list[Any], workers: int, buffer: int) -> None:
    bodies = Bodies()
    balancer = Balancer(executor, workers=workers, buffer=buffer, max_abandoned=100, threads=100)
    try:
        made = play(balancer, bodies, script)
        balancer.close(grace=1)
        for index, counted in enumerate(made):
            assert counted.ticket.done
            try:
                outcome = counted.ticket.wait(10_000)
            except SystemExit as error:
                assert error.code == index  # noqa: PT017 - the body's own
            else:
                assert outcome is counted.ticket.wait()
                assert outcome.only.status in ("succeeded", "failed", "skipped", "cancelled")
            while not counted.answers:  # it is called right after the answer is there
                time.sleep(0.001)
        assert all(counted.answers == 1 for counted in made)
        stats = balancer.stats()
        assert (stats.running, stats.queued) == (0, 0)
        assert bodies.most <= workers
    finally:
        bodies.open.set()


works = st.lists(st.tuples(st.integers(-2, 2), st.booleans()), min_size=1, max_size=12)


@pytest.mark.parametrize("executor", EXECUTORS)
@settings(max_examples=30, deadline=None)
@given(works=works)
def test_higher_priorities_go_first_and_equals_in_their_order(executor: str, works: list[tuple[int, bool]]) -> None:
    bodies, ran = Bodies(), list[int]()
    with Balancer(executor, workers=1) as balancer:
        first = balancer.post(bodies.request("blocks", 0))
        assert bodies.blocked.acquire(timeout=10)  # it holds the only slot
        note = Task(ran.append).inline()
        tickets = [balancer.post(note(n), priority=priority) for n, (priority, _) in enumerate(works)]
        for ticket, (_, stays) in zip(tickets, works, strict=True):
            if not stays:
                ticket.cancel()
        bodies.open.set()
        first.wait(10_000)
        for ticket in tickets:
            ticket.wait(10_000)
    expected = [n for n, (_, stays) in enumerate(works) if stays]
    assert ran == sorted(expected, key=lambda n: -works[n][0])  # sorting is stable
