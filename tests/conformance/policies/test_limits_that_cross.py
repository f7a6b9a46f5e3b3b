"""Calls that need two limits, beside calls that need one: all of them get their turn."""

from __future__ import annotations

from random import Random

from conformance.harness import World

from rio_chain import Limit, Task


async def test_calls_of_different_costs_do_not_hinder_each_other_for_ever(world: World) -> None:
    random = Random(1)
    one, other = Limit(3, cost=lambda costs: costs[0]), Limit(3, cost=lambda costs: costs[1])

    async def fetch(costs: tuple[int, int]) -> tuple[int, int]:
        if random.random() < 0.5:
            await world.pause(1)
        return costs

    task = Task(fetch)
    kinds = [(task.limit(one, other), (1, 2)), (task.limit(one), (2, 0))]
    kinds += [(task.limit(other), (0, 3)), (task.limit(one, other), (3, 3))]
    async with world.balancer(workers=40) as balancer:
        running = [balancer.post(kinds[k % 4][0](kinds[k % 4][1])) for k in range(200)]
        outcomes = [await ticket for ticket in running]
    assert [outcome.unwrap() for outcome in outcomes] == [kinds[k % 4][1] for k in range(200)]
    assert one.running == other.running == one.waiting == other.waiting == 0
