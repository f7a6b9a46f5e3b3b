"""A balancer that has closed opens anew by a block. What it counts goes on; what is left over can't reach it."""

from __future__ import annotations

import warnings
from contextlib import suppress
from typing import Any

import pytest
from conformance.harness import World
from conformance.policies.stuck import Stuck

from rio_chain import Balancer, BalancerClosed, Saturated, Task, UsageError

NEVER = "a sync function is never abandoned there"


async def echo(x: object) -> object:
    return x


async def test_it_opens_anew_as_often_as_it_is_entered(world: World) -> None:
    balancer = Balancer(world.executor, workers=3)
    for n in range(1, 4):
        async with balancer as same:
            assert same is balancer
            assert (await balancer.arun(Task(echo)(n))).unwrap() == n
            assert (await balancer.post(Task(echo)(n))).unwrap() == n
            assert [outcome.unwrap() async for outcome in balancer.amap(Task(echo), [n])] == [n]
            assert " open: " in repr(balancer)
            assert balancer.stats().done == balancer.stats().runs.count == 3 * n
        assert " closed: " in repr(balancer)
        with pytest.raises(
            BalancerClosed, match=r"`with` or `async with` opens it again \(it was closed by aclose\(\)"
        ):
            await balancer.arun(Task(echo)(7))
        with pytest.raises(BalancerClosed):
            balancer.post(Task(echo)(7))
        with pytest.raises(BalancerClosed):
            await anext(balancer.amap(Task(echo), [7]))


async def test_an_open_one_is_entered_once(world: World) -> None:
    balancer = Balancer(world.executor)
    for _ in range(2):
        async with balancer:
            for _ in range(2):
                with pytest.raises(UsageError, match="this balancer is open already"):
                    await balancer.__aenter__()
                with pytest.raises(UsageError, match="this balancer is open already"):
                    balancer.__enter__()
            assert (await balancer.arun(Task(echo)(1))).unwrap() == 1, "it stays open"


async def test_one_that_was_used_before_can_be_entered(world: World) -> None:
    balancer = Balancer(world.executor)
    assert (await balancer.arun(Task(echo)(1))).unwrap() == 1
    async with balancer:
        assert (await balancer.arun(Task(echo)(2))).unwrap() == 2


async def test_while_it_closes_it_can_not_be_entered(world: World) -> None:
    gate, begun = world.gate(), []

    async def waits(x: object) -> object:
        begun.append(x)
        await gate.passed()
        return x

    balancer = Balancer(world.executor)

    async def use() -> Any:
        async with balancer:
            ticket = balancer.post(Task(waits)(1))
            await world.until(lambda: begun)
        return await ticket

    block = world.start(use)
    await world.until(lambda: " closed: " in repr(balancer))
    for _ in range(2):
        with pytest.raises(BalancerClosed, match="this balancer is still closing"):
            await balancer.__aenter__()
    gate.open()
    assert (await block.result()).unwrap() == 1
    async with balancer:
        assert (await balancer.arun(Task(echo)(2))).unwrap() == 2
        assert balancer.stats().done == 2


async def test_a_map_of_the_last_time_ends_with_it(world: World) -> None:
    balancer = Balancer(world.executor, workers=1)
    async with balancer:
        old = balancer.amap(Task(echo), range(1000))
        assert (await anext(old)).unwrap() == 0
    async with balancer:
        with pytest.raises(BalancerClosed):
            async for _ in old:
                pass
        assert (await balancer.arun(Task(echo)(2))).unwrap() == 2


async def test_a_ticket_of_the_last_time_stays_answered(world: World) -> None:
    balancer = Balancer(world.executor)
    async with balancer:
        ticket = balancer.post(Task(echo)(1))
    async with balancer:
        ticket.cancel()
        assert (await ticket).unwrap() == 1
        assert (await balancer.arun(Task(echo)(2))).unwrap() == 2


@pytest.mark.real_time
async def test_what_was_abandoned_still_counts(world: World) -> None:
    world.not_virtual(NEVER)
    stuck = Stuck(which=[0])
    balancer = Balancer(world.executor, max_abandoned=1)
    with warnings.catch_warnings(record=True):
        warnings.simplefilter("always")
        async with balancer:
            ticket = balancer.post(Task(stuck)(1))
            await world.until(lambda: stuck.calls)
            await balancer.aclose(grace=0)
        assert (await ticket).result.failure()
    async with balancer:
        assert balancer.stats().abandoned == 1
        for _ in range(2):
            with pytest.raises(Saturated, match=r"1 abandoned calls still run \(max_abandoned=1\)"):
                await balancer.arun(Task(echo)(1))
        assert balancer.stats().rejected == 2
    async with balancer:
        assert (balancer.stats().abandoned, balancer.stats().rejected) == (1, 2)
        stuck.end()
        await world.until(lambda: balancer.stats().abandoned == 0)
        assert (await balancer.arun(Task(stuck)(2))).unwrap() == 2


async def test_a_block_that_was_cancelled_leaves_one_that_opens_anew(world: World) -> None:
    balancer, inside = Balancer(world.executor), []

    async def use() -> None:
        async with balancer:
            inside.append(1)
            await balancer.arun(Task(world.pause)(10_000))

    block = world.start(use)
    await world.until(lambda: inside)
    block.stop()
    with suppress(BaseException):
        await block.ended()
    async with balancer:
        assert (await balancer.arun(Task(echo)(2))).unwrap() == 2


async def test_one_that_was_closed_unused_opens(world: World) -> None:
    balancer = Balancer(world.executor)
    await balancer.aclose()
    async with balancer:
        assert (await balancer.arun(Task(echo)(2))).unwrap() == 2
