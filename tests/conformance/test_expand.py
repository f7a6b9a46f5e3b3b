"""expand: work whose results ask for more work."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from itertools import count
from typing import Any

import pytest
from conformance.harness import World
from conformance.works import HANG, Works
from returns.result import Failure, Success

from rio_chain import (
    BridgeFailed,
    CallbackFailed,
    LimitExceeded,
    NotEnoughSuccesses,
    Task,
    TaskTimedOut,
    at_least,
    expand,
    race,
)

TREE: dict[str, list[str]] = {
    "r": ["a", "b"],
    "a": ["aa", "ab"],
    "b": ["ba"],
    "aa": [],
    "ab": [],
    "ba": ["baa"],
    "baa": [],
}


def children(x: str) -> list[str]:
    return TREE[x]


def below(x: int) -> list[int]:
    """A tree without an end."""
    return [2 * x, 2 * x + 1]


@pytest.mark.parametrize("limit", [1, 2, 10])
@pytest.mark.parametrize("slow", ["r", "a", "aa", "none"])
async def test_level_by_level_whatever_the_timing(world: World, limit: int, slow: str) -> None:
    works = Works(world, ms=lambda x: 20 if x == slow else 1)
    outcome = await world.run(expand(Task(works.do), more=children, limit=limit)("r"))
    assert outcome.unwrap() == ["r", "a", "b", "aa", "ab", "ba", "baa"]
    assert works.most <= limit
    assert outcome.only.attempts == 7
    assert outcome.only.counts == {"succeeded": 7}


async def test_the_result_itself_says_what_is_next(world: World) -> None:
    async def links(x: str) -> list[str] | None:
        await world.pause(1)
        return TREE[x] or None

    assert (await world.run(expand(Task(links))("a"))).unwrap() == [["aa", "ab"], None, None]


async def test_it_runs_as_wide_as_the_work(world: World) -> None:
    works = Works(world, ms=lambda _: 10)
    outcome = await world.run(expand(Task(works.do), more=children)("r"))
    assert world.about(outcome.elapsed, 40), "four levels"
    outcome = await world.run(expand(Task(works.do), more=children, limit=1)("r"))
    assert world.about(outcome.elapsed, 70)


async def test_work_that_was_seen_is_not_run_again(world: World) -> None:
    works = Works(world)
    around = {1: [2, 3, 1], 2: [3, 1, 2], 3: [1, 2, 4, 4], 4: [1]}
    outcome = await world.run(expand(Task(works.do), more=around.__getitem__, limit=2)(1))
    assert outcome.unwrap() == [1, 2, 3, 4]
    assert sorted(works.begun) == [1, 2, 3, 4]


async def test_a_key_of_ones_own(world: World) -> None:
    works = Works(world)

    def more(x: dict[str, int]) -> Any:
        yield {"n": x["n"] + 1}
        yield {"n": 0}

    chain = expand(Task(works.do), more=more, key=lambda x: x["n"] % 3, limit=2)
    assert (await world.run(chain({"n": 0}))).unwrap() == [{"n": 0}, {"n": 1}, {"n": 2}]


@pytest.mark.parametrize("found", [[2, 3], (2, 3), {2: 0, 3: 0}, range(2, 4), "generator", "iterator"])
async def test_more_may_be_any_iterable(world: World, found: Any) -> None:
    works = Works(world)

    def more(x: int) -> Any:
        if x > 1:
            return None
        if found == "generator":
            return (y for y in (2, 3))
        return iter([2, 3]) if found == "iterator" else found

    assert (await world.run(expand(Task(works.do), more=more)(1))).unwrap() == [1, 2, 3]


async def test_no_deeper_than_allowed(world: World) -> None:
    works = Works(world)
    for depth, expected in ((0, [1]), (1, [1, 2, 3]), (2, [1, 2, 3, 4, 5, 6, 7])):
        chain = expand(Task(works.do), more=below, depth=depth, on_limit="stop")
        assert (await world.run(chain(1))).unwrap() == expected
        outcome = await world.run(expand(Task(works.do), more=below, depth=depth, limit=2)(1))
        assert type(outcome.result.failure()) is LimitExceeded
        assert f"depth={depth}" in str(outcome.result.failure())
        assert works.running == 0
    exact = expand(Task(works.do), more=children, depth=3)
    assert len((await world.run(exact("r"))).unwrap()) == 7, "it is no failure to end right there"


async def test_no_more_in_all_than_allowed(world: World) -> None:
    works = Works(world)
    for total in (1, 2, 6, 50):
        outcome = await world.run(expand(Task(works.do), more=below, total=total, on_limit="stop", limit=4)(1))
        assert len(outcome.unwrap()) == total
        outcome = await world.run(expand(Task(works.do), more=below, total=total, limit=4)(1))
        assert type(outcome.result.failure()) is LimitExceeded
        assert f"total={total}" in str(outcome.result.failure())
        assert works.running == 0
    exact = expand(Task(works.do), more=children, total=7)
    assert len((await world.run(exact("r"))).unwrap()) == 7


async def test_on_limit_raise_holds_whatever_on_error_says(world: World) -> None:
    works = Works(world, ms=lambda x: 1 if x < 3 else HANG, cleanup=1)
    for on_error in ("keep", "drop", at_least(1)):
        chain = expand(Task(works.do), more=below, depth=1, limit=9, on_error=on_error)
        outcome = await world.run(chain(1))
        assert type(outcome.result.failure()) is LimitExceeded
        assert works.running == 0
        assert works.cancelled == [3], "as soon as it is sure: what runs at the last level could show no shorter way"
        works.cancelled.clear()


# --- failures -----------------------------------------------------------------------------------------------------


async def test_a_failure_stops_the_others_and_they_are_awaited(world: World) -> None:
    error = OSError("b")
    works = Works(
        world,
        ms=lambda x: 1 if x in {"r", "b"} else HANG,
        error=lambda x: error if x == "b" else None,
        ready=lambda x: x != "b" or "a" in works.begun,
        cleanup=20,
    )
    outcome = await world.run((expand(Task(works.do), more=children) >> Task(works.do).named("after"))("r"))
    assert outcome.result.failure() is error
    assert (works.cancelled, works.running) == (["a"], 0)
    assert [(r.status, dict(r.counts)) for r in outcome] == [
        ("failed", {"succeeded": 1, "failed": 1, "cancelled": 1}),
        ("skipped", {}),
    ]


@pytest.mark.parametrize(
    ("on_error", "expected"),
    [
        ("keep", "[<Success: r>, <Failure: a>, <Success: b>, <Success: ba>, <Success: baa>]"),
        ("drop", "['r', 'b', 'ba', 'baa']"),
        (at_least(4), "['r', 'b', 'ba', 'baa']"),
    ],
)
async def test_failures_that_stop_nobody(world: World, on_error: Any, expected: str) -> None:
    works = Works(world, ms=lambda x: 10 if x == "a" else 1, error=lambda x: OSError(x) if x == "a" else None)
    outcome = await world.run(expand(Task(works.do), more=children, on_error=on_error)("r"))
    assert str(outcome.unwrap()) == expected
    assert outcome.only.counts == {"succeeded": 4, "failed": 1}


async def test_the_first_piece_fails(world: World) -> None:
    works = Works(world, error=OSError)
    assert type((await world.run(expand(Task(works.do))(1))).result.failure()) is OSError
    assert (await world.run(expand(Task(works.do), on_error="drop")(1))).unwrap() == []
    [kept] = (await world.run(expand(Task(works.do), on_error="keep")(1))).unwrap()
    assert type(kept.failure()) is OSError
    few = await world.run(expand(Task(works.do), on_error=at_least(1))(1))
    assert type(few.result.failure()) is NotEnoughSuccesses


@pytest.mark.parametrize("on_error", ["raise", "keep", "drop"])
async def test_more_that_raises_names_it(world: World, on_error: Any) -> None:
    works = Works(world, ms=lambda x: 1 if x == 1 else HANG, cleanup=5)

    def finder(x: int) -> list[int]:
        return [2 // (x - 1)]

    def lazy(x: int) -> Any:
        yield x + 1
        yield 2 // (x - 1)

    for more in (finder, lazy):
        outcome = await world.run(expand(Task(works.do), more=more, on_error=on_error)(1))
        error = outcome.result.failure()
        assert (type(error), type(error.error)) == (CallbackFailed, ZeroDivisionError)
        assert (error.role, error.callback) == ("more", more.__name__)
        assert works.running == 0


@pytest.mark.parametrize("found", [7, "text", b"bytes", object(), [[1]], [{}]])
async def test_more_that_is_not_work(world: World, found: Any) -> None:
    works = Works(world)
    outcome = await world.run(expand(Task(works.do), more=lambda _: found)(1))
    error = outcome.result.failure()
    assert (type(error), type(error.error)) == (CallbackFailed, TypeError)
    assert outcome.only.counts == {"succeeded": 1}


async def test_work_that_has_no_key(world: World) -> None:
    works = Works(world)
    for chain, value in (
        (expand(Task(works.do)), [1]),
        (expand(Task(works.do), key=lambda x: [x]), 1),
        (expand(Task(works.do), key=lambda x: 1 / x), 0),
    ):
        outcome = await world.run(chain(value))
        error = outcome.result.failure()
        assert (type(error), error.role) == (CallbackFailed, "key")
        assert (outcome.only.status, works.begun) == ("skipped", [])


async def test_a_key_that_can_not_be_compared(world: World) -> None:
    class Odd:
        def __hash__(self) -> int:
            return 1

        def __eq__(self, other: object) -> bool:
            raise LookupError

    works = Works(world, ms=lambda x: 1, cleanup=1)
    chain = expand(Task(works.do), more=lambda _: [2, 3], key=lambda _: Odd())
    outcome = await world.run(chain(1))
    assert type(outcome.result.failure()) is LookupError
    assert outcome.only.status in {"succeeded", "failed"}
    assert works.running == 0


async def test_a_returned_failure(world: World) -> None:
    async def links(x: int) -> Any:
        return Failure(x) if x else Success([1, 2])

    assert (await world.run(expand(Task(links), limit=1)(0))).result == Failure(1)
    kept = await world.run(expand(Task(links), on_error="keep")(0))
    assert kept.unwrap() == [Success([1, 2]), Failure(1), Failure(2)]


# --- limits, cancellation, other parts ----------------------------------------------------------------------------


async def test_a_limit_around_it(world: World) -> None:
    works = Works(world, ms=lambda x: 1 if x == 1 else HANG, cleanup=5)
    outcome = await world.run(expand(Task(works.do), more=below).timeout(world.short)(1))
    assert type(outcome.result.failure()) is TaskTimedOut
    assert (outcome.only.status, dict(outcome.only.counts)) == ("timed_out", {"succeeded": 1, "timed_out": 2})
    assert works.running == 0


async def test_a_cancel_passes(world: World) -> None:
    works = Works(world, ms=lambda x: 1 if x < 4 else HANG, cleanup=5)
    child = world.start(lambda: world.run(expand(Task(works.do), more=below, limit=3)(1)))
    await world.until(lambda: len(works.begun) == 6)
    child.stop()
    await child.ended()
    assert (child.cancelled, child.error, works.running) == (True, None, 0)
    assert world.mode in ("trio", "virtual") or child.cancelling == 1


async def test_a_body_that_swallows_its_cancellation_does_not_wait_for_one_that_does_not(world: World) -> None:
    """On asyncio its worker looks for more work, while the piece beside it will never be done."""

    async def body(x: str) -> str:
        begun.append(x)
        if x == "a":
            with contextlib.suppress(asyncio.CancelledError):
                await world.pause(HANG)
        elif x == "b":
            await world.pause(HANG)
        return x

    async def fails(_: str) -> None:
        await world.until(lambda: len(begun) == 3)
        raise OSError

    begun: list[str] = []
    outcome = await world.run((expand(Task(body), more=children, limit=3) & Task(fails)).timeout(HANG / 2)("r"))
    assert type(outcome.result.failure()) is OSError, "and not the limit: nobody is waited for in vain"


async def test_policies_inside(world: World) -> None:
    calls: list[int] = []

    async def flaky(x: int) -> list[int]:
        calls.append(x)
        if calls.count(x) == 1:
            raise OSError
        await world.pause(HANG if x == 3 else 1)
        return [x + 1] if x < 4 else []

    chain = expand(Task(flaky).timeout(world.short).retry(1, on=OSError, backoff=None), on_error="keep")
    one, two, three = (await world.run(chain(1))).unwrap()
    assert (one, two) == (Success([2]), Success([3]))
    assert type(three.failure()) is TaskTimedOut


async def test_chains_of_several_tasks(world: World) -> None:
    a, b = Works(world), Works(world)
    chain = expand(Task(a.do).named("a") >> str.upper >> Task(b.do).named("b"), more=lambda x: children(x.lower()))
    outcome = await world.run(chain("a"))
    assert outcome.unwrap() == ["A", "AA", "AB"]
    assert [r.attempts for r in outcome] == [3, 3]
    bad = expand(Task(a.do).named("a") >> (lambda x: 1 / 0) >> Task(b.do).named("b"))
    assert type((await world.run(bad("a"))).result.failure()) is BridgeFailed


async def test_one_that_loses_a_race(world: World) -> None:
    works, other = Works(world, ms=lambda x: 1 if x < 4 else HANG, cleanup=5), Works(world, ms=lambda _: 20)
    chain = race(expand(Task(works.do).named("a"), more=below), Task(other.do).named("b"))
    outcome = await world.run(chain(1))
    assert outcome.unwrap() == 1
    assert (works.running, outcome["a"].status) == (0, "cancelled")


async def test_thousands(world: World) -> None:
    async def links(x: int) -> list[int]:
        return [2 * x, 2 * x + 1] if x < 1_024 else []

    outcome = await world.run(expand(Task(links), limit=20)(1))
    assert (len(outcome.unwrap()), outcome.only.attempts) == (2_047, 2_047)
    assert len(outcome.only.items) == 1_000


@pytest.mark.parametrize("slow", ["a", "b"])
@pytest.mark.parametrize("on_limit", ["raise", "stop"])
async def test_the_shortest_way_counts_whichever_is_found_first(world: World, slow: str, on_limit: Any) -> None:
    links = {"r": ["a", "b"], "a": ["d"], "b": ["c"], "c": ["d"], "d": ["e"], "e": []}

    async def ask(x: str) -> list[str]:
        await world.pause(40 if x == slow else 1)
        return links[x]

    enough = (await world.run(expand(Task(ask), depth=3, on_limit=on_limit)("r"))).unwrap()
    assert enough == [links[x] for x in ("r", "a", "b", "d", "c", "e")], "level by level, by the shortest ways"
    outcome = await world.run(expand(Task(ask), depth=2, on_limit=on_limit)("r"))
    if on_limit == "raise":
        assert type(outcome.result.failure()) is LimitExceeded
        assert str(outcome.result.failure()) == "expand(ask) has reached depth=2: there is more work below that"
    else:
        assert outcome.unwrap() == [links[x] for x in ("r", "a", "b", "d", "c")]


# --- work without an end ------------------------------------------------------------------------------------------


class Endless:
    """Work without an end, as an iterator or a generator; it says how much was taken, and counts clean-ups."""

    def __init__(self, same: object = None) -> None:
        self.same = same
        self.taken = 0
        self.closed = 0

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        self.taken += 1
        return self.taken if self.same is None else self.same

    def generator(self, _: object = None) -> Iterator[Any]:
        try:
            yield from self
        finally:
            self.closed += 1


@pytest.mark.parametrize("kind", ["iterator", "generator", "range", "count"])
@pytest.mark.parametrize("on_limit", ["raise", "stop"])
@pytest.mark.parametrize("total", [1, 5, 500])
async def test_total_is_looked_at_while_work_is_taken(world: World, kind: str, on_limit: Any, total: int) -> None:
    works, endless = Works(world, ms=lambda _: 0), Endless()
    more: dict[str, Any] = {
        "iterator": lambda x: endless if x == 0 else None,
        "generator": lambda x: endless.generator() if x == 0 else None,
        "range": lambda x: range(1, 10**12) if x == 0 else None,
        "count": lambda x: count(1) if x == 0 else None,
    }
    outcome = await world.run(expand(Task(works.do), more=more[kind], total=total, on_limit=on_limit)(0))
    if on_limit == "stop":
        assert outcome.unwrap() == [*range(total)]
    else:
        assert str(outcome.result.failure()).endswith(f"has reached total={total}: there is more work than that")
    assert endless.taken <= total + 100
    assert endless.closed == (kind == "generator")
    assert works.running == 0


async def test_a_result_that_is_a_generator_without_an_end(world: World) -> None:
    endless = Endless()

    async def links(x: int) -> Any:
        return endless.generator() if x == 0 else ()

    chain = expand(Task(links), total=50, on_limit="stop")
    assert len((await world.run(chain(0))).unwrap()) == 50
    assert endless.closed == 1


async def test_depth_is_looked_at_while_work_is_taken(world: World) -> None:
    works = Works(world, ms=lambda _: 0)
    for on_limit in ("raise", "stop"):
        endless = Endless()
        chain: Any = expand(Task(works.do), more=lambda _, e=endless: e, depth=0, total=70, on_limit=on_limit)
        outcome = await world.run(chain(0))
        if on_limit == "stop":
            assert outcome.unwrap() == [0]
        else:
            assert "depth=0" in str(outcome.result.failure())
        assert endless.taken <= 70 + 200


@pytest.mark.real_time
@pytest.mark.parametrize("generator", [False, True])
async def test_a_limit_ends_work_that_is_always_the_same(world: World, generator: bool) -> None:
    world.not_virtual("no time passes while it is read, so no limit is over")
    works, endless = Works(world), Endless(same=0)
    chain = expand(Task(works.do), more=lambda _: endless.generator() if generator else endless)
    outcome = await world.run(chain.timeout(30)(0))
    assert type(outcome.result.failure()) is TaskTimedOut
    assert endless.taken > 100
    taken = endless.taken
    await world.pause(10)
    assert endless.taken == taken, "nobody reads it any more"
    assert endless.closed == generator


@pytest.mark.real_time
async def test_a_cancellation_is_heard_while_work_is_read(world: World) -> None:
    world.not_virtual("one thread drives it, and it never waits")
    works, endless = Works(world), Endless(same=0)
    child = world.start(lambda: world.run(expand(Task(works.do), more=lambda _: endless)(0)))
    await world.until(lambda: endless.taken > 1000)
    child.stop()
    assert (await child.ended()).cancelled


async def test_what_is_found_is_begun_before_all_is_read(world: World) -> None:
    works = Works(world, ms=lambda _: 0)
    at_first: list[int] = []

    def more(x: int) -> Iterator[int]:
        if x == 0:
            for found in range(1, 1000):
                if works.begun[1:] and not at_first:
                    at_first.append(found)
                yield found

    outcome = await world.run(expand(Task(works.do), more=more)(0))
    assert outcome.unwrap() == [*range(1000)]
    assert world.executor == "thread" or at_first[0] <= 500, "others have their turn after a hundred"
