"""choose: the first chain whose ``when`` is true of the value."""

from __future__ import annotations

from collections.abc import Sized
from typing import Any, Protocol

import pytest
from conformance.harness import World
from conformance.works import HANG, Works
from returns.result import Success

from rio_chain import BridgeFailed, CallbackFailed, Skipped, Task, TaskTimedOut, choose, each, fan_out, race, when


def named(name: str) -> Task[[object], tuple[str, object]]:
    async def take(x: object) -> tuple[str, object]:
        return name, x

    return Task(take).named(name)


async def test_they_are_asked_in_order_until_one_is_true(world: World) -> None:
    asked: list[str] = []

    def says(name: str, answer: object) -> Any:
        def test(_: object) -> object:
            asked.append(name)
            return answer

        return test

    chain = choose(
        when(says("a", 0), named("a")),
        when(says("b", "yes"), named("b")),
        when(says("c", True), named("c")),
        otherwise=named("d"),
    )
    outcome = await world.run(chain(7))
    assert outcome.unwrap() == ("b", 7)
    assert asked == ["a", "b"]
    assert [(r.status, r.attempts) for r in outcome] == [
        ("skipped", 0),
        ("succeeded", 1),
        ("skipped", 0),
        ("skipped", 0),
    ]
    for name in "acd":
        error = outcome[name].result.failure()
        assert (type(error), error.cause) == (Skipped, None)


async def test_classes_and_tuples_of_them(world: World) -> None:
    chain = choose(
        when(bool, named("bool")),
        when((int, float), named("number")),
        when(Sized, named("sized")),
        when(type(None), named("none")),
        otherwise=named("other"),
    )
    values = {"bool": True, "number": 1.5, "sized": "text", "none": None, "other": ...}
    for name, value in values.items():
        assert (await world.run(chain(value))).unwrap() == (name, value)


async def test_a_predicate_that_raises(world: World) -> None:
    class Torn:
        def __bool__(self) -> bool:
            raise LookupError

    class Bare(Protocol):
        def method(self) -> None: ...

    for test, kind in ((lambda x: 1 / x, ZeroDivisionError), (lambda _: Torn(), LookupError), (Bare, TypeError)):
        chain = (choose(when(test, named("a")), otherwise=named("b")) >> named("c")).retry(2, backoff=None)
        outcome = await world.run(chain(0))
        error = outcome.result.failure()
        assert (type(error), error.role, type(error.error)) == (CallbackFailed, "when", kind)
        assert [r.status for r in outcome] == ["skipped"] * 3


async def test_none_is_true(world: World) -> None:
    chain = named("first") >> (lambda pair: pair[1]) >> choose(when(str, named("a")), when(bytes, named("b")))
    outcome = await world.run((chain >> named("c"))(7))
    error = outcome.result.failure()
    assert (type(error), type(error.error)) == (BridgeFailed, LookupError)
    assert str(error) == (
        "bridge `choose(a, b)` between `first` and `(a or b)` failed: "
        "LookupError('no `when` matches a value of type int')"
    )
    assert [r.status for r in outcome] == ["succeeded", "skipped", "skipped", "skipped"]
    assert (await world.run(chain.or_else("none")(7))).unwrap() == "none"


async def test_a_second_round_may_take_another_branch(world: World) -> None:
    rounds: list[int] = []

    async def counts(_: object) -> int:
        rounds.append(1)
        return len(rounds)

    async def fails(_: object) -> None:
        raise OSError

    chain = Task(counts) >> choose(when(lambda n: n == 1, Task(fails)), otherwise=named("b"))
    outcome = await world.run(chain.retry(1, backoff=None)(0))
    assert outcome.unwrap() == ("b", 2)
    assert [(r.name, r.status, r.attempts) for r in outcome] == [
        ("counts", "succeeded", 2),
        ("fails", "skipped", 1),
        ("b", "succeeded", 1),
    ]
    assert type(outcome["fails"].errors[0]) is OSError


async def test_nested(world: World) -> None:
    inner = choose(when(lambda x: x > 9, named("big")), otherwise=named("small"))
    chain = choose(when(int, inner), when(str, named("text")))
    assert (await world.run(chain(10))).unwrap() == ("big", 10)
    assert (await world.run(chain(1))).unwrap() == ("small", 1)
    outcome = await world.run(chain("x"))
    assert outcome.unwrap() == ("text", "x")
    assert [r.status for r in outcome] == ["skipped", "skipped", "succeeded"]


async def test_chains_and_policies_in_branches(world: World) -> None:
    works = Works(world, ms=lambda _: HANG)
    chain = choose(
        when(int, Task(works.do).timeout(world.short).or_else(0) >> (lambda x: x + 1) >> named("a")),
        otherwise=each(named("b")),
    )
    outcome = await world.run(chain(5))
    assert outcome.unwrap() == ("a", 1)
    assert [r.status for r in outcome] == ["timed_out", "succeeded", "skipped"]
    assert (await world.run(chain("xy"[:0] or ["x"]))).unwrap() == [("b", "x")]
    limited = choose(when(int, Task(works.do)), otherwise=named("b")).timeout(world.short)
    outcome = await world.run(limited(5))
    assert type(outcome.result.failure()) is TaskTimedOut
    assert [r.status for r in outcome] == ["timed_out", "skipped"]


async def test_a_branch_that_fails_leaves_the_others_skipped_without_a_cause(world: World) -> None:
    async def fails(_: object) -> None:
        raise OSError

    outcome = await world.run((choose(when(int, Task(fails)), otherwise=named("b")) >> named("c"))(1))
    assert type(outcome.result.failure()) is OSError
    assert [r.status for r in outcome] == ["failed", "skipped", "skipped"]
    assert outcome["b"].result.failure().cause is None
    assert type(outcome["c"].result.failure().cause) is OSError


async def test_inside_of_other_parts(world: World) -> None:
    def part(k: int) -> Any:
        return choose(when(lambda x: x % 2, named(f"odd{k}")), otherwise=named(f"even{k}"))

    outcome = await world.run(each(part(1), limit=2)(range(4)))
    assert [name for name, _ in outcome.unwrap()] == ["even1", "odd1", "even1", "odd1"]
    assert [dict(r.counts) for r in outcome] == [{"skipped": 2, "succeeded": 2}] * 2
    outcome = await world.run(fan_out(part(1), part(2))(3))
    assert outcome.unwrap() == (("odd1", 3), ("odd2", 3))
    outcome = await world.run(race(part(1), part(2))(3))
    assert outcome.unwrap()[1] == 3
    assert outcome.unwrap()[0] in {"odd1", "odd2"}


@pytest.mark.real_time
async def test_sync_tasks_and_blocking_predicates(world: World) -> None:
    def slow(x: int) -> bool:
        world.block(2)
        return x > 5

    chain = choose(when(slow, Task(str)), otherwise=Task(float))
    assert (await world.run(chain(7))).result == Success("7")
    assert (await world.run(chain(3))).result == Success(3.0)
