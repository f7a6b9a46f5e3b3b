"""Strands that no caller waits for: they have a limit and a run of their own, and an owner that ends them."""

from __future__ import annotations

import threading
import warnings
from contextvars import ContextVar
from typing import Any, NoReturn

import pytest
from conformance.harness import World
from conformance.spawning import Door, Spawning, rest, run_in_strand, runtime
from returns.result import Success

from rio_chain import (
    Abandoned,
    Balancer,
    DeadlineExceeded,
    Task,
    TicketCancelled,
    UsageError,
    current_attempt,
    fan_out,
    remaining,
)
from rio_chain.engine._current_run import CURRENT
from rio_chain.testing import Leaked, leak_guard

VARIABLE = ContextVar("VARIABLE", default="unset")


class Final(BaseException):
    pass


async def echo(x: object) -> object:
    return x


async def nothing() -> None:
    """What a strand does that ends at once."""


async def test_it_has_the_context_of_its_beginner_but_another_run_and_limit(world: World) -> None:
    seen: list[Any] = []

    async def main() -> None:
        strand = CURRENT.get()
        assert strand is not None
        seen.extend((VARIABLE.get(), remaining(), current_attempt(), strand.run.around, strand.permits))
        seen.append(strand.run.urgency())
        await rest(1)
        seen.append(strand.run.plan.tasks[strand.at].name)

    spawning = Spawning(main, limit=60_000)
    VARIABLE.set("of the caller")
    async with world.balancer() as balancer:
        outcome = await balancer.arun(spawning.around(echo).timeout(2_000)(7), deadline=5_000, priority=3)
        assert outcome.result == Success(7)
        await world.until(spawning.all_done)
    variable, left, attempt, around, permits, priority, name = seen
    assert (variable, attempt, around, permits, priority, name) == ("of the caller", 1, None, (), 3, "echo")
    assert 50_000 < left <= 60_000


async def test_it_keeps_the_values_that_later_tasks_use(world: World) -> None:
    seen = []

    async def main() -> None:
        await rest(20)
        strand = CURRENT.get()
        assert strand is not None
        part = strand.fork()
        seen.extend(part.kept)
        part.end()

    spawning = Spawning(main)
    user = Task(echo).named("user")

    async def both(x: object, *, user: object) -> object:
        return x, user

    last = Task(both).using(user=user)
    async with world.balancer() as balancer:
        outcome = await balancer.arun((user >> spawning.around(echo) >> last)(7))
        assert outcome.result == Success((7, 7))
        await world.until(spawning.all_done)
    assert seen == [7], "also after the run of its beginner has ended"


async def test_each_call_of_a_hedge_may_begin_one_and_none_is_ended_with_the_losers(world: World) -> None:
    ended = []

    async def main() -> None:
        await rest(20)
        ended.append(1)

    async def first_is_slow(x: object) -> object:
        if current_attempt().replica == 0:
            await world.pause(60_000)
        await world.until(lambda: len(spawning.spawned) == 2)  # a call that has not begun yet never begins
        return x

    spawning = Spawning(main)
    async with world.balancer() as balancer:
        outcome = await balancer.arun(spawning.around(first_is_slow).replica(2)(7))
        assert outcome.result == Success(7)
        await world.until(spawning.all_done)
    assert (ended, [spawned.error for spawned in spawning.spawned]) == ([1, 1], [None, None])


async def test_without_a_limit_it_is_abandoned_when_a_run_would_be(world: World) -> None:
    ended = []

    async def main() -> None:
        strand = CURRENT.get()
        assert strand is not None
        began = strand.run.origin
        try:
            await Door().passed()
        finally:
            ended.append(1000 * (runtime().now() - began))

    spawning = Spawning(main)
    async with world.balancer(abandon_after=world.short) as balancer:
        await balancer.arun(spawning.around(echo)(7))
        await world.until(spawning.all_done)
        assert type(spawning.only.error) is Abandoned
        assert world.about(ended[0], world.short)


@pytest.mark.parametrize("limit", [0, 20])
async def test_its_limit_ends_it(world: World, reported: list[BaseException], limit: float) -> None:
    ended = []

    async def main() -> None:
        try:
            await Door().passed()
        finally:
            ended.append(remaining())

    spawning = Spawning(main, limit)
    async with world.balancer() as balancer:
        await balancer.arun(spawning.around(echo)(7))
        await world.until(spawning.all_done)
        assert type(spawning.only.error) is DeadlineExceeded
        assert ended == ([0.0] if limit else []), "with no time left it does not begin"
        assert reported == []


@pytest.mark.parametrize("error", [ValueError("x"), StopIteration(7), Final("x"), SystemExit(3), KeyboardInterrupt()])
async def test_what_it_raises_is_reported(world: World, reported: list[BaseException], error: BaseException) -> None:
    async def main() -> NoReturn:
        await rest(1)
        raise error

    async def by_task() -> None:
        async def body(_: object) -> NoReturn:
            raise error

        await run_in_strand(Task(body)(7))

    async with world.balancer() as balancer:
        for each in (main, by_task) if not isinstance(error, Exception) else (main,):
            spawning = Spawning(each)
            assert (await balancer.arun(spawning.around(echo)(7))).result == Success(7)
            await world.until(spawning.all_done)
            got = spawning.only.error
            assert got is error or (type(got) is RuntimeError and got.__cause__ is error), got
            assert reported.pop() is got
        assert reported == []
        assert (await balancer.arun(Task(echo)(8))).result == Success(8), "the loop and its workers live on"


@pytest.mark.parametrize("how", ["cancel", "timeout", "ticket"])
async def test_what_ends_its_beginner_does_not_end_it(world: World, how: str) -> None:
    began, door, ended = [], world.gate(), []

    async def waits(_: object) -> None:
        began.append(1)
        await door.passed()

    async def main() -> str:
        await rest(30)
        ended.append("by itself")
        return "a value that nobody gets"

    spawning = Spawning(main)
    async with world.balancer() as balancer:
        chain = spawning.around(waits)
        if how == "timeout":
            assert (await balancer.arun(chain.timeout(10)(7))).result.failure()
        elif how == "ticket":
            ticket = balancer.post(chain(7))
            await world.until(lambda: began)
            ticket.cancel()
            assert (await ticket).result.failure()
        else:
            child = world.start(lambda: balancer.arun(chain(7)))
            await world.until(lambda: began)
            child.stop()
            await child.ended()
            assert child.cancelled
        await world.until(spawning.all_done)
    assert (ended, spawning.only.error) == (["by itself"], None)


async def test_a_request_that_is_awaited_spawns_on_its_loop(world: World) -> None:
    ended = []

    async def main() -> None:
        await rest(5)
        ended.append(1)

    spawning = Spawning(main)
    assert (await world.run(spawning.around(echo)(7))).result == Success(7)
    await world.until(spawning.all_done)
    assert ended == [1]


async def test_it_runs_chains_with_limits_hedges_and_fan_outs(world: World) -> None:
    outcomes = []

    async def slow(x: int) -> int:
        if current_attempt().replica == 0:
            await world.pause(60_000)
        return x

    async def stuck(x: int) -> int:
        await world.pause(60_000)
        return x

    async def fails(x: int) -> int:
        raise OSError(x)

    async def main() -> None:
        hedged = Task(slow).replica(2, after=5)
        late = Task(stuck).timeout(5).or_else(0)
        again = Task(fails).retry(2, backoff=None).or_else(1)
        outcomes.extend([await run_in_strand(fan_out(hedged, late, again, Task(str).inline())(7)) for _ in range(2)])
        try:
            outcomes.append(await run_in_strand(Task(stuck)(7)))
        finally:
            outcomes.append(remaining())

    spawning = Spawning(main, limit=100)
    async with world.balancer() as balancer:
        await balancer.arun(spawning.around(echo)(7))
        await world.until(spawning.all_done)
    first, second, left = outcomes
    assert first.result == second.result == Success((7, 0, 1, "7"))
    assert type(spawning.only.error) is DeadlineExceeded
    assert left == 0, "the limit of the strand is around its runs"


# --- the handle ---------------------------------------------------------------------------------------------------


async def test_a_strand_is_cancelled_by_its_handle(world: World, reported: list[BaseException]) -> None:
    calls, woken = [], []

    async def main() -> None:
        calls.append("began")
        try:
            await Door().passed()
        finally:
            calls.append("cleaned up")

    spawning = Spawning(main)
    async with world.balancer() as balancer:
        await balancer.arun(spawning.around(echo)(7))
        await world.until(lambda: calls)
        spawning.only.add_waker(lambda: woken.append(len(calls)))
        assert not spawning.only.done
        for _ in range(2):
            spawning.only.cancel("its last caller has gone")
        await world.until(spawning.all_done)
        await world.until(lambda: woken)
        assert str(spawning.only.error) == "cancelled: its last caller has gone"
        spawning.only.cancel()
        spawning.only.add_waker(lambda: woken.append("at once"))
    assert (calls, woken, reported) == (["began", "cleaned up"], [2, "at once"], [])


async def test_one_that_is_cancelled_before_it_began_never_does(world: World) -> None:
    began = []

    async def main() -> None:
        began.append(1)

    class Cancelling(Spawning):
        def enter(self, call: Any, /) -> Any:
            permit = super().enter(call)
            self.spawned[-1].cancel()
            return permit

    async with world.balancer(threads=1) as balancer:
        spawning = Cancelling(main)
        for _ in range(5):
            await balancer.arun(spawning.around(echo)(7))
        await world.until(spawning.all_done)
        assert [spawned.error for spawned in spawning.spawned if spawned.error is None] == [None] * len(began)
        if world.executor != "thread":  # there another worker may have been quicker
            assert began == []


async def test_the_last_of_several_callers_cancels_it_and_awaits_its_end(world: World) -> None:
    """What a batch does: one strand makes the call of all callers, each of which has a limit of its own."""
    ended = []

    async def shared() -> None:
        try:
            await Door().passed()
        finally:
            ended.append(runtime().now())

    class Batch(Spawning):
        async def joined(self) -> None:
            own, waiter = CURRENT.get(), runtime().waiter()
            assert own is not None
            strand = own.fork()
            try:
                strand.slot.arm(runtime().now() + 0.02)
                await waiter.wait()
            except BaseException as error:
                if not strand.slot.settle(error):
                    raise
                self.callers -= 1
                if self.callers == 0:
                    last = runtime().waiter()
                    self.only.add_waker(last.wake)
                    self.only.cancel()
                    await last.wait_shielded()
                    ended.append("awaited")
            finally:
                strand.end()

        callers = 3

    batch = Batch(shared)
    callers: list[Spawning] = []
    async with world.balancer() as balancer:
        await balancer.arun(batch.around(echo)(7))
        for _ in range(3):
            callers.append(caller := Spawning(batch.joined))
            await balancer.arun(caller.around(echo)(7))
        await world.until(lambda: all(caller.all_done() for caller in callers))
        assert batch.only.done
    assert [type(one) for one in ended] == [float, str]


# --- what owns it ---------------------------------------------------------------------------------------------------


async def test_a_balancer_that_closes_waits_for_it(world: World) -> None:
    ended = []

    async def main() -> None:
        await rest(20)
        ended.append("first")
        runtime().spawn(second)

    async def second() -> None:
        await rest(20)
        ended.append("second")

    spawning = Spawning(main)
    async with world.balancer() as balancer:
        await balancer.arun(spawning.around(echo)(7))
        assert balancer.stats().running == 0
        begun = world.now()
        await balancer.aclose()
        assert ended == ["first", "second"]
        assert world.native is False or world.about(world.now() - begun, 40)


@pytest.mark.parametrize("grace", [0, 20])
async def test_when_the_grace_is_over_it_is_cancelled(
    world: World, reported: list[BaseException], grace: float
) -> None:
    calls = []

    async def main() -> None:
        calls.append("began")
        try:
            await Door().passed()
        finally:
            calls.append("cleaned up")
            late.append(runtime().spawn(nothing))

    late: list[Any] = []
    spawning = Spawning(main)
    async with world.balancer() as balancer:
        await balancer.arun(spawning.around(echo)(7))
        await world.until(lambda: calls)
        begun = world.now()
        await balancer.aclose(grace=grace)
        assert world.native is False or world.about(world.now() - begun, grace)
        assert calls == ["began", "cleaned up"]
        assert str(spawning.only.error) == "cancelled: the balancer closed"
        assert late[0].done, "a closed balancer takes no more of them"
        assert reported == [late[0].error]
        assert type(late[0].error) is TicketCancelled


@pytest.mark.real_time
async def test_a_blocking_close_does_the_same(world: World) -> None:
    if world.native:
        pytest.skip("`close` would block the loop that it waits for")
    calls: list[str] = []

    async def short() -> None:
        await rest(10)
        calls.append("by itself")

    async def long() -> None:
        try:
            await Door().passed()
        finally:
            calls.append("cleaned up")

    for main, grace, ends in ((short, 30_000, ["by itself"]), (long, 5, ["cleaned up"])):
        calls.clear()
        balancer = Balancer(world.executor)
        spawning = Spawning(main)
        balancer.post(spawning.around(str)(7)).wait()
        balancer.close(grace)
        assert calls == ends or (main is long and calls == [])
        assert spawning.only.done


@pytest.mark.real_time
async def test_close_names_a_blocking_call_that_it_left_in_it(world: World) -> None:
    world.not_virtual("a sync function takes no time, so no limit ends it")
    go, began = threading.Event(), threading.Event()

    def stuck(_: object) -> None:
        began.set()
        go.wait(5)

    async def main() -> None:
        await run_in_strand(Task(stuck)(7))

    spawning = Spawning(main)
    async with world.balancer() as balancer:
        await balancer.arun(spawning.around(echo)(7))
        await world.until(began.is_set)
        with warnings.catch_warnings(record=True) as found:
            warnings.simplefilter("always")
            await balancer.aclose(grace=1)
        go.set()
    assert ["'stuck'" in str(one.message) for one in found] == [True]


async def test_it_may_not_close_its_own_balancer(world: World) -> None:
    errors = []

    async def main() -> None:
        async def body(_: object) -> None:
            try:
                await balancer.aclose()
            except UsageError as error:
                errors.append(error)

        await run_in_strand(Task(body)(7))

    spawning = Spawning(main)
    async with world.balancer() as balancer:
        await balancer.arun(spawning.around(echo)(7))
        await world.until(spawning.all_done)
        assert len(errors) == 1
        assert (await balancer.arun(Task(echo)(8))).result == Success(8), "it is open"


async def test_leak_guard_sees_it(world: World) -> None:
    door = Door()

    async def main() -> None:
        await door.passed()

    spawning = Spawning(main)
    async with world.balancer() as balancer:
        await balancer.arun(Task(echo)(7))
        with pytest.raises(Leaked) as caught:
            async with leak_guard(balancer, patience=5):
                await balancer.arun(spawning.around(echo)(7))
        assert caught.value.left[-1] == "strand spawned by task 'echo'"
        async with leak_guard(balancer):
            door.open()
            await world.until(spawning.all_done)


async def test_a_storm_of_them(world: World) -> None:
    """Many at once, some of which end by themselves, by their limit, by an error of theirs or by their handle."""
    ends = []

    async def main() -> None:
        kind = len(ends) % 4
        ends.append(kind)
        if kind == 0:
            await run_in_strand((Task(echo) & Task(str).inline()).timeout(5_000)(7))
        elif kind == 1:
            await Door().passed()
        elif kind == 2:
            outcome = await run_in_strand(Task(echo).retry(2).replica(2, after=1_000)(7))
            failed = outcome.result != Success(7)  # on a busy machine its limit may be over
            assert not failed or type(outcome.result.failure()) is DeadlineExceeded
        else:
            await rest(5)

    spawning = Spawning(main, limit=world.short)
    async with world.balancer(workers=20, threads=8) as balancer:
        await world.together(*[lambda: balancer.arun(spawning.around(echo)(7))] * 200)
        for spawned in spawning.spawned[::7]:
            spawned.cancel()
        await world.until(lambda: len(spawning.spawned) == 200 and spawning.all_done())
        async with leak_guard(balancer):
            pass
        errors = [spawned.error for spawned in spawning.spawned]
        assert {type(error) for error in errors} <= {type(None), DeadlineExceeded, TicketCancelled}
        assert sum(type(error) is DeadlineExceeded for error in errors) >= 20
