"""What interrupts an async generator that waits for room is raised at its ``yield``, and what it does then counts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import anyio
import anyio.lowlevel
import pytest
import trio
import trio.lowlevel
from conformance.generators import LIMIT, LONG, Watch, cause, this_task
from conformance.harness import World

from rio_chain import BridgeFailed, Task, each

pytestmark = pytest.mark.timeout(30)
SHORT = 0.02  # seconds


def needs(world: World, library: str) -> None:
    """Leave out where async functions run on something else."""
    found = {"thread": "asyncio"}.get(world.executor, world.executor)
    if library not in (found, "anyio") or found == "virtual":
        pytest.skip(f"its async functions do not run on {library}")


class Waits:
    """A chain whose generator waits for room until ``open`` is called; then its items end."""

    def __init__(self, world: World, make: Callable[[Watch], Any]) -> None:
        self.world = world
        self.gate = world.gate()
        self.watch = Watch(world, this_task)
        self.chain = Task(make(self.watch)).named("feed") >> each(Task(self.item).named("item"), limit=LIMIT)

    async def item(self, item: int) -> int:
        await self.gate.passed()
        return item

    async def run(self) -> Any:
        """Its Outcome, when the generator has ended before its items have."""
        child = self.world.start(lambda: self.world.run(self.chain(0)))
        await self.world.until(lambda: self.watch.ended or child.over.is_open)
        self.gate.open()
        outcome = await child.result()
        self.watch.check()
        return outcome


# --- a scope of its own that expires -------------------------------------------------------------------------------


def asyncio_timeout(watch: Watch) -> Any:
    async def rows(_: object) -> AsyncIterator[int]:
        with watch.around():
            async with asyncio.timeout(SHORT):
                for x in watch.numbers():
                    yield x

    return rows


def anyio_fail_after(watch: Watch) -> Any:
    async def rows(_: object) -> AsyncIterator[int]:
        with watch.around(), anyio.fail_after(SHORT):
            for x in watch.numbers():
                yield x

    return rows


def trio_fail_after(watch: Watch) -> Any:
    async def rows(_: object) -> AsyncIterator[int]:
        with watch.around(), trio.fail_after(SHORT):
            for x in watch.numbers():
                await trio.lowlevel.checkpoint()
                yield x

    return rows


FAIL = {
    "asyncio": (asyncio_timeout, TimeoutError),
    "anyio": (anyio_fail_after, TimeoutError),
    "trio": (trio_fail_after, trio.TooSlowError),
}


@pytest.mark.parametrize("library", FAIL)
async def test_a_timeout_of_its_own_fails_its_task(world: World, library: str) -> None:
    needs(world, library)
    make, kind = FAIL[library]
    outcome = await Waits(world, make).run()
    assert type(outcome.result.failure()) is kind
    assert outcome["feed"].status == "failed"


@pytest.mark.parametrize("library", FAIL)
async def test_its_failure_does_not_wait_for_the_items(world: World, library: str) -> None:
    needs(world, library)
    make, kind = FAIL[library]
    watch = Watch(world, this_task)

    async def stays(_: int) -> None:
        await world.pause(LONG)

    begun = world.now()
    outcome = await world.run((Task(lambda x: x).inline() >> make(watch) >> each(Task(stays), limit=LIMIT))(0))
    watch.check()
    assert (type(outcome.result.failure()), type(cause(outcome))) == (BridgeFailed, kind)
    assert world.now() - begun < LONG / 2


def asyncio_handled(watch: Watch) -> Any:
    async def rows(_: object) -> AsyncIterator[int]:
        with watch.around():
            try:
                async with asyncio.timeout(SHORT):
                    for x in watch.numbers():
                        yield x
            except TimeoutError:
                watch.kept.append("after")

    return rows


def anyio_move_on(watch: Watch) -> Any:
    async def rows(_: object) -> AsyncIterator[int]:
        with watch.around():
            with anyio.move_on_after(SHORT) as scope:
                for x in watch.numbers():
                    yield x
            if scope.cancelled_caught:
                watch.kept.append("after")

    return rows


def trio_move_on(watch: Watch) -> Any:
    async def rows(_: object) -> AsyncIterator[int]:
        with watch.around():
            with trio.move_on_after(SHORT) as scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(trio.sleep_forever)
                    for x in watch.numbers():
                        yield x
            if scope.cancelled_caught:
                watch.kept.append("after")

    return rows


MOVE_ON = {"asyncio": asyncio_handled, "anyio": anyio_move_on, "trio": trio_move_on}


@pytest.mark.parametrize("library", MOVE_ON)
async def test_the_stream_ends_where_its_own_scope_does(world: World, library: str) -> None:
    needs(world, library)
    case = Waits(world, MOVE_ON[library])
    outcome = await case.run()
    assert case.watch.kept == ["after"]
    assert LIMIT <= case.watch.taken <= 2 * LIMIT + 1
    assert outcome.unwrap() == list(range(case.watch.taken))
    assert [response.status for response in outcome] == ["succeeded", "succeeded"]


async def test_a_scope_that_another_function_cancels(world: World) -> None:
    needs(world, "anyio")
    scopes: list[anyio.CancelScope] = []
    watch = Watch(world, this_task)

    async def rows(_: object) -> AsyncIterator[int]:
        with watch.around(), anyio.CancelScope() as scope:
            scopes.append(scope)
            for x in watch.numbers():
                yield x

    async def body(x: int) -> int:
        if x == 1:
            await watch.waits()
            scopes[0].cancel()
        await world.until(lambda: watch.ended)
        return x

    outcome = await world.run((Task(rows) >> each(Task(body), limit=LIMIT))(0))
    watch.check()
    assert outcome.unwrap() == list(range(watch.taken))


@pytest.mark.parametrize("library", MOVE_ON)
async def test_one_scope_after_the_other(world: World, library: str) -> None:
    """Each page has a scope of its own, which expires; the pages after it come all the same."""
    needs(world, library)
    watch = Watch(world, this_task)

    async def rows(_: object) -> AsyncIterator[int]:
        numbers = watch.numbers()
        with watch.around():
            for page in range(3):
                if library == "asyncio":
                    try:
                        async with asyncio.timeout(SHORT):
                            for x in numbers:
                                yield x
                    except TimeoutError:
                        watch.kept.append(page)
                    continue
                with (anyio if library == "anyio" else trio).move_on_after(SHORT) as scope:
                    for x in numbers:
                        yield x
                watch.kept.extend([page] * scope.cancelled_caught)

    async def body(x: int) -> int:
        await world.until(lambda: len(watch.kept) > x // LIMIT or watch.ended)
        return x

    outcome = await world.run((Task(rows) >> each(Task(body), limit=LIMIT))(0))
    watch.check()
    assert watch.kept == [0, 1, 2]
    assert outcome.unwrap() == list(range(watch.taken))
    assert watch.taken > LIMIT


# --- a child of its own that fails ---------------------------------------------------------------------------------


def asyncio_group(watch: Watch) -> Any:
    async def fails() -> None:
        await asyncio.sleep(SHORT)
        raise LookupError("child")

    async def rows(_: object) -> AsyncIterator[int]:
        with watch.around():
            async with asyncio.TaskGroup() as group:
                group.create_task(fails())
                for x in watch.numbers():
                    yield x

    return rows


def anyio_group(watch: Watch) -> Any:
    async def fails() -> None:
        await anyio.sleep(SHORT)
        raise LookupError("child")

    async def rows(_: object) -> AsyncIterator[int]:
        with watch.around():
            async with anyio.create_task_group() as group:
                group.start_soon(fails)
                for x in watch.numbers():
                    await anyio.lowlevel.checkpoint()
                    yield x

    return rows


def trio_nursery(watch: Watch) -> Any:
    async def fails() -> None:
        await trio.sleep(SHORT)
        raise LookupError("child")

    async def rows(_: object) -> AsyncIterator[int]:
        with watch.around():
            async with trio.open_nursery() as nursery:
                nursery.start_soon(fails)
                for x in watch.numbers():
                    yield x

    return rows


GROUPS = {"asyncio": asyncio_group, "anyio": anyio_group, "trio": trio_nursery}


@pytest.mark.parametrize("library", GROUPS)
async def test_a_child_that_fails_fails_its_task(world: World, library: str) -> None:
    needs(world, library)
    outcome = await Waits(world, GROUPS[library]).run()
    error = outcome.result.failure()
    assert type(error) is ExceptionGroup
    assert [(type(one), str(one)) for one in error.exceptions] == [(LookupError, "child")]
    assert outcome["feed"].status == "failed"
