"""The first call of a hedge runs in the strand that asked. Until a second one is due, nothing else is made."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from conformance.harness import World
from conformance.policies.backends import HANG, Closable, backend
from returns.result import Success

from rio_chain import (
    Budget,
    Chain,
    Limit,
    Quantile,
    Task,
    TaskTimedOut,
    add_observer,
    best,
    each,
    fan_out,
    quorum,
    race,
)
from rio_chain.engine import _hedge, _race_frame

AnyChain = Chain[..., Any]


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was made beside the first call, in order."""
    found: list[str] = []

    def counted(module: Any, name: str) -> None:
        real = getattr(module, name)

        class Counted(real):
            def __init__(self, *args: Any, **kwargs: Any) -> None:
                found.append(name)
                super().__init__(*args, **kwargs)

        monkeypatch.setattr(module, name, Counted)

    counted(_race_frame, "HedgeRace")
    counted(_hedge, "SideCall")
    return found


def sync(x: Any) -> Any:
    return x


async def echo(x: Any) -> Any:
    return x


QUICK: dict[str, Callable[[AnyChain], AnyChain]] = {
    "fixed": lambda task: task.replica(2, after=5_000),
    "one at a time": lambda task: task.replica(3, after=None),
    "learned": lambda task: task.replica(2, after=Quantile(0.5)),
    "with layers": lambda task: task.timeout(4_000).retry(2).replica(2, after=5_000).retry(1).timeout(9_000),
    "of two tasks": lambda task: (task >> Task(echo)).replica(2, after=5_000),
    "with a budget": lambda task: task.replica(2, after=5_000).budget(Budget(0.2)),
    "of a hedge": lambda task: task.replica(2, after=5_000).replica(2, after=5_000),
    "in a fan-out": lambda task: fan_out(task.replica(2, after=5_000), task.replica(2, after=5_000)),
    "of items": lambda task: Task(lambda x: [x] * 3).inline() >> each(task.replica(2, after=5_000), limit=2),
}


@pytest.mark.parametrize("kind", [*QUICK])
async def test_nothing_is_made_where_the_first_call_is_in_time(world: World, made: list[str], kind: str) -> None:
    back = backend(world, (1, "a"))
    for _ in range(2):
        assert isinstance((await world.run(QUICK[kind](Task(back.fetch))(7))).result, Success)
    assert made == []


@pytest.mark.real_time
@pytest.mark.parametrize("kind", [*QUICK])
async def test_nor_for_a_sync_function(world: World, made: list[str], kind: str) -> None:
    for _ in range(2):
        assert isinstance((await world.run(QUICK[kind](Task(sync))(7))).result, Success)
    assert made == []


async def test_a_failure_in_time_calls_again_in_the_same_strand(world: World, made: list[str]) -> None:
    back = backend(world, (1, OSError("a")), (1, OSError("b")), (1, "c"))
    outcome = await world.run(Task(back.fetch).replica(3, after=5_000)(7))
    assert outcome.unwrap() == "c"
    assert [call.replica for call in back.calls] == [0, 1, 2]
    assert made == ["HedgeRace"], "no strand for any of the three"


async def test_a_late_call_gets_one_strand_beside_it(world: World, made: list[str]) -> None:
    back = backend(world, (HANG, "a"), (1, "b"))
    assert (await world.run(Task(back.fetch).replica(5, after=world.short)(7))).unwrap() == "b"
    assert made == ["HedgeRace", "SideCall"]
    assert back.ends == ["cancelled", "answered"]


async def test_no_call_begins_after_the_answer(world: World) -> None:
    quick, slow = backend(world, (1, "a")), backend(world, (3 * world.short, "b"))
    chain = Task(quick.fetch).replica(2, after=world.short) >> Task(slow.fetch)
    for count in (1, 2, 3):
        assert (await world.run(chain(7))).unwrap() == "b"
        assert len(quick.calls) == count, "though the run goes on for longer than that"


async def test_a_hedge_that_was_in_time_is_armed_anew(world: World) -> None:
    back = backend(world, (1, "a"), (1, "b"), (HANG, "c"), (1, "d"))
    chain = Task(back.fetch).replica(2, after=world.short)
    assert [(await world.run(chain(7))).unwrap() for _ in range(3)] == ["a", "b", "d"]
    assert len(back.calls) == 4


async def test_a_first_call_that_answers_after_it_was_interrupted_does_not_win(world: World) -> None:
    late, won = Closable("late"), Closable("won")
    calls: list[str] = []

    async def stubborn(x: object) -> object:
        calls.append("begun")
        if len(calls) > 1:
            calls.append("won")
            return won
        while len(calls) < 3:
            await world.shielded(1)
        await world.shielded(5)
        return late

    ended: list[Any] = []

    async def after(x: object) -> object:
        ended.append(x)
        return x

    outcome = await world.run((Task(stubborn).replica(2, after=5) >> Task(after))(7))
    assert outcome.unwrap() is won
    assert ended == [won]
    assert (late.closed, won.closed) == (1, 0)


async def test_what_follows_an_interrupted_call_is_not_interrupted(world: World) -> None:
    back, next_one = backend(world, (HANG, "a"), (1, "b")), backend(world, (20, "c"))
    chain = Task(back.fetch).replica(2, after=5) >> Task(next_one.fetch).timeout(5_000)
    assert (await world.run(chain(7))).unwrap() == "c"
    assert next_one.ends == ["answered"]


async def test_a_permit_of_the_budget_is_given_back(world: World) -> None:
    budget = Budget(0, floor=1)
    slow, failing = backend(world, (HANG, "a"), (1, "b")), backend(world, (1, OSError("a")), (1, "b"))
    for back in (slow, failing):
        chain = Task(back.fetch).replica(2, after=5).budget(budget)
        assert (await world.run(chain(7))).unwrap() == "b"
        assert (budget.extras, budget.executions, budget.denied) == (0, 0, 0)


async def test_a_hedge_that_is_denied_leaves_the_first_call_alone(world: World) -> None:
    budget = Budget(0, floor=0)
    back = backend(world, (2 * world.short, "a"))
    outcome = await world.run(Task(back.fetch).replica(2, after=5).budget(budget)(7))
    assert outcome.unwrap() == "a"
    assert (len(back.calls), outcome.only.denied, outcome.only.started, outcome.only.winner) == (1, 1, 1, 0)


@pytest.mark.parametrize("inner", [0, 5, None])
@pytest.mark.parametrize("outer", [0, 5, None])
async def test_a_call_of_the_outer_hedge_wins_over_both_of_the_inner(
    world: World, inner: float | None, outer: float | None
) -> None:
    back = backend(world, (1, OSError("x")), (1, OSError("y")), (1, OSError("z")), (1, "d"))
    outcome = await world.run(Task(back.fetch).replica(2, after=inner).replica(2, after=outer)(7))
    assert outcome.unwrap() == "d"
    assert len(back.calls) == 4


async def test_a_hedge_that_is_due_while_the_one_inside_of_it_races(world: World) -> None:
    back, next_one = backend(world, *[(HANG, "x")] * 3, (1, "d")), backend(world, (1, "n"))
    short = world.short
    hedged = Task(back.fetch).replica(2, after=short).replica(2, after=1.5 * short)
    outcome = await world.run((hedged >> Task(next_one.fetch).named("next").retry(1))(7))
    assert outcome.unwrap() == "n"
    assert next_one.calls[0].given == "d"
    assert back.ends == ["cancelled"] * 3 + ["answered"]
    assert outcome[0].attempts == 4


async def test_a_limit_inside_of_a_hedge_in_a_race_that_ends_is_free_again(world: World) -> None:
    limit = Limit(2)
    back = backend(world, (HANG, "x"))
    raced = race(Task(back.fetch).limit(limit).replica(2), Task(back.fetch).named("other"))
    outcome = await world.run(raced.timeout(world.short)(7))
    assert type(outcome.error) is TaskTimedOut
    await world.until(lambda: (limit.running, limit.waiting) == (0, 0))


async def test_a_hedge_whose_race_is_over_does_not_fire_while_it_cleans_up(world: World) -> None:
    slow, fast = backend(world, (HANG, "s"), cleanup=3 * world.short), backend(world, (7, "f"))
    outcome = await world.run(race(Task(slow.fetch).replica(3, after=5), Task(fast.fetch).named("fast"))(7))
    assert outcome.unwrap() == "f"
    assert len(slow.calls) <= 2


async def test_what_a_hedge_in_a_branch_that_is_not_needed_answers_is_closed_once(world: World) -> None:
    made: list[Closable] = []
    fast = backend(world, (5, "f"))

    async def opens(_: object) -> Closable:
        try:
            await world.pause(HANG)
        except BaseException:  # noqa: BLE001 - as one that has just got its connection
            made.append(Closable("c"))
            return made[-1]
        raise AssertionError

    outcome = await world.run(fan_out(Task(fast.fetch), Task(opens).replica(2, after=5_000), need=1)(7))
    assert outcome.unwrap() == ("f",)
    assert [one.closed for one in made] in ([1], [])


@pytest.mark.parametrize("inner", [None, 5_000])
async def test_calls_of_earlier_rounds_are_counted_where_hedges_nest_in_a_retry(
    world: World, inner: float | None
) -> None:
    back = backend(world, (HANG, "x"))
    hedged = Task(back.fetch).replica(2, after=inner).replica(2, after=None)
    outcome = await world.run(hedged.timeout(world.short).retry(2, backoff=None)(7))
    assert outcome.only.attempts == len(back.calls) == 3


async def test_the_outer_of_two_says_how_many_were_started(world: World) -> None:
    back = backend(world, (1, "a"))
    outcome = await world.run(Task(back.fetch).replica(2).replica(2, after=5_000)(7))
    assert (outcome.only.started, outcome.only.wasted) == (1, 0)


async def test_a_hedge_inside_of_a_call_that_lost_ends_with_it(world: World) -> None:
    back = backend(world, (HANG, "a"), cleanup=5)
    quick = backend(world, (6 * world.short, "q"))
    hedged = Task(back.fetch).replica(2, after=5)
    outcome = await world.run(race(hedged, Task(quick.fetch).named("quick"))(7))
    assert outcome.unwrap() == "q"
    assert back.ends == ["cleaned up", "cleaned up"]
    assert back.running == 0
    assert [(response.status, response.attempts) for response in outcome] == [("cancelled", 2), ("succeeded", 1)]


async def test_retries_inside_do_not_start_when_another_call_has_won(world: World) -> None:
    back = backend(world, (2 * world.short, OSError("a")), (world.short, "b"), each=True)
    chain = Task(back.fetch).retry(5, backoff=None).replica(2, after=1)
    assert (await world.run(chain(7))).unwrap() == "b"
    assert len(back.calls) == 2


async def test_a_limit_inside_and_the_end_of_the_race_at_one_instant(world: World) -> None:
    back = backend(world, (HANG, "a"), (HANG, "b"), (world.short, "c"), (1, "d"))
    chain = Task(back.fetch).timeout(2 * world.short).retry(1, backoff=None).replica(2, after=world.short)
    outcome = await world.run(chain(7))
    assert outcome.result.value_or(None) in ("c", "d")
    assert back.running == 0


@pytest.mark.parametrize("pick", [quorum(2), best(lambda x: -x, within=200)], ids=["quorum", "best"])
async def test_other_choosers_have_their_first_call_there_too(world: World, made: list[str], pick: Any) -> None:
    back = backend(world, (5, 2), (5, 1), (5, 2), each=True)
    outcome = await world.run(Task(back.fetch).replica(3, pick=pick)(7))
    assert outcome.unwrap() == (2 if "quorum" in repr(pick) else 1)
    assert made == ["HedgeRace", "SideCall", "SideCall"]


async def test_many_at_once(world: World) -> None:
    calls: list[int] = []

    async def fetch(x: int) -> int:
        calls.append(x)
        await world.pause(1 if calls.count(x) > 1 or x % 3 else HANG)
        return x

    chain = Task(list).inline() >> each(Task(fetch).replica(2, after=world.short), limit=50)
    assert (await world.run(chain(range(100)))).unwrap() == [*range(100)]
    times = Counter(calls)
    assert all(times[x] == 2 for x in range(0, 100, 3))
    assert max(times.values()) == 2, "a machine that is busy may hedge others as well"


async def test_a_run_that_is_observed_has_the_same_responses_where_calls_fail_at_different_tasks(world: World) -> None:
    async def run() -> list[tuple[str, str, int]]:
        head, tail = backend(world, (1, OSError("head")), (1, "h")), backend(world, (1, ValueError("tail")))
        chain = Task(head.fetch).named("head") >> Task(tail.fetch).named("tail")
        outcome = await world.run(chain.replica(2, after=None)(7))
        return [(response.name, response.status, response.attempts) for response in outcome]

    plain = await run()
    with add_observer(lambda _: None):
        assert await run() == plain == [("head", "failed", 2), ("tail", "failed", 1)]
