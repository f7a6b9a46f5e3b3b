"""What the body of an abandoned call sees: no time remains, and nothing can begin there."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable
from typing import Any

import pytest
from conformance.harness import World
from conformance.policies.stuck import Stuck
from returns.result import Success

from rio_chain import Balancer, DeadlineExceeded, Limit, Task, TaskTimedOut, current_attempt, race, remaining

pytestmark = pytest.mark.real_time
NEVER = "a sync function is never abandoned there"
calls: list[Any] = []


def note(x: Any) -> Any:
    calls.append(x)
    return x


def plain_run() -> Any:
    return Task(note)("late").run().result


def thread_run() -> Any:
    return Task(note)("late").run(executor="thread").result


def through_a_balancer() -> Any:
    with Balancer("thread", workers=1) as balancer:
        return balancer.run(Task(note)("late"), deadline=5_000).result


def posted() -> Any:
    with Balancer(workers=1) as balancer:
        return balancer.post(Task(note)("late")).wait().result


def on_a_loop() -> Any:
    async def main() -> Any:
        return (await Task(note)("late")).result

    return asyncio.run(main())


def streamed() -> Any:
    outcome = None
    for event in Task(note)("late").stream():
        outcome = event.outcome or outcome
    assert outcome is not None
    return outcome.result


def on_another_thread() -> Any:
    context, found = contextvars.copy_context(), list[Any]()
    thread = threading.Thread(target=lambda: context.run(lambda: found.append(plain_run())))
    thread.start()
    thread.join()
    return found[0]


BEGIN: list[Callable[[], Any]] = [
    plain_run, thread_run, through_a_balancer, posted, on_a_loop, streamed, on_another_thread,
]  # fmt: skip


@pytest.mark.parametrize("begin", BEGIN)
async def test_a_run_that_begins_there_fails_at_once(world: World, begin: Callable[[], Any]) -> None:
    world.not_virtual(NEVER)
    calls.clear()
    stuck = Stuck(after=lambda: (remaining(), begin(), remaining()))
    assert type((await world.run(Task(stuck).timeout(world.short)(7))).result.failure()) is TaskTimedOut
    stuck.end()
    await world.until(lambda: stuck.ended)
    before, result, after = stuck.ended[0]
    assert (before, after) == (0, 0)
    assert type(result.failure()) is DeadlineExceeded
    assert calls == []


async def test_it_stays_so_while_the_run_goes_on(world: World) -> None:
    world.not_virtual(NEVER)
    looks: list[Any] = []
    stuck = Stuck(which=[0], after=lambda: (int(current_attempt()), remaining()))

    async def second(x: Any) -> Any:
        looks.append(remaining())
        stuck.end()
        await world.until(lambda: len(stuck.ended) == 2)
        return x

    chain = Task(stuck).timeout(world.short).retry(1, backoff=None) >> Task(second)
    assert (await world.run(chain.timeout(5_000)(7))).result == Success(7)
    (first_attempt, first_left), (again, left) = sorted(stuck.ended)
    assert (first_attempt, first_left) == (1, 0), "the second attempt has time, and the first none"
    assert again == 2
    assert 0 < left <= world.short
    assert 0 < looks[0] <= 5_000


async def test_that_of_a_loser_has_no_time_either(world: World) -> None:
    world.not_virtual(NEVER)
    stuck = Stuck(after=lambda: (remaining(), current_attempt().replica, plain_run()))

    async def quick(x: Any) -> Any:
        await world.until(lambda: stuck.calls)
        return x

    chain = race(Task(quick), Task(stuck)).timeout(5_000)
    assert (await world.run(chain(7))).result == Success(7)
    stuck.end()
    await world.until(lambda: stuck.ended)
    left, replica, result = stuck.ended[0]
    assert (left, replica) == (0, 1)
    assert type(result.failure()) is DeadlineExceeded


async def test_under_a_limit_as_well(world: World) -> None:
    world.not_virtual(NEVER)
    stuck, limit = Stuck(after=lambda: (remaining(), plain_run())), Limit(1)
    await world.run(Task(stuck).limit(limit).timeout(world.short)(7))
    stuck.end()
    await world.until(lambda: limit.running == 0)
    [(left, result)] = stuck.ended
    assert left == 0
    assert type(result.failure()) is DeadlineExceeded


async def test_what_began_before_it_was_abandoned_keeps_the_deadline_of_its_body(world: World) -> None:
    world.not_virtual(NEVER)
    inner, found = Stuck(after=remaining), list[Any]()

    def body(x: Any) -> Any:
        found.append(Task(inner)(x).run().result)

    async def quick(x: Any) -> Any:
        await world.until(lambda: inner.calls)
        return x

    await world.run(race(Task(quick), Task(body)).timeout(60_000)(7))
    inner.end()
    await world.until(lambda: found)
    assert found == [Success(7)]
    assert 0 < inner.ended[0] <= 60_000


async def test_a_body_that_has_answered_is_not_abandoned_by_a_later_one(world: World) -> None:
    world.not_virtual(NEVER)
    stuck, found = Stuck(), list[Any]()
    kept: list[contextvars.Context] = []

    async def first(x: Any) -> Any:
        kept.append(contextvars.copy_context())
        return x

    await world.run((Task(first) >> Task(stuck)).timeout(world.short)(7))
    threading.Thread(target=lambda: found.append(kept[0].run(plain_run))).start()
    await world.until(lambda: found)
    stuck.end()
    assert found == [Success("late")], "what it left behind may begin runs"


# --- async functions --------------------------------------------------------------------------------------------


async def test_in_the_clean_up_of_an_async_function_no_time_is_less_than_none(world: World) -> None:
    looks: list[Any] = []

    async def body(_: Any) -> None:
        try:
            await world.pause(10_000)
        finally:
            looks.append((remaining(), int(current_attempt())))

    await world.run(Task(body).timeout(world.short).retry(1, backoff=None)(7))
    assert looks == [(0, 1), (0, 2)]


async def test_an_async_loser_keeps_the_time_that_its_limits_leave(world: World) -> None:
    looks: list[Any] = []

    async def quick(x: Any) -> Any:
        await world.until(lambda: begun)
        return x

    async def body(_: Any) -> None:
        begun.append(1)
        try:
            await world.pause(10_000)
        finally:
            looks.append(remaining())

    begun: list[int] = []
    await world.run(race(Task(quick), Task(body)).timeout(60_000)(7))
    assert 0 < looks[0] <= 60_000
