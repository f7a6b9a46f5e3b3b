"""On asyncio: a scope of the caller is cancelled in the very turn of the loop in which we cancel the same task.

anyio knows by the message of a cancellation which scope it is for. If that is lost, the cancellation leaves its scope.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import product
from typing import Any

import anyio
import pytest

from rio_chain import Balancer, Request, Task, race


async def spin(turns: int) -> None:
    for _ in range(turns):
        await asyncio.sleep(0)


def a_race(turns: int, mine: int) -> Request[Any]:
    async def other(_: int) -> int:
        await spin(turns)
        return 2

    async def body(_: int) -> int:
        await spin(mine)
        return 1

    return race(Task(other), Task(body))(1)


def a_fan_out(turns: int, mine: int) -> Request[Any]:
    async def fails(_: int) -> int:
        await spin(turns)
        raise ValueError

    async def body(_: int) -> int:
        await spin(mine)
        return 1

    return (Task(fails) & Task(body))(1)


def a_limit(turns: int, mine: int) -> Request[Any]:
    async def body(_: int) -> int:
        await spin(turns + 20 * mine)
        return 1

    return Task(body).timeout(1e-6)(1)


@pytest.mark.parametrize("make", [a_race, a_fan_out, a_limit])
def test_it_does_not_leave_the_scope(make: Callable[[int, int], Request[Any]]) -> None:
    async def scoped(request: Request[Any], cancelled_after: int, balancer: Balancer) -> None:
        with anyio.CancelScope() as scope:

            async def later() -> None:
                await spin(cancelled_after)
                scope.cancel()

            cancelling = asyncio.ensure_future(later())
            await balancer.arun(request)
        await cancelling

    async def main() -> list[tuple[int, int, int]]:
        left = list[tuple[int, int, int]]()
        async with Balancer(workers=5) as balancer:
            for turns, mine, after in product(range(5), range(5), range(6)):
                try:
                    await asyncio.create_task(scoped(make(turns, mine), after, balancer))
                except asyncio.CancelledError:
                    left.append((turns, mine, after))
        return left

    assert asyncio.run(main()) == []
