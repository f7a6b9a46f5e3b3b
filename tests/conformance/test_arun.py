"""``request.arun()``: the coroutine of a Request, in the task that awaits it."""

from __future__ import annotations

import asyncio
import inspect
from datetime import timedelta
from typing import Any

import pytest
import trio
from conformance.harness import World

from rio_chain import ChainDefinitionError, Deadline, DeadlineExceeded, Outcome, Task, remaining


async def length(text: str) -> int:
    return len(text)


async def test_it_gives_the_outcome_where_a_body_awaits_it(world: World) -> None:
    async def body(text: str) -> tuple[int, float]:
        outcome = await Task(length)(text).arun()
        return outcome.value, (await Task(remaining).inline()().arun(deadline=1_000)).value

    outcome: Outcome[Any] = await world.run(Task(body)("four"))
    size, left = outcome.value
    assert size == 4
    assert 0 < left <= 1_000


async def test_its_deadline_counts_from_the_beginning_of_the_run(world: World) -> None:
    async def slow(_: str) -> str:
        await world.pause(10_000)
        return "late"

    request = Task(slow)("x")
    coroutine = request.arun(deadline=timedelta(milliseconds=30))
    assert inspect.iscoroutine(coroutine)
    await world.pause(40)
    for outcome in (await coroutine, await request.arun(deadline=30)):
        assert isinstance(outcome.error, DeadlineExceeded)
        assert world.about(outcome.elapsed, 30) or not world.virtual
    over = await request.arun(deadline=Deadline(world.clock() - 1, world.clock))
    assert (over.only.status, over.only.attempts) == ("skipped", 0)


async def test_it_inherits_the_limit_of_the_body(world: World) -> None:
    async def body(_: str) -> float:
        return (await Task(remaining).inline()().arun(deadline=5_000)).value

    assert 0 < (await world.run(Task(body).timeout(1_000)("x"))).value <= 1_000


async def test_a_wrong_deadline_is_refused(world: World) -> None:
    with pytest.raises(ChainDefinitionError, match="`deadline`"):
        await Task(length)("x").arun(deadline=-1)
    assert world.mode


async def test_loops_take_it(world: World) -> None:
    """``create_task`` and ``start_soon`` of the loop, where the body runs on one."""
    request = Task(length)("four")
    if world.mode == "virtual":
        assert (await request.arun()).value == 4
    elif world.mode == "trio":
        found: list[int] = []

        async def kept() -> None:
            found.append((await request.arun()).value)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(kept)
            nursery.start_soon(request.arun)
        assert found == [4]
    else:
        assert (await asyncio.create_task(request.arun())).value == 4
        async with asyncio.TaskGroup() as group:
            task = group.create_task(request.arun(deadline=1_000))
        assert task.result().value == 4
