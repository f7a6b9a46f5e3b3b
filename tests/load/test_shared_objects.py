"""One state object, used by several chains, threads and executors at the same time, bound to none of them."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
import trio
from attrs import define, field
from conformance.harness import pause

from rio_chain import (
    Balancer,
    Breaker,
    Budget,
    Cache,
    Chain,
    Chaos,
    CircuitOpen,
    Limit,
    Quantile,
    SingleFlight,
    Task,
)
from rio_chain.executors._start_thread import start_daemon

EACH = 60


@define(eq=False)
class Load:
    """A backend that counts how many calls run at once, sync and async, and fails every seventh."""

    calls: int = 0
    running: int = 0
    most: int = 0
    lock: threading.Lock = field(factory=threading.Lock)

    def _begin(self) -> int:
        with self.lock:
            self.calls += 1
            self.running += 1
            self.most = max(self.most, self.running)
            return self.calls

    def _end(self, number: int) -> int:
        with self.lock:
            self.running -= 1
        if number % 7 == 0:
            raise OSError(f"call {number}")
        return number

    async def fetch(self, _: int) -> int:
        number = self._begin()
        await pause(1)
        return self._end(number)

    def blocking(self, _: int) -> int:
        number = self._begin()
        time.sleep(0.001)
        return self._end(number)


def everywhere(make: Callable[[Load], tuple[Chain[[int], Any], Chain[[int], Any]]], load: Load) -> list[Any]:
    """Run chains of one state object on asyncio, trio and threads at once; what came of every request."""
    first, second = make(load)
    results: list[Any] = []
    errors: list[BaseException] = []

    async def on_asyncio() -> None:
        results.extend(await asyncio.gather(*(_outcome(first, k) for k in range(EACH))))

    async def on_trio() -> None:
        async def one(k: int) -> None:
            results.append(await first(k))

        async with trio.open_nursery() as nursery:
            for k in range(EACH):
                nursery.start_soon(one, k)

    def on_threads() -> None:
        with Balancer("thread", workers=20, threads=8) as balancer:
            tickets = [balancer.post((first, second)[k % 2](k)) for k in range(EACH)]
            results.extend(ticket.wait(20_000) for ticket in tickets)

    def guarded(work: Callable[[], object]) -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - raised by the test, below
            errors.append(error)

    works = [lambda: asyncio.run(on_asyncio()), lambda: trio.run(on_trio), on_threads]
    threads = [start_daemon(lambda work=work: guarded(work), "test-user") for work in works]  # type: ignore[misc]
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive(), "a wake-up was lost"
    if errors:
        raise errors[0]
    assert len(results) == 3 * EACH
    return results


def test_a_limit() -> None:
    limit, load = Limit(3), Load()
    everywhere(lambda load: (Task(load.fetch).limit(limit), Task(load.blocking).limit(limit)), load)
    assert load.most <= 3
    assert load.calls == 3 * EACH
    assert (limit.running, limit.waiting) == (0, 0)


def test_a_rate() -> None:
    limit, load = Limit(rate=1, per=2, burst=1), Load()
    began = time.monotonic()
    everywhere(lambda load: (Task(load.fetch).limit(limit), Task(load.blocking).limit(limit)), load)
    assert load.calls == 3 * EACH
    assert time.monotonic() - began >= (3 * EACH - 1) * 0.002 - 0.01


def test_a_budget() -> None:
    budget = Budget(0.2, floor=2)
    outcomes = everywhere(
        lambda load: (
            Task(load.fetch).replica(2, after=0).retry(3, backoff=None).budget(budget),
            Task(load.blocking).retry(3, backoff=None).budget(budget),
        ),
        Load(),
    )
    assert (budget.executions, budget.extras) == (0, 0)
    assert budget.denied == sum(outcome.only.denied for outcome in outcomes)


def test_a_breaker() -> None:
    breaker = Breaker(ratio=0.9, min_calls=5)
    outcomes = everywhere(
        lambda load: (Task(load.fetch).breaker(breaker), Task(load.blocking).breaker(breaker)), Load()
    )
    assert breaker.state == "closed"
    assert not any(isinstance(outcome.result.swap().value_or(None), CircuitOpen) for outcome in outcomes)
    breaker.open()
    refused = everywhere(lambda load: (Task(load.fetch).breaker(breaker),) * 2, Load())
    assert all(type(outcome.result.failure()) is CircuitOpen for outcome in refused)


def test_a_cache() -> None:
    cache, load = Cache(60_000, key=lambda k: k % 5), Load()
    everywhere(lambda load: (Task(load.fetch).retry(3).cache(cache), Task(load.blocking).retry(3).cache(cache)), load)
    assert len(cache) == 5
    asked = load.calls
    everywhere(lambda load: (Task(load.fetch).cache(cache), Task(load.blocking).cache(cache)), load)
    assert load.calls == asked


def test_single_flight() -> None:
    flights, load = SingleFlight(key=lambda _: "all"), Load()
    outcomes = everywhere(
        lambda load: (Task(load.fetch).single_flight(flights), Task(load.blocking).single_flight(flights)), load
    )
    assert load.most == 1
    assert load.calls == sum(outcome.only.attempts for outcome in outcomes) < 3 * EACH
    assert repr(flights).endswith("0 in flight, 0 follow>")


def test_a_quantile_and_chaos() -> None:
    late, chaos = Quantile(0.9, warmup=5), Chaos(0.2, latency=1)
    everywhere(
        lambda load: (
            Task(load.fetch).chaos(chaos).replica(2, after=late),
            Task(load.blocking).chaos(chaos).replica(2, after=late),
        ),
        Load(),
    )
    assert late.value() is not None


@pytest.mark.parametrize("what", ["limit", "flights"])
def test_a_wait_on_a_loop_that_ends_is_passed_on(what: str) -> None:
    """A loop is closed while one of its requests waits in the line of an object that lives on."""
    limit, flights = Limit(1), SingleFlight()
    go = threading.Event()
    calls = []

    def blocking(x: int) -> int:
        calls.append(x)
        go.wait(5)
        return x

    task = Task(blocking)
    chain = task.limit(limit) if what == "limit" else task.single_flight(flights)
    with Balancer("thread", workers=3, threads=3) as balancer:
        first = balancer.post(chain(7))
        while not calls:
            time.sleep(0.001)

        async def waits() -> None:
            waiting = asyncio.ensure_future(_outcome(chain, 7))
            await asyncio.sleep(0.01)
            waiting.cancel()

        asyncio.run(waits())
        second = balancer.post(chain(7))
        go.set()
        assert first.wait(5_000).unwrap() == second.wait(5_000).unwrap() == 7
    assert (limit.running, limit.waiting) == (0, 0)


async def _outcome(chain: Chain[[int], Any], x: int) -> object:
    return await chain(x)
