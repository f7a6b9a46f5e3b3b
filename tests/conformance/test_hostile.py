"""Objects of users that have no truth value, answer to every attribute, or raise from every method."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from conformance.harness import World
from returns.result import Success

from rio_chain import Cache, CallbackFailed, Task, UsageError, best, race


class Refuses:
    def __bool__(self) -> bool:
        raise ValueError("ambiguous")


class Shy(Exception):
    def __str__(self) -> str:
        raise RuntimeError

    __repr__ = __str__


class Proxy:
    def __getattr__(self, name: str) -> Any:
        return Proxy()


def fails(_: object) -> None:
    raise OSError("down")


async def test_a_predicate_whose_answer_is_neither_true_nor_false_is_the_callbacks_error(world: World) -> None:
    calls: list[int] = []
    chain = Task(calls.append).inline().retry(3, accept=lambda _: Refuses(), backoff=None)  # type: ignore[arg-type, return-value]
    outcome = await world.run(chain(1))
    assert isinstance(outcome.result.failure(), CallbackFailed)
    assert (outcome[0].status, calls) == ("failed", [1])


async def test_a_fallback_whose_predicate_raises_leaves_the_next_one_its_turn(world: World) -> None:
    def bad(_: object) -> bool:
        raise RuntimeError

    outcome = await world.run(Task(fails).inline().or_else(0, on=bad).or_else(7)(1))
    assert outcome.result == Success(7)


async def test_an_object_that_answers_to_every_name_is_a_value(world: World) -> None:
    value = Proxy()
    assert (await world.run(Task(lambda _: value).inline()(1))).unwrap() is value


async def test_an_awaitable_that_an_async_function_gives_is_its_value(world: World) -> None:
    class Later:
        def __await__(self) -> Any:
            raise AssertionError

    value = Later()

    async def gives(_: object) -> Later:
        await world.pause(1)
        return value

    assert (await world.run(Task(gives)(1))).unwrap() is value


async def test_an_error_that_can_not_be_shown_is_named_by_its_type(world: World) -> None:
    def shy(_: object) -> None:
        raise Shy

    outcome = await world.run((Task(abs).inline() >> shy >> Task(abs).inline())(1))
    assert "<Shy>" in str(outcome.result.failure())
    assert "<Shy>" in outcome.summary()


async def test_two_branches_with_an_error_that_refuses_to_be_true_end(world: World) -> None:
    class Final(BaseException):
        def __bool__(self) -> bool:
            raise RuntimeError

    async def dies(_: object) -> None:
        await world.pause(1)
        raise Final

    with pytest.raises(Final):
        await world.run((Task(dies) & Task(dies))(1))


async def test_what_a_cache_holds_is_not_closed_when_it_loses(world: World) -> None:
    class Connection:
        def __init__(self, rank: int) -> None:
            self.rank = rank
            self.closed = False

        def close(self) -> None:
            self.closed = True

    low, high = Connection(1), Connection(2)
    kept = Task(lambda _: low).inline().cache(Cache(60_000))
    chain = race(kept, Task(lambda _: high).inline(), pick=best(lambda c: c.rank, within=5))
    assert (await world.run(chain("k"))).unwrap() is high
    assert (await world.run(kept("k"))).unwrap() is low
    assert not low.closed


async def test_a_balancer_closed_in_a_body_that_it_runs_is_refused(world: World) -> None:
    async with world.balancer(workers=2) as balancer:

        async def close(_: object) -> None:
            await balancer.aclose(grace=1)

        outcome = await balancer.arun(Task(close)(1))
        assert isinstance(outcome.result.failure(), UsageError)
        assert (await balancer.arun(Task(abs).inline()(-1))).result == Success(1)


async def test_a_cancelled_error_of_the_body_itself_is_no_lost_loop(world: World) -> None:
    async def awaits_a_cancelled_task(_: object) -> None:
        raise asyncio.CancelledError

    async with world.balancer() as balancer:
        if world.mode not in ("asyncio-driven", "thread"):
            return  # there the caller's own task runs the body, or a CancelledError of asyncio means nothing
        ticket = balancer.post(Task(awaits_a_cancelled_task)(1))
        with pytest.raises(asyncio.CancelledError):
            await ticket


async def test_names_that_are_not_ascii_can_be_looked_up(world: World) -> None:
    outcome = await world.run(Task(abs).inline().named("größe")(-1))
    assert outcome["größe"].result == Success(1)


@pytest.mark.parametrize("huge", [10**400, -(10**400)])
async def test_a_number_too_large_for_a_float_is_refused(world: World, huge: int) -> None:
    with pytest.raises(ValueError, match="`ms` must be a finite number of milliseconds"):
        Task(abs).timeout(huge)
    async with world.balancer() as balancer:
        with pytest.raises(ValueError, match="`priority` must be a finite number"):
            balancer.post(Task(abs)(1), priority=huge)
