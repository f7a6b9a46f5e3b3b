"""Races: different chains on the same input, one winner."""

from __future__ import annotations

from conformance.harness import World
from conformance.policies.backends import HANG, Closable, backend
from returns.result import Success

from rio_chain import Task, TaskTimedOut, first, quorum, race


async def test_the_first_answer_wins(world: World) -> None:
    slow, fast = backend(world, (HANG, "slow"), cleanup=5), backend(world, (5, "fast"))
    chain = race(Task(slow.fetch).named("slow"), Task(fast.fetch).named("fast"))
    outcome = await world.run(chain(7))
    assert outcome.result == Success("fast")
    assert slow.ends == ["cleaned up"]
    assert [(r.status, r.attempts, r.winner, r.started, r.wasted) for r in outcome] == [
        ("cancelled", 1, None, 2, 1),
        ("succeeded", 1, 1, 2, 1),
    ]
    assert world.about(outcome.elapsed, 10), "the loser's clean-up is waited for"


async def test_all_begin_at_once_with_the_same_input(world: World) -> None:
    value = object()
    backends = [backend(world, (5, k)) for k in range(3)]
    await world.run(race(*(Task(one.fetch).named(f"n{k}") for k, one in enumerate(backends)))(value))
    for one in backends:
        assert one.started(0)
        assert one.calls[0].given is value
    if world.virtual:
        assert len({one.calls[0].at for one in backends}) == 1


async def test_early_failures_are_ignored_until_one_succeeds(world: World) -> None:
    bad, good = backend(world, (1, OSError("bad"))), backend(world, (20, "good"))
    outcome = await world.run(race(Task(bad.fetch).named("bad"), Task(good.fetch).named("good"))(7))
    assert outcome.result == Success("good")
    assert [(r.status, r.winner) for r in outcome] == [("failed", None), ("succeeded", 1)]


async def test_when_all_fail_the_first_chains_error_is_the_failure(world: World) -> None:
    errors = [OSError("a"), OSError("b"), OSError("c")]
    delays = (world.short, 1, 10)
    backends = [backend(world, (ms, error)) for ms, error in zip(delays, errors, strict=True)]
    outcome = await world.run(race(*(Task(one.fetch).named(f"n{k}") for k, one in enumerate(backends)))(7))
    assert outcome.result.failure() is errors[0]
    assert [r.errors for r in outcome] == [(error,) for error in errors]


async def test_chains_of_several_tasks(world: World) -> None:
    a, b, c = backend(world, (1, "a")), backend(world, (HANG, "b")), backend(world, (10, "c"))
    chain = race(Task(a.fetch).named("a") >> Task(b.fetch).named("b"), Task(c.fetch).named("c"))
    outcome = await world.run(chain(7))
    assert outcome.result == Success("c")
    assert [r.status for r in outcome] == ["succeeded", "cancelled", "succeeded"]
    assert b.ends == ["cancelled"]


async def test_policies_inside_are_each_chains_own(world: World) -> None:
    hangs, flaky = backend(world, (HANG, "a")), backend(world, (1, OSError("b")), (1, "b"))
    chain = race(
        Task(hangs.fetch).named("a").timeout(world.short).retry(50, backoff=None),
        Task(flaky.fetch).named("b").retry(1, backoff=None),
    )
    outcome = await world.run(chain(7))
    assert outcome.result == Success("b")
    assert outcome["b"].attempts == len(flaky.calls) == 2


async def test_a_limit_outside_ends_all(world: World) -> None:
    a, b = backend(world, (HANG, "a")), backend(world, (HANG, "b"))
    chain = race(Task(a.fetch).named("a"), Task(b.fetch).named("b")).timeout(world.short)
    outcome = await world.run(chain(7))
    assert type(outcome.result.failure()) is TaskTimedOut
    assert [r.status for r in outcome] == ["timed_out", "timed_out"]
    assert a.ends == b.ends == ["cancelled"]


async def test_choosers_choose_among_chains(world: World) -> None:
    a, b, c = backend(world, (1, "x")), backend(world, (5, "")), backend(world, (10, "x"))
    tasks = [Task(one.fetch).named(name) for one, name in zip((a, b, c), "abc", strict=True)]
    assert (await world.run(race(*tasks, pick=quorum(2))(7))).result == Success("x")
    outcome = await world.run(race(tasks[1], tasks[2], pick=first(accept=bool))(7))
    assert outcome.result == Success("x")
    assert outcome["b"].status == "failed"


async def test_what_losers_answered_is_closed(world: World) -> None:
    won, late = Closable("won"), Closable("late")
    begun: list[object] = []

    async def stubborn(x: object) -> object:
        begun.append(x)
        await world.shielded(30)
        return late

    async def fast(_: object) -> object:
        await world.until(lambda: begun)  # what has not begun when the race is over never begins
        return won

    outcome = await world.run(race(Task(stubborn), Task(fast))(7))
    assert outcome.unwrap() is won
    assert (won.closed, late.closed) == (0, 1)
