"""Very many posts, and tickets that are waited for everywhere at once: each is answered once, nowhere twice."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import pytest
import trio
from leaks.baseline import EXECUTORS, is_idle, nothing_left, pause
from load.test_load import in_threads
from returns.result import Success
from waiting import eventually

from rio_chain import Balancer, Outcome, Task, Ticket

pytestmark = pytest.mark.timeout(50)


def all_posts_are_answered(executor: str, posters: int, each: int, aging: float | None = None) -> None:
    """So many threads post so many requests each; every one runs exactly once, and nothing is left."""
    ran = bytearray(posters * each)
    slots = threading.BoundedSemaphore(10)

    def body(number: int) -> int:
        assert slots.acquire(blocking=False), "more than `workers` at once"
        ran[number] += 1
        slots.release()
        return number

    chain = Task(body).inline()

    def poster(index: int) -> None:
        for start in range(index * each, (index + 1) * each, 100):
            numbers = range(start, min(start + 100, (index + 1) * each))
            tickets = [balancer.post(chain(number), priority=number % 3) for number in numbers]
            assert [ticket.wait(40_000).unwrap() for ticket in tickets] == [*numbers]

    with Balancer(executor, workers=10, buffer=posters * each, aging=aging) as balancer:
        in_threads(posters, poster)
        assert ran == b"\x01" * (posters * each)
        eventually(lambda: is_idle(balancer))
        stats = balancer.stats()
        assert (stats.done, stats.rejected, stats.waits.count) == (posters * each, 0, posters * each)


@pytest.mark.parametrize("aging", [None, 5])
@pytest.mark.parametrize("executor", EXECUTORS)
def test_a_hundred_posters(executor: str, aging: float | None) -> None:
    with nothing_left():
        all_posts_are_answered(executor, posters=100, each=100, aging=aging)


# --- many callers that wait for the same -------------------------------------------------------------------------


@pytest.mark.parametrize("executor", EXECUTORS)
def test_tickets_are_awaited_on_any_number_of_loops_and_threads_at_once(executor: str) -> None:
    """Every one of nine waiters, on loops that are not the balancer's, gets the same Outcome of each of the tickets."""
    many, seen = 200, list[list[Outcome[Any]]]()

    async def body(number: int) -> int:
        await pause(0)
        return number

    async def wait_for_all(draw: random.Random) -> list[Outcome[Any]]:
        async def one(index: int) -> None:
            found[index] = await tickets[index]

        found: dict[int, Outcome[Any]] = {}
        await together([partial(one, index) for index in draw.sample(range(many), many)])
        return [found[index] for index in range(many)]

    def waiter(index: int) -> None:
        draw = random.Random(index)
        start.wait()
        if index % 3 == 0:
            seen.append(asyncio.run(wait_for_all(draw)))
        elif index % 3 == 1:
            seen.append(trio.run(wait_for_all, draw))
        else:
            seen.append([ticket.wait(30_000) for ticket in tickets])

    tickets: list[Ticket[int]] = []
    start = threading.Barrier(10)
    with nothing_left(), Balancer(executor, workers=3) as balancer:
        others = threading.Thread(target=in_threads, args=(9, waiter))
        others.start()
        tickets += [balancer.post(Task(body)(number), priority=number % 2) for number in range(many)]
        start.wait()
        others.join(40)
        assert [[outcome.unwrap() for outcome in outcomes] for outcomes in seen] == [[*range(many)]] * 9
        assert all(mine is yours for outcomes in seen for mine, yours in zip(outcomes, seen[0], strict=True))
        assert not any(ticket._wakers for ticket in tickets)


async def together(works: list[Callable[[], Awaitable[None]]]) -> None:
    """Each in a task of its own, on whichever loop this runs."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        async with trio.open_nursery() as nursery:
            for work in works:
                nursery.start_soon(work)
    else:
        await asyncio.gather(*(work() for work in works))


class Crowd:
    """Asks the same balancer in every way, from any thread or loop; also cancels, and lets time run out."""

    each = 60

    def __init__(self, balancer: Balancer) -> None:
        self.balancer = balancer
        self.answered: list[str] = []

    async def body(self, number: int) -> int:
        await pause(0.001)
        return number

    def check(self, outcome: Outcome[int], number: int, *, may_fail: bool) -> None:
        if type(outcome.result) is Success:
            assert outcome.unwrap() == number
        else:
            assert may_fail  # its task may have succeeded: a cancel that meets a finish has either end
        self.answered.append(outcome.only.status)

    async def asks(self, index: int, number: int) -> None:
        request = Task(self.body)(number)
        terms: dict[str, Any] = [{}, {"deadline": 20_000}, {"queue_timeout": 20_000}, {"deadline": 1}][number % 4]
        if number % 3:
            outcome = await self.balancer.arun(request, priority=index, **terms)
        else:
            ticket = self.balancer.post(request, priority=index, **terms)
            if number % 2:
                ticket.cancel()
            outcome = await ticket
        self.check(outcome, number, may_fail="deadline" in terms or number % 6 == 3)

    async def on_a_loop(self, index: int) -> None:
        await together([partial(self.asks, index, number) for number in range(self.each)])

    def caller(self, index: int) -> None:
        if index % 3 == 0:
            asyncio.run(self.on_a_loop(index))
        elif index % 3 == 1:
            trio.run(self.on_a_loop, index)
        else:
            for number in range(self.each):
                self.check(self.balancer.run(Task(self.body)(number), priority=index), number, may_fail=False)


@pytest.mark.parametrize("executor", EXECUTORS)
def test_one_balancer_for_several_loops_and_threads_at_once(executor: str) -> None:
    with nothing_left(), Balancer(executor, workers=4) as balancer:
        crowd = Crowd(balancer)
        in_threads(6, crowd.caller)
        eventually(lambda: is_idle(balancer))
    assert len(crowd.answered) == 6 * crowd.each
    assert crowd.answered.count("succeeded") >= 4 * crowd.each


@pytest.mark.parametrize("run", [asyncio.run, lambda main: trio.run(lambda: main)])
def test_a_balancer_on_a_loop_serves_that_loop_and_all_others_at_once(run: Callable[[Any], Any]) -> None:
    async def home() -> Crowd:
        async with Balancer(workers=4) as balancer:
            crowd = Crowd(balancer)
            others = threading.Thread(target=in_threads, args=(6, crowd.caller))
            others.start()
            await crowd.on_a_loop(0)
            while others.is_alive():
                await pause(0.001)
        assert is_idle(balancer)
        return crowd

    with nothing_left():
        crowd = run(home())
    assert len(crowd.answered) == 7 * crowd.each
    assert crowd.answered.count("succeeded") >= 4 * crowd.each
