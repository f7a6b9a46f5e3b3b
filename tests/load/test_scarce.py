"""The system runs out of threads, descriptors and memory again and again.

Each request is answered once, and nothing is left over.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import time
from collections import Counter
from typing import Any

import pytest
import trio
from conformance.spawning import Spawning, rest, run_in_strand
from leaks.baseline import EXECUTORS, Bodies, bodies, is_idle, nothing_left, pause
from scarce import scarce
from waiting import eventually

from rio_chain import Balancer, RioError, Task
from rio_chain.executors._spawned_strands import living

SECONDS = float(os.environ.get("RIO_STORM_SECONDS", "1.5"))
"""Of each storm. A soak takes 60."""
POSTERS = 4
pytestmark = [
    pytest.mark.timeout(120 + SECONDS * 4),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning"),  # they are reported
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
UNAVAILABLE = RuntimeError, OSError, MemoryError, RioError
"""What a caller gets whose request was not accepted, or broke."""


def chains(body: Bodies) -> list[Task[Any, Any]]:
    return [
        Task(body.answer).inline(),
        Task(body.answer).timeout(5_000).retry(2, backoff=None),
        Task(body.aanswer).timeout(5_000),
        Task(body.aanswer) & Task(body.answer),
        Task(body.fail).retry(1, backoff=None).or_else(0),
        Task(body.answer).replica(2),
        Task(time.sleep).timeout(2).or_else(0),
        Spawning(spawned).around(body.answer),
    ]


async def spawned() -> None:
    """What a strand does that no caller waits for."""
    await rest(1)
    await run_in_strand((Task(str) & Task(time.sleep)).timeout(5_000)(0.001))


class Posters:
    """Threads and loops that hand requests over, wait for each, and count how they ended."""

    def __init__(self, balancer: Balancer, body: Bodies) -> None:
        self.balancer = balancer
        self.chains = chains(body)
        self.until = time.monotonic() + SECONDS
        self.ended: Counter[str] = Counter()
        self.unanswered: list[Any] = []

    def request(self, number: int) -> Any:
        chain = self.chains[number % len(self.chains)]
        return chain(0.01)

    def post(self) -> None:
        number = 0
        while time.monotonic() < self.until:
            number += 1
            try:
                ticket = self.balancer.post(self.request(number), queue_timeout=10_000 if number % 3 else None)
            except UNAVAILABLE as error:
                self.ended[f"refused: {type(error).__name__}"] += 1
                continue
            if number % 11 == 0:
                with contextlib.suppress(MemoryError):
                    ticket.cancel()
            answered = ticket.done
            for _ in range(400):
                with contextlib.suppress(*UNAVAILABLE, TimeoutError):
                    ticket.wait(50)
                answered = ticket.done
                if answered:
                    break
            if answered:
                self.ended["answered"] += 1
            else:
                self.unanswered.append(ticket)
                return

    def run(self) -> None:
        number = 0
        while time.monotonic() < self.until:
            number += 1
            try:
                self.balancer.run(self.request(number), deadline=10_000)
                self.ended["ran"] += 1
            except UNAVAILABLE as error:
                self.ended[f"not run: {type(error).__name__}"] += 1

    async def arun(self) -> None:
        number = 0
        while time.monotonic() < self.until:
            number += 1
            try:
                await self.balancer.arun(self.request(number), deadline=10_000)
                self.ended["awaited"] += 1
            except UNAVAILABLE as error:
                self.ended[f"not awaited: {type(error).__name__}"] += 1
            await pause(0)


@pytest.mark.parametrize("executor", EXECUTORS)
def test_each_request_is_answered_once_and_nothing_stays(executor: str) -> None:
    with nothing_left(), bodies() as body:
        balancer = Balancer(executor, workers=4, buffer=100, max_abandoned=1_000)
        with balancer:
            posters = Posters(balancer, body)
            with scarce(1):
                threads = [threading.Thread(target=posters.post) for _ in range(POSTERS)]
                threads += [threading.Thread(target=posters.run) for _ in range(POSTERS)]
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join(SECONDS + 60)
                assert not any(thread.is_alive() for thread in threads), "a caller hangs"
            assert posters.unanswered == []
            eventually(lambda: is_idle(balancer), repr(balancer))
            eventually(lambda: not living)
            assert balancer.run(Task(body.answer)(7)).unwrap() == 7


@pytest.mark.parametrize("native", ["asyncio", "trio"])
def test_the_same_on_a_loop_that_runs_anyway(native: str) -> None:
    async def main() -> None:
        async with Balancer(workers=4, max_abandoned=1_000) as balancer:
            posters = Posters(balancer, body)
            with scarce(2):
                await posters.arun()
            for _ in range(1_000):
                if is_idle(balancer) and not living:
                    break
                await pause(0.001)
            assert is_idle(balancer), balancer
            assert not living
            assert (await balancer.arun(Task(body.answer)(7))).unwrap() == 7

    with nothing_left(), bodies() as body:
        asyncio.run(main()) if native == "asyncio" else trio.run(main)
