"""``balancer.every`` runs each tick once, on every executor, until it is cancelled or the balancer closes."""

from __future__ import annotations

from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

from conformance.harness import World

from rio_chain import BalancerClosed, Deadline, Event, Request, Task
from rio_chain.balancer import ScheduleCounts

WORD: ContextVar[str] = ContextVar("word", default="none")
TICK = 5


async def test_each_tick_is_run_once(world: World) -> None:
    starts: list[float] = []

    async def note() -> None:
        starts.append(world.now() if world.native else 0.0)

    async with world.balancer() as balancer:
        began = world.now() if world.native else 0.0
        schedule = balancer.every(TICK, note)
        await world.until(lambda: len(starts) >= 4)
        schedule.cancel()
        await world.until(lambda: schedule.done and not schedule.tickets)
        seen = len(starts)
        await world.pause(4 * TICK)
        assert len(starts) == schedule.counts.started == seen, "a cancelled schedule starts nothing"
    if world.virtual:
        assert [round(start - began, 6) for start in starts] == [TICK * n for n in range(1, seen + 1)]


async def test_a_function_gets_the_time_of_its_tick(world: World) -> None:
    ticks: list[datetime] = []

    def note(tick: datetime) -> None:
        ticks.append(tick)

    async with world.balancer() as balancer:
        first = balancer.every(TICK, note, tz="Europe/Berlin")
        upcoming = first.next
        await world.until(lambda: len(ticks) >= 2)
        first.cancel()
    assert upcoming is not None
    late = abs((ticks[0] - upcoming).total_seconds())
    assert late < (0.001 if world.virtual else 5)  # else the first tick may have come before `next` was read
    assert str(ticks[0].tzinfo) == "Europe/Berlin"
    assert first.next is None


async def test_chains_requests_and_functions_that_return_a_request(world: World) -> None:
    async def double(x: int) -> int:
        return 2 * x

    async def plain() -> str:
        return "plain"

    def the_year(tick: datetime) -> int:
        return tick.year

    def optional(count: int = 3) -> int:  # gets the tick only if it needs an argument
        return count

    def nested(tick: datetime) -> Request[int]:
        return Task(double)(tick.year)

    async with world.balancer() as balancer:
        year = datetime.now(UTC).year if world.mode != "virtual" else 2000
        works: list[Any] = [
            (Task(double)(21), {42}),
            (Task(the_year).timeout(10_000) >> double, {2 * year, 2 * (year + 1)}),
            (Task(plain), {"plain"}),
            (optional, {3}),
            (nested, {2 * year, 2 * (year + 1)}),
        ]
        for work, values in works:
            schedule = balancer.every(TICK, work)
            await world.until(lambda schedule=schedule: schedule.last is not None)
            schedule.cancel()
            assert schedule.last is not None
            assert schedule.last.unwrap() in values


async def test_a_failing_run_does_not_end_the_schedule(world: World) -> None:
    calls: list[int] = []

    async def fails() -> None:
        calls.append(1)
        raise OSError("down")

    async with world.balancer() as balancer:
        schedule = balancer.every(TICK, fails)
        await world.until(lambda: len(calls) >= 3)
        assert not schedule.done
        assert schedule.last is not None
        assert isinstance(schedule.last.error, OSError)


async def test_a_tick_is_skipped_while_a_run_goes_on(world: World) -> None:
    gate, calls, seen = world.gate(), [], []

    async def slow() -> None:
        calls.append(1)
        await gate.passed()

    def observe(event: Event) -> None:
        if event.kind == "request_rejected":
            seen.append((event.chain, event.reason))

    async with world.balancer(observers=[observe]) as balancer:
        schedule = balancer.every(TICK, Task(slow).named("report"))
        await world.until(lambda: schedule.counts.skipped >= 2)
        assert len(calls) == 1
        assert seen.count(("report", "overlap")) >= 2
        assert set(seen) <= {("report", "overlap"), ("report", "missed")}, "a busy machine may be late for a tick"
        assert len(schedule.tickets) == 1
        gate.open()
        await world.until(lambda: len(calls) >= 2)


async def test_ticks_wait_for_the_run_before(world: World) -> None:
    gate, running, most, calls = world.gate(), [], [0], []

    async def slow() -> None:
        running.append(1)
        calls.append(1)
        most[0] = max(most[0], len(running))
        await gate.passed()
        running.pop()

    async with world.balancer() as balancer:
        schedule = balancer.every(TICK, slow, overlap="queue")
        await world.until(lambda: calls)
        await world.pause(4 * TICK)
        assert len(calls) == 1
        schedule_before = schedule.counts
        gate.open()
        await world.until(lambda: len(calls) >= 4)
    assert most == [1]
    assert schedule_before.skipped == schedule.counts.skipped == 0


async def test_ticks_run_beside_each_other(world: World) -> None:
    gate, calls = world.gate(), []

    async def slow() -> None:
        calls.append(1)
        await gate.passed()

    async with world.balancer() as balancer:
        schedule = balancer.every(TICK, slow, overlap="parallel")
        await world.until(lambda: len(calls) >= 3)
        schedule.cancel()
        gate.open()
        await world.until(lambda: not schedule.tickets)


async def test_closing_ends_the_schedule_and_waits_for_it(world: World) -> None:
    async def nothing() -> None: ...

    async with world.plain_balancer() as balancer:
        schedule = balancer.every(TICK, nothing)
        waits = balancer.every(3_600_000, nothing)
        await world.until(lambda: schedule.counts.started)
    assert schedule.done
    assert waits.done
    assert (waits.next, waits.counts) == (None, ScheduleCounts())
    try:
        balancer.every(TICK, nothing)
    except BalancerClosed:
        pass
    else:
        raise AssertionError("a closed balancer took a schedule")


async def test_a_run_may_cancel_its_own_schedule(world: World) -> None:
    schedules: list[Any] = []

    async def once() -> str:
        await world.until(lambda: schedules)
        schedules[0].cancel()
        return "done"

    async with world.balancer() as balancer:
        schedules.append(balancer.every(TICK, once))
        await world.until(lambda: schedules[0].done and not schedules[0].tickets)
        assert schedules[0].counts.started == 1


async def test_a_full_buffer_rejects_a_tick_and_not_the_schedule(world: World) -> None:
    gate, calls = world.gate(), []

    async def holds() -> None:
        await gate.passed()

    async def note() -> None:
        calls.append(1)

    async with world.balancer(workers=1, buffer=0) as balancer:
        held = balancer.post(Task(holds)())
        schedule = balancer.every(TICK, note)
        await world.until(lambda: schedule.counts.rejected >= 2)
        assert not calls
        gate.open()
        await held
        await world.until(lambda: calls)


async def test_runs_have_the_context_of_the_call_and_no_deadline_of_it(world: World) -> None:
    seen: list[tuple[str, bool]] = []

    async def note() -> None:
        seen.append((WORD.get(), Deadline.current().remaining() > 20_000))

    async with world.balancer() as balancer:

        async def begins() -> None:
            WORD.set("mine")
            balancer.every(TICK, note)

        assert (await balancer.arun(Task(begins).timeout(10_000)())).ok
        await world.until(lambda: len(seen) >= 2)
    assert set(seen) == {("mine", True)}
