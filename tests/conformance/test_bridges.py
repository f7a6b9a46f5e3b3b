"""Bridges: run once per pass, and an error in one names its edge."""

from __future__ import annotations

from typing import Any

import pytest
from conformance.harness import World
from returns.result import Failure, Success

from rio_chain import BridgeFailed, Task, TaskTimedOut, each, fan_out, star


async def echo(x: object) -> object:
    return x


def breaks(_: object) -> object:
    raise ValueError("broken bridge")


async def breaks_async(_: object) -> object:
    raise ValueError("broken bridge")


@pytest.mark.parametrize("bridge", [breaks, breaks_async])
async def test_an_error_in_a_bridge_names_its_edge(world: World, bridge: object) -> None:
    chain = Task(echo).named("a") >> bridge >> Task(echo).named("b") >> Task(echo).named("c")
    outcome = await world.run(chain(7))
    error = outcome.result.failure()
    assert type(error) is BridgeFailed
    name = bridge.__name__
    assert (error.bridge, error.before, error.after) == (name, "a", "b")
    assert str(error) == f"bridge `{name}` between `a` and `b` failed: ValueError('broken bridge')"
    assert [r.status for r in outcome] == ["succeeded", "skipped", "skipped"]
    assert [r.attempts for r in outcome] == [1, 0, 0]
    assert outcome["b"].result == outcome["c"].result == Failure(error)


async def test_the_ends_of_a_chain_are_called_input_and_output(world: World) -> None:
    error = (await world.run((breaks >> Task(echo))(7))).result.failure()
    assert (error.before, error.after) == ("input", "echo")
    error = (await world.run((Task(echo) >> breaks)(7))).result.failure()
    assert (error.before, error.after) == ("echo", "output")


async def test_an_error_in_a_bridge_is_never_retried(world: World) -> None:
    calls = []

    async def count(x: object) -> object:
        calls.append(x)
        return x

    chain = (Task(count) >> breaks >> Task(echo)).retry(3, on=BaseException, backoff=None).retry(3, backoff=None)
    outcome = await world.run(chain(7))
    assert type(outcome.result.failure()) is BridgeFailed
    assert calls == [7]


@pytest.mark.parametrize("around", [lambda chain: chain, lambda chain: chain.replica(2, after=None)])
async def test_a_task_that_a_retry_does_not_reach_is_skipped(world: World, around: Any) -> None:
    passes = iter(range(9))

    def first_time(x: int) -> int:
        if next(passes):
            raise ValueError("second")
        return x

    async def fails(_: int) -> int:
        raise OSError

    outcome = await world.run(around((first_time >> Task(fails)).retry(1, backoff=None))(7))
    error = outcome.result.failure()
    assert (outcome["fails"].status, outcome["fails"].attempts) == ("skipped", 1)
    assert outcome["fails"].result == Failure(error)


async def test_items_that_a_retry_does_not_reach_are_skipped(world: World) -> None:
    rounds = iter(range(9))

    def items(x: int) -> list[int]:
        if next(rounds):
            raise ValueError("second")
        return [x]

    async def fails(_: int) -> int:
        raise OSError

    chain = (items >> each(Task(fails))).retry(1, backoff=None)
    outcome = await world.run(chain(7))
    assert type(outcome.result.failure()) is BridgeFailed
    assert (outcome["fails"].status, outcome["fails"].attempts) == ("skipped", 1)
    assert outcome["fails"].result == Failure(outcome.result.failure())


async def test_a_bridge_runs_once_per_pass(world: World) -> None:
    passes, calls = [], []

    def bridge(x: int) -> int:
        passes.append(x)
        return x + 1

    async def flaky(x: int) -> int:
        calls.append(x)
        if len(calls) < 3:
            raise OSError
        return x

    outcome = await world.run((bridge >> Task(flaky).retry(3, backoff=None) >> bridge >> Task(echo))(1))
    assert outcome.result == Success(3)
    assert passes == [1, 2], "the retry is of the task alone"

    passes.clear()
    calls.clear()
    outcome = await world.run((Task(echo) >> bridge >> Task(flaky)).retry(3, backoff=None)(1))
    assert outcome.result == Success(2)
    assert passes == [1, 1, 1], "the retry is of all three"


async def test_a_bridge_hands_on_what_it_returns_even_none(world: World) -> None:
    outcome = await world.run((Task(echo) >> (lambda _: None) >> Task(echo).named("b"))(7))
    assert outcome.result == Success(None)


async def test_several_bridges_in_a_row(world: World) -> None:
    chain = (lambda x: x + 1) >> ((lambda x: x * 2) >> Task(echo)) >> (lambda x: x - 1) >> (lambda x: [x])
    assert (await world.run(chain(3))).result == Success([7])


async def test_several_values_go_through_star(world: World) -> None:
    chain = fan_out(Task(echo), Task(echo).named("b")) >> star(lambda a, b: (b, a, 3)) >> Task(echo).named("c")
    assert (await world.run(chain(7))).result == Success((7, 7, 3))


async def test_star_with_the_wrong_number_is_the_bridges_error(world: World) -> None:
    outcome = await world.run((Task(echo) >> star(lambda a, b: a))((1, 2, 3)))
    error = outcome.result.failure()
    assert type(error) is BridgeFailed
    assert type(error.error) is TypeError


async def test_an_async_bridge_is_under_the_limit_around_it(world: World) -> None:
    ended = []

    async def bridge(x: object) -> object:
        try:
            await world.pause(10_000)
        finally:
            ended.append(x)
        return x

    outcome = await world.run((Task(echo) >> bridge >> Task(echo).named("b")).timeout(20)(7))
    assert type(outcome.result.failure()) is TaskTimedOut
    assert [r.status for r in outcome] == ["succeeded", "skipped"]
    assert ended == [7]


@pytest.mark.parametrize("error", [StopIteration("x"), StopAsyncIteration("x")], ids=lambda e: type(e).__name__)
async def test_a_stop_iteration_in_a_bridge_is_an_error_like_any_other(world: World, error: Exception) -> None:
    def stops(_: object) -> object:
        raise error

    outcome = await world.run((Task(echo) >> stops >> Task(echo).named("b"))(7))
    failure = outcome.result.failure()
    assert type(failure) is BridgeFailed
    assert failure.error is error


async def test_next_on_an_empty_iterator_in_a_bridge(world: World) -> None:
    outcome = await world.run((Task(echo) >> (lambda xs: next(iter(xs))) >> Task(echo).named("b"))([]))
    assert type(outcome.result.failure()) is BridgeFailed
    assert type(outcome.result.failure().error) is StopIteration
