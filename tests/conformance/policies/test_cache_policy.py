"""Caches: what is not asked again, for how long, and what is never kept."""

from __future__ import annotations

from conformance.harness import World
from conformance.policies.backends import HANG, backend
from returns.result import Failure, Success

from rio_chain import Cache, CallbackFailed, Task, TaskTimedOut


async def test_a_fresh_answer_is_not_asked_for_again(world: World) -> None:
    back = backend(world, (5, "a"), (5, "b"))
    chain = Task(back.fetch).cache(Cache(60_000)) >> Task(str).inline()
    first, second = [await world.run(chain(7)) for _ in range(2)]
    assert first.result == second.result == Success("a")
    assert [first["fetch"].attempts, second["fetch"].attempts] == [1, 0]
    assert second["fetch"].status == "succeeded"
    assert second["fetch"].result == Success("a")
    assert second.elapsed < 4_000
    assert len(back.calls) == 1


async def test_it_is_fresh_for_its_ttl(world: World) -> None:
    back = backend(world, (10, "a"), (1, "b"))
    chain = Task(back.fetch).cache(Cache(50))
    assert (await world.run(chain(7))).result == Success("a")
    if world.virtual:
        await world.pause(49)
        assert (await world.run(chain(7))).result == Success("a"), "counted from when it came"
    await world.pause(51)
    assert (await world.run(chain(7))).result == Success("b")


async def test_by_the_input_or_a_key(world: World) -> None:
    back = backend(world, (0, "a"))
    by_input, by_key = Task(back.fetch).cache(Cache(60_000)), Task(back.fetch).cache(Cache(60_000, key=str.lower))
    for text in ("x", "X", "x", "X"):
        await world.run(by_input(text))
    assert len(back.calls) == 2
    for text in ("x", "X", "y"):
        await world.run(by_key(text))
    assert len(back.calls) == 4


async def test_a_key_of_several_arguments(world: World) -> None:
    calls = []

    async def fetch(a: int, b: int = 0) -> int:
        calls.append((a, b))
        return a + b

    chain = Task(fetch).cache(Cache(60_000))
    for _ in range(2):
        assert (await world.run(chain(1, 2))).result == Success(3)
        assert (await world.run(chain(2, b=1))).result == Success(3)
    assert calls == [(1, 2), (2, 1)]


async def test_a_key_that_cannot_be(world: World) -> None:
    back = backend(world, (0, "a"))
    error = (await world.run(Task(back.fetch).cache(Cache(60_000))([1]))).result.failure()
    assert (type(error), error.role) == (CallbackFailed, "key")
    assert back.calls == []


async def test_the_one_not_used_for_longest_goes_first(world: World) -> None:
    back = backend(world, (0, "a"))
    chain = Task(back.fetch).cache(cache := Cache(60_000, size=2))
    for k in (1, 2, 1, 3, 1, 2):
        await world.run(chain(k))
    assert [call.given for call in back.calls] == [1, 2, 3, 2]
    assert len(cache) == 2


async def test_failures_are_never_kept(world: World) -> None:
    back = backend(world, (1, OSError("x")), (1, Failure("no")), (HANG, "late"), (1, "a"), (1, "b"))
    chain = Task(back.fetch).timeout(world.short).cache(cache := Cache(60_000))
    results = [(await world.run(chain(7))).result for _ in range(5)]
    assert [type(results[0].failure()), results[1].failure(), type(results[2].failure())] == [
        OSError, "no", TaskTimedOut,
    ]  # fmt: skip
    assert results[3:] == [Success("a"), Success("a")]
    assert len(cache) == 1


async def test_around_a_retry_it_keeps_what_came_at_last(world: World) -> None:
    back = backend(world, (1, OSError("x")), (1, "a"))
    chain = Task(back.fetch).retry(3, backoff=None).cache(Cache(60_000))
    assert [(await world.run(chain(7))).only.attempts for _ in range(2)] == [2, 0]


async def test_what_was_not_accepted_is_not_kept(world: World) -> None:
    back = backend(world, (1, ""), (1, "a"))
    chain = Task(back.fetch).accept(bool).cache(Cache(60_000))
    assert type((await world.run(chain(7))).result) is Failure
    assert (await world.run(chain(7))).result == Success("a")


async def test_none_and_other_empty_values_are_kept(world: World) -> None:
    back = backend(world, (1, None))
    chain = Task(back.fetch).cache(Cache(60_000))
    for _ in range(2):
        assert (await world.run(chain(7))).result == Success(None)
    assert len(back.calls) == 1


async def test_around_a_longer_chain(world: World) -> None:
    back = backend(world, (1, "a"))
    chain = (Task(back.fetch) >> Task(str.upper).inline()).cache(Cache(60_000))
    outcomes = [await world.run(chain(7)) for _ in range(2)]
    assert [outcome.result for outcome in outcomes] == [Success("A")] * 2
    assert [r.status for r in outcomes[1]] == ["skipped", "skipped"]
    assert len(back.calls) == 1


async def test_a_cancelled_run_keeps_nothing(world: World) -> None:
    back = backend(world, (HANG, "a"))
    chain = Task(back.fetch).cache(cache := Cache(60_000))
    child = world.start(lambda: world.run(chain(7)))
    await world.until(lambda: back.calls)
    child.stop()
    await child.ended()
    assert len(cache) == 0
