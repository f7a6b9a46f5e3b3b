"""Budgets: how many extra calls there may be, for retries and hedges together."""

from __future__ import annotations

from typing import Any

from conformance.harness import World
from conformance.policies.backends import HANG, backend
from returns.result import Success

from rio_chain import Backoff, Budget, Request, Task, TaskTimedOut, race, settle


async def test_a_denied_retry_gives_the_last_error_and_says_so(world: World) -> None:
    error = OSError("x")
    back = backend(world, (1, error))
    budget = Budget(0, floor=0)
    outcome = await world.run(Task(back.fetch).retry(5, backoff=None).budget(budget)(7))
    assert outcome.result.failure() is error
    only = outcome.only
    assert (only.attempts, only.denied, only.errors, only.status) == (1, 1, (error,), "failed")
    assert (budget.denied, budget.extras, budget.executions) == (1, 0, 0)


async def test_a_denied_hedge_never_fails_what_is_in_flight(world: World) -> None:
    back = backend(world, (50, "a"))
    budget = Budget(0, floor=0)
    outcome = await world.run(Task(back.fetch).replica(3, after=5).budget(budget)(7))
    assert outcome.result == Success("a")
    only = outcome.only
    assert (only.attempts, only.started, only.wasted, only.winner) == (1, 1, 0, 0)
    assert only.denied == budget.denied > 0


async def test_all_at_once_is_denied_as_well(world: World) -> None:
    back = backend(world, (20, "a"))
    outcome = await world.run(Task(back.fetch).replica(3).budget(Budget(0, floor=1))(7))
    assert outcome.result == Success("a")
    assert (len(back.calls), outcome.only.started, outcome.only.denied) == (2, 2, 1)


async def test_when_the_call_fails_and_all_hedges_are_denied(world: World) -> None:
    error = OSError("x")
    back = backend(world, (10, error))
    outcome = await world.run(Task(back.fetch).replica(3, after=2).budget(Budget(0, floor=0))(7))
    assert outcome.result.failure() is error
    assert (outcome.only.attempts, outcome.only.denied) == (1, 2)


async def test_the_floor_is_always_allowed(world: World) -> None:
    back = backend(world, (1, OSError("x")))
    budget = Budget(0, floor=1)
    outcome = await world.run(Task(back.fetch).retry(4, backoff=None).budget(budget)(7))
    assert (len(back.calls), outcome.only.denied) == (5, 0), "one after the other, each is the only extra one"


async def test_the_floor_counts_extra_calls_in_flight(world: World) -> None:
    back = backend(world, (HANG, "a"))
    budget = Budget(0, floor=2)

    def request() -> Request[Any]:
        back.calls.clear()
        return Task(back.fetch).replica(5).timeout(world.short).budget(budget)(7)

    outcome = await world.run_until_begun(request, lambda: len(back.calls) >= 3)
    assert type(outcome.result.failure()) is TaskTimedOut
    assert (len(back.calls), outcome.only.denied) == (3, 2)
    assert (budget.extras, budget.executions) == (0, 0), "cancelled ones are given back"


async def test_the_ratio_is_of_all_in_flight(world: World) -> None:
    budget = Budget(0.5, floor=0)
    go = world.gate()
    calls = []

    async def fetch(k: int) -> int:
        calls.append(k)
        await go.passed()
        return k

    chain = Task(fetch).replica(2).budget(budget)
    children = [world.start(lambda k=k: world.run(chain(k))) for k in range(4)]
    await world.until(lambda: len(calls) + budget.denied == 8)
    assert (budget.executions, budget.extras, budget.denied, len(calls)) == (4, 2, 2, 6)
    go.open()
    assert sorted([(await child.result()).unwrap() for child in children]) == [0, 1, 2, 3]
    assert (budget.executions, budget.extras) == (0, 0)


async def test_retries_and_hedges_share_it(world: World) -> None:
    budget = Budget(0, floor=1)
    hanging, failing = backend(world, (HANG, "a")), backend(world, (10, OSError("x")))
    chain = settle(
        Task(hanging.fetch).named("hedged").replica(2).timeout(100 if not world.virtual else 50),
        Task(failing.fetch).named("retried").retry(1, backoff=None),
    ).budget(budget)
    outcome = await world.run(chain(7))
    assert [r.attempts for r in outcome] == [2, 1]
    assert [r.denied for r in outcome] == [0, 1], "the hedge that runs is the one extra call"


async def test_it_is_for_what_is_to_its_left(world: World) -> None:
    back = backend(world, (1, OSError("x")))
    chain = Task(back.fetch).budget(Budget(0, floor=0)).retry(2, backoff=None)
    assert (await world.run(chain(7))).only.attempts == 3
    inner = Task(back.fetch).retry(1, backoff=None)
    chain = (inner.named("a").or_else(inner.named("b"))).budget(Budget(0, floor=0))
    assert [r.attempts for r in await world.run(chain(7))] == [1, 1]


async def test_the_innermost_budget_counts(world: World) -> None:
    outer, inner = Budget(0, floor=0), Budget(0, floor=3)
    back = backend(world, (1, OSError("x")))
    outcome = await world.run(Task(back.fetch).retry(2, backoff=None).budget(inner).budget(outer)(7))
    assert (outcome.only.attempts, inner.denied, outer.denied) == (3, 0, 0)


async def test_a_race_of_chains_is_no_hedge(world: World) -> None:
    a, b = backend(world, (HANG, "a")), backend(world, (1, "b"))
    chain = race(Task(a.fetch).named("a"), Task(b.fetch).named("b")).budget(Budget(0, floor=0))
    assert (await world.run(chain(7))).result == Success("b")


async def test_nothing_is_lost_when_a_run_is_cancelled(world: World) -> None:
    budget = Budget(0, floor=5)
    hanging, flaky = backend(world, (HANG, "a")), backend(world, (0, OSError("x")), (HANG, "a"))
    hedged = Task(hanging.fetch).replica(3).budget(budget)
    retried = Task(flaky.fetch).retry(3, backoff=None).budget(budget)
    children = [world.start(lambda c=c: world.run(c(7))) for c in (hedged, retried)]
    await world.until(lambda: len(hanging.calls) == 3 and len(flaky.calls) == 2)
    assert (budget.executions, budget.extras) == (1, 3), "a call that retries is no longer at its first attempt"
    for child in children:
        child.stop()
        assert (await child.ended()).cancelled
    await world.until(lambda: (budget.executions, budget.extras) == (0, 0))


def resting(ms: float) -> Backoff:
    return Backoff(base=ms, cap=ms, jitter="none")


async def test_a_retry_that_rests_denies_nobody_theirs(world: World) -> None:
    budget = Budget(0, floor=1)
    back = backend(world, (0, OSError("x")), (0, OSError("x")), (0, "a"))
    rests = Task(back.fetch).retry(1, backoff=resting(40)).budget(budget)
    other = Task(back.fetch).named("other").retry(1, backoff=None).budget(budget)
    child = world.start(lambda: world.run(rests(7)))
    await world.until(lambda: back.calls and not back.running)
    outcome = await world.run(other(7))
    assert (outcome.result, outcome.only.attempts, outcome.only.denied) == (Success("a"), 2, 0)
    assert (await child.result()).only.attempts == 2
    assert (budget.denied, budget.extras) == (0, 0)


async def test_it_is_asked_when_the_rest_is_over(world: World) -> None:
    budget = Budget(0, floor=1)
    back, hangs = backend(world, (0, OSError("x"))), backend(world, (0, OSError("y")), (HANG, "a"))
    first = world.start(lambda: world.run(Task(hangs.fetch).retry(1, backoff=None).budget(budget)(7)))
    await world.until(lambda: budget.extras == 1)
    outcome = await world.run(Task(back.fetch).retry(3, backoff=resting(20)).budget(budget)(7))
    only = outcome.only
    assert (only.status, only.attempts, only.denied, len(only.errors)) == ("failed", 1, 1, 1)
    assert outcome.result.failure() is only.errors[0], "its last error, as that of one that was not retried"
    assert world.about(outcome.elapsed, 20), "a permit might have come back in that time"

    child = world.start(lambda: world.run(Task(back.fetch).retry(1, backoff=resting(40)).budget(budget)(7)))
    await world.until(lambda: len(back.calls) == 2 and not back.running)
    first.stop()
    await first.ended()
    outcome = await child.result()
    assert (outcome.only.attempts, outcome.only.denied) == (2, 0), "and so it does"


async def test_an_execution_ends_with_its_first_attempt_and_not_with_its_rest(world: World) -> None:
    budget = Budget(1, floor=0)
    back = backend(world, (0, OSError("x")))
    child = world.start(lambda: world.run(Task(back.fetch).retry(1, backoff=resting(40)).budget(budget)(7)))
    await world.until(lambda: back.calls and not back.running)
    await world.until(lambda: budget.executions == 0)
    assert (await child.result()).only.denied == 1


async def test_a_hedge_takes_its_permit_when_it_begins(world: World) -> None:
    budget = Budget(0, floor=1)
    back, quick = backend(world, (HANG, "a")), backend(world, (0, OSError("x")), (0, "b"))
    child = world.start(lambda: world.run(Task(back.fetch).replica(2, after=5_000).budget(budget)(7)))
    await world.until(lambda: back.calls)
    outcome = await world.run(Task(quick.fetch).retry(1, backoff=None).budget(budget)(7))
    assert (outcome.result, outcome.only.denied) == (Success("b"), 0)
    child.stop()
    await child.ended()


async def test_a_rate_limits_the_retries_of_all_calls_together(world: World) -> None:
    back, budget = backend(world, (1, OSError("down"))), Budget(rate=1, per=3_600_000, burst=3)
    chain = Task(back.fetch).retry(5, backoff=None).budget(budget)
    outcomes = await world.together(*[lambda: world.run(chain(7)) for _ in range(4)])
    assert (len(back.calls), budget.denied) == (4 + 3, 4)
    assert sum(outcome.only.denied for outcome in outcomes) == 4
    assert {outcome.only.gave_up for outcome in outcomes} == {"budget"}


async def test_its_tokens_come_back_with_time(world: World) -> None:
    back, budget = backend(world, (1, OSError("down"))), Budget(rate=1, per=world.short)
    chain = Task(back.fetch).retry(1, backoff=None).budget(budget)
    calls = []
    for _ in range(2):
        await world.run(chain(7))
        calls.append(len(back.calls))
        await world.pause(world.short + 1)
    assert calls == [2, 4]


async def test_a_rate_limits_hedges(world: World) -> None:
    back, budget = backend(world, (60, "a")), Budget(rate=1, per=3_600_000)
    chain = Task(back.fetch).replica(3, after=5).budget(budget)
    outcome = await world.run(chain(7))
    assert (outcome.unwrap(), len(back.calls), outcome.only.denied, budget.denied) == ("a", 2, 1, 1)
