"""each: which failures leave out their item, which end it, and how many values it takes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from operator import add
from typing import Any

import pytest
from conformance.harness import World
from conformance.works import HANG, Works
from returns.result import Failure, Success

from rio_chain import CallbackFailed, Task, TaskTimedOut, at_least, each, expand, reduce, remaining


class Odd(Exception):
    """An item is odd."""


class Seven(Exception):
    """An item is 7."""


async def tried(x: int) -> int:
    if x == 7:
        raise Seven
    if x % 2:
        raise Odd(x)
    return x


# --- drop ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("drop", [Odd, (Odd, KeyError), lambda error: isinstance(error, Odd)])
async def test_only_the_named_errors_leave_out_their_item(world: World, drop: Any) -> None:
    outcome = await world.run(each(Task(tried), drop=drop)(range(6)))
    assert outcome.unwrap() == [0, 2, 4]
    assert outcome.only.counts == {"succeeded": 3, "failed": 3}
    assert type((await world.run(each(Task(tried), drop=drop)(range(8)))).result.failure()) is Seven


async def test_other_failures_are_kept_if_on_error_says_so(world: World) -> None:
    kept = (await world.run(each(Task(tried), drop=Odd, on_error="keep")([1, 2, 7]))).unwrap()
    assert kept[0] == Success(2)
    assert isinstance(kept[1], Failure)
    assert len(kept) == 2


async def test_a_drop_that_raises_is_a_callback_failure(world: World) -> None:
    error = (await world.run(each(Task(tried), drop=lambda _: 1 / 0)([1]))).result.failure()
    assert isinstance(error, CallbackFailed)
    assert error.role == "drop"


async def test_an_expand_leaves_them_out_too(world: World) -> None:
    async def below(x: int) -> list[int]:
        if x == 2:
            raise Odd
        return [] if x > 2 else [2 * x + 1, 2 * x + 2]

    outcome = await world.run(expand(Task(below), drop=Odd)(0))
    assert outcome.unwrap() == [[1, 2], [3, 4], [], []]
    assert outcome.only.counts == {"succeeded": 4, "failed": 1}


# --- stop -------------------------------------------------------------------------------------------------------


async def test_stop_gives_the_values_before_the_first_failure(world: World) -> None:
    works = Works(world, error=lambda x: Odd(x) if x == 3 else None)
    outcome = await world.run(each(Task(works.do), limit=1, on_error="stop")(range(10)))
    assert outcome.unwrap() == [0, 1, 2]
    assert works.begun == [0, 1, 2, 3]
    assert outcome.only.counts == {"succeeded": 3, "failed": 1}


async def test_items_before_the_failure_go_on_and_later_ones_are_stopped(world: World) -> None:
    times: dict[int, float] = {0: 40, 1: 5, 2: 10, 3: 10_000, 4: 10_000}
    works = Works(world, ms=lambda x: times.get(x, 1), error=lambda x: Odd(x) if x == 2 else None)
    outcome = await world.run(each(Task(works.do), limit=5, on_error="stop")(range(100)))
    assert outcome.unwrap() == [0, 1]
    assert outcome.elapsed < 5_000
    assert max(works.begun) < 20 or not world.virtual
    assert outcome.only.counts["failed"] == 1


async def test_the_earliest_of_several_failures_counts(world: World) -> None:
    works = Works(world, ms=lambda x: 30 if x == 1 else 5, error=lambda x: Odd(x) if x in {1, 4} else None)
    assert (await world.run(each(Task(works.do), limit=5, on_error="stop")(range(9)))).unwrap() == [0]


async def test_without_an_order_the_values_that_came_before_it(world: World) -> None:
    works = Works(world, ms=lambda x: {0: 10_000, 1: 5, 2: 30}[x], error=lambda x: Odd(x) if x == 2 else None)
    outcome = await world.run(each(Task(works.do), ordered=False, on_error="stop")(range(3)))
    assert outcome.unwrap() == [1]
    assert outcome.elapsed < 5_000


async def test_a_failure_of_all_is_an_empty_list(world: World) -> None:
    works = Works(world, error=lambda x: Odd(x) if x == 0 else None)
    assert (await world.run(each(Task(works.do), on_error="stop")([0]))).result == Success([])


async def test_a_dropped_item_does_not_stop_it(world: World) -> None:
    outcome = await world.run(each(Task(tried), limit=1, drop=Odd, on_error="stop")([0, 1, 2, 7, 8]))
    assert outcome.unwrap() == [0, 2]


# --- take -------------------------------------------------------------------------------------------------------


def endless(_: int) -> Iterator[int]:
    x = 0
    while True:
        yield x
        x += 1


@pytest.mark.parametrize("limit", [1, 3, 10])
@pytest.mark.parametrize("ordered", [True, False])
async def test_so_many_values_and_no_more_calls(world: World, limit: int, ordered: bool) -> None:
    works = Works(world)
    outcome = await world.run(each(Task(works.do), limit=limit, ordered=ordered, take=4)(range(50)))
    assert sorted(outcome.unwrap()) == [0, 1, 2, 3]
    assert sorted(works.begun) == [0, 1, 2, 3]


@pytest.mark.real_time
async def test_an_endless_generator_ends(world: World) -> None:
    chain = Task(endless) >> each(Task(tried), limit=3, drop=Odd, take=3)
    assert (await world.run(chain(0))).unwrap() == [0, 2, 4]


async def test_an_endless_async_generator_ends_and_is_closed(world: World) -> None:
    closed = []

    async def numbers(_: int) -> AsyncIterator[int]:
        try:
            for x in range(10**9):
                yield x
        finally:
            closed.append(1)

    chain = Task(numbers) >> each(Task(tried), drop=Odd, take=2)
    assert (await world.run(chain(0))).unwrap() == [0, 2]
    assert closed == [1]


async def test_fewer_items_than_wanted(world: World) -> None:
    assert (await world.run(each(Task(tried), drop=Odd, take=9)(range(5)))).unwrap() == [0, 2, 4]


async def test_kept_failures_count_as_values(world: World) -> None:
    works = Works(world, error=lambda x: Odd(x) if x == 1 else None)
    kept = (await world.run(each(Task(works.do), on_error="keep", take=2)(range(9)))).unwrap()
    assert [type(one) for one in kept] == [Success, Failure]
    assert sorted(works.begun) == [0, 1]


@pytest.mark.real_time
@pytest.mark.parametrize("limit", [1, 4])
async def test_values_while_a_function_is_true(world: World, limit: int) -> None:
    works = Works(world)
    chain = Task(endless) >> each(Task(works.do), limit=limit, take=lambda value: value < 5)
    assert (await world.run(chain(0))).unwrap() == [0, 1, 2, 3, 4]
    assert len(works.begun) < 50


async def test_what_runs_after_the_end_is_stopped(world: World) -> None:
    works = Works(world, ms=lambda x: 10_000 if x > 3 else 5)
    outcome = await world.run(each(Task(works.do), limit=9, take=lambda value: value != 2)(range(20)))
    assert outcome.unwrap() == [0, 1]
    assert outcome.elapsed < 5_000


async def test_a_failure_after_the_end_does_not_matter(world: World) -> None:
    works = Works(world, ms=lambda x: {0: 30, 1: 1, 2: 15}.get(x, 1), error=lambda x: Odd(x) if x == 2 else None)
    outcome = await world.run(each(Task(works.do), limit=3, take=lambda value: value != 1)(range(3)))
    assert outcome.unwrap() == [0]


async def test_a_take_that_raises_is_a_callback_failure(world: World) -> None:
    error = (await world.run(each(Task(tried), take=lambda _: 1 / 0)([2]))).result.failure()
    assert isinstance(error, CallbackFailed)
    assert error.role == "take"


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize(
    ("options", "total"),
    [
        ({"take": 3, "drop": Odd}, 0 + 2 + 4),
        ({"take": lambda value: value < 5, "drop": Odd}, 0 + 2 + 4),
        ({"on_error": "stop", "drop": Odd}, 0 + 2 + 4 + 6),
    ],
)
async def test_a_reduce_after_it_gets_the_same_values(
    world: World, options: dict[str, Any], total: int, ordered: bool
) -> None:
    chain = each(Task(tried), limit=1, ordered=ordered, **options) >> reduce(add, initial=0)
    assert (await world.run(chain(range(20)))).unwrap() == total
    if ordered:
        chain = each(Task(tried), limit=4, **options) >> reduce(add, initial=0)
        assert (await world.run(chain(range(7)))).unwrap() == total


async def test_a_timeout_around_it_still_counts(world: World) -> None:
    async def hangs(x: int) -> float:
        if x:
            await world.pause(HANG)
        return remaining()

    outcome = await world.run(each(Task(hangs), take=2).timeout(world.short)([0, 1, 2]))
    assert type(outcome.result.failure()) is TaskTimedOut


async def test_a_retry_around_it_begins_anew(world: World) -> None:
    works = Works(world, error=lambda x: Odd(x) if x == 1 else None)
    outcome = await world.run((each(Task(works.do), limit=1, take=1) >> Task(list).inline()).retry(1)(range(3)))
    assert outcome.unwrap() == [0]
    outcome = await world.run(each(Task(tried), on_error=at_least(2), take=2)([1, 2, 3, 4, 6]))
    assert outcome.unwrap() == [2, 4]
