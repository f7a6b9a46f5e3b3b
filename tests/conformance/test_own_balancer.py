"""A function that a balancer runs does not wait for a second slot of that balancer."""

from __future__ import annotations

from typing import Any

import pytest
from conformance.harness import World
from returns.result import Success

from rio_chain import Batch, Task, UsageError, each


async def echo(x: object) -> object:
    return x


@pytest.mark.parametrize("workers", [1, 10])
async def test_arun_in_a_function_that_it_runs_is_refused_with_the_right_code(world: World, workers: int) -> None:
    async with world.balancer(workers=workers) as balancer:

        async def body(x: object) -> Any:
            return await balancer.arun(Task(echo)(x))

        outcome = await balancer.arun(Task(body)(7))
        error = outcome.result.failure()
        assert type(error) is UsageError
        assert "`body` holds a slot of this balancer" in str(error)
        assert "Write `await page(42)`, or return page(42)" in str(error)

        async def awaits(x: object) -> object:
            return (await Task(echo)(x)).unwrap()

        async def returns(x: object) -> Any:
            return Task(echo)(x)

        for right in (awaits, returns):
            assert (await balancer.arun(Task(right)(7))).result == Success(7)
        assert (await balancer.arun(Task(echo)(7))).result == Success(7), "after it, the caller is in no run"
        assert balancer.stats().running == 0


async def test_amap_and_a_stream_are_refused_as_well(world: World) -> None:
    async with world.balancer(workers=1) as balancer:

        async def maps(x: object) -> Any:
            return [outcome async for outcome in balancer.amap(Task(echo), [x])]

        async def streams(x: object) -> Any:
            return [event async for event in balancer.stream(Task(echo)(x))]

        async def right(x: object) -> Any:
            return (await each(Task(echo), limit=10)([x])).unwrap()

        for body, code in ((maps, "each(page, limit=10)(inputs)"), (streams, "page(42).stream()")):
            error = (await balancer.arun(Task(body)(7))).result.failure()
            assert type(error) is UsageError
            assert code in str(error)
        assert (await balancer.arun(Task(right)(7))).result == Success([7])


@pytest.mark.real_time
async def test_run_is_refused_as_well(world: World) -> None:
    async with world.balancer(workers=2) as balancer:

        def body(x: object) -> Any:
            return balancer.run(Task(str)(x))

        error = (await balancer.arun(Task(body)(7))).result.failure()
        assert type(error) is UsageError
        assert "`page(42).run()`" in str(error)


async def test_also_deeper_in_the_run_and_from_the_function_of_a_batch(world: World) -> None:
    async with world.balancer(workers=1) as balancer:

        async def body(x: object) -> Any:
            return (await balancer.arun(Task(echo)(x))).unwrap()

        async def nested(x: object) -> Any:
            return (await Task(body)(x)).unwrap()

        async def fetch_many(keys: list[Any]) -> list[Any]:
            return [await body(key) for key in keys]

        for chain in (
            Task(nested),
            each(Task(body), limit=2) >> (lambda values: values[0]),
            Task(fetch_many).batch(Batch()),
            Task(fetch_many).batch(Batch(scope="shared")),
        ):
            value: Any = [7] if "each" in repr(chain) else 7
            assert type((await balancer.arun(chain(value))).result.failure()) is UsageError


async def test_another_balancer_and_post_are_allowed(world: World) -> None:
    tickets = []
    async with world.balancer(workers=1) as balancer, world.balancer(workers=1) as other:

        async def body(x: object) -> object:
            tickets.append(balancer.post(Task(echo)(x)))
            return (await other.arun(Task(echo)(x))).unwrap()

        assert (await balancer.arun(Task(body)(7))).result == Success(7)
        assert (await tickets[0]).result == Success(7)


async def test_also_from_a_batch_that_another_batch_asks(world: World) -> None:
    async with world.balancer(workers=1) as balancer:

        async def names(ids: list[int]) -> list[Any]:
            return [(await balancer.arun(Task(echo)(one))).unwrap() for one in ids]

        name = Task(names).batch(Batch(wait=0))

        async def users(ids: list[int]) -> list[Any]:
            return [(await name(one)).result for one in ids]

        outcome = await balancer.arun(Task(users).batch(Batch(wait=0))(7))
        assert type(outcome.result.failure()) is UsageError
