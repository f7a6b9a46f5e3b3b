"""Batch: a caller that is cancelled, or out of time, leaves the others alone, and the last one ends the call."""

from __future__ import annotations

import gc
import threading
from contextvars import ContextVar
from typing import Any

import pytest
import sniffio
from conformance.harness import Child, Gate, World
from conformance.policies.batches import Backend, in_one_run, waiting
from returns.result import Success

from rio_chain import Batch, Task, TaskTimedOut, each, fan_out
from rio_chain.engine import _parked
from rio_chain.testing import leak_guard

VARIABLE = ContextVar("VARIABLE", default="unset")
LONG = 10_000


class Final(BaseException):
    pass


def gate_of(back: Backend) -> Gate:
    assert back.gate is not None
    return back.gate


async def first_of_three_left(world: World, back: Backend) -> list[Child]:
    """The other two callers of one call, whose first caller was cancelled while it ran; it answers now."""
    user = Task(back.fetch_many).batch(Batch(size=3, wait=LONG, scope="shared"))
    children = [world.start(lambda key=key: world.run(user(key))) for key in (1, 2, 3)]
    await world.until(lambda: back.asked)
    children[0].stop()
    assert (await children[0].ended()).cancelled
    gate_of(back).open()
    return children[1:]


async def test_a_caller_that_is_cancelled_before_the_call_is_not_asked_for(world: World) -> None:
    back, batch = Backend(), Batch(wait=60, scope="shared")
    user = Task(back.fetch_many).batch(batch)
    children = [world.start(lambda key=key: world.run(user(key))) for key in (1, 2, 2, 3)]
    await world.until(lambda: waiting(batch) == 4)
    for gone in (0, 1):
        children[gone].stop()
        assert (await children[gone].ended()).cancelled
    assert [(await child.result()).unwrap() for child in children[2:]] == ["user 2", "user 3"]
    assert [sorted(keys) for keys in back.asked] == [[2, 3]]
    assert (await world.run(user(1))).result == Success("user 1"), "it can be asked for again"


async def test_when_all_are_cancelled_before_the_call_it_is_not_made(world: World) -> None:
    back, batch = Backend(), Batch(wait=40, scope="shared")
    user = Task(back.fetch_many).batch(batch)
    children = [world.start(lambda key=key: world.run(user(key))) for key in (1, 2)]
    await world.until(lambda: waiting(batch) == 2)
    for child in children:
        child.stop()
    for child in children:
        assert (await child.ended()).cancelled
    await world.pause(50)
    assert back.asked == []
    assert repr(batch).endswith("0 calls for 0 keys, 0 wait>")
    assert (await world.run(user(1))).result == Success("user 1")


async def test_a_caller_that_is_cancelled_during_the_call_harms_nobody(world: World) -> None:
    back = Backend(gate=world.gate())
    children = await first_of_three_left(world, back)
    assert [(await child.result()).unwrap() for child in children] == ["user 2", "user 3"]
    assert back.ends == ["answered"]


@pytest.mark.parametrize("how", ["cancel", "timeout", "ticket"])
async def test_the_last_who_leaves_cancels_the_call_and_awaits_its_clean_up(world: World, how: str) -> None:
    ended: list[Any] = []
    began = []

    async def fetch_many(keys: list[int]) -> list[int]:
        began.append(sorted(keys))
        try:
            await world.pause(60_000)
        finally:
            await world.shielded(10)
            ended.append("cleaned up")
        return keys

    batch = Batch(size=2, wait=LONG, scope="shared")
    user = Task(fetch_many).batch(batch)
    async with world.balancer() as balancer:
        if how == "timeout":
            early, late = user.timeout(world.short), user.timeout(2 * world.short)
            outcomes = await world.together(*[lambda one=one: balancer.arun(one) for one in (early(1), late(2))])
            assert [type(one.result.failure()) for one in outcomes] == [TaskTimedOut] * 2
        elif how == "ticket":
            tickets = [balancer.post(user(key)) for key in (1, 2)]
            await world.until(lambda: began)
            for ticket in tickets:
                ticket.cancel()
            assert [(await ticket).only.status for ticket in tickets] == ["cancelled"] * 2
        else:
            children = [world.start(lambda key=key: balancer.arun(user(key))) for key in (1, 2)]
            await world.until(lambda: began)
            children[0].stop()
            assert (await children[0].ended()).cancelled
            assert ended == []
            children[1].stop()
            assert (await children[1].ended()).cancelled
        await world.until(lambda: ended)
        assert began == [[1, 2]]
        assert ended == ["cleaned up"]
        async with leak_guard(balancer):
            pass
    assert repr(batch).endswith("0 wait>")


async def test_a_failed_branch_takes_the_others_out_of_the_batch(world: World) -> None:
    back, batch = Backend(), Batch(wait=LONG)

    async def fails(_: object) -> int:
        await world.pause(5)
        raise OSError

    page = fan_out(Task(back.fetch_many).batch(batch), Task(fails))
    outcome = await world.run(page(1))
    assert type(outcome.result.failure()) is OSError
    assert (back.asked, waiting(batch)) == ([], 0)


async def test_the_race_that_is_won_leaves_the_batch(world: World) -> None:
    back, batch = Backend(gate=world.gate()), Batch(wait=1)

    async def quick(_: object) -> str:
        await world.pause(20)
        return "quick"

    user = Task(back.fetch_many).batch(batch)
    outcome = await world.run(user.replica(2, after=5, to=[Task(quick)])(1))
    assert outcome.result == Success("quick")
    await world.until(lambda: waiting(batch) == 0)
    assert back.ends == ["cancelled"]


async def test_the_call_begins_in_the_context_of_the_first(world: World) -> None:
    seen = []

    async def fetch_many(keys: list[int]) -> list[int]:
        seen.append((VARIABLE.get(), sorted(keys)))
        return keys

    batch = Batch(wait=60, scope="shared")
    user = Task(fetch_many).batch(batch)

    async def of(name: str, key: int) -> Any:
        VARIABLE.set(name)
        return await world.run(user(key))

    first = world.start(lambda: of("the first", 1))
    await world.until(lambda: waiting(batch) == 1)
    second = world.start(lambda: of("the second", 2))
    await world.until(lambda: waiting(batch) == 2)
    first.stop()
    assert (await first.ended()).cancelled
    assert (await second.result()).result == Success(2)
    assert seen == [("the first", [2])]


@pytest.mark.parametrize("error", [Final("x"), SystemExit(3), KeyboardInterrupt()])
async def test_what_ends_more_than_a_run_ends_that_of_each_caller(
    world: World, reported: list[BaseException], error: BaseException
) -> None:
    async def fetch_many(_: list[int]) -> list[int]:
        raise error

    async with world.balancer() as balancer:
        user = Task(fetch_many).batch(Batch(size=2, wait=LONG, scope="shared"))
        children = [world.start(lambda key=key: balancer.arun(user(key))) for key in (1, 2)]
        assert [(await child.ended()).error for child in children] == [error] * 2
        assert reported == []

        async def echo(x: int) -> int:
            return x

        assert (await balancer.arun(Task(echo)(8))).result == Success(8), "the loop and its workers live on"


@pytest.mark.real_time
async def test_a_sync_call_that_nobody_waits_for_is_abandoned(world: World) -> None:
    world.not_virtual("a sync function takes no time, so no limit ends it")
    go, began = threading.Event(), threading.Event()

    def fetch_many(keys: list[int]) -> list[int]:
        began.set()
        go.wait(5)
        return keys

    user = Task(fetch_many).batch(Batch(size=2, wait=LONG, scope="shared")).timeout(50)
    async with world.balancer() as balancer:
        outcomes = await world.together(*[lambda key=key: balancer.arun(user(key)) for key in (1, 2)])
        assert [type(one.result.failure()) for one in outcomes] == [TaskTimedOut] * 2
        assert began.is_set()
        await world.until(lambda: balancer.stats().abandoned == 1)
        go.set()
        await world.until(lambda: balancer.stats().abandoned == 0)


async def test_a_balancer_that_closes_ends_the_call_with_its_callers(world: World) -> None:
    back, batch = Backend(gate=world.gate()), Batch(size=2, wait=LONG, scope="shared")
    async with world.balancer() as balancer:
        tickets = [balancer.post(Task(back.fetch_many).batch(batch)(key)) for key in (1, 2)]
        await world.until(lambda: back.asked)
        await balancer.aclose(grace=0)
        assert [(await ticket).only.status for ticket in tickets] == ["cancelled"] * 2
    await world.until(lambda: back.ends == ["cancelled"])
    assert waiting(batch) == 0


async def test_callers_of_another_balancer_ask_again_if_that_of_the_first_closes(world: World) -> None:
    back, batch = Backend(gate=world.gate()), Batch(wait=40, scope="shared")
    user = Task(back.fetch_many).batch(batch)
    if not world.native and world.executor != "thread":
        pytest.skip("each balancer has a loop of its own here, and a batch is of one loop")
    async with world.balancer() as other, world.balancer() as balancer:
        first = balancer.post(user(1))
        await world.until(lambda: waiting(batch) == 1)
        second = world.start(lambda: other.arun(user(2)))
        await world.until(lambda: waiting(batch) == 2)
        await balancer.aclose(grace=0)
        assert (await first).only.status == "cancelled"
        await world.until(lambda: [2] in back.asked)
        gate_of(back).open()
        assert (await second.result()).result == Success("user 2")


async def test_many_who_leave_at_any_moment(world: World) -> None:
    asked = []

    async def fetch_many(keys: list[int]) -> list[int]:
        asked.append(keys)
        await world.pause(3)
        return keys

    batch = Batch(size=7, wait=3, scope="shared")
    user = Task(fetch_many).batch(batch)
    async with world.balancer(workers=50) as balancer:
        chains = [user, user.timeout(2), user.timeout(5).retry(1, backoff=None), user.timeout(1).or_else(-1)]
        children = [world.start(lambda k=k: balancer.arun(chains[k % 4](k))) for k in range(200)]
        for child in children[::5]:
            child.stop()
        for k, child in enumerate(children):
            await child.ended()
            assert child.cancelled or child.error is None
            if child.value is not None and type(child.value.result) is Success:
                assert child.value.unwrap() in (k, -1)
        async with leak_guard(balancer):
            pass
    assert all(len(keys) <= 7 for keys in asked)
    gc.collect()
    assert repr(batch).endswith("0 wait>")


async def test_a_run_of_many_batches_leaves_nothing_behind(world: World) -> None:
    back = Backend()
    user = Task(back.fetch_many).batch(Batch(size=3, wait=1))
    page = each(user.timeout(5_000), limit=4)
    for _ in range(3):
        assert (await world.run(page(range(20)))).unwrap() == [f"user {k}" for k in range(20)]
    await in_one_run(world, user(1), user(2))
    assert _parked._requests == {}


async def own_clean_up(world: World) -> None:
    """It takes some time, and nothing but trio's own rule shields it."""
    if sniffio.current_async_library() == "trio":
        await world.shielded(world.short)
    else:
        await world.pause(world.short)


async def test_a_timeout_interrupts_the_call_once_and_waits_for_its_clean_up(world: World) -> None:
    cleaned: list[str] = []

    async def slow(keys: list[int]) -> list[int]:
        try:
            await world.pause(60_000)
        finally:
            cleaned.append("begun")
            await own_clean_up(world)
            cleaned.append("done")
        return keys

    outcome = await world.run(Task(slow).batch(Batch(wait=0)).timeout(world.short)(7))
    assert type(outcome.result.failure()) is TaskTimedOut
    assert cleaned == ["begun", "done"]


async def test_the_record_of_the_call_is_that_of_the_last_who_leaves(world: World) -> None:
    async def fails(_: list[int]) -> list[int]:
        await world.pause(1)
        raise ConnectionError

    chain = Task(fails).retry(10_000, backoff=None).batch(Batch(wait=0)).timeout(world.short)
    outcome = await world.run(chain(7))
    assert outcome.only.attempts > 1
    assert type(outcome.only.errors[0]) is ConnectionError


async def test_if_the_first_leaves_the_next_has_the_record_of_the_call(world: World) -> None:
    back = Backend(gate=world.gate())
    children = await first_of_three_left(world, back)
    assert sum([(await child.result()).only.attempts for child in children]) == 1
