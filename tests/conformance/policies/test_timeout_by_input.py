"""A timeout that a function of the input returns."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from conformance.harness import World
from conformance.policies.backends import HANG, backend
from returns.result import Success

from rio_chain import Breaker, CallbackFailed, Limit, Task, TaskTimedOut, each, remaining


async def test_it_depends_on_the_input(world: World) -> None:
    async def echo(ms: float) -> float:
        left = remaining()
        await world.pause(0)
        return left

    chain = Task(echo).timeout(lambda seconds: 1_000 * seconds)
    for seconds in (5, 20):
        left = (await world.run(chain(seconds))).unwrap()
        assert 1_000 * (seconds - 2) < left <= 1_000 * seconds


async def test_the_error_names_the_timeout_of_this_call(world: World) -> None:
    chain = Task(backend(world, (HANG, "a")).fetch).timeout(lambda ms: timedelta(milliseconds=ms))
    error = (await world.run(chain(world.short))).result.failure()
    assert isinstance(error, TaskTimedOut)
    assert error.ms == world.short


async def test_none_is_no_timeout(world: World) -> None:
    chain = Task(backend(world, (5, "a")).fetch).timeout(lambda _: None)
    assert (await world.run(chain(7))).result == Success("a")


async def test_each_attempt_has_it(world: World) -> None:
    back = backend(world, (HANG, "a"))
    outcome = await world.run(Task(back.fetch).timeout(lambda ms: ms).retry(2, backoff=None)(world.short))
    assert [type(error) for error in outcome.only.errors] == [TaskTimedOut] * 3
    assert back.started(0, world.short, 2 * world.short)


async def test_the_earliest_timeout_counts(world: World) -> None:
    back = backend(world, (HANG, "a"))
    for inner, outer in ((world.short, 60_000), (60_000, world.short)):
        chain = Task(back.fetch).timeout(lambda _, ms=inner: ms).timeout(outer)
        assert (await world.run(chain(7))).result.failure().ms == world.short
        chain = Task(back.fetch).timeout(inner).timeout(lambda _, ms=outer: ms)
        assert (await world.run(chain(7))).result.failure().ms == world.short


async def test_it_is_around_several_tasks_and_ends_the_wait_for_a_limit(world: World) -> None:
    back = backend(world, (HANG, "a"))
    chain = (Task(str) >> Task(back.fetch).limit(Limit(1))).timeout(lambda ms: ms)
    outcomes = await world.together(*[lambda: world.run(chain(world.short)) for _ in range(2)])
    assert [type(outcome.result.failure()) for outcome in outcomes] == [TaskTimedOut] * 2
    assert all(outcome.result.failure().ms == world.short for outcome in outcomes)


async def test_it_gets_all_arguments(world: World) -> None:
    async def hangs(a: float, *, b: float) -> None:
        await world.pause(60_000 + a + b)

    chain = Task(hangs).timeout(lambda a, *, b: a + b)
    assert (await world.run(chain(world.short, b=1))).result.failure().ms == world.short + 1


async def test_a_breaker_outside_counts_it(world: World) -> None:
    chain = Task(backend(world, (HANG, "a")).fetch).timeout(lambda ms: ms).breaker(breaker := Breaker(1))
    await world.run(chain(world.short))
    assert breaker.state == "open"


async def test_every_item_has_its_own(world: World) -> None:
    async def sleeps(ms: float) -> float:
        await world.pause(ms)
        return ms

    slow = Task(sleeps).timeout(lambda ms: world.short if ms > 1_000 else 30_000)
    outcome = await world.run((Task(list).inline() >> each(slow, limit=3, on_error="drop"))([0, 60_000, 1]))
    assert outcome.unwrap() == [0, 1]


@pytest.mark.parametrize("gave", [0, -1, float("nan"), float("inf"), "soon", True])
async def test_a_function_that_gives_nonsense_is_a_callback_failure(world: World, gave: Any) -> None:
    def wrong(_: int) -> Any:
        return gave

    back = backend(world, (1, "a"))
    outcome = await world.run(Task(back.fetch).timeout(wrong).retry(3)(7))
    error = outcome.result.failure()
    assert isinstance(error, CallbackFailed)
    assert (error.role, error.callback, len(back.calls)) == ("timeout", "wrong", 0)


async def test_a_function_that_raises_is_a_callback_failure(world: World) -> None:
    error = (await world.run(Task(len).timeout(lambda text: 1 / 0)("tea"))).result.failure()
    assert (type(error), error.role, type(error.error)) == (CallbackFailed, "timeout", ZeroDivisionError)
