"""Closing: take nothing more, drain for `grace`, cancel what is left, and answer every ticket."""

from __future__ import annotations

import threading

import pytest
from conformance.harness import World
from returns.result import Success

from rio_chain import Balancer, BalancerClosed, Task, TicketCancelled


class Body:
    def __init__(self, world: World) -> None:
        self.world = world
        self.gate = world.gate()
        self.calls = 0
        self.ended = 0

    async def waits(self, x: object) -> object:
        self.calls += 1
        try:
            await self.gate.passed()
        finally:
            await self.world.shielded(2)
            self.ended += 1
        return x


@pytest.fixture
def body(world: World) -> Body:
    return Body(world)


async def echo(x: object) -> object:
    return x


async def test_after_close_nothing_is_taken(world: World) -> None:
    async with world.balancer() as balancer:
        await balancer.arun(Task(echo)(7))
    with pytest.raises(BalancerClosed, match="this balancer is closed; make a new one"):
        await balancer.arun(Task(echo)(7))
    with pytest.raises(BalancerClosed):
        balancer.post(Task(echo)(7))
    await balancer.aclose()  # a second time does nothing


async def test_close_drains(world: World, body: Body) -> None:
    async with world.balancer(workers=1) as balancer:
        tickets = [balancer.post(Task(body.waits)(k)) for k in range(3)]
        running = world.start(lambda: balancer.arun(Task(body.waits)(3)))
        await world.until(lambda: body.calls)
        await world.until(lambda: balancer.stats().queued == 3)
        closing = world.start(balancer.aclose)
        await world.until(lambda: "closed" in repr(balancer))
        with pytest.raises(BalancerClosed):
            balancer.post(Task(echo)(7))
        assert not any(ticket.done for ticket in tickets)
        body.gate.open()
        await closing.result()
        assert [(await ticket).result for ticket in tickets] == [Success(k) for k in range(3)]
        assert (await running.result()).result == Success(3)


@pytest.mark.parametrize("grace", [0, 20])
async def test_when_the_grace_is_over_the_rest_is_cancelled(world: World, body: Body, grace: float) -> None:
    async with world.balancer(workers=1) as balancer:
        first = world.start(lambda: balancer.arun((Task(body.waits).retry(3).or_else(0) >> Task(echo))(1)))
        await world.until(lambda: body.calls)
        queued = world.start(lambda: balancer.arun(Task(body.waits)(2)))
        await world.until(lambda: balancer.stats().queued == 1)
        tickets = [balancer.post(Task(body.waits)(3)), balancer.post(Task(body.waits)(4), deadline=60_000)]
        begun = world.now()
        await balancer.aclose(grace=grace)
        assert world.about(world.now() - begun, grace + 2)
        outcomes = [await first.result(), await queued.result(), *[await ticket for ticket in tickets]]
        assert [str(o.result.failure()) for o in outcomes] == ["cancelled: the balancer closed"] * 4
        assert [type(o.result.failure()) for o in outcomes] == [TicketCancelled] * 4
        assert [o[0].status for o in outcomes] == ["cancelled", "skipped", "skipped", "skipped"]
        assert (body.calls, body.ended) == (1, 1), "what ran was awaited; what waited never ran"


async def test_leaving_the_block_by_a_cancel_does_not_drain(world: World, body: Body) -> None:
    tickets = []

    async def work() -> None:
        async with world.plain_balancer() as balancer:
            tickets.append(balancer.post(Task(body.waits)(7)))
            await world.until(lambda: body.calls)
            await world.pause(10_000)

    child = world.start(work)
    await world.until(lambda: body.calls)
    await world.pause(2)
    child.stop()
    await child.ended()
    assert child.cancelled
    assert tickets[0].done
    assert type((await tickets[0]).result.failure()) is TicketCancelled
    assert body.ended == 1


async def test_close_with_nothing_under_way_is_at_once(world: World) -> None:
    async with world.balancer() as balancer:
        begun = world.now()
        await balancer.aclose()
        assert world.about(world.now() - begun, 0)


async def test_a_balancer_that_was_never_used_closes(world: World) -> None:
    balancer = Balancer(world.executor)
    await balancer.aclose()
    with pytest.raises(BalancerClosed):
        await balancer.arun(Task(echo)(7))


@pytest.mark.real_time
async def test_an_abandoned_call_does_not_hold_up_the_close(world: World) -> None:
    go = threading.Event()

    def stuck(_: object) -> None:
        go.wait(5)

    async with world.balancer() as balancer:
        ticket = balancer.post(Task(stuck)(7))
        await world.until(lambda: balancer.stats().running)
        begun = world.now()
        await balancer.aclose(grace=10)
        assert type((await ticket).result.failure()) is TicketCancelled
        assert world.now() - begun < 4_000
        go.set()
