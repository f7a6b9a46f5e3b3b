"""reduce: what comes out of an ``each`` or a fan-out, folded into one value."""

from __future__ import annotations

from collections.abc import AsyncIterator
from operator import add
from typing import Any

import pytest
from conformance.harness import World
from conformance.works import HANG, Source, Works

from rio_chain import BridgeFailed, Chain, Task, TaskTimedOut, each, fan_out, reduce, settle


def words(total: str, value: object) -> str:
    return f"{total} {value}"


async def test_values_are_folded_in_the_order_of_the_items(world: World) -> None:
    works = Works(world, ms=lambda x: 20 - 2 * x)
    for limit in (1, 3, 10):
        outcome = await world.run((each(Task(works.do), limit=limit) >> reduce(words, ""))(range(10)))
        assert outcome.unwrap() == " 0 1 2 3 4 5 6 7 8 9"
    outcome = await world.run((each(Task(works.do), limit=10, ordered=False) >> reduce(words, ""))(range(10)))
    assert sorted(outcome.unwrap().split()) == [str(x) for x in range(10)]
    assert outcome.unwrap() == " 9 8 7 6 5 4 3 2 1 0" or not world.virtual


async def test_a_value_is_folded_as_soon_as_its_turn_has_come(world: World) -> None:
    folded: list[int] = []
    alive = 0

    class Big:
        def __init__(self, x: int) -> None:
            nonlocal alive
            alive += 1
            self.x = x

        def __del__(self) -> None:
            nonlocal alive
            alive -= 1

    most = 0

    async def make(x: int) -> Big:
        nonlocal most
        most = max(most, alive)
        await world.pause(1)
        return Big(x)

    def fold(total: int, big: Big) -> int:
        folded.append(big.x)
        return total + big.x

    chain = each(Task(make), limit=3, on_error="drop") >> reduce(fold, 0) >> Task(lambda x: x).inline()
    outcome = await world.run(chain(range(1_200)))
    assert outcome.unwrap() == sum(range(1_200))
    assert folded == list(range(1_200))
    assert outcome["make"].counts == {"succeeded": 1_200}
    assert most <= 1_000 + 7, "besides those that the Response keeps, there is no list of them"


async def generated(count: int) -> AsyncIterator[int]:
    for number in range(count):
        yield number


LISTED, GENERATED = Task(range).inline(), Task(generated)


@pytest.mark.parametrize(("source", "most"), [(LISTED, 13), (GENERATED, 6)])
async def test_one_slow_item_bounds_how_many_wait_for_it(world: World, source: Chain[[int], Any], most: int) -> None:
    gate = world.gate()
    begun: list[int] = []

    async def work(x: int) -> int:
        begun.append(x)
        if x == 0:
            await gate.passed()
        return x

    chain = source >> each(Task(work), limit=3) >> reduce(add)
    child = world.start(lambda: world.run(chain(50)))
    await world.until(lambda: len(begun) > 3)
    await world.pause(20)
    assert len(begun) <= most
    await world.until(lambda: len(begun) == most or source is GENERATED)
    gate.open()
    assert (await child.result()).unwrap() == sum(range(50))


@pytest.mark.parametrize(("source", "took"), [(LISTED, 120), (GENERATED, 150)])
async def test_while_an_item_is_slow_those_of_a_list_go_on(
    world: World, source: Chain[[int], Any], took: float
) -> None:
    """Of 17 items the first takes 80 ms and the others 10; two at once."""
    works = Works(world, ms=lambda x: 10 if x else 80)
    outcome = await world.run((source >> each(Task(works.do), limit=2) >> reduce(add))(17))
    assert outcome.unwrap() == sum(range(17))
    assert world.about(outcome.elapsed, took)


async def test_dropped_and_kept_items(world: World) -> None:
    works = Works(world, ms=lambda x: 10 - x, error=lambda x: OSError(x) if x % 2 else None)
    dropped = each(Task(works.do), on_error="drop") >> reduce(words, "")
    assert (await world.run(dropped(range(5)))).unwrap() == " 0 2 4"
    kept = each(Task(works.do), on_error="keep", limit=2) >> reduce(words, "")
    assert (await world.run(kept(range(3)))).unwrap() == " <Success: 0> <Failure: 1> <Success: 2>"


async def test_after_fan_outs(world: World) -> None:
    works = Works(world)
    a, b = Task(works.do).named("a"), Task(works.do).named("b")
    assert (await world.run(((a & b) >> reduce(add))(2))).unwrap() == 4
    assert (await world.run((fan_out(x=a, y=b) >> reduce(words, "-"))(2))).unwrap() == "- 2 2"
    assert (await world.run((fan_out(a, b, need=1) >> reduce(add, 1))(2))).unwrap() == 3
    assert (await world.run((settle(a, b) >> reduce(words, "-"))(2))).unwrap() == "- <Success: 2> <Success: 2>"


@pytest.mark.parametrize("wrapped", [False, True])
async def test_what_it_begins_with_is_copied_for_each_run(world: World, wrapped: bool) -> None:
    def collect(found: list[int], x: int) -> list[int]:
        found.append(x)
        return found

    start: list[int] = []
    works = Works(world)
    items: Any = each(Task(works.do), limit=1)
    chain = (items.timeout(5_000) if wrapped else items) >> reduce(collect, start)
    for _ in range(2):
        assert (await world.run(chain([1, 2]))).unwrap() == [1, 2]
    assert (await world.run(chain([]))).unwrap() == []
    assert start == []


async def test_what_it_begins_with_is_copied_inside_as_well(world: World) -> None:
    def collect(found: dict[str, list[int]], x: int) -> dict[str, list[int]]:
        found["items"].append(x)
        return found

    start: dict[str, list[int]] = {"items": []}
    works = Works(world)
    items = each(Task(works.do), limit=1)
    failures = [OSError()]

    async def flaky(x: int) -> int:
        if x == 2 and failures:
            raise failures.pop()
        return x

    for chain in (items >> reduce(collect, start), items.timeout(5_000) >> reduce(collect, start)):
        for _ in range(2):
            assert (await world.run(chain([1, 2]))).unwrap() == {"items": [1, 2]}
    again = (each(Task(flaky), limit=1) >> reduce(collect, start)).retry(1, backoff=None)
    assert (await world.run(again([1, 2]))).unwrap() == {"items": [1, 2]}, "each attempt begins anew"
    both = Task(works.do) & Task(works.do)
    assert [(await world.run((both >> reduce(collect, start))(3))).unwrap() for _ in range(2)] == [
        {"items": [3, 3]}
    ] * 2
    assert start == {"items": []}


async def test_nothing_to_fold(world: World) -> None:
    works = Works(world)
    assert (await world.run((each(Task(works.do)) >> reduce(add, 7))([]))).unwrap() == 7
    for chain in (each(Task(works.do)), each(Task(works.do)).timeout(5_000), each(Task(works.do), on_error="drop")):
        works.error = OSError if "drop" in repr(chain) else lambda _: None
        outcome = await world.run((chain >> reduce(add))([1] if "drop" in repr(chain) else []))
        error = outcome.result.failure()
        assert (type(error), error.bridge, type(error.error)) == (BridgeFailed, "add", TypeError)


@pytest.mark.parametrize("ordered", [True, False])
async def test_an_error_names_it_and_stops_the_rest(world: World, ordered: bool) -> None:
    source = Source(world)
    works = Works(
        world,
        ms=lambda x: 1 if x < 2 else HANG,
        ready=lambda x: x != 1 or len(works.begun) >= 4,
        cleanup=5,
    )

    def fold(total: int, x: int) -> int:
        return total // (1 - x)

    chain = Task(source.slow).named("s") >> each(Task(works.do).named("w"), limit=4, ordered=ordered) >> reduce(fold, 5)
    outcome = await world.run((chain >> Task(works.do).named("after"))(0))
    error = outcome.result.failure()
    assert (type(error), type(error.error)) == (BridgeFailed, ZeroDivisionError)
    assert (error.bridge, error.before, error.after) == ("fold", "w", "after")
    assert (works.running, source.closed) == (0, 1)
    assert [r.status for r in outcome] == ["succeeded", "succeeded", "skipped"]
    assert set(outcome["w"].counts) == {"succeeded", "cancelled"}


async def test_a_failed_item_and_a_limit(world: World) -> None:
    works = Works(world, ms=lambda x: 1 if x < 5 else HANG, error=lambda x: OSError(x) if x == 4 else None)
    folded = each(Task(works.do), limit=2) >> reduce(add)
    assert str((await world.run(folded(range(9)))).result.failure()) == "4"
    works.error = lambda _: None
    outcome = await world.run(folded.timeout(world.short)(range(9)))
    assert type(outcome.result.failure()) is TaskTimedOut
    assert outcome.only.counts == {"succeeded": 5, "timed_out": 2}
    assert works.running == 0
    again = await world.run(folded.timeout(world.short).or_else(-1)(range(9)))
    assert again.unwrap() == -1


async def test_a_retry_around_both_folds_anew(world: World) -> None:
    works = Works(world, error=lambda x: OSError(x) if len(works.begun) == 2 else None)
    outcome = await world.run((each(Task(works.do), limit=1) >> reduce(add)).retry(1, backoff=None)([1, 2, 4]))
    assert outcome.unwrap() == 7


async def test_in_an_each(world: World) -> None:
    works = Works(world)
    chain = each(each(Task(works.do), limit=2) >> reduce(add, 0), limit=2) >> reduce(words, "")
    assert (await world.run(chain([[1, 2], [], [3, 4, 5]]))).unwrap() == " 3 0 12"
