"""What a request costs that waits in the queue; and that it costs nothing any more when it is over."""

from __future__ import annotations

import gc
import threading
import tracemalloc
from collections.abc import Iterator

import pytest
from leaks.baseline import EXECUTORS, is_idle, pause
from waiting import eventually

from rio_chain import Balancer, Task, Ticket

pytestmark = pytest.mark.timeout(50)

MANY = 5_000
MOST = 4 * 1024
"""Bytes for each that waits, with its ticket, its request and its arguments."""
REST = 16
"""Bytes for each that may stay: what the process keeps anyway, divided by so many."""


async def load(number: int) -> int:
    return number


CHAIN = (Task(load).timeout(1_000).retry(3) >> Task(load).named("again").timeout(1_000).retry(3)).timeout(100_000)


@pytest.fixture
def traced() -> Iterator[None]:
    gc.collect()
    tracemalloc.start()
    yield
    tracemalloc.stop()


def held() -> int:
    """Bytes that Python objects take."""
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


@pytest.mark.usefixtures("traced")
@pytest.mark.parametrize("executor", EXECUTORS)
def test_a_request_that_waits_costs_less_than_4_kib(executor: str) -> None:
    go = threading.Event()

    async def stays(_: object) -> None:
        while not go.is_set():
            await pause(0.002)

    def wait_for_all(tickets: list[Ticket[int]]) -> None:
        for number, ticket in enumerate(tickets):
            if number % 2:
                ticket.cancel()
        go.set()
        for number, ticket in enumerate(tickets):
            assert ticket.wait(40_000)[0].status == ("skipped" if number % 2 else "succeeded")
        tickets.clear()

    with Balancer(executor, workers=2, buffer=2 * MANY) as balancer:
        for warm in (True, False):
            go.clear()
            running = [balancer.post(Task(stays)(None)) for _ in range(2)]
            before = held()
            tickets = [balancer.post(CHAIN(number)) for number in range(100 if warm else MANY)]
            cost = (held() - before) / len(tickets)
            assert balancer.stats().queued == len(tickets)
            wait_for_all(tickets)
            for ticket in running:
                ticket.wait(40_000)
            eventually(lambda: is_idle(balancer))
        assert cost < MOST
        assert (held() - before) / MANY < REST
