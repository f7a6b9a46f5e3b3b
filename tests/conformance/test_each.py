"""each: a chain for every item, so many at once. Where the items come from: ``test_each_sources.py``."""

from __future__ import annotations

import contextvars
from typing import Any

import pytest
from conformance.harness import World
from conformance.works import HANG, Source, Works
from returns.result import Failure, Success

from rio_chain import (
    Breaker,
    BridgeFailed,
    Cache,
    CircuitOpen,
    Limit,
    NotEnoughSuccesses,
    Task,
    TaskTimedOut,
    TicketCancelled,
    at_least,
    current_attempt,
    each,
    fan_out,
    race,
    remaining,
)

# --- how many at once ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [1, 3, 10, 50])
async def test_so_many_run_at_once_and_never_more(world: World, limit: int) -> None:
    works = Works(world, ms=lambda _: 5)
    outcome = await world.run(each(Task(works.do), limit=limit)(range(20)))
    assert outcome.unwrap() == list(range(20))
    assert works.most <= min(limit, 20)
    assert works.most == min(limit, 20) or not world.virtual
    assert world.about(outcome.elapsed, 5 * -(-20 // limit))


async def test_whoever_is_done_takes_the_next_item(world: World) -> None:
    works = Works(world, ms=lambda x: 100 if x == 0 else 10)
    outcome = await world.run(each(Task(works.do), limit=2)(range(11)))
    assert outcome.unwrap() == list(range(11))
    assert world.about(outcome.elapsed, 100), "one slow item holds up nobody"


async def test_values_in_the_order_of_the_items(world: World) -> None:
    works = Works(world, ms=lambda x: 20 - 5 * x)
    assert (await world.run(each(Task(works.do))(range(4)))).unwrap() == [0, 1, 2, 3]
    assert works.ended == [3, 2, 1, 0] or not world.virtual


async def test_values_as_they_come(world: World) -> None:
    works = Works(world, ms=lambda x: 60 - 20 * x)
    outcome = await world.run(each(Task(works.do), ordered=False)(range(3)))
    assert sorted(outcome.unwrap()) == [0, 1, 2]
    assert outcome.unwrap() == [2, 1, 0] or not world.virtual


async def test_no_items(world: World) -> None:
    works = Works(world)
    for on_error in ("raise", "keep", "drop"):
        outcome = await world.run(each(Task(works.do), on_error=on_error)([]))
        assert outcome.result == Success([])
        assert (outcome.only.status, outcome.only.attempts, outcome.only.items) == ("skipped", 0, ())
    outcome = await world.run(each(Task(works.do), on_error=at_least(1))([]))
    assert str(outcome.result.failure()) == str(NotEnoughSuccesses(1, 0, ()))


async def test_a_chain_of_several_tasks_and_a_bridge_for_each_item(world: World) -> None:
    a, b = Works(world, ms=lambda x: 5 * x), Works(world)
    chain = each(Task(a.do).named("a") >> (lambda x: x * 10) >> Task(b.do).named("b"), limit=3)
    outcome = await world.run(chain([3, 2, 1]))
    assert outcome.unwrap() == [30, 20, 10]
    assert [(r.name, r.attempts, dict(r.counts)) for r in outcome] == [
        ("a", 3, {"succeeded": 3}),
        ("b", 3, {"succeeded": 3}),
    ]
    assert b.begun == [10, 20, 30] or not world.virtual, "no item waits for another"


async def test_two_levels(world: World) -> None:
    works = Works(world, ms=lambda _: 5)
    chain = each(each(Task(works.do), limit=2), limit=3)
    outcome = await world.run(chain([[1, 2, 3], [], [4], (5, 6)]))
    assert outcome.unwrap() == [[1, 2, 3], [], [4], [5, 6]]
    assert works.most <= 5
    assert outcome.only.attempts == 6
    assert sum(outcome.only.counts.values()) == 4, "the items of the outermost"


# --- failures -----------------------------------------------------------------------------------------------------


async def test_the_first_failure_stops_the_others_and_they_are_awaited(world: World) -> None:
    error = OSError("two")
    works = Works(
        world,
        ms=lambda x: 10 if x == 2 else HANG,
        error=lambda x: error if x == 2 else None,
        ready=lambda x: world.virtual or x != 2 or len(works.begun) == 4,
        cleanup=20,
    )
    outcome = await world.run((each(Task(works.do), limit=4) >> Task(works.do).named("after"))(range(100)))
    assert outcome.result.failure() is error
    assert sorted(works.begun) == [0, 1, 2, 3]
    assert (sorted(works.cancelled), works.running) == ([0, 1, 3], 0)
    assert world.about(outcome.elapsed, 30)
    assert [(r.status, r.attempts) for r in outcome] == [("failed", 4), ("skipped", 0)]
    assert outcome[0].result.failure() is error
    assert outcome[0].counts == {"failed": 1, "cancelled": 3}
    assert [(r.index, r.status) for r in outcome[0].items] == [
        (0, "cancelled"),
        (1, "cancelled"),
        (2, "failed"),
        (3, "cancelled"),
    ]
    assert outcome[0].items[2].result.failure() is error


@pytest.mark.parametrize(
    ("on_error", "expected"),
    [
        ("keep", "[<Success: 0>, <Failure: 1>, <Success: 2>, <Failure: 3>, <Success: 4>]"),
        ("drop", "[0, 2, 4]"),
        (at_least(3), "[0, 2, 4]"),
    ],
)
async def test_failures_that_stop_nobody(world: World, on_error: Any, expected: str) -> None:
    works = Works(world, ms=lambda x: 10 - x, error=lambda x: ValueError(x) if x % 2 else None)
    outcome = await world.run(each(Task(works.do), limit=3, on_error=on_error)(range(5)))
    assert str(outcome.unwrap()) == expected
    only = outcome.only
    assert (only.status, only.attempts, dict(only.counts)) == ("succeeded", 5, {"succeeded": 3, "failed": 2})
    assert [r.status for r in only.items] == ["succeeded", "failed", "succeeded", "failed", "succeeded"]
    assert sorted(map(str, only.errors)) == ["1", "3"]
    assert only.result == Success((0, 2, 4))


async def test_when_all_fail_the_task_has_failed(world: World) -> None:
    works = Works(world, error=OSError)
    for on_error, expected in (("keep", 2), ("drop", 0)):
        outcome = await world.run(each(Task(works.do), on_error=on_error)([1, 2]))
        assert len(outcome.unwrap()) == expected
        assert outcome.only.status == "failed"


async def test_too_few(world: World) -> None:
    works = Works(world, error=lambda x: OSError(x) if x else None)
    outcome = await world.run(each(Task(works.do), on_error=at_least(2), limit=2)(range(5)))
    error = outcome.result.failure()
    assert type(error) is NotEnoughSuccesses
    assert sorted(map(str, error.errors)) == ["1", "2", "3", "4"]
    assert sorted(works.ended) == [0, 1, 2, 3, 4], "all are run"
    assert outcome.only.counts == {"succeeded": 1, "failed": 4}


async def test_a_returned_failure_is_a_failure(world: World) -> None:
    async def fails(x: int) -> Any:
        return Failure(x) if x == 1 else Success(x)

    assert (await world.run(each(Task(fails))([0, 1, 2]))).result == Failure(1)
    kept = await world.run(each(Task(fails), on_error="keep")([0, 1, 2]))
    assert kept.unwrap() == [Success(0), Failure(1), Success(2)]


async def test_a_bridge_that_fails_for_an_item_names_itself(world: World) -> None:
    works = Works(world)
    chain = each(Task(works.do).named("a") >> (lambda x: 1 / x) >> Task(works.do).named("b"), limit=1)
    outcome = await world.run(chain([1, 0, 2]))
    error = outcome.result.failure()
    assert type(error) is BridgeFailed
    assert type(error.error) is ZeroDivisionError
    assert outcome["b"].counts == {"succeeded": 1, "skipped": 1}
    assert works.begun == [1, 1.0, 0]


async def test_an_error_that_is_no_exception_of_a_body_ends_the_run(world: World) -> None:
    class Stop(BaseException):
        pass

    works = Works(
        world,
        ms=lambda x: 5 if x == 1 else HANG,
        error=lambda _: Stop(),
        ready=lambda _: len(works.begun) == 3,
        cleanup=5,
    )
    with pytest.raises(Stop):
        await world.run(each(Task(works.do))([1, 2, 3]))
    assert (sorted(works.cancelled), works.running) == ([2, 3], 0)


# --- policies -----------------------------------------------------------------------------------------------------


async def test_items_that_time_out(world: World) -> None:
    works = Works(world, ms=lambda x: HANG if x == 1 else 1)
    outcome = await world.run(each(Task(works.do).timeout(world.short), on_error="keep")(range(3)))
    zero, one, two = outcome.unwrap()
    assert (zero, two) == (Success(0), Success(2))
    assert type(one.failure()) is TaskTimedOut
    assert outcome.only.counts == {"succeeded": 2, "timed_out": 1}
    assert works.cancelled == [1]
    outcome = await world.run(each(Task(works.do).timeout(world.short))(range(3)))
    assert (type(outcome.result.failure()), outcome.only.status) == (TaskTimedOut, "timed_out")


async def test_every_item_has_its_own_retries(world: World) -> None:
    seen: dict[int, list[int]] = {}

    async def flaky(x: int) -> int:
        seen.setdefault(x, []).append(int(current_attempt()))
        if len(seen[x]) <= x:
            raise OSError
        return x

    outcome = await world.run(each(Task(flaky).retry(2, backoff=None), limit=2)([0, 1, 2]))
    assert outcome.unwrap() == [0, 1, 2]
    assert seen == {0: [1], 1: [1, 2], 2: [1, 2, 3]}
    assert (outcome.only.attempts, [r.attempts for r in outcome.only.items]) == (6, [1, 2, 3])


async def test_hedged_items(world: World) -> None:
    calls: list[tuple[int, int]] = []

    async def fetch(x: int) -> int:
        me = current_attempt().replica
        calls.append((x, me))
        await world.pause(1 if me else HANG)
        return x

    outcome = await world.run(each(Task(fetch).replica(2, after=5), limit=2)([0, 1, 2]))
    assert outcome.unwrap() == [0, 1, 2]
    assert sorted(calls) == [(x, me) for x in range(3) for me in (0, 1)]
    assert [(r.winner, r.started, r.wasted) for r in outcome.only.items] == [(1, 2, 1)] * 3
    assert outcome.only.attempts == 6


async def test_shared_policies_count_all_items(world: World) -> None:
    works = Works(world, ms=lambda _: 2)
    limited = each(Task(works.do).limit(Limit(2)), limit=10)
    assert (await world.run(limited(range(6)))).unwrap() == list(range(6))
    assert works.most == 2

    cached = each(Task(works.do).cache(Cache(ttl=60_000)), limit=1)
    works.begun.clear()
    outcome = await world.run(cached([1, 2, 1, 1]))
    assert outcome.unwrap() == [1, 2, 1, 1]
    assert works.begun == [1, 2]
    assert [r.attempts for r in outcome.only.items] == [1, 1, 0, 0]

    broken = Works(world, error=OSError)
    guarded = each(Task(broken.do).breaker(Breaker(2)), limit=1, on_error="keep")
    outcome = await world.run(guarded(range(4)))
    assert [type(r.failure()) for r in outcome.unwrap()] == [OSError, OSError, CircuitOpen, CircuitOpen]
    assert broken.begun == [0, 1]


async def test_a_limit_around_it_ends_all(world: World) -> None:
    works = Works(world, ms=lambda x: 1 if x < 3 else HANG, cleanup=5)
    chain = each(Task(works.do), limit=4).timeout(world.short) >> Task(works.do).named("after")
    outcome = await world.run(chain(range(100)))
    assert type(outcome.result.failure()) is TaskTimedOut
    assert [r.status for r in outcome] == ["timed_out", "skipped"]
    assert outcome[0].counts == {"succeeded": 3, "timed_out": 4}
    assert (sorted(works.cancelled), works.running) == ([3, 4, 5, 6], 0)


async def test_a_retry_around_it_begins_anew(world: World) -> None:
    rounds: list[int] = []

    async def work(x: int) -> int:
        rounds.append(int(current_attempt()))
        if x == 1 and len(rounds) == 2:
            raise OSError
        return x

    outcome = await world.run(each(Task(work), limit=1).retry(1, backoff=None)([0, 1, 2]))
    assert outcome.unwrap() == [0, 1, 2]
    assert rounds == [1, 1, 2, 2, 2]
    assert (outcome.only.attempts, dict(outcome.only.counts)) == (5, {"succeeded": 3})
    assert len(outcome.only.items) == 3, "those of the last round"
    assert len(outcome.only.errors) == 1


async def test_a_fallback_for_all(world: World) -> None:
    works = Works(world, error=OSError)
    other = Works(world)
    chain = each(Task(works.do).named("a")).or_else(each(Task(other.do).named("b")))
    outcome = await world.run(chain([1, 2]))
    assert outcome.unwrap() == [1, 2]
    assert [r.status for r in outcome] == ["failed", "succeeded"]
    assert (await world.run(each(Task(works.do)).or_else([])([1]))).unwrap() == []


# --- inside of other things ---------------------------------------------------------------------------------------


async def test_in_branches(world: World) -> None:
    works = Works(world, ms=lambda _: 5)
    chain = fan_out(a=each(Task(works.do).named("a"), limit=2), b=each(Task(works.do).named("b"), limit=3))
    outcome = await world.run(chain(range(6)))
    assert outcome.unwrap() == {"a": list(range(6)), "b": list(range(6))}
    assert works.most == 5 or not world.virtual


async def test_a_branch_beside_it_that_fails_stops_it(world: World) -> None:
    works = Works(world, ms=lambda x: HANG if x else 1, cleanup=5)

    async def fails(_: object) -> None:
        await world.until(lambda: len(works.begun) == 3)
        raise OSError

    outcome = await world.run((each(Task(works.do).named("a"), limit=2) & Task(fails).named("b"))(range(9)))
    assert type(outcome.result.failure()) is OSError
    assert (sorted(works.cancelled), works.running) == ([1, 2], 0)
    assert [r.status for r in outcome] == ["cancelled", "failed"]
    assert outcome["a"].counts == {"succeeded": 1, "cancelled": 2}


@pytest.mark.parametrize("kind", ["slow", "plain"])
@pytest.mark.real_time
async def test_the_winner_of_a_race_keeps_its_items_and_the_losers_generator_is_closed(world: World, kind: str) -> None:
    slow, fast = Source(world), Source(world, 3)
    hangs, works = Works(world, ms=lambda _: HANG), Works(world)
    chain = race(
        Task(getattr(slow, kind)).named("s") >> each(Task(hangs.do).named("a"), limit=2),
        Task(getattr(fast, kind)).named("f") >> each(Task(works.do).named("b"), limit=2),
    )
    outcome = await world.run(chain(0))
    assert outcome.unwrap() == [0, 1, 2]
    assert (slow.closed, fast.closed, hangs.running) == (1, 1, 0)
    assert outcome["b"].counts == {"succeeded": 3}
    assert [r.result for r in outcome["b"].items] == [Success(0), Success(1), Success(2)]
    assert set(outcome["a"].counts) <= {"cancelled"}
    assert outcome["a"].status in {"cancelled", "skipped"}, "it may not have got far"


async def test_in_a_nested_request(world: World) -> None:
    works = Works(world, ms=lambda _: 2)
    inner = each(Task(works.do), limit=2)

    async def plan(n: int) -> Any:
        return inner(range(n))

    outcome = await world.run(Task(plan)(5))
    assert outcome.unwrap() == [0, 1, 2, 3, 4]
    assert works.most == 2
    several = await world.run(each(Task(plan), limit=2)([1, 2, 3]))
    assert several.unwrap() == [[0], [0, 1], [0, 1, 2]]


# --- cancellation -------------------------------------------------------------------------------------------------


async def test_a_cancel_passes_and_the_items_are_awaited(world: World) -> None:
    works = Works(world, ms=lambda _: HANG, cleanup=5)
    child = world.start(lambda: world.run(each(Task(works.do), limit=3)(range(9))))
    await world.until(lambda: works.running == 3)
    child.stop()
    await child.ended()
    assert (child.cancelled, child.error) == (True, None)
    assert (sorted(works.cancelled), works.running) == ([0, 1, 2], 0)


async def test_a_scope_of_the_caller_wins(world: World) -> None:
    works = Works(world, ms=lambda _: HANG, cleanup=5)
    before = world.cancelling()
    async with world.limit(world.short) as scope:
        await world.run(each(each(Task(works.do)), limit=3).timeout(5_000)([[1, 2], [3]]))
    assert scope.expired
    assert world.cancelling() == before
    assert works.running == 0
    await world.pause(1)


async def test_a_limit_of_ours_leaves_no_cancellation_behind(world: World) -> None:
    works = Works(world, ms=lambda _: HANG)
    before = world.cancelling()
    for chain in (
        each(Task(works.do)).timeout(5),
        each(Task(works.do).timeout(5)),
        each(each(Task(works.do)).timeout(5)),
    ):
        value: Any = [[1, 2], [3]] if chain.plan().title.count("each") > 1 else [1, 2]
        assert type((await world.run(chain(value))).result.failure()) is TaskTimedOut
        assert world.cancelling() == before
        await world.pause(1)
    assert works.running == 0


async def test_a_deadline_and_what_is_left_of_it(world: World) -> None:
    left: list[float] = []

    async def looks(x: int) -> int:
        left.append(remaining())
        await world.pause(10)
        return x

    outcome = await world.run(each(Task(looks), limit=1)([1, 2]), deadline=5_000)
    assert outcome.unwrap() == [1, 2]
    assert left[0] <= 5_000
    assert left[1] <= left[0] - 9
    works = Works(world, ms=lambda _: HANG)
    outcome = await world.run(each(Task(works.do), limit=2)(range(5)), deadline=world.short)
    assert outcome.only.status == "timed_out"
    assert outcome.only.counts == {"timed_out": 2}
    assert works.running == 0


@pytest.mark.parametrize("how", ["close", "ticket"])
async def test_a_balancer_that_closes_and_a_ticket_that_is_cancelled(world: World, how: str) -> None:
    works = Works(world, ms=lambda x: HANG if x else 1, cleanup=5)
    async with world.balancer() as balancer:
        ticket = balancer.post(each(Task(works.do), limit=2)(range(9)))
        await world.until(lambda: len(works.begun) == 3)
        if how == "close":
            await balancer.aclose(grace=0)
        else:
            ticket.cancel()
        outcome = await ticket
        assert type(outcome.result.failure()) is TicketCancelled
        assert (sorted(works.cancelled), works.running) == ([1, 2], 0)
        assert outcome.only.counts == {"succeeded": 1, "cancelled": 2}


async def test_a_run_that_is_over_leaves_room_for_the_next(world: World) -> None:
    works = Works(world, ms=lambda x: HANG if x > 5 else 1, error=lambda x: OSError() if x == 5 else None)
    async with world.balancer(workers=1) as balancer:
        for chain in (each(Task(works.do), limit=3), each(Task(works.do).timeout(5), limit=3)):
            await balancer.arun(chain(range(9)))
        outcome = await balancer.arun(each(Task(works.do), limit=3)(range(5)))
    assert outcome.unwrap() == [0, 1, 2, 3, 4]
    assert works.running == 0


# --- what the bodies and the Responses say ------------------------------------------------------------------------


async def test_the_posters_context_is_seen_by_every_item(world: World) -> None:
    var = contextvars.ContextVar("var", default="none")
    seen: list[str] = []

    async def looks(x: int) -> int:
        seen.append(var.get())
        return x

    var.set("mine")
    await world.run(each(Task(looks), limit=3)(range(5)))
    assert seen == ["mine"] * 5


async def test_three_thousand_items_leave_a_thousand_and_the_failures(world: World) -> None:
    async def work(x: int) -> int:
        if x % 1000 == 999:
            raise OSError(x)
        return x

    outcome = await world.run(each(Task(work), limit=20, on_error="drop")(range(3_000)))
    only = outcome.only
    assert len(outcome.unwrap()) == 2_997
    assert (only.attempts, dict(only.counts)) == (3_000, {"succeeded": 2_997, "failed": 3})
    items = only.items
    assert 1_000 <= len(items) <= 1_003
    assert [r.index for r in items] == sorted(r.index or 0 for r in items)
    assert [r.index for r in items if r.status == "failed"] == [999, 1_999, 2_999]
    assert all(r.name == "work" and r.attempts == 1 and r.items == () for r in items)
