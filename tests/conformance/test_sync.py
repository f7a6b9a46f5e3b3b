"""Sync functions: abandoned at their limit, counted until they return, and their late answers reach nobody."""

from __future__ import annotations

import threading

import pytest
from conformance.harness import SLACK, World
from returns.result import Success

from rio_chain import (
    Abandoned,
    CallbackFailed,
    LimitExceeded,
    NotAccepted,
    Saturated,
    Task,
    TaskTimedOut,
    TicketCancelled,
    expand,
)

pytestmark = pytest.mark.real_time


class Stuck:
    """A sync backend that answers when the test lets it."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.calls = 0
        self.returned = 0
        self.answers = iter(range(100, 200))

    def fetch(self, _: object) -> object:
        self.calls += 1
        answer = next(self.answers)
        self.go.wait(SLACK / 1000)
        self.returned += 1
        return answer


async def echo(x: object) -> object:
    return x


async def test_a_limit_abandons_the_call_and_goes_on(world: World) -> None:
    world.not_virtual("a sync function takes no time, so no limit ends it")
    stuck = Stuck()
    async with world.balancer() as balancer:
        outcome = await balancer.arun((Task(stuck.fetch).timeout(50) >> Task(echo))(7))
        error = outcome.result.failure()
        assert type(error) is TaskTimedOut
        assert [r.status for r in outcome] == ["timed_out", "skipped"]
        assert stuck.returned == 0, "nobody waited for it"
        assert balancer.stats().abandoned == 1
        assert "1 abandoned" in repr(balancer)
        stuck.go.set()
        await world.until(lambda: balancer.stats().abandoned == 0)
        assert outcome.result.failure() is error
        assert [r.status for r in outcome] == ["timed_out", "skipped"], "its late answer reaches nobody"


async def test_a_late_answer_does_not_answer_for_the_next_call(world: World) -> None:
    world.not_virtual("a sync function takes no time, so no limit ends it")
    stuck = Stuck()
    seen = []

    def flaky(x: object) -> object:
        if not seen:
            seen.append("first")
            return stuck.fetch(x)
        stuck.go.set()
        world.block(20)  # the late answer comes now
        return "second"

    async with world.balancer() as balancer:
        outcome = await balancer.arun((Task(flaky).timeout(50).retry(20, backoff=None) >> Task(echo))(7))
        assert outcome.result == Success("second")
        assert type(outcome["flaky"].errors[0]) is TaskTimedOut
        await world.until(lambda: balancer.stats().abandoned == 0)
        assert outcome["echo"].result == Success("second")


async def test_a_late_error_reaches_nobody(world: World, recwarn: pytest.WarningsRecorder) -> None:
    world.not_virtual("a sync function takes no time, so no limit ends it")
    go = threading.Event()

    def breaks(_: object) -> None:
        go.wait(SLACK / 1000)
        raise SystemExit(3)

    async with world.balancer() as balancer:
        outcome = await balancer.arun(Task(breaks).timeout(50).or_else("instead")(7))
        assert outcome.result == Success("instead")
        go.set()
        await world.until(lambda: balancer.stats().abandoned == 0)
        assert (await balancer.arun(Task(str)(8))).result == Success("8")


async def test_the_losers_of_a_fan_out_are_abandoned(world: World) -> None:
    world.not_virtual("a sync function takes no time, so no limit ends it")
    stuck = Stuck()

    async def fails(_: object) -> None:
        while not stuck.calls:
            await world.pause(1)
        raise OSError

    async with world.balancer() as balancer:
        outcome = await balancer.arun((Task(stuck.fetch) & Task(fails))(7))
        assert type(outcome.result.failure()) is OSError
        assert [r.status for r in outcome] == ["cancelled", "failed"]
        assert balancer.stats().abandoned == 1
        stuck.go.set()
        await world.until(lambda: balancer.stats().abandoned == 0)


async def test_a_cancelled_ticket_abandons_its_call(world: World) -> None:
    world.not_virtual("a sync function takes no time, so no limit ends it")
    stuck = Stuck()
    async with world.balancer() as balancer:
        ticket = balancer.post(Task(stuck.fetch)(7))
        await world.until(lambda: stuck.calls)
        ticket.cancel()
        outcome = await ticket
        assert type(outcome.result.failure()) is TicketCancelled
        assert outcome.only.status == "cancelled"
        assert (stuck.returned, balancer.stats().abandoned) == (0, 1)
        stuck.go.set()
        await world.until(lambda: balancer.stats().abandoned == 0)


async def test_a_cancelled_caller_abandons_its_call(world: World) -> None:
    world.not_virtual("a sync function takes no time, so no limit ends it")
    stuck = Stuck()
    async with world.balancer() as balancer:
        child = world.start(lambda: balancer.arun(Task(stuck.fetch)(7)))
        await world.until(lambda: stuck.calls)
        child.stop()
        assert (await child.ended()).cancelled
        assert (stuck.returned, balancer.stats().abandoned) == (0, 1)
        stuck.go.set()
        await world.until(lambda: balancer.stats().abandoned == 0)


async def test_abandon_after_frees_a_run_that_nothing_else_limits(world: World) -> None:
    world.not_virtual("a sync function takes no time, so no limit ends it")
    stuck = Stuck()
    async with world.balancer(abandon_after=50) as balancer:
        outcome = await balancer.arun((Task(stuck.fetch) >> Task(echo))(7))
        assert type(outcome.result.failure()) is Abandoned
        assert [r.status for r in outcome] == ["abandoned", "skipped"]
        assert balancer.stats().abandoned == 1
        stuck.go.set()
        await world.until(lambda: balancer.stats().abandoned == 0)


async def test_a_saturated_balancer_refuses(world: World) -> None:
    world.not_virtual("a sync function takes no time, so no limit ends it")
    stuck = Stuck()
    async with world.balancer(workers=1, max_abandoned=2) as balancer:
        for _ in range(2):
            await balancer.arun(Task(stuck.fetch).timeout(50)(7))
        assert balancer.stats().abandoned == 2
        with pytest.raises(Saturated, match=r"2 abandoned calls still run \(max_abandoned=2\)"):
            await balancer.arun(Task(echo)(7))
        with pytest.raises(Saturated):
            balancer.post(Task(echo)(7))
        assert balancer.stats().rejected == 2
        stuck.go.set()
        await world.until(lambda: balancer.stats().abandoned == 0)
        assert (await balancer.arun(Task(str)(7))).result == Success("7")


async def test_an_attempt_in_flight_is_refused_too(world: World) -> None:
    world.not_virtual("a sync function takes no time, so no limit ends it")
    stuck = Stuck()
    async with world.balancer(workers=2, max_abandoned=1) as balancer:
        outcome = await balancer.arun(Task(stuck.fetch).timeout(50).retry(5, backoff=None)(7))
        error = outcome.result.failure()
        assert type(error) is LimitExceeded
        assert "max_abandoned=1" in str(error)
        assert stuck.calls == 1
        assert outcome.only.attempts == 1, "a call that was not made is none"
        assert [type(e) for e in outcome.only.errors] == [TaskTimedOut, LimitExceeded]
        stuck.go.set()
        await world.until(lambda: balancer.stats().abandoned == 0)


async def test_a_predicate_that_can_not_be_asked_has_not_said_yes(world: World) -> None:
    """On threads it runs on a worker, which may be refused as well; on loops it runs in place."""
    world.not_virtual("a sync function takes no time, so no limit ends it")
    stuck, gate = Stuck(), world.gate()

    async def waits(x: object) -> object:
        await gate.passed()
        return x

    async with world.balancer(workers=3, max_abandoned=1) as balancer:
        accepted = balancer.post(Task(waits).accept(lambda _: False)(7))
        expanded = balancer.post(expand(Task(waits), more=lambda _: None)(7))
        await world.until(lambda: balancer.stats().running == 2)
        await balancer.arun(Task(stuck.fetch).timeout(50)(7))
        gate.open()
        error = (await accepted).result.failure()
        found = (await expanded).result
        if world.executor == "thread":
            assert (type(error), type(error.error)) == (CallbackFailed, LimitExceeded)
            assert type(found.failure().error) is LimitExceeded
        else:
            assert (type(error), found) == (NotAccepted, Success([7]))
        stuck.go.set()
        await world.until(lambda: balancer.stats().abandoned == 0)


async def test_threads_bound_how_many_run_at_once(world: World) -> None:
    lock, running, most = threading.Lock(), [0], [0]

    def counts(x: object) -> object:
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
        world.block(2)
        with lock:
            running[0] -= 1
        return x

    async with world.balancer(workers=8, threads=2) as balancer:
        tickets = [balancer.post(Task(counts)(k)) for k in range(12)]
        assert [(await ticket).unwrap() for ticket in tickets] == list(range(12))
    assert most[0] <= 2


async def test_a_call_that_waits_for_a_thread_has_not_started(world: World) -> None:
    world.not_virtual("a sync function takes no time, so no limit ends it")
    stuck = Stuck()

    def quick(x: object) -> object:
        return x

    async with world.balancer(workers=4, threads=1) as balancer:
        first = balancer.post(Task(stuck.fetch)(1))
        await world.until(lambda: stuck.calls)
        second = balancer.post(Task(quick).timeout(2_000)(2))
        third = balancer.post(Task(quick)(3), deadline=20)
        world.block(30)
        stuck.go.set()
        assert (await second).result == Success(2)
        outcome = await third
        assert (outcome.only.status, outcome.only.attempts) == ("skipped", 0)
        assert (await first).result == Success(100)


async def test_an_abandoned_call_frees_its_thread_for_others(world: World) -> None:
    world.not_virtual("a sync function takes no time, so no limit ends it")
    stuck = Stuck()
    async with world.balancer(workers=1, threads=1) as balancer:
        assert type((await balancer.arun(Task(stuck.fetch).timeout(50)(7))).result.failure()) is TaskTimedOut
        assert (await balancer.arun(Task(str)(8))).result == Success("8")
        stuck.go.set()
        await world.until(lambda: balancer.stats().abandoned == 0)


async def test_a_sync_body_may_run_a_request_of_its_own(world: World) -> None:
    world.not_virtual("a sync function runs on the loop, where a blocking run is refused")

    def nested(x: object) -> object:
        return Task(echo)(x).run().unwrap()

    outcomes = await world.together(*[lambda k=k: world.run(Task(nested)(k)) for k in range(5)])
    assert [outcome.result for outcome in outcomes] == [Success(k) for k in range(5)]
