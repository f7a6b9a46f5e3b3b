"""Waiting in the queue: aging, a full buffer, and a deadline that passes before a slot comes."""

from __future__ import annotations

import time
from typing import Any

import pytest
from conformance.harness import World
from returns.result import Success

from rio_chain import ChainDefinitionError, DeadlineExceeded, Outcome, QueueFull, Task


class Pool:
    """Bodies that note when they are called, and wait to be let through."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.gate = world.gate()
        self.order: list[object] = []

    async def body(self, x: object) -> object:
        self.order.append(x)
        await self.gate.passed()
        return x

    async def lasts(self, ms: float) -> float:
        self.order.append(ms)
        await self.world.pause(ms)
        return ms


@pytest.fixture
def pool(world: World) -> Pool:
    return Pool(world)


# --- aging --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("aging", "order"), [(None, "cdab"), (600_000, "cdab"), (0.001, "abcd")])
async def test_aging_is_what_a_step_of_priority_is_worth(
    world: World, pool: Pool, aging: float | None, order: str
) -> None:
    async with world.balancer(workers=1, aging=aging) as balancer:
        tickets = [balancer.post(Task(pool.body)("first"))]
        await world.until(lambda: pool.order)
        for priority, name in [(0, "a"), (0, "b"), (2, "c"), (2, "d")]:
            tickets.append(balancer.post(Task(pool.body)(name), priority=priority))
            await world.pause(2)
        pool.gate.open()
        for ticket in tickets:
            await ticket
        assert pool.order == ["first", *order]


async def test_with_aging_equals_go_in_the_order_of_their_arrival(world: World, pool: Pool) -> None:
    async with world.balancer(workers=1, aging=50) as balancer:
        tickets = [balancer.post(Task(pool.body)(n), priority=3) for n in range(20)]
        pool.gate.open()
        for ticket in tickets:
            await ticket
        assert pool.order == list(range(20))


# --- a full buffer ------------------------------------------------------------------------------------------------


async def test_on_full_waits_or_rejects(world: World, pool: Pool) -> None:
    async with world.balancer(workers=1, buffer=1) as balancer:
        tickets = [balancer.post(Task(pool.body)(n)) for n in range(2)]
        await world.until(lambda: balancer.stats().queued == 1)
        for terms in ({}, {"deadline": 60_000}, {"queue_timeout": 60_000}):
            with pytest.raises(
                QueueFull, match=r"1 requests are waiting already \(buffer=1\); this one was not accepted"
            ):
                await balancer.arun(Task(pool.body)(2), on_full="reject", **terms)
        assert balancer.stats().rejected == 3
        waits = world.start(lambda: balancer.arun(Task(pool.body)(3), on_full="wait"))
        await world.until(lambda: balancer.stats().queued == 2)
        pool.gate.open()
        assert [(await ticket).result for ticket in tickets] == [Success(0), Success(1)]
        assert (await waits.result()).result == Success(3)
        assert pool.order == [0, 1, 3]
        assert (await balancer.arun(Task(pool.body)(4), on_full="reject")).result == Success(4), "there is room"


async def test_an_on_full_that_is_none_is_refused(world: World, pool: Pool) -> None:
    async with world.balancer() as balancer:
        for wrong in ("drop", None, True, 3):
            with pytest.raises(ChainDefinitionError, match="`on_full` must be 'wait' or 'reject'; got "):
                await balancer.arun(Task(pool.body)(1), on_full=wrong)
        assert pool.order == []


# --- too late -----------------------------------------------------------------------------------------------------

TERMS = [{"deadline": 10}, {"queue_timeout": 10}, {"deadline": 10, "queue_timeout": 60_000}]
hows = pytest.mark.parametrize("how", ["arun", "post"])


def asked(world: World, balancer: Any, how: str, request: Any, **terms: Any) -> Any:
    """Something to await for the Outcome."""
    if how == "post":
        return balancer.post(request, **terms)
    return world.start(lambda: balancer.arun(request, **terms)).result()


def check_late(outcome: Outcome[Any]) -> None:
    error = outcome.result.failure()
    assert (type(error), error.where) == (DeadlineExceeded, "in the queue")
    assert (outcome.only.status, outcome.only.attempts) == ("skipped", 0)


@hows
@pytest.mark.real_time
async def test_a_slot_that_comes_while_the_loop_is_busy_may_come_too_late(world: World, pool: Pool, how: str) -> None:
    """Time runs out, and the slot is free, before the loop looks at either."""
    world.not_virtual("its clock does not move while a body blocks")
    asked_all: list[bool] = []

    async def blocks(x: object) -> None:
        pool.order.append(x)
        while not asked_all:
            await world.pause(1)
        time.sleep(0.03)  # noqa: ASYNC251 - what a body should not do

    async with world.balancer(workers=1) as balancer:
        holder = balancer.post(Task(blocks)("holder"))
        await world.until(lambda: pool.order)
        late = [asked(world, balancer, how, Task(pool.body)(n), **terms) for n, terms in enumerate(TERMS)]
        behind = asked(world, balancer, how, Task(pool.lasts)(1))
        await world.pause(2)
        asked_all.append(True)
        for ticket in late:
            check_late(await ticket)
        assert (await behind).result == Success(1)
        assert (await holder).result == Success(None)
        assert pool.order == ["holder", 1]


@hows
async def test_with_a_slot_at_hand_no_time_to_wait_is_enough(world: World, pool: Pool, how: str) -> None:
    pool.gate.open()
    async with world.balancer(workers=1) as balancer:
        assert (await asked(world, balancer, how, Task(pool.body)(1), queue_timeout=0)).result == Success(1)
        outcome = await asked(world, balancer, how, Task(pool.body)(2), deadline=0)
        assert type(outcome.result.failure()) is DeadlineExceeded
        assert pool.order == [1], "no time to run is not"
