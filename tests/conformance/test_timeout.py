"""Limits: what they are around, whose expiry it is, and what comes too late."""

from __future__ import annotations

import pytest
from conformance.harness import World
from returns.result import Success

from rio_chain import Abandoned, Backoff, BridgeFailed, Skipped, Task, TaskTimedOut, remaining


class Slow:
    """Bodies that take a while, and say whether they were stopped."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.calls = 0
        self.stopped = 0
        self.cleaned = 0

    async def slow(self, x: object) -> object:
        self.calls += 1
        try:
            await self.world.pause(10_000)
        except BaseException:
            self.stopped += 1
            raise
        finally:
            self.cleaned += 1
        return x

    async def quick(self, x: object) -> object:
        await self.world.pause(2 if self.world.virtual else 0)
        return x


@pytest.fixture
def bodies(world: World) -> Slow:
    return Slow(world)


async def test_a_limit_cancels_the_body_and_awaits_it(world: World, bodies: Slow) -> None:
    outcome = await world.run(Task(bodies.slow).timeout(world.short)(7))
    error = outcome.result.failure()
    assert type(error) is TaskTimedOut
    assert (error.name, error.ms, str(error)) == ("slow", world.short, f"`slow` did not answer within {world.short} ms")
    assert (outcome.only.status, outcome.only.attempts) == ("timed_out", 1)
    assert outcome.only.errors == (error,)
    assert (bodies.calls, bodies.stopped, bodies.cleaned) == (1, 1, 1)
    assert world.about(outcome.elapsed, world.short)


async def test_a_body_in_time_knows_nothing_of_its_limit(world: World, bodies: Slow) -> None:
    outcome = await world.run(Task(bodies.quick).timeout(2_000)(7))
    assert outcome.result == Success(7)
    assert world.about(outcome.elapsed, 2 if world.virtual else 0)


async def test_a_limit_inside_of_a_retry_is_one_of_each_attempt(world: World, bodies: Slow) -> None:
    outcome = await world.run(Task(bodies.slow).timeout(world.short).retry(2, backoff=None)(7))
    assert bodies.calls == bodies.cleaned == outcome.only.attempts == 3
    assert [type(e) for e in outcome.only.errors] == [TaskTimedOut] * 3
    assert world.about(outcome.elapsed, 3 * world.short)


async def test_a_limit_around_a_retry_is_one_of_all_attempts(world: World, bodies: Slow) -> None:
    outcome = await world.run(Task(bodies.slow).retry(2, backoff=None).timeout(world.short)(7))
    assert bodies.calls == bodies.cleaned == outcome.only.attempts == 1
    assert type(outcome.result.failure()) is TaskTimedOut
    assert world.about(outcome.elapsed, world.short)


async def test_both_limits(world: World, bodies: Slow) -> None:
    outcome = await world.run(Task(bodies.slow).timeout(20).retry(9, backoff=None).timeout(50)(7))
    if world.virtual:
        assert outcome.result.failure().ms == 50
        assert outcome.only.attempts == 3
        assert [e.ms for e in outcome.only.errors] == [20, 20, 50]
    assert bodies.calls == bodies.cleaned <= outcome.only.attempts
    assert world.about(outcome.elapsed, 50)


async def test_a_limit_around_two_tasks_is_one_of_both(world: World, bodies: Slow) -> None:
    chain = (Task(bodies.quick) >> Task(bodies.slow) >> Task(bodies.quick).named("after")).timeout(world.short)
    outcome = await world.run(chain(7))
    error = outcome.result.failure()
    assert type(error) is TaskTimedOut
    assert error.ms == world.short
    assert "quick" in error.name
    assert [r.status for r in outcome] == ["succeeded", "timed_out", "skipped"]
    assert outcome["after"].result.failure().cause is error
    assert world.about(outcome.elapsed, world.short)


async def test_the_third_of_four_times_out(world: World, bodies: Slow) -> None:
    chain = Task(bodies.quick).named("one") >> Task(bodies.quick).named("two") >> Task(bodies.slow).timeout(20)
    outcome = await world.run((chain >> Task(bodies.quick).named("four"))(7))
    assert [r.status for r in outcome] == ["succeeded", "succeeded", "timed_out", "skipped"]
    assert [r.attempts for r in outcome] == [1, 1, 1, 0]
    assert outcome[0].result == outcome[1].result == Success(7), "earlier responses stay readable"
    assert type(outcome[3].result.failure()) is Skipped
    assert outcome.result == outcome[2].result


async def test_a_limit_does_not_survive_its_scope(world: World, bodies: Slow) -> None:
    async def takes(x: int) -> int:
        await world.pause(70 if world.virtual else 40)
        return x

    left = []

    async def ask(x: int) -> int:
        left.append(remaining())
        return x

    chain = (
        Task(bodies.quick).timeout(50)
        >> (Task(ask) >> Task(ask).named("b")).timeout(60)
        >> Task(takes)
        >> Task(ask).named("c")
    )
    outcome = await world.run(chain(7))
    assert outcome.result == Success(7)
    assert left[0] <= 60
    assert left[1] <= 60
    assert left[2] > 1_000


@pytest.mark.parametrize("inner", ["retry", "fallback", "settle"])
async def test_an_outer_expiry_is_never_seen_inside(world: World, bodies: Slow, inner: str) -> None:
    seen = []

    def handler(error: object) -> str:
        seen.append(error)
        return "fallback"

    task = Task(bodies.slow)
    chain = {
        "retry": task.retry(3, on=lambda e: not seen.append(e), backoff=None),
        "fallback": task.or_else(handler),
        "settle": (task.or_else(handler) & Task(bodies.quick)).retry(3, backoff=None),
    }[inner].timeout(world.short)
    outcome = await world.run(chain(7))
    assert type(outcome.result.failure()) is TaskTimedOut
    assert seen == []
    assert bodies.calls == 1


async def test_of_two_limits_that_are_over_the_outermost_answers(world: World) -> None:
    handled = []

    async def deaf(x: int) -> int:
        try:
            await world.pause(10_000)
        finally:
            await world.shielded(30)
        return x

    def handler(error: object) -> int:
        handled.append(error)
        return 0

    chain = (Task(deaf).timeout(world.short).retry(3, backoff=None).or_else(handler)).timeout(world.short + 10)
    outcome = await world.run(chain(7))
    error = outcome.result.failure()
    assert type(error) is TaskTimedOut
    assert error.ms == world.short + 10
    assert handled == []
    assert outcome[0].attempts == 1


async def test_an_inner_expiry_is_a_failure_like_any_other_outside(world: World, bodies: Slow) -> None:
    outcome = await world.run(Task(bodies.slow).timeout(10).or_else(lambda e: type(e).__name__).timeout(5_000)(7))
    assert outcome.result == Success("TaskTimedOut")
    assert outcome.only.status == "timed_out"


@pytest.mark.real_time
async def test_the_late_value_of_an_inline_function_is_too_late(world: World) -> None:
    world.not_virtual("a sync function takes no time, so no limit ends it")

    def inline(x: int) -> int:
        world.block(30)
        return x

    outcome = await world.run((Task(inline).inline().timeout(10) >> Task(str))(7))
    assert type(outcome.result.failure()) is TaskTimedOut
    assert [r.status for r in outcome] == ["timed_out", "skipped"]
    assert outcome["inline"].attempts == 1
    assert world.about(outcome.elapsed, 30), "inline runs out"


@pytest.mark.real_time
async def test_the_late_error_of_an_inline_function_is_too_late_too(world: World) -> None:
    world.not_virtual("a sync function takes no time, so no limit ends it")

    def inline(_: int) -> None:
        world.block(30)
        raise OSError

    outcome = await world.run(Task(inline).inline().timeout(10)(7))
    assert type(outcome.result.failure()) is TaskTimedOut
    assert [type(e) for e in outcome.only.errors] == [TaskTimedOut]


@pytest.mark.real_time
async def test_the_limit_around_an_inline_function_answers_when_it_returns(world: World) -> None:
    world.not_virtual("a sync function takes no time, so no limit ends it")

    def inline(x: int) -> int:
        world.block(30)
        return x

    after = []
    chain = (Task(inline).inline() >> Task(after.append).named("after")).timeout(10)
    outcome = await world.run(chain(7))
    assert type(outcome.result.failure()) is TaskTimedOut
    assert after == []


async def test_abandon_after_limits_what_nothing_else_limits(world: World, bodies: Slow) -> None:
    async with world.balancer(abandon_after=world.short) as balancer:
        outcome = await balancer.arun((Task(bodies.quick) >> Task(bodies.slow) >> Task(bodies.quick).named("c"))(7))
        error = outcome.result.failure()
        assert type(error) is Abandoned
        assert error.ms == world.short
        assert "set a .timeout(ms)" in str(error)
        assert [r.status for r in outcome] == ["succeeded", "abandoned", "skipped"]
        assert world.about(outcome.elapsed, world.short)
        assert bodies.cleaned == 1


async def test_abandon_after_is_30_seconds_without_a_balancer(world: World, bodies: Slow) -> None:
    left = []

    async def ask(_: int) -> None:
        left.append(remaining())

    await world.run(Task(ask)(7))
    assert 25_000 < left[0] <= 30_000


async def test_an_outermost_timeout_replaces_abandon_after(world: World) -> None:
    async def takes(x: int) -> int:
        await world.pause(40)
        return x

    async with world.balancer(abandon_after=20) as balancer:
        assert (await balancer.arun(Task(takes).timeout(5_000)(7))).result == Success(7)
        inner = Task(takes).timeout(5_000) >> Task(takes).named("b")
        assert type((await balancer.arun(inner(7))).result.failure()) is Abandoned


async def test_a_limit_that_fires_in_a_backoff(world: World, bodies: Slow) -> None:
    calls = []

    async def fetch(x: int) -> None:
        calls.append(x)
        raise OSError(retry_error)

    retry_error = "again"
    task = Task(fetch).retry(5, backoff=Backoff(base=15, factor=1, jitter="none")).timeout(40)
    outcome = await world.run(task(7))
    if world.virtual:
        assert type(outcome.result.failure()) is OSError, "the sleep that does not fit is not slept"
        assert len(calls) == 3
        assert world.about(outcome.elapsed, 30)


@pytest.mark.real_time
async def test_a_limit_that_was_kept_has_no_say_in_what_fails_later(world: World) -> None:
    """A trio scope cancels itself when it is asked after its deadline, also for a step that is over."""

    async def echo(x: int) -> int:
        return x

    def bridge(_: int) -> None:
        world.block(50)
        raise OSError("later")

    outcome = await world.run((Task(echo).timeout(45) >> bridge >> Task(echo))(7))
    error = outcome.result.failure()
    assert type(error) is BridgeFailed
    assert str(error.error) == "later"


async def test_many_limits_at_once_do_not_mix(world: World) -> None:
    async def takes(ms: int) -> int:
        await world.pause(ms)
        return ms

    chain = Task(takes).timeout(25)

    async def one(ms: int) -> object:
        return await world.run(chain(ms))

    outcomes = await world.together(*[lambda ms=ms: one(ms) for ms in (1, 2_000, 2, 3_000, 3)])
    expected = [1, TaskTimedOut, 2, TaskTimedOut, 3]
    for outcome, due in zip(outcomes, expected, strict=True):
        if isinstance(due, int):
            if world.virtual:
                assert outcome.result == Success(due)
        else:
            assert type(outcome.result.failure()) is due
