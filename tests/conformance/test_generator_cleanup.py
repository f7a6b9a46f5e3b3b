"""The clean-up of a generator left of ``each``, and what else its body does: it is slow, it raises, it runs chains."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import nullcontext
from typing import Any

import pytest
import trio
from conformance.generators import ENDS, LIMIT, LONG, Case, Watch, same, this_task
from conformance.harness import World

from rio_chain import Task, TaskTimedOut, each, remaining

pytestmark = [pytest.mark.real_time, pytest.mark.timeout(30)]
KINDS = ["sync", "async"]
EARLY = [end for end in ENDS if end not in ("exhausted", "generator fails")]


def shield(world: World) -> Any:
    """On trio a cancelled scope interrupts every wait in it."""
    return trio.CancelScope(shield=True) if world.executor == "trio" else nullcontext()


def watch_of(world: World, kind: str, **options: Any) -> Watch:
    return Watch(world, **options) if kind == "sync" else Watch(world, this_task, **options)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("end", EARLY)
async def test_a_slow_clean_up_is_waited_for(world: World, end: str, kind: str) -> None:
    watch = watch_of(world, kind)

    def sync(_: object) -> Iterator[int]:
        with watch.around():
            try:
                yield from watch.numbers()
            finally:
                world.block(20)
                watch.kept.append("slow")

    async def slow(_: object) -> AsyncIterator[int]:
        with watch.around():
            try:
                for x in watch.numbers():
                    yield x
            finally:
                await world.shielded(20)
                watch.kept.append("slow")

    await ENDS[end](Case(world, watch, Task(sync if kind == "sync" else slow)))
    assert watch.kept == ["slow"]
    watch.check()


@pytest.mark.parametrize("end", EARLY)
async def test_a_clean_up_is_interrupted_once_if_an_item_is_waited_for(world: World, end: str) -> None:
    """So it may wait, as in a `for` loop; on trio it has to be shielded for that."""
    watch = watch_of(world, "async", stalls=True)

    async def rows(_: object) -> AsyncIterator[int]:
        with watch.around():
            try:
                for x in watch.numbers():
                    await watch.stall(x)
                    yield x
            finally:
                with shield(world):
                    await world.pause(20)
                watch.kept.append("slow")

    await ENDS[end](Case(world, watch, Task(rows)))
    assert watch.kept == ["slow"]
    watch.check()


async def test_a_clean_up_is_not_interrupted_if_the_limit_passes_while_the_generator_works(world: World) -> None:
    watch = watch_of(world, "async")

    async def rows(_: object) -> AsyncIterator[int]:
        with watch.around():
            try:
                for x in watch.numbers():
                    world.block(50)
                    yield x
            finally:
                with shield(world):
                    await world.pause(20)
                watch.kept.append("slow")

    case = Case(world, watch, Task(rows))
    outcome = await world.run(case.chain(case.stays).timeout(20)(0))
    assert type(outcome.result.failure()) is TaskTimedOut
    assert watch.kept == ["slow"] * watch.begun
    watch.check(watch.begun)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("end", EARLY)
async def test_what_a_clean_up_raises_does_not_change_how_the_run_ends(world: World, end: str, kind: str) -> None:
    watch = watch_of(world, kind)

    def sync(_: object) -> Iterator[int]:
        with watch.around():
            try:
                yield from watch.numbers()
            finally:
                raise LookupError("clean-up")

    async def slow(_: object) -> AsyncIterator[int]:
        with watch.around():
            try:
                for x in watch.numbers():
                    yield x
            finally:
                raise LookupError("clean-up")

    await ENDS[end](Case(world, watch, Task(sync if kind == "sync" else slow)))
    watch.check()


@pytest.mark.parametrize("kind", KINDS)
async def test_what_a_clean_up_raises_at_the_end_of_the_generator_is_its_failure(world: World, kind: str) -> None:
    watch, error = watch_of(world, kind, count=4), LookupError("clean-up")

    def sync(_: object) -> Iterator[int]:
        with watch.around():
            yield from watch.numbers()
            raise error

    async def slow(_: object) -> AsyncIterator[int]:
        with watch.around():
            for x in watch.numbers():
                yield x
            raise error

    chain = Task(sync if kind == "sync" else slow).named("feed") >> each(Task(same), limit=LIMIT)
    outcome = await world.run(chain(0))
    assert outcome.result.failure() is error
    assert outcome["feed"].status == "failed"
    watch.check()


@pytest.mark.parametrize("kind", KINDS)
async def test_a_scope_of_the_caller_wins(world: World, kind: str) -> None:
    watch = watch_of(world, kind)

    def sync(_: object) -> Iterator[int]:
        with watch.around():
            yield from watch.numbers()

    async def slow(_: object) -> AsyncIterator[int]:
        with watch.around():
            for x in watch.numbers():
                yield x

    case = Case(world, watch, Task(sync if kind == "sync" else slow))
    before = world.cancelling()
    async with world.limit(world.short) as scope:
        await world.run(case.request(case.stays))
    assert scope.expired
    assert world.cancelling() == before
    watch.check()


async def test_an_attempt_after_one_whose_generator_is_stuck(world: World) -> None:
    world.not_virtual("a sync function takes no time")
    watches: list[Watch] = []
    free = threading.Event()

    def rows(_: object) -> Iterator[int]:
        watches.append(watch := Watch(world, count=4))
        first = len(watches) == 1
        with watch.around():
            for x in watch.numbers():
                yield x
                if first:
                    assert free.wait(10)

    chain = (Task(rows) >> each(Task(same), limit=LIMIT)).timeout(world.short).retry(2, backoff=None)
    async with world.balancer() as balancer:
        try:
            assert (await balancer.arun(chain(0))).unwrap() == [0, 1, 2, 3]
            assert balancer.stats().abandoned == 1
        finally:
            free.set()
        await world.until(lambda: balancer.stats().abandoned == 0)
    assert len(watches) == 2
    for watch in watches:
        watch.check()


# --- what its body does --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
async def test_its_body_sees_the_time_that_remains(world: World, kind: str) -> None:
    seen: list[bool] = []

    def look() -> None:
        seen.append(0 < remaining() <= LONG)

    def sync(n: int) -> Iterator[int]:
        for x in range(n):
            look()
            yield x

    async def slow(n: int) -> AsyncIterator[int]:
        for x in range(n):
            look()
            await world.pause(0)
            yield x

    chain = Task(sync if kind == "sync" else slow) >> each(Task(same), limit=LIMIT)
    outcome = await world.run(chain.timeout(LONG)(3))
    assert outcome.unwrap() == [0, 1, 2]
    assert seen == [True] * 3


async def test_an_async_generator_may_run_chains(world: World) -> None:
    """Limits of theirs end what they limit, and leave the generator alone."""
    watch = Watch(world, this_task, count=5)

    async def stays(_: int) -> None:
        await world.pause(LONG)

    async def rows(_: object) -> AsyncIterator[int]:
        with watch.around():
            for x in watch.numbers():
                outcome = await Task(stays).timeout(2)(x)
                assert type(outcome.result.failure()) is TaskTimedOut
                both = await (Task(same) & Task(same).named("b"))(x)
                assert both.unwrap() == (x, x)
                yield x

    outcome = await world.run((Task(rows) >> each(Task(same), limit=LIMIT))(0))
    assert outcome.unwrap() == list(range(5))
    watch.check()


async def test_a_sync_generator_may_run_chains(world: World) -> None:
    world.not_virtual("a blocking run would wait for itself")
    watch = Watch(world, count=5)

    def rows(_: object) -> Iterator[int]:
        with watch.around():
            for x in watch.numbers():
                yield Task(same)(x).run(executor="thread").unwrap()

    outcome = await world.run((Task(rows) >> each(Task(same), limit=LIMIT))(0))
    assert outcome.unwrap() == list(range(5))
    watch.check()


async def test_an_async_generator_that_reads_from_another_chain_of_generators(world: World) -> None:
    inner, outer = Watch(world, this_task, count=6), Watch(world, this_task)

    async def numbers(_: object) -> AsyncIterator[int]:
        with inner.around():
            for x in inner.numbers():
                yield x

    async def rows(_: object) -> AsyncIterator[int]:
        with outer.around():
            outer.count = 6
            found = (await (Task(numbers) >> each(Task(same), limit=LIMIT))(0)).unwrap()
            for x in outer.numbers():
                yield found[x]

    outcome = await world.run((Task(rows) >> each(Task(same), limit=LIMIT))(0))
    assert outcome.unwrap() == list(range(6))
    inner.check()
    outer.check()


async def test_a_generator_is_not_interrupted_when_its_items_are(world: World) -> None:
    watch = Watch(world, this_task, count=6)

    async def rows(_: object) -> AsyncIterator[int]:
        with watch.around():
            for x in watch.numbers():
                try:
                    yield x
                except BaseException as error:
                    watch.problems.append(repr(error))
                    raise

    async def body(x: int) -> int:
        await world.pause(1 if x % 2 else LONG)
        raise OSError(x)

    limited = Task(body).timeout(world.short).or_else(Task(same).named("other"))
    outcome = await world.run((Task(rows) >> each(limited, limit=LIMIT)).timeout(LONG)(0))
    watch.check()
    assert outcome.unwrap() == list(range(6))
    assert TaskTimedOut in {type(error) for error in outcome["body"].errors}
