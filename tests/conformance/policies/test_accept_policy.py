"""Accept: a wrong answer is a failure, for all policies around it."""

from __future__ import annotations

import pytest
from conformance.harness import World
from conformance.policies.backends import backend
from returns.result import Failure, Success

from rio_chain import Breaker, CallbackFailed, CircuitOpen, NotAccepted, Task, TaskTimedOut


def positive(value: int) -> bool:
    return value > 0


async def test_a_refused_value_has_failed(world: World) -> None:
    back = backend(world, (1, -1))
    outcome = await world.run((Task(back.fetch).accept(positive) >> Task(str).inline())(7))
    error = outcome.result.failure()
    assert (type(error), error.name, error.value) == (NotAccepted, "fetch", -1)
    assert [r.status for r in outcome] == ["failed", "skipped"]
    assert outcome["fetch"].errors == (error,)
    assert outcome["fetch"].attempts == 1


async def test_a_good_value_passes(world: World) -> None:
    back = backend(world, (1, 1))
    outcome = await world.run(Task(back.fetch).accept(positive).accept(positive)(7))
    assert outcome.result == Success(1)
    assert outcome.only.errors == ()


async def test_it_is_retried(world: World) -> None:
    back = backend(world, (1, -1), (1, 2))
    outcome = await world.run(Task(back.fetch).accept(positive).retry(3, backoff=None)(7))
    assert outcome.result == Success(2)
    assert outcome.only.attempts == 2


async def test_it_starts_the_next_replica(world: World) -> None:
    back = backend(world, (5, -1), (5, 2))
    outcome = await world.run(Task(back.fetch).accept(positive).replica(2, after=5_000)(7))
    assert outcome.result == Success(2)
    assert back.started(0, 5)


async def test_it_is_counted_by_a_breaker_around_it_and_not_by_one_inside(world: World) -> None:
    inside, outside = Breaker(1), Breaker(1)
    back = backend(world, (1, -1))
    chain = Task(back.fetch).breaker(inside).accept(positive).breaker(outside)
    assert type((await world.run(chain(7))).result.failure()) is NotAccepted
    assert type((await world.run(chain(7))).result.failure()) is CircuitOpen
    assert (inside.state, outside.state, len(back.calls)) == ("closed", "open", 1)


async def test_it_is_replaced(world: World) -> None:
    back = backend(world, (1, -1))
    outcome = await world.run(Task(back.fetch).accept(positive).or_else(0, on=NotAccepted)(7))
    assert outcome.result == Success(0)


async def test_around_a_longer_chain(world: World) -> None:
    back = backend(world, (1, -1), (1, 2))
    chain = (Task(back.fetch) >> (lambda v: v * 10)).accept(positive).retry(1, backoff=None)
    outcome = await world.run(chain(7))
    assert outcome.result == Success(20)
    assert outcome["fetch"].attempts == 2


async def test_a_predicate_that_raises_is_a_callback_failure(world: World) -> None:
    def odd(_: object) -> bool:
        raise LookupError("odd")

    back = backend(world, (1, 1))
    outcome = await world.run(Task(back.fetch).accept(odd).retry(3, backoff=None)(7))
    error = outcome.result.failure()
    assert (type(error), error.role, error.callback) == (CallbackFailed, "accept", "odd")
    assert len(back.calls) == 1


@pytest.mark.real_time
@pytest.mark.parametrize("accepted", [True, False])
async def test_a_limit_around_an_accept_counts_its_time(world: World, accepted: bool) -> None:
    def slow(_: int) -> bool:
        world.block(40)
        return accepted

    world.not_virtual("a sync function takes no time, so no limit ends it")
    back = backend(world, (0, 1))
    await world.run(Task(back.fetch)(1))  # what is made when it is first used, is made
    outcome = await world.run(Task(back.fetch).retry(1, accept=slow, backoff=None).timeout(30)(1))
    assert type(outcome.result.failure()) is TaskTimedOut


@pytest.mark.real_time
@pytest.mark.parametrize("accepted", [True, False])
async def test_a_limit_inside_of_an_accept_does_not(world: World, accepted: bool) -> None:
    def slow(_: int) -> bool:
        world.block(40)
        return accepted

    back = backend(world, (0, 1))
    await world.run(Task(back.fetch)(1))
    outcome = await world.run(Task(back.fetch).timeout(30).retry(1, accept=slow, backoff=None)(1))
    assert type(outcome.only.result) is (Success if accepted else Failure)
    assert [type(error) for error in outcome.only.errors] == ([] if accepted else [NotAccepted, NotAccepted])
