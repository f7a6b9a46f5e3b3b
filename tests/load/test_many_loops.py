"""One balancer for several asyncio loops, trio loops and plain threads at once, in every way there is to ask it.

Some of the loops end in the middle of their waits. That is felt by nobody else.
"""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import pytest
import trio
from leaks.baseline import EXECUTORS, is_idle, nothing_left, pause
from load.test_load import in_threads
from load.test_posters import together
from waiting import eventually

from rio_chain import Balancer, Outcome, Request, Task, Ticket, TicketCancelled

pytestmark = pytest.mark.timeout(50)

VISITORS = 9  # three of each kind
EACH = 12
SPARE = 30_000


class Visit:
    """Asks a balancer from one loop or thread. Every answer must be that of its own question, on its own thread."""

    def __init__(self, balancer: Balancer, index: int) -> None:
        self.balancer = balancer
        self.base = index * 1_000_000
        self.ran = Counter[int]()
        self.answers = Counter[int]()
        self.cancelled: list[Ticket[int]] = []
        self.chain = Task(self.waits) >> Task(self.works)

    async def waits(self, number: int) -> int:
        await pause(0)
        return number

    def works(self, number: int) -> int:
        self.ran[number] += 1
        return -number

    def request(self, number: int) -> Request[int]:
        return self.chain(self.base + number)

    def check(self, outcome: Outcome[int], number: int) -> None:
        assert threading.get_ident() == self.thread
        assert outcome.unwrap() == -(self.base + number)
        self.answers[self.base + number] += 1

    def post_and_cancel(self, number: int) -> Ticket[int]:
        ticket = self.balancer.post(self.request(number))
        ticket.cancel()
        self.cancelled.append(ticket)
        return ticket

    def over(self) -> None:
        """Every question was answered once, and run once; those that were cancelled at most once."""
        assert set(self.answers.values()) == {1}
        assert all(self.ran[number] == 1 for number in self.answers)
        assert set(self.ran.values()) == {1}
        for ticket in self.cancelled:
            assert ticket.done
            assert not ticket._wakers
            outcome = ticket.wait()
            assert outcome[-1].status == "succeeded" or isinstance(outcome.result.failure(), TicketCancelled)

    # --- loops ----------------------------------------------------------------------------------------------------

    async def on_a_loop(self) -> None:
        self.thread = threading.get_ident()
        ways = (self.aruns, self.awaits, self.amaps, self.cancels, self.streams)
        await together([partial(way, first * EACH) for first, way in enumerate(ways)])

    async def aruns(self, first: int) -> None:
        async def one(number: int) -> None:
            self.check(await self.balancer.arun(self.request(number), priority=number % 3), number)

        await together([partial(one, number) for number in range(first, first + EACH)])

    async def awaits(self, first: int) -> None:
        tickets = [self.balancer.post(self.request(number), deadline=SPARE) for number in range(first, first + EACH)]
        for number, ticket in enumerate(tickets, first):
            self.check(await ticket, number)

    async def amaps(self, first: int) -> None:
        inputs = range(self.base + first, self.base + first + EACH)
        number = first
        async for outcome in self.balancer.amap(self.chain, inputs):
            self.check(outcome, number)
            number += 1
        assert number == first + EACH

    async def cancels(self, first: int) -> None:
        for number in range(first, first + EACH):
            await self.post_and_cancel(number)

    async def streams(self, first: int) -> None:
        async with self.request(first).stream() as events:
            assert [event.task async for event in events if event.kind == "finished"] == ["waits", "works"]
        self.check(events.outcome, first)

    # --- threads --------------------------------------------------------------------------------------------------

    def on_a_thread(self) -> None:
        self.thread = threading.get_ident()
        tickets = [self.balancer.post(self.request(number), priority=number % 3) for number in range(EACH)]
        for number in range(EACH, 2 * EACH):
            self.check(self.balancer.run(self.request(number), queue_timeout=SPARE), number)
            self.post_and_cancel(2 * EACH + number)
        inputs = range(self.base + 4 * EACH, self.base + 5 * EACH)
        for number, outcome in enumerate(self.balancer.map(self.chain, inputs), 4 * EACH):
            self.check(outcome, number)
        for number, ticket in enumerate(tickets):
            self.check(ticket.wait(SPARE), number)
        with self.request(5 * EACH).stream() as events:
            assert [event.task for event in events if event.kind == "finished"] == ["waits", "works"]
        self.check(events.outcome, 5 * EACH)
        for ticket in self.cancelled:
            ticket.wait(SPARE)


class Crowd:
    """Visitors of all kinds; and those whose loops end while they wait for what does not come yet."""

    def __init__(self, balancer: Balancer) -> None:
        self.balancer = balancer
        self.visits = [Visit(balancer, index + 1) for index in range(VISITORS)]
        self.go = threading.Event()
        self.left: list[Ticket[int]] = []
        self.ended = 0

    async def stays(self, number: int) -> int:
        while not self.go.is_set():
            await pause(0.001)
        return number

    def caller(self, index: int) -> None:
        if index >= VISITORS:
            self.one_that_dies(index)
        elif index % 3 == 0:
            asyncio.run(self.visits[index].on_a_loop())
        elif index % 3 == 1:
            trio.run(self.visits[index].on_a_loop)
        else:
            self.visits[index].on_a_thread()

    def one_that_dies(self, index: int) -> None:
        if index % 3 == 0:
            asyncio.run(self.asyncio_that_ends())
        elif index % 3 == 1:
            trio.run(self.nursery_that_is_cancelled)
        else:
            ticket = self.balancer.post(Task(self.stays)(index))
            self.left.append(ticket)
            with pytest.raises(TimeoutError):
                ticket.wait(5)

    def waits(self) -> list[Callable[[], Awaitable[Any]]]:
        self.left.append(ticket := self.balancer.post(Task(self.stays)(7)))

        async def awaits() -> None:
            await ticket

        async def aruns() -> None:
            try:
                await self.balancer.arun(Task(self.stays)(8))
            finally:
                self.ended += 1

        return [awaits, awaits, aruns]

    async def asyncio_that_ends(self) -> None:
        async def of(wait: Callable[[], Awaitable[Any]]) -> None:
            await wait()

        tasks = [asyncio.ensure_future(of(wait)) for wait in self.waits()]
        await asyncio.sleep(0.01)
        assert not any(task.done() for task in tasks)

    async def nursery_that_is_cancelled(self) -> None:
        async with trio.open_nursery() as nursery:
            for wait in self.waits():
                nursery.start_soon(wait)
            await trio.sleep(0.01)
            nursery.cancel_scope.cancel()

    def come(self) -> None:
        in_threads(VISITORS + 3, self.caller)

    def over(self) -> None:
        """Nothing was lost, and callers that are gone have left no call behind."""
        for visit in self.visits:
            visit.over()
        assert self.ended == 2
        assert not any(ticket._wakers for ticket in self.left)
        self.go.set()

    def rest(self) -> None:
        """What was waited for runs all the same, and is answered."""
        assert sorted(ticket.wait(SPARE).unwrap() for ticket in self.left) == [7, 7, VISITORS + 2]


@pytest.mark.parametrize("executor", EXECUTORS)
def test_a_balancer_on_a_thread_of_its_own(executor: str) -> None:
    with nothing_left(), Balancer(executor, workers=6) as balancer:
        crowd = Crowd(balancer)
        crowd.come()
        crowd.over()
        crowd.rest()
        eventually(lambda: is_idle(balancer))
        stats = balancer.stats()
        assert stats.done == stats.waits.count
        assert stats.rejected == 0


@pytest.mark.parametrize("run", [asyncio.run, lambda main: trio.run(lambda: main)], ids=["asyncio", "trio"])
def test_a_balancer_on_a_loop_that_asks_it_too(run: Callable[[Any], Any]) -> None:
    async def home() -> None:
        async with Balancer(workers=6) as balancer:
            crowd = Crowd(balancer)
            own = Visit(balancer, 0)
            others = threading.Thread(target=crowd.come)
            others.start()
            await own.on_a_loop()
            while others.is_alive():
                await pause(0.001)
            own.over()
            crowd.over()
            for ticket in crowd.left:
                await ticket
            crowd.rest()
        assert is_idle(balancer)

    with nothing_left():
        run(home())
