"""Tickets: exactly one Outcome each, whoever waits, cancels or forgets."""

from __future__ import annotations

import pytest
from conformance.harness import World
from returns.result import Success

from rio_chain import Backoff, Task, TicketCancelled


class Body:
    def __init__(self, world: World) -> None:
        self.world = world
        self.calls = 0
        self.ended = 0

    async def slow(self, x: object) -> object:
        self.calls += 1
        try:
            await self.world.pause(10_000)
        finally:
            await self.world.shielded(2)
            self.ended += 1
        return x

    async def fails(self, _: object) -> None:
        self.calls += 1
        raise OSError


@pytest.fixture
def body(world: World) -> Body:
    return Body(world)


async def echo(x: object) -> object:
    return x


async def test_a_ticket_is_awaited_any_number_of_times(world: World) -> None:
    async with world.balancer() as balancer:
        ticket = balancer.post(Task(echo)(7))
        outcome = await ticket
        assert outcome.result == Success(7)
        assert ticket.done
        assert await ticket is outcome
        assert ticket.wait() is outcome, "nothing to wait for, so nothing is blocked"
        assert repr(ticket) == "<Ticket of echo: done>"


async def test_several_wait_for_one_ticket(world: World) -> None:
    gate = world.gate()

    async def waits(x: object) -> object:
        await gate.passed()
        return x

    async with world.balancer() as balancer:
        ticket = balancer.post(Task(waits)(7))

        async def wait() -> object:
            return await ticket

        children = [world.start(wait) for _ in range(5)]
        await world.pause(1)
        assert not ticket.done
        gate.open()
        outcomes = [await child.result() for child in children]
        assert all(outcome is outcomes[0] for outcome in outcomes)


async def test_cancelling_the_wait_leaves_the_request_running(world: World) -> None:
    gate = world.gate()

    async def waits(x: object) -> object:
        await gate.passed()
        return x

    async with world.balancer() as balancer:
        ticket = balancer.post(Task(waits)(7))

        async def wait() -> object:
            return await ticket

        child = world.start(wait)
        await world.pause(2)
        child.stop()
        assert (await child.ended()).cancelled
        assert not ticket.done
        gate.open()
        assert (await ticket).result == Success(7)


async def test_cancel_while_running(world: World, body: Body) -> None:
    async with world.balancer() as balancer:
        ticket = balancer.post(
            (Task(echo) >> Task(body.slow).timeout(5_000).retry(3).or_else(0) >> Task(echo).named("c"))(7)
        )
        await world.until(lambda: body.calls)
        ticket.cancel()
        outcome = await ticket
        error = outcome.result.failure()
        assert type(error) is TicketCancelled
        assert str(error) == "cancelled: its ticket was cancelled"
        assert [r.status for r in outcome] == ["succeeded", "cancelled", "skipped"]
        assert (body.calls, body.ended) == (1, 1), "awaited, and never retried"
        ticket.cancel()
        assert await ticket is outcome, "what is over stays as it is"


async def test_cancel_in_the_queue(world: World, body: Body) -> None:
    async with world.balancer(workers=1) as balancer:
        running = balancer.post(Task(body.slow)(1))
        await world.until(lambda: body.calls)
        waiting = [
            balancer.post(Task(body.slow)(k), priority=k, **terms) for k, terms in enumerate([{}, {"deadline": 5_000}])
        ]
        for ticket in waiting:
            ticket.cancel("not needed any more")
            outcome = await ticket
            assert str(outcome.result.failure()) == "cancelled: not needed any more"
            assert outcome.only.status == "skipped"
            assert outcome.only.attempts == 0
        assert balancer.stats().queued == 0
        running.cancel()
        await running
        assert body.calls == 1


async def test_cancel_in_a_backoff(world: World, body: Body) -> None:
    wait = Backoff(base=5_000, cap=5_000, jitter="none")
    async with world.balancer() as balancer:
        ticket = balancer.post(Task(body.fails).retry(3, backoff=wait)(7))
        await world.until(lambda: body.calls)
        await world.pause(1)
        ticket.cancel()
        outcome = await ticket
        assert type(outcome.result.failure()) is TicketCancelled
        assert body.calls == 1
        assert outcome.only.status == "cancelled"


async def test_cancel_in_a_fan_out(world: World, body: Body) -> None:
    chain = (Task(body.slow) & Task(body.slow).named("b") & (Task(body.slow).named("c") & Task(echo))).or_else(0)
    async with world.balancer() as balancer:
        ticket = balancer.post(chain(7))
        await world.until(lambda: body.calls == 3)
        await world.pause(1)
        ticket.cancel()
        outcome = await ticket
        assert type(outcome.result.failure()) is TicketCancelled
        assert body.ended == 3
        assert [r.status for r in outcome] == ["cancelled"] * 3 + ["succeeded"]


async def test_cancel_before_it_could_begin(world: World, body: Body) -> None:
    async with world.balancer() as balancer:
        ticket = balancer.post(Task(echo)(7))
        ticket.cancel()
        outcome = await ticket
        assert ticket.done
        assert outcome.result == Success(7) or type(outcome.result.failure()) is TicketCancelled
        assert not world.native or type(outcome.result.failure()) is TicketCancelled


async def test_a_cancelled_request_leaves_its_slot(world: World, body: Body) -> None:
    async with world.balancer(workers=1) as balancer:
        for _ in range(3):
            ticket = balancer.post(Task(body.slow)(7))
            waiting = balancer.post(Task(echo)(8))
            await world.until(lambda: balancer.stats().running)
            ticket.cancel()
            assert (await waiting).result == Success(8)
            assert type((await ticket).result.failure()) is TicketCancelled
        await world.until(lambda: balancer.stats().running == 0)


async def test_a_ticket_that_nobody_keeps_runs_all_the_same(world: World) -> None:
    ran = []

    async def note(x: object) -> None:
        await world.pause(1)
        ran.append(x)

    async with world.balancer(workers=1) as balancer:
        for k in range(3):
            balancer.post(Task(note)(k))
        await world.until(lambda: len(ran) == 3)
        assert ran == [0, 1, 2]
        await world.until(lambda: balancer.stats().done == 3)


async def test_a_ticket_posted_by_a_body(world: World) -> None:
    async with world.balancer() as balancer:

        async def posts(x: object) -> object:
            return await balancer.post(Task(echo)(x))

        outcome = await balancer.arun(Task(posts)(7))
        assert outcome.unwrap().result == Success(7)
