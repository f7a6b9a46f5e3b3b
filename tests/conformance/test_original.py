"""Behaviours of the Go original that were promised, and each of its known defects as a regression test."""

from __future__ import annotations

import random
import threading

import pytest
from conformance.harness import World
from returns.result import Success

from rio_chain import Task, TaskTimedOut, star


async def echo(x: object) -> object:
    return x


@pytest.mark.real_time
async def test_100_threads_with_100_requests_each_and_none_lost(world: World) -> None:
    """The original's own test closed at once, and so asserted next to nothing; its dispatch could deadlock here."""
    world.not_virtual("one thread drives it while the others look on")

    async def plus(x: int) -> int:
        return x + 1

    chain = Task(plus) >> (lambda x: x * 2) >> Task(plus).named("b")
    got: list[list[int]] = [[] for _ in range(100)]
    errors: list[BaseException] = []

    async with world.balancer(workers=10, buffer=20) as balancer:

        def submit(k: int) -> None:
            try:
                got[k].extend(balancer.run(chain(100 * k + n)).unwrap() for n in range(100))
            except BaseException as exc:  # noqa: BLE001 - shown below
                errors.append(exc)

        threads = [threading.Thread(target=submit, args=(k,)) for k in range(100)]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            await world.pause(5)
        assert errors == []
        assert got == [[2 * (100 * k + n + 1) + 1 for n in range(100)] for k in range(100)]
        stats = balancer.stats()
        assert (stats.done, stats.running, stats.queued) == (10_000, 0, 0)


async def test_100_submitters_on_10_workers(world: World) -> None:
    """Its dispatcher waited for a worker whose buffer was full while that worker waited for the dispatcher."""

    async def body(x: int) -> int:
        await world.pause(0)
        return x

    async with world.balancer(workers=10, buffer=20) as balancer:

        async def submitter(k: int) -> list[int]:
            return [(await balancer.arun(Task(body)(k))).unwrap() for _ in range(10)]

        got = await world.together(*[lambda k=k: submitter(k) for k in range(100)])
        assert got == [[k] * 10 for k in range(100)]
        assert balancer.stats().done == 1_000


async def test_leaving_the_middle_of_the_queue_keeps_its_order(world: World) -> None:
    """Its heap lost track of positions, so that removing one took out another."""
    gate, order = world.gate(), []

    async def body(x: object) -> object:
        order.append(x)
        await gate.passed()
        return x

    draw = random.Random(7)
    async with world.balancer(workers=1) as balancer:
        first = balancer.post(Task(body)("first"))
        await world.until(lambda: order)
        given = [(draw.randrange(4), k) for k in range(100)]
        tickets = {k: balancer.post(Task(body)(k), priority=priority) for priority, k in given}
        gone = set(draw.sample(range(100), 60))
        for k in gone:
            tickets[k].cancel()
        gate.open()
        await first
        for ticket in tickets.values():
            await ticket
        left = sorted((-priority, k) for priority, k in given if k not in gone)
        assert order == ["first", *[k for _, k in left]]


async def test_no_timeout_is_no_limit_of_zero(world: World) -> None:
    async def takes(x: object) -> object:
        await world.pause(5)
        return x

    assert (await world.run(Task(takes)(7))).result == Success(7)
    assert (await world.run(Task(takes).retry(0)(7))).result == Success(7)


async def test_none_as_data_completes(world: World) -> None:
    outcome = await world.run((Task(echo) >> (lambda _: None) >> Task(echo).named("b"))(None), priority=1)
    assert outcome.result == Success(None)


async def test_an_exception_in_a_body_or_a_bridge_ends_nothing_but_its_run(world: World) -> None:
    def dies(_: object) -> None:
        raise ZeroDivisionError

    async with world.balancer(workers=1) as balancer:
        for chain in (Task(dies).inline(), Task(echo) >> dies, Task(echo) >> dies >> Task(echo).named("b")):
            assert type((await balancer.arun(chain(7))).result.failure()).__name__ in {
                "ZeroDivisionError",
                "BridgeFailed",
            }
        assert (await balancer.arun(Task(echo)(7))).result == Success(7)


async def test_a_request_can_be_used_again(world: World) -> None:
    """Its retries were counted down in the request itself."""
    calls = []

    async def fails(x: object) -> None:
        calls.append(x)
        raise OSError

    request = Task(fails).retry(2, backoff=None)(7)
    async with world.balancer() as balancer:
        tickets = [balancer.post(request) for _ in range(3)]
        assert [(await ticket).only.attempts for ticket in tickets] == [3, 3, 3]
        assert len(calls) == 9


async def test_an_answer_that_nobody_reads_holds_up_nobody(world: World) -> None:
    """Its worker stood still until the caller had read the answer."""
    async with world.balancer(workers=1, buffer=200) as balancer:
        kept = [balancer.post(Task(echo)(k)) for k in range(100)]
        assert (await balancer.arun(Task(echo)(100))).result == Success(100)
        assert all(ticket.done for ticket in kept)


@pytest.mark.real_time
async def test_an_abandoned_body_does_not_block_for_ever(world: World) -> None:
    """Its abandoned bodies hung on a channel that nobody read."""
    world.not_virtual("a sync function takes no time, so no limit ends it")
    go, ended = threading.Event(), threading.Event()

    def stuck(_: object) -> None:
        go.wait(5)
        ended.set()

    async with world.balancer() as balancer:
        assert type((await balancer.arun(Task(stuck).timeout(10)(7))).result.failure()) is TaskTimedOut
        go.set()
        await world.until(ended.is_set)
        await world.until(lambda: balancer.stats().abandoned == 0)


async def test_close_does_not_poll(world: World) -> None:
    async with world.balancer() as balancer:
        gate = world.gate()

        async def body(x: object) -> object:
            await gate.passed()
            return x

        ticket = balancer.post(Task(body)(7))
        closing = world.start(balancer.aclose)
        await world.pause(5)
        begun = world.now()
        gate.open()
        await closing.result()
        assert not world.virtual or world.now() == begun
        assert world.now() - begun < 900
        assert (await ticket).result == Success(7)


async def test_cancel_from_outside(world: World) -> None:
    began = []

    async def slow(x: object) -> object:
        began.append(x)
        await world.pause(10_000)
        return x

    async with world.balancer() as balancer:
        ticket = balancer.post((Task(slow) >> Task(echo))(7))
        await world.until(lambda: began)
        ticket.cancel()
        assert [r.status for r in await ticket] == ["cancelled", "skipped"]


async def test_bridge_data_of_several_values(world: World) -> None:
    async def add(pair: tuple[int, int]) -> tuple[int, int]:
        return pair[0] + pair[1], 10

    chain = Task(add) >> star(lambda a, b: (a * b, b)) >> Task(add).named("again")
    assert (await world.run(chain((1, 2)))).result == Success((40, 10))
