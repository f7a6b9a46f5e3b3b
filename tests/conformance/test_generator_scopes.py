"""One task drives an async generator left of ``each``, so a scope or a group may be open at its ``yield``.

Each of them is left in the task and in the context in which it was entered, however the run ends.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import anyio
import anyio.lowlevel
import pytest
import trio
import trio.lowlevel
from conformance.generators import ENDS, LONG, VAR, Case, Watch, this_task
from conformance.harness import World

from rio_chain import Task

pytestmark = pytest.mark.timeout(30)


def variable(watch: Watch) -> Any:
    async def rows(_: object) -> AsyncIterator[int]:
        with watch.around():
            for x in watch.numbers():
                token = VAR.set(x)
                try:
                    await watch.stall(x)
                    yield x
                finally:
                    VAR.reset(token)

    return rows


def pauses(watch: Watch) -> Any:
    async def rows(_: object) -> AsyncIterator[int]:
        with watch.around():
            for x in watch.numbers():
                await watch.stall(x)
                await watch.world.pause(0)
                yield x

    return rows


def cleans_up(watch: Watch) -> Any:
    async def rows(_: object) -> AsyncIterator[int]:
        with watch.around():
            try:
                for x in watch.numbers():
                    await watch.stall(x)
                    yield x
            finally:
                await watch.world.shielded(1)
                watch.kept.append("cleaned up")

    return rows


def move_on_after(watch: Watch) -> Any:
    async def rows(_: object) -> AsyncIterator[int]:
        with watch.around(), anyio.move_on_after(LONG):
            for x in watch.numbers():
                await watch.stall(x)
                await anyio.lowlevel.checkpoint()
                yield x

    return rows


def fail_after(watch: Watch) -> Any:
    async def rows(_: object) -> AsyncIterator[int]:
        with watch.around(), anyio.fail_after(LONG), anyio.fail_after(2 * LONG):
            for x in watch.numbers():
                await watch.stall(x)
                yield x

    return rows


def cancel_scope(watch: Watch) -> Any:
    async def rows(_: object) -> AsyncIterator[int]:
        with watch.around(), anyio.CancelScope() as scope:
            for x in watch.numbers():
                await watch.stall(x)
                yield x
                scope.deadline = anyio.current_time() + LONG

    return rows


def anyio_group(watch: Watch) -> Any:
    async def rows(_: object) -> AsyncIterator[int]:
        with watch.around():
            async with anyio.create_task_group() as group:
                group.start_soon(anyio.sleep, LONG)
                for x in watch.numbers():
                    await watch.stall(x)
                    await anyio.lowlevel.checkpoint()
                    yield x
                group.cancel_scope.cancel()

    return rows


def nursery(watch: Watch) -> Any:
    async def rows(_: object) -> AsyncIterator[int]:
        with watch.around():
            async with trio.open_nursery() as nursery:
                nursery.start_soon(trio.sleep_forever)
                for x in watch.numbers():
                    await watch.stall(x)
                    await trio.lowlevel.checkpoint()
                    yield x
                nursery.cancel_scope.cancel()

    return rows


def trio_scope(watch: Watch) -> Any:
    async def rows(_: object) -> AsyncIterator[int]:
        with watch.around(), trio.move_on_after(LONG), trio.CancelScope():
            for x in watch.numbers():
                await watch.stall(x)
                yield x

    return rows


def timeout(watch: Watch) -> Any:
    async def rows(_: object) -> AsyncIterator[int]:
        with watch.around():
            async with asyncio.timeout(LONG), asyncio.timeout(2 * LONG):
                for x in watch.numbers():
                    await watch.stall(x)
                    await asyncio.sleep(0)
                    yield x

    return rows


def task_group(watch: Watch) -> Any:
    async def rows(_: object) -> AsyncIterator[int]:
        with watch.around():
            async with asyncio.TaskGroup() as group:
                child = group.create_task(asyncio.sleep(LONG))
                for x in watch.numbers():
                    await watch.stall(x)
                    yield x
                child.cancel()

    return rows


EVERYWHERE = {"variable": variable, "pauses": pauses, "cleans up": cleans_up}
ON_ANYIO = {
    "move_on_after": move_on_after,
    "fail_after": fail_after,
    "CancelScope": cancel_scope,
    "anyio group": anyio_group,
}
ON_TRIO = {"nursery": nursery, "trio scope": trio_scope}
ON_ASYNCIO = {"timeout": timeout, "TaskGroup": task_group}


def argument(x: Any) -> Any:
    return x


def bridge(make: Any) -> Any:
    return Task(argument).inline() >> make


async def ends_well(world: World, end: str, make: Any, how: Any = Task, *, stalls: bool = False) -> None:
    watch = Watch(world, this_task, stalls=stalls)
    before = world.cancelling()
    await ENDS[end](Case(world, watch, how(make(watch))))
    watch.check()
    assert world.cancelling() == before
    assert watch.kept == (["cleaned up"] if make is cleans_up else [])


@pytest.mark.parametrize("how", [Task, bridge])
@pytest.mark.parametrize("kind", EVERYWHERE)
@pytest.mark.parametrize("end", ENDS)
async def test_a_generator_keeps_its_task_and_its_context(world: World, end: str, kind: str, how: Any) -> None:
    await ends_well(world, end, EVERYWHERE[kind], how)


@pytest.mark.parametrize("kind", ON_ANYIO)
@pytest.mark.parametrize("end", ENDS)
async def test_a_scope_of_anyio_is_left_where_it_was_entered(world: World, end: str, kind: str) -> None:
    world.not_virtual("anyio needs asyncio or trio")
    await ends_well(world, end, ON_ANYIO[kind])


@pytest.mark.parametrize("kind", ON_TRIO)
@pytest.mark.parametrize("end", ENDS)
async def test_a_nursery_or_scope_of_trio_is_left_where_it_was_entered(world: World, end: str, kind: str) -> None:
    if world.executor != "trio":
        pytest.skip("its async functions do not run on trio")
    await ends_well(world, end, ON_TRIO[kind])


@pytest.mark.parametrize("kind", ON_ASYNCIO)
@pytest.mark.parametrize("end", ENDS)
async def test_a_timeout_or_group_of_asyncio_is_left_where_it_was_entered(world: World, end: str, kind: str) -> None:
    if world.executor not in ("asyncio", "thread"):
        pytest.skip("its async functions do not run on asyncio")
    await ends_well(world, end, ON_ASYNCIO[kind])


STALLED = [end for end in ENDS if end not in ("exhausted", "generator fails")]
GROUPS = {
    "variable": variable,
    "cleans up": cleans_up,
    "CancelScope": cancel_scope,
    "anyio group": anyio_group,
    "nursery": nursery,
    "timeout": timeout,
    "TaskGroup": task_group,
}


@pytest.mark.parametrize("kind", GROUPS)
@pytest.mark.parametrize("end", STALLED)
async def test_the_same_where_it_waits_for_something_else_than_room(world: World, end: str, kind: str) -> None:
    if (kind not in EVERYWHERE and world.mode == "virtual") or (
        kind in (ON_ASYNCIO if world.executor == "trio" else ON_TRIO)
    ):
        pytest.skip("its async functions do not run on that library")
    await ends_well(world, end, GROUPS[kind], stalls=True)
