"""fan_out(..., need=k): so many values are enough."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from conformance.harness import World
from conformance.policies.backends import HANG, AsyncClosable, Closable, backend
from conformance.works import Works

from rio_chain import Cache, Task, TaskTimedOut, each, fan_out, race


async def test_the_first_that_come_in_the_order_of_the_branches(world: World) -> None:
    backs = [backend(world, (ms, name), cleanup=5) for ms, name in ((30, "a"), (HANG, "b"), (1, "c"), (HANG, "d"))]
    chain = fan_out(*(Task(back.fetch).named(name) for back, name in zip(backs, "abcd", strict=True)), need=2)
    outcome = await world.run((chain >> (lambda two: two) >> Task(lambda x: x).named("after").inline())(7))
    assert outcome.unwrap() == ("a", "c")
    assert [back.ends for back in backs] == [["answered"], ["cleaned up"], ["answered"], ["cleaned up"]]
    assert [r.status for r in outcome] == ["succeeded", "cancelled", "succeeded", "cancelled", "succeeded"]
    assert world.about(outcome.elapsed, 35), "the rest is awaited"


async def test_with_keys(world: World) -> None:
    a, b, c = backend(world, (HANG, "a")), backend(world, (5, "b")), backend(world, (1, "c"))
    chain = fan_out(x=Task(a.fetch).named("a"), y=Task(b.fetch).named("b"), z=Task(c.fetch).named("c"), need=2)
    outcome = await world.run(chain(7))
    assert list(outcome.unwrap().items()) == [("y", "b"), ("z", "c")]


async def test_as_many_failures_as_can_be_borne(world: World) -> None:
    first = OSError("first")
    a, b, c = backend(world, (5, OSError("a"))), backend(world, (1, first)), backend(world, (20, "c"))
    tasks = [Task(back.fetch).named(name) for back, name in zip((a, b, c), "abc", strict=True)]
    outcome = await world.run(fan_out(*tasks, need=1)(7))
    assert outcome.unwrap() == ("c",)
    assert [r.status for r in outcome] == ["failed", "failed", "succeeded"]
    hangs = backend(world, (HANG, "d"), cleanup=5)
    outcome = await world.run(fan_out(*tasks[:2], Task(hangs.fetch).named("d"), need=2)(7))
    assert outcome.result.failure() is first or not world.virtual
    assert type(outcome.result.failure()) is OSError
    assert hangs.ends == ["cleaned up"]
    assert [r.status for r in outcome] == ["failed", "failed", "cancelled"]


async def test_all_of_them_is_a_plain_fan_out(world: World) -> None:
    a, b = backend(world, (5, "a")), backend(world, (1, "b"))
    outcome = await world.run(fan_out(Task(a.fetch).named("a"), Task(b.fetch).named("b"), need=2)(7))
    assert outcome.unwrap() == ("a", "b")


async def test_values_that_are_not_needed_are_closed_once(world: World) -> None:
    taken, late, stubborn = Closable("taken"), AsyncClosable("late"), Closable("stubborn")

    begun: list[object] = []

    async def answers(_: object) -> object:
        await world.until(lambda: begun)
        return taken

    async def as_well(_: object) -> object:
        await world.until(lambda: begun)
        return late

    async def deaf(_: object) -> object:
        begun.append(deaf)
        await world.shielded(20)
        return stubborn

    chain = fan_out(Task(answers), Task(as_well), Task(deaf), need=1)
    for _ in range(3):
        begun.clear()
        taken.closed = late.closed = stubborn.closed = 0
        outcome = await world.run(chain(7))
        [won] = outcome.unwrap()
        assert won is taken or won is late
        assert won.closed == 0
        lost = late if won is taken else taken
        assert lost.closed <= 1
        assert stubborn.closed == 1, "it came when nobody needed it"


async def test_values_that_came_before_it_failed_are_closed(world: World) -> None:
    value = Closable("value")

    async def answers(_: object) -> object:
        return value

    async def fails(_: object) -> object:
        await world.pause(10)
        raise OSError

    chain = fan_out(Task(answers), Task(fails), Task(fails).named("more"), need=2)
    outcome = await world.run(chain(7))
    assert type(outcome.result.failure()) is OSError
    assert value.closed == 1
    value.closed = 0
    limited = fan_out(Task(answers), Task(_hang(world)), Task(_hang(world)).named("more"), need=2).timeout(world.short)
    assert type((await world.run(limited(7))).result.failure()) is TaskTimedOut
    assert value.closed == 1


def _hang(world: World) -> Any:
    async def hang(_: object) -> None:
        await world.pause(HANG)

    return hang


async def test_what_a_cache_holds_is_not_closed(world: World) -> None:
    values = [Closable("a"), Closable("b"), Closable("c")]
    backs = [backend(world, (1, value)) for value in values]
    cached = [Task(back.fetch).named(name).cache(Cache(ttl=60_000)) for back, name in zip(backs, "abc", strict=True)]
    await world.run(fan_out(*cached, need=1)(7))
    await world.run(fan_out(*cached, need=3)(7))
    await world.run(fan_out(*cached, need=2)(7))
    assert [value.closed for value in values] == [0, 0, 0]


async def test_the_same_value_from_two_branches(world: World) -> None:
    value = Closable("both")
    a, b = backend(world, (1, value)), backend(world, (1, value))
    for _ in range(5):
        outcome = await world.run(fan_out(Task(a.fetch).named("a"), Task(b.fetch).named("b"), need=1)(7))
        assert outcome.unwrap() == (value,)
        assert value.closed == 0


async def test_limits_and_cancellation_around_it(world: World) -> None:
    works = Works(world, ms=lambda _: HANG, cleanup=5)
    chain = fan_out(*(Task(works.do).named(name) for name in "abc"), need=2)
    outcome = await world.run(chain.timeout(world.short)(7))
    assert type(outcome.result.failure()) is TaskTimedOut
    assert [r.status for r in outcome] == ["timed_out"] * 3
    assert works.running == 0
    child = world.start(lambda: world.run(chain(7)))
    await world.until(lambda: works.running == 3)
    child.stop()
    await child.ended()
    assert (child.cancelled, works.running) == (True, 0)


async def test_branches_with_policies_of_their_own(world: World) -> None:
    flaky, slow = backend(world, (1, OSError()), (1, "again")), backend(world, (HANG, "never"))
    chain = fan_out(
        Task(flaky.fetch).named("flaky").retry(1, backoff=None),
        Task(slow.fetch).named("slow").timeout(world.short),
        Task(slow.fetch).named("hangs"),
        need=1,
    )
    outcome = await world.run(chain(7))
    assert outcome.unwrap() == ("again",)
    assert outcome["flaky"].attempts == 2
    assert outcome["hangs"].status in {"cancelled", "skipped"}  # on threads it may not have begun


async def test_inside_of_other_parts(world: World) -> None:
    works = Works(world, ms=lambda x: 1)
    slow = Works(world, ms=lambda x: HANG)
    one = fan_out(Task(works.do).named("a"), Task(slow.do).named("b"), need=1)
    outcome = await world.run(each(one, limit=2)(range(4)))
    assert outcome.unwrap() == [(0,), (1,), (2,), (3,)]
    assert outcome["a"].counts == {"succeeded": 4}
    assert set(outcome["b"].counts) <= {"cancelled", "skipped"}, "one may not even have begun"
    raced = race(one, fan_out(Task(slow.do).named("c"), Task(slow.do).named("d"), need=1))
    assert (await world.run(raced(5))).unwrap() == (5,)
    retried = fan_out(Task(works.do).named("a"), Task(slow.do).named("b"), need=1).retry(1)
    assert (await world.run(retried(5))).unwrap() == (5,)
    assert slow.running == 0


@pytest.mark.real_time
async def test_sync_branches(world: World) -> None:
    over = threading.Event()

    def quick(x: int) -> int:
        return x

    def slow(x: int) -> int:
        over.wait(30)
        return -x

    try:
        for _ in range(5):
            outcome = await world.run(fan_out(Task(quick), Task(slow), need=1)(7))
            assert outcome.unwrap() == (7,)
            assert outcome[0].status == "succeeded"
            assert outcome[1].status in {"cancelled", "skipped"}, "it may not even have begun"
    finally:
        over.set()
