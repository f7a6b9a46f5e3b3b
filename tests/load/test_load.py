"""Many callers at once: none is lost, none hangs, and never more than ``workers`` run. Nothing here measures time."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Callable
from typing import Any

import pytest
import trio
from leaks.baseline import EXECUTORS, bodies, is_idle, nothing_left, pause
from returns.pipeline import is_successful
from waiting import eventually

from rio_chain import Balancer, QueueFull, Task, TicketCancelled

pytestmark = pytest.mark.timeout(50)


class Meter:
    """Counts how many are in it at once."""

    def __init__(self) -> None:
        self.now = self.most = self.calls = 0
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        with self._lock:
            self.calls += 1
            self.now += 1
            self.most = max(self.most, self.now)

    def __exit__(self, *exc: object) -> None:
        with self._lock:
            self.now -= 1

    def work(self, x: int) -> int:
        with self:
            return x

    async def awork(self, x: int) -> int:
        with self:
            await pause(0)
        return x


def in_threads(number: int, work: Callable[[int], None]) -> None:
    """Run it on so many threads, all begun at the same moment, and raise what any of them raised."""
    errors: list[BaseException] = []
    start = threading.Barrier(number)

    def guarded(index: int) -> None:
        try:
            start.wait()
            work(index)
        except BaseException as error:  # noqa: BLE001 - raised below
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(index,)) for index in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(40)
    assert not any(thread.is_alive() for thread in threads), "somebody waits for ever"
    if errors:
        raise errors[0]


@pytest.mark.parametrize("kind", ["sync", "async"])
@pytest.mark.parametrize("executor", EXECUTORS)
def test_a_hundred_threads_with_a_hundred_requests_each(executor: str, kind: str) -> None:
    meter = Meter()
    chain = Task(meter.work if kind == "sync" else meter.awork)
    each = 100 if kind == "sync" else 30

    def caller(index: int) -> None:
        for n in range(each):
            outcome = balancer.run(chain(index * each + n), priority=n % 3)
            assert outcome.unwrap() == index * each + n

    with nothing_left(), Balancer(executor, workers=10, buffer=2) as balancer:
        in_threads(100, caller)
        eventually(lambda: is_idle(balancer))
        assert (meter.calls, meter.now, balancer.stats().done) == (100 * each, 0, 100 * each)
        assert meter.most <= 10


@pytest.mark.parametrize("executor", EXECUTORS)
def test_a_hundred_submitters_on_ten_workers(executor: str) -> None:
    meter = Meter()

    async def main() -> None:
        async def submitter(index: int) -> None:
            for n in range(20):
                assert (await balancer.arun(Task(meter.awork)(n), priority=index % 3)).unwrap() == n

        async with Balancer(executor, workers=10, buffer=2) as balancer:
            await asyncio.gather(*map(submitter, range(100)))
            assert balancer.stats().done == 2_000
        assert is_idle(balancer)

    with nothing_left():
        asyncio.run(main())
    assert (meter.calls, meter.now) == (2_000, 0)
    assert meter.most <= 10


@pytest.mark.parametrize("executor", EXECUTORS)
def test_posts_beyond_the_buffer_are_refused(executor: str) -> None:
    with bodies() as body, Balancer(executor, workers=10, buffer=2) as balancer:
        running = [balancer.post(Task(body.stay)(n)) for n in range(10)]
        for _ in running:
            body.wait_begun()
        waiting = [balancer.post(Task(body.answer)(n)) for n in range(2)]
        refused = []

        def poster(_: int) -> None:
            for n in range(20):
                try:
                    waiting.append(balancer.post(Task(body.answer)(n)))
                except QueueFull as error:
                    refused.append(str(error))

        in_threads(20, poster)
        assert set(refused) == {"2 requests are waiting already (buffer=2); this one was not accepted"}
        assert (len(waiting), len(refused), balancer.stats().rejected) == (2, 400, 400)
        body.open.set()
        assert [ticket.wait().unwrap() for ticket in running + waiting] == [*range(10), 0, 1]


class Count:
    """How often a ticket was answered."""

    def __init__(self) -> None:
        self.answers = 0

    def __call__(self) -> None:
        self.answers += 1


@pytest.mark.parametrize("executor", EXECUTORS)
def test_ten_thousand_posts_with_random_cancels_are_answered_exactly_once(executor: str) -> None:
    meter = Meter()
    made: list[list[tuple[Any, Count]]] = [[] for _ in range(10)]

    def poster(index: int) -> None:
        draw = random.Random(index)
        for n in range(1_000):
            limit = draw.choice([None, None, None, 10_000])
            ticket = balancer.post(Task(meter.work).inline()(n), priority=draw.randrange(3), queue_timeout=limit)
            count = Count()
            ticket.on_done(count)
            made[index].append((ticket, count))
            if draw.random() < 0.3:
                draw.choice(made[index])[0].cancel()

    with nothing_left(), Balancer(executor, workers=10, buffer=10_000) as balancer:
        in_threads(10, poster)
        ran = 0
        for n, (ticket, count) in ((n, pair) for part in made for n, pair in enumerate(part)):
            outcome = ticket.wait(20_000)
            eventually(lambda count=count: count.answers, "that it was called")  # right after the answer is there
            ran += outcome[0].status == "succeeded"
            # cancelled while its only task gave its answer: that has succeeded, and the run has not
            if is_successful(outcome.result):
                assert (outcome.unwrap(), outcome[0].status) == (n, "succeeded")
            else:
                assert isinstance(outcome.result.failure(), TicketCancelled)
        eventually(lambda: is_idle(balancer))
        assert all(count.answers == 1 for part in made for _, count in part)
        assert ran <= meter.calls <= 10_000  # what was cancelled while it ran has been called as well
        assert (meter.most <= 10, meter.now) == (True, 0)


@pytest.mark.parametrize("executor", EXECUTORS)
def test_several_loops_and_threads_at_once(executor: str) -> None:
    meter = Meter()
    chain = Task(meter.work) >> Task(meter.awork)

    async def on_any_loop() -> None:
        for n in range(20):
            assert (await balancer.arun(chain(n))).unwrap() == n
            assert (await balancer.post(chain(n))).unwrap() == n
        assert [outcome.unwrap() async for outcome in balancer.amap(chain, range(20))] == list(range(20))

    def caller(index: int) -> None:
        if index % 3 == 0:
            asyncio.run(on_any_loop())
        elif index % 3 == 1:
            trio.run(on_any_loop)
        else:
            for n in range(40):
                assert balancer.run(chain(n)).unwrap() == n
            got = [outcome.unwrap() for outcome in balancer.map(chain, range(20), as_completed=True)]
            assert sorted(got) == list(range(20))

    with nothing_left(), Balancer(executor, workers=4) as balancer:
        in_threads(9, caller)
        eventually(lambda: is_idle(balancer))
        assert balancer.stats().done == 9 * 60


@pytest.mark.parametrize("native", ["asyncio", "trio"])
def test_a_native_balancer_serves_its_own_loop_and_all_others(native: str) -> None:
    meter = Meter()
    chain = Task(meter.awork)

    async def main() -> None:
        async def own() -> None:
            for n in range(100):
                assert (await balancer.arun(chain(n))).unwrap() == n
                assert (await balancer.post(chain(n))).unwrap() == n

        async with Balancer(workers=3) as balancer:
            others = threading.Thread(target=in_threads, args=(6, lambda index: caller(balancer, index)))
            others.start()
            await own()
            while others.is_alive():
                await pause(0.001)
        assert balancer.stats().done == 200 + 6 * 50

    def caller(balancer: Balancer, index: int) -> None:
        async def elsewhere() -> None:
            for n in range(50):
                assert (await balancer.arun(chain(n))).unwrap() == n

        if index % 3 == 2:
            for n in range(50):
                assert balancer.run(chain(n)).unwrap() == n
        else:
            asyncio.run(elsewhere()) if index % 3 else trio.run(elsewhere)

    with nothing_left():
        asyncio.run(main()) if native == "asyncio" else trio.run(main)
    assert meter.most <= 3
