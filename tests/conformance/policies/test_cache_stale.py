"""``stale=`` of a Cache: an old answer at once, a call behind, and the old one again if that fails. And ``when=``."""

from __future__ import annotations

from typing import Any

import pytest
from conformance.harness import World
from conformance.policies.backends import HANG, backend
from returns.result import Success

from rio_chain import Cache, CallbackFailed, Limit, Task, each

FRESH = 10


async def test_an_old_answer_at_once_and_the_new_one_next_time(world: World) -> None:
    back = backend(world, (1, "old"), (world.short / 2, "new"), (HANG, "never"))
    cache = Cache(FRESH, stale=60_000)
    chain = Task(back.fetch).cache(cache)
    assert (await world.run(chain(7))).result == Success("old")
    await world.pause(FRESH + 1)
    outcome = await world.run(chain(7))
    assert outcome.result == Success("old")
    assert (outcome.only.attempts, outcome.only.status) == (0, "succeeded")
    assert not world.virtual or outcome.elapsed < 1e-3, "it does not wait"
    await world.until(lambda: len(back.calls) == 2 and back.ends[1] == "answered")
    await world.until(lambda: not cache._refreshing)
    assert next(iter(cache._kept.values()))[1] == "new"
    assert len(back.calls) == 2


async def test_only_one_call_behind_for_each_key(world: World) -> None:
    back = backend(world, (1, "old"), (world.short, "new"))
    chain = Task(back.fetch).cache(Cache(FRESH, stale=60_000))
    for key in (7, 8):
        await world.run(chain(key))
    await world.pause(FRESH + 1)
    before = len(back.calls)
    outcomes = await world.together(*[lambda k=k: world.run(chain(7 + k % 2)) for k in range(6)])
    assert all(outcome.ok for outcome in outcomes)
    assert len(back.calls) - before <= 2


async def test_the_old_answer_stays_if_the_call_behind_fails(world: World) -> None:
    back = backend(world, (1, "old"), (0, OSError("down")))
    chain = Task(back.fetch).retry(1, backoff=None).cache(Cache(FRESH, stale=60_000))
    await world.run(chain(7))
    await world.pause(FRESH + 1)
    for count in (3, 5):
        assert (await world.run(chain(7))).result == Success("old")
        await world.until(lambda count=count: len(back.calls) == count)  # with its retry, and again for the next one
        await world.pause(2)


async def test_when_the_answer_is_too_old_the_call_is_made_and_its_failure_is_one(world: World) -> None:
    back = backend(world, (1, "old"), (0, OSError("down")))
    chain = Task(back.fetch).cache(Cache(FRESH, stale=20))
    await world.run(chain(7))
    await world.pause(FRESH + 21)
    assert type((await world.run(chain(7))).result.failure()) is OSError


async def test_policies_outside_do_not_apply_to_the_call_behind_and_those_inside_do(world: World) -> None:
    inside, outside = Limit(1), Limit(1)
    back = backend(world, (1, "old"), (world.short, "new"))
    chain = Task(back.fetch).limit(inside).cache(Cache(FRESH, stale=60_000)).limit(outside)
    await world.run(chain(7))
    await world.pause(FRESH + 1)
    assert (await world.run(chain(7))).result == Success("old")
    await world.until(lambda: inside.running)
    assert outside.running == 0
    await world.until(lambda: not inside.running)
    assert back.calls[1].given == 7


async def test_a_part_of_several_tasks(world: World) -> None:
    back, second = backend(world, (1, "old"), (1, "new")), backend(world, (1, "A"), (1, "B"))
    part = Task(back.fetch).named("first") >> Task(second.fetch).named("second")
    chain = part.cache(Cache(FRESH, stale=60_000)) >> Task(str).named("after").inline()
    assert (await world.run(chain(7))).result == Success("A")
    await world.pause(FRESH + 1)
    outcome = await world.run(chain(7))
    assert outcome.result == Success("A")
    await world.until(lambda: second.ends == ["answered", "answered"])
    assert second.calls[1].given == "new"


async def test_in_an_each(world: World) -> None:
    back = backend(world, (1, "old"), (1, "old"), (1, "new"))
    cached = Task(back.fetch).cache(Cache(FRESH, stale=60_000))
    chain = Task(list).inline() >> each(cached)
    await world.run(chain([1, 2]))
    await world.pause(FRESH + 1)
    assert (await world.run(chain([1, 2]))).result == Success(["old", "old"])
    await world.until(lambda: len(back.calls) == 4)


async def test_a_close_answers_and_cancels_the_call_behind(world: World) -> None:
    back = backend(world, (0, "old"), (HANG, "new"), cleanup=1)
    cache = Cache(FRESH, stale=60_000)
    chain = Task(back.fetch).cache(cache)
    async with world.balancer() as balancer:
        await balancer.arun(chain(7))
        await world.pause(FRESH + 1)
        assert (await balancer.arun(chain(7))).result == Success("old")
        await world.until(lambda: len(back.calls) == 2)
    await world.until(lambda: back.ends == ["answered", "cleaned up"])
    assert not cache._refreshing, "the next stale answer may begin another one"


async def test_observers_see_a_stale_answer(world: World) -> None:
    back = backend(world, (0, "old"), (0, "new"))
    events: list[Any] = []
    async with world.balancer(observers=[events.append]) as balancer:
        chain = Task(back.fetch).cache(Cache(FRESH, stale=60_000))
        await balancer.arun(chain(7))
        await world.pause(FRESH + 1)
        await balancer.arun(chain(7))
    assert [e.kind for e in events if e.kind.startswith("cache")] == ["cache_miss", "cache_stale"]


async def test_only_answers_that_are_good_enough_are_kept(world: World) -> None:
    back = backend(world, (0, ""), (0, "a"), (0, "b"))
    chain = Task(back.fetch).cache(Cache(60_000, when=bool))
    got = [(await world.run(chain(7))).unwrap() for _ in range(4)]
    assert got == ["", "a", "a", "a"]


async def test_a_refresh_keeps_only_what_is_good_enough(world: World) -> None:
    back = backend(world, (0, "old"), (0, ""))
    chain = Task(back.fetch).cache(Cache(FRESH, stale=60_000, when=lambda text: text != ""))
    await world.run(chain(7))
    await world.pause(FRESH + 1)
    for _ in range(3):
        assert (await world.run(chain(7))).result == Success("old")
        await world.pause(5)
    assert len(back.calls) >= 2


@pytest.mark.parametrize("when", [lambda _: 1 / 0, lambda _: Unsure()])
async def test_a_when_that_raises_is_a_failure(world: World, when: Any) -> None:
    back = backend(world, (0, "a"))
    cache = Cache(60_000, when=when)
    error = (await world.run(Task(back.fetch).cache(cache)(7))).result.failure()
    assert type(error) is CallbackFailed
    assert error.role == "when"
    assert len(cache) == 0


class Unsure:
    """Neither true nor false."""

    def __bool__(self) -> bool:
        raise TypeError("unsure")
