"""Bodies that break every rule: the run ends at its limit at the latest, and no other request notices."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
import sniffio
import trio
import trio.testing
from conformance.harness import World
from returns.result import Failure, Success

from rio_chain import (
    Backoff,
    Balancer,
    Breaker,
    BridgeFailed,
    ChainDefinitionError,
    DeadlineExceeded,
    Limit,
    Outcome,
    Task,
    TaskTimedOut,
    current_attempt,
    each,
    fan_out,
    race,
    remaining,
    settle,
)
from rio_chain.executors import _thread


class Final(BaseException):
    """Of a user's own making."""


async def echo(x: object) -> object:
    return x


async def always_fails(_: object) -> object:
    raise OSError


async def others_are_well(world: World, balancer: Balancer) -> None:
    """A new request runs as if nothing had been, and nothing is left of the old ones."""
    chain = Task(lambda x: x).inline() >> (Task(echo).timeout(5_000).retry(1) & Task(lambda x: x).inline())
    assert (await balancer.arun(chain(1))).result == Success((1, 1))
    assert (await balancer.post(chain(2))).result == Success((2, 2))
    await world.until(lambda: balancer.stats().running == balancer.stats().queued == 0)
    assert remaining() == float("inf")


# --- more than an error -------------------------------------------------------------------------------------------

ENDS = [SystemExit(3), KeyboardInterrupt(), GeneratorExit(), Final("words")]
NAMES = [type(error).__name__ for error in ENDS]


@pytest.mark.parametrize("error", ENDS, ids=NAMES)
@pytest.mark.parametrize("shape", ["bare", "guarded", "fan-out", "settle", "race", "hedge", "nested"])
async def test_a_base_exception_is_raised_wherever_it_is_raised(world: World, error: BaseException, shape: str) -> None:
    async def dies(_: object) -> object:
        await world.pause(1)
        raise error

    async def slow(x: object) -> object:
        await world.pause(5_000)
        return x

    chain = {
        "bare": Task(dies),
        "guarded": Task(dies).timeout(4_000).retry(2, on=lambda _: True, backoff=None).or_else(0),
        "fan-out": Task(slow) & Task(dies),
        "settle": settle(Task(slow), Task(dies)),
        "race": race(Task(slow), Task(dies)),
        "hedge": Task(dies).replica(2),
        "nested": Task(Task(dies).__call__).inline(),
    }[shape]
    async with world.balancer() as balancer:
        child = await world.start(lambda: balancer.arun(chain(7))).ended()
        assert child.error is error
        await others_are_well(world, balancer)


@pytest.mark.parametrize("error", ENDS, ids=NAMES)
@pytest.mark.parametrize("how", ["limit", "ticket", "loser"])
async def test_one_that_a_clean_up_raises_is_not_lost(world: World, error: BaseException, how: str) -> None:
    """Only one of the user's own making gives way to a limit and to a ticket, as the errors of clean-ups do."""
    begun: list[object] = []

    async def dirty(x: object) -> object:
        begun.append(x)
        try:
            await world.pause(10_000)
        finally:
            raise error

    async def fails(_: object) -> None:
        await world.until(lambda: begun)
        raise OSError

    async with world.balancer() as balancer:
        if how == "ticket":
            ticket = balancer.post(Task(dirty)(7))
            await world.until(lambda: begun)
            ticket.cancel()
            child = await world.start(lambda: awaited(ticket)).ended()
        else:
            chain = Task(dirty).timeout(world.short) if how == "limit" else Task(dirty) & Task(fails)
            child = await world.start(lambda: balancer.arun(chain(7))).ended()
        if isinstance(error, Final) and how != "loser":
            assert type(child.value.result.failure()).__name__ in ("TaskTimedOut", "TicketCancelled")
        else:
            assert child.error is error
            assert error.__cause__ is None
        await others_are_well(world, balancer)


async def awaited(awaitable: Awaitable[Any]) -> Any:
    return await awaitable


# --- bodies that don't want to end --------------------------------------------------------------------------------


@pytest.mark.parametrize("times", [1, 3, 50])
@pytest.mark.parametrize("how", ["limit", "ticket", "close", "foreign"])
async def test_a_body_that_swallows_its_cancellation_ends_when_it_wants_and_changes_nothing(
    world: World, times: int, how: str
) -> None:
    left, begun = times, []

    async def deaf(x: object) -> object:
        nonlocal left
        begun.append(x)
        while left:
            try:
                await world.pause(1.5)
                left -= bool(stopped)
            except BaseException:  # noqa: BLE001 - what one must not do
                left -= 1
        return x

    stopped: list[str] = []
    async with world.balancer() as balancer:
        if how == "foreign":
            child = world.start(lambda: balancer.arun((Task(deaf) >> Task(world.pause))(1)))
            await world.until(lambda: begun)
            stopped.append("now")
            child.stop()
            await child.ended()
            assert child.error is None
            assert child.cancelled or world.mode == "asyncio", "there the body is the caller's own task"
            return
        chain = Task(deaf).timeout(world.short if how == "limit" else 10_000)
        ticket = balancer.post(chain(7))
        await world.until(lambda: begun)
        if how == "limit":
            await world.pause(world.short)
        elif how == "ticket":
            ticket.cancel()
        stopped.append("now")
        if how == "close":
            await balancer.aclose(grace=0)
        outcome = await ticket
        assert left == 0, "it was awaited"
        wanted = {"limit": "TaskTimedOut"}.get(how, "TicketCancelled")
        assert type(outcome.result.failure()).__name__ == wanted
        if how != "close":
            await others_are_well(world, balancer)


async def test_a_body_that_hangs_ends_at_its_limit(world: World) -> None:
    async def hangs(_: object) -> None:
        await world.gate().passed()

    async with world.balancer(workers=1, abandon_after=world.short) as balancer:
        assert type((await balancer.arun(Task(hangs).timeout(5)(1))).result.failure()) is TaskTimedOut
        assert type((await balancer.arun(Task(hangs)(1))).result.failure()).__name__ == "Abandoned"
        assert type((await balancer.arun(Task(hangs)(1), deadline=5)).result.failure()) is DeadlineExceeded
        await others_are_well(world, balancer)


@pytest.mark.real_time
@pytest.mark.parametrize("how", ["limit", "deadline", "ticket", "close"])
async def test_a_request_whose_own_calls_hang_on_all_threads_ends_all_the_same(world: World, how: str) -> None:
    """Not even a thread is left to hear of it."""
    world.not_virtual("a sync function takes no time, so no limit ends it")
    opened, begun = threading.Event(), list[object]()

    def hangs(x: object) -> object:
        begun.append(x)
        opened.wait(10)
        return x

    chain = Task(hangs) & (Task(echo) & Task(hangs).named("b"))
    async with world.balancer(threads=2) as balancer:
        start = world.now()
        ticket = balancer.post(
            (chain.timeout(50) if how == "limit" else chain)(7), deadline=50 if how == "deadline" else 60_000
        )
        await world.until(lambda: len(begun) == 2)
        if how == "ticket":
            ticket.cancel()
        elif how == "close":
            await balancer.aclose(grace=0)
        error = type((await ticket).result.failure()).__name__
        wanted = {"limit": "TaskTimedOut", "deadline": "DeadlineExceeded"}
        assert error == wanted.get(how, "TicketCancelled")
        assert world.now() - start < 4_000
        opened.set()
        await world.until(lambda: balancer.stats().abandoned == 0)


@pytest.mark.parametrize("workers", [1, 2])
async def test_bodies_that_wait_for_a_slot_of_their_own_balancer_end_at_their_limit(world: World, workers: int) -> None:
    async def posts(x: object) -> object:
        return (await balancer.post(Task(echo)(x))).result

    async with world.balancer(workers=workers) as balancer:
        tickets = [balancer.post(Task(posts)(7), deadline=world.short) for _ in range(workers)]
        for ticket in tickets:
            error = error_in(await ticket)
            assert type(error) is DeadlineExceeded or (error is None and workers == 2), "the other may have gone first"
        assert error_in(await tickets[0]) is not None or workers == 2
        await others_are_well(world, balancer)

        async def returns(x: object) -> object:
            return Task(echo)(x)

        assert (await balancer.arun(Task(returns)(7))).result == Success(7), "which needs no slot"


def error_in(outcome: Outcome[Any]) -> Any:
    """Its own, or that of the run within, which had the same deadline."""
    result: Any = outcome.result
    while isinstance(result, Success):
        result = result.unwrap()
    return result.failure() if isinstance(result, Failure) else None


# --- context variables --------------------------------------------------------------------------------------------

mine: contextvars.ContextVar[str] = contextvars.ContextVar("mine", default="clean")


def ours() -> contextvars.ContextVar[Any]:
    """The library's own variable, as anybody can find it."""
    return next(var for var in contextvars.copy_context() if var.name == "rio_chain_current")


def forget(_: object) -> None:
    ours().set(None)


def forge(_: object) -> None:
    ours().set("nonsense")


def lie(_: object) -> None:
    sniffio.current_async_library_cvar.set("curio")


def reset_a_foreign_token(_: object) -> None:
    context = contextvars.Context()
    token = context.run(mine.set, "theirs")
    mine.reset(token)


DAMAGES = [forget, forge, lie, reset_a_foreign_token]


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("where", ["inline", "async", "bridge", "branch"])
async def test_context_variables_that_a_body_damages_are_its_own(
    world: World, damage: Callable[[object], None], where: str
) -> None:
    async def damages(x: object) -> object:
        damage(x)
        await world.pause(1)
        return x

    def bridge(x: object) -> object:
        damage(x)
        return x

    chain: Any = {
        "inline": Task(bridge).inline().timeout(5_000) >> Task(echo).retry(1),
        "async": Task(damages).timeout(5_000) >> Task(echo).retry(1),
        "bridge": Task(echo) >> bridge >> Task(echo).named("c").timeout(5_000),
        "branch": fan_out(Task(damages), Task(echo), Task(bridge).inline()),
    }[where]
    async with world.balancer() as balancer:
        tickets = [balancer.post(chain(7)) for _ in range(2)]
        for ticket in tickets:
            result = (await ticket).result
            assert type(result) is (Failure if damage is reset_a_foreign_token else Success), result
        if (
            damage is not lie
        ):  # the caller of `arun` shares its task with the bodies: a body that lies there lies to the caller
            await balancer.arun(chain(7))
        assert (remaining(), current_attempt(), mine.get()) == (float("inf"), 1, "clean")
        await others_are_well(world, balancer)


# --- what bodies return -------------------------------------------------------------------------------------------


@pytest.fixture
def no_collection() -> Iterator[None]:
    """Python can't report what a collection meets at the limit of the stack."""
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("no_collection")
async def test_a_task_that_returns_its_own_request_ends(world: World) -> None:
    def again(x: object) -> object:
        return chain(x)

    async def aagain(x: object) -> object:
        await world.pause(0)
        return achain(x)

    chain, achain = Task(again).inline(), Task(aagain)
    async with world.balancer() as balancer:
        for endless in (chain, achain, chain.timeout(5_000).or_else(0) & Task(echo)):
            outcome = await balancer.arun(endless.timeout(20_000)(7))
            assert type(outcome.result) in (Success, Failure)
            if type(outcome.result) is Failure:
                assert isinstance(outcome.result.failure(), (RecursionError, TaskTimedOut))
        await others_are_well(world, balancer)


async def test_tasks_functions_and_exceptions_are_values_like_others(world: World) -> None:
    for value in (echo, ValueError("a value"), ValueError, type, ...):
        assert (await world.run(Task(lambda _, v=value: v).inline()(1))).result == Success(value)
        assert (await world.run(Task(as_async(value))(1))).result == Success(value)


@pytest.mark.real_time
async def test_a_chain_that_was_not_called_is_refused_as_an_answer(world: World) -> None:
    task = Task(echo)
    for chain in (task, task >> task, task & task, task.timeout(100)):
        sync = Task(lambda _, chain=chain: chain)
        for forgot in (
            sync,
            sync.inline(),
            Task(as_async(chain)),
            Task(as_async(chain)) & task,
            Task(as_async(chain)).replica(2, after=50),
            Task(as_async(chain)).timeout(100).retry(2, on=OSError),
            task >> (lambda _, chain=chain: chain) >> task,
            task >> as_async(chain) >> task,
            each(Task(as_async(chain))).named("items"),
            Task(always_fails).or_else(as_async(chain)),
        ):
            request = forgot([1])
            failure = (await world.run(request)).result.failure()
            error = failure.error if isinstance(failure, BridgeFailed) else failure
            assert isinstance(error, ChainDefinitionError), (forgot, failure)
            assert str(error).startswith("call the chain first, as in `await page(42)`"), forgot


def as_async(value: object) -> Any:
    async def gives(_: object) -> object:
        return value

    return gives


async def test_a_coroutine_that_a_function_returns_is_awaited(world: World) -> None:
    def plain(x: object) -> object:
        return echo(x)

    assert (await world.run(Task(plain).inline()(7))).result == Success(7)
    assert (await world.run((Task(echo) >> plain)(7))).result == Success(7)


# --- errors that bite ---------------------------------------------------------------------------------------------


class Biting(Exception):
    """Every method of it raises."""

    def _bite(self, *_: object) -> Any:
        raise RuntimeError("bitten")

    __str__ = __repr__ = __eq__ = __reduce__ = __reduce_ex__ = __bool__ = __hash__ = __len__ = _bite  # type: ignore[assignment]

    @property
    def retry_after(self) -> Any:
        return self._bite()


def cyclic() -> Exception:
    first, second = ValueError("first"), ValueError("second")
    first.__cause__, second.__cause__ = second, first
    first.__context__, second.__context__ = second, first
    return first


def grouped() -> Exception:
    return ExceptionGroup("several", [ValueError("v"), ExceptionGroup("inner", [OSError("o"), Biting()])])


@pytest.mark.parametrize("make", [Biting, cyclic, grouped])
@pytest.mark.parametrize("shape", ["bare", "retry", "fallback", "fan-out", "settle", "hedge", "race", "bridge"])
async def test_an_error_is_handed_on_as_it_is_whatever_it_does(
    world: World, make: Callable[[], Exception], shape: str
) -> None:
    error = make()
    before = error.__cause__, error.__context__
    handled: list[object] = []

    async def fails(_: object) -> object:
        raise error

    task, other = Task(fails), Task(fails).named("other")
    chain: Any = {
        "bare": task,
        "retry": task.timeout(5_000).retry(2, on=(ValueError, Exception), backoff=None),
        "fallback": task.or_else(handled.append),
        "fan-out": task & other,
        "settle": settle(task, other),
        "hedge": task.replica(2),
        "race": race(task, other),
        "bridge": Task(echo) >> fails >> Task(echo).named("c"),
    }[shape]
    async with world.balancer() as balancer:
        outcome = await balancer.arun(chain(7))
        if shape == "fallback":
            assert handled[0] is error
        elif shape == "settle":
            one, two = outcome.unwrap()
            assert one.failure() is two.failure() is error
        elif shape == "bridge":
            assert error is outcome.result.failure().error
        else:
            assert outcome.result.failure() is error
        assert (error.__cause__, error.__context__)[0] is before[0]
        assert error.__context__ is before[1]
        for show in (repr, str, lambda o: o.summary()):
            assert show(outcome)
        assert repr(balancer)
        await others_are_well(world, balancer)


async def test_one_exception_object_for_all_the_world(world: World) -> None:
    """Raised by many at once, again and again, it is the same and does not grow without end."""
    shared = OSError("down")

    async def fails(_: object) -> object:
        raise shared

    tasks = [Task(fails).named(f"t{n}").retry(2, backoff=None) for n in range(4)]
    async with world.balancer() as balancer:
        for _ in range(5):
            outcome = await balancer.arun(settle(*tasks)(7))
            assert all(result.failure() is shared for result in outcome.unwrap())
        assert getattr(shared, "__notes__", []) == []
        assert shared.__cause__ is shared.__context__ is None


@pytest.mark.parametrize("late", [0, 1])
async def test_a_group_in_a_body_is_the_failure_itself(world: World, late: int) -> None:
    """Also where a task fails while the others are waited for: Python 3.11 leaves a cancellation uncounted there."""
    world.not_virtual("it has no task groups")

    async def child() -> None:
        await world.pause(late)
        raise ValueError("v")

    raised: list[BaseException] = []

    async def grouping(_: object) -> None:
        try:
            await world.in_group(child, child)
        except ExceptionGroup as group:
            raised.append(group)
            raise

    async def fails(_: object) -> None:
        raise OSError

    for chain in (Task(grouping), Task(grouping).timeout(5_000), Task(grouping) & Task(echo)):
        outcome = await world.run(chain(7))
        assert outcome.result.failure() is raised[-1]
    outcome = await world.run((Task(grouping).retry(2, backoff=None).or_else(0) >> Task(fails))(7))
    assert outcome["grouping"].attempts == 3
    assert type(outcome.result.failure()) is OSError


# --- the caller's own structures ----------------------------------------------------------------------------------


async def test_a_group_of_the_caller_tells_its_own_cancellation_from_ours(world: World) -> None:
    """A sibling fails: the call is cancelled, the group raises that error alone, and the task is as before."""
    world.not_virtual("it has no task groups")
    begun: list[int] = []

    async def slow(x: int) -> int:
        begun.append(x)
        await world.pause(60_000)
        return x

    async def calls() -> None:
        await balancer.arun(Task(slow).timeout(50_000).retry(3)(7))

    async def fails() -> None:
        await world.until(lambda: begun)
        raise OSError("sibling")

    async def grouped() -> None:
        await world.in_group(calls, fails)

    async with world.balancer() as balancer:
        error = (await world.start(grouped).ended()).error
        assert isinstance(error, ExceptionGroup)
        assert [type(one) for one in error.exceptions] == [OSError]
        await others_are_well(world, balancer)


async def test_the_timeout_of_the_caller_is_raised_as_its_own(world: World) -> None:
    world.not_virtual("it has no timeouts of its own")

    async def slow(_: object) -> None:
        await world.pause(60_000)

    before = world.cancelling()
    async with world.balancer() as balancer:
        if world.mode == "trio":
            with pytest.raises(trio.TooSlowError), trio.fail_after(0.005):
                await balancer.arun(Task(slow).timeout(50_000)(7))
        else:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.005):
                    await balancer.arun(Task(slow).timeout(50_000)(7))
        assert world.cancelling() == before
        await others_are_well(world, balancer)


# --- clocks that jump ---------------------------------------------------------------------------------------------

HOUR = 3_600_000
"""Milliseconds."""


class SettableClock:
    """Real time that can be set, for the timers of the thread executor; it knows how often it was waited on."""

    def __init__(self) -> None:
        self.ahead = 0.0
        self.waits = 0
        self.condition = threading.Condition()

    def now(self) -> float:
        return time.monotonic() + self.ahead

    def wait(self, condition: threading.Condition, timeout: float | None) -> None:
        self.waits += 1
        self.condition = condition
        assert timeout is None or timeout > 0
        condition.wait(timeout)

    def jump(self, seconds: float) -> None:
        with self.condition:
            self.ahead += seconds
            self.condition.notify_all()


class Time:
    """The clock of the executor, as far as a test can set it: where bodies run on a loop of its own, it can't."""

    def __init__(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        self.world = world
        self.settable = world.native or world.mode == "thread"
        self.clock = SettableClock()
        monkeypatch.setattr(_thread, "MonotonicClock", lambda: self.clock)

    def jump(self, ms: float) -> None:
        if self.world.mode == "thread":
            self.clock.jump(ms / 1000)
        elif self.world.mode == "trio":
            clock = trio.lowlevel.current_clock()
            assert isinstance(clock, trio.testing.MockClock)
            clock.jump(ms / 1000)
        elif self.world.mode == "virtual":
            self.world.made.loop._at += ms / 1000
        else:
            asyncio.get_running_loop()._jumps.at += ms / 1000  # type: ignore[attr-defined]


@pytest.fixture
def clock(world: World, monkeypatch: pytest.MonkeyPatch) -> Time:
    return Time(world, monkeypatch)


async def test_a_clock_that_jumps_ahead_ends_what_is_over_then(world: World, clock: Time) -> None:
    """As after a suspended laptop or a stopped container."""
    if not clock.settable:
        return
    gate, calls = world.gate(), list[str]()

    async def waits(x: str) -> str:
        calls.append(x)
        await gate.passed()
        return x

    async def fails_once(x: str) -> str:
        calls.append(x)
        if calls.count(x) == 1:
            raise OSError
        return x

    backoff = Backoff(base=HOUR, cap=HOUR, jitter="none")
    async with world.balancer(workers=5, abandon_after=9 * HOUR, aging=1_000) as balancer:
        limited = balancer.post(Task(waits).timeout(HOUR)("limited"))
        patient = balancer.post(Task(waits).timeout(5 * HOUR)("patient"))
        due = balancer.post(Task(waits)("due"), deadline=HOUR)
        rests = balancer.post(Task(fails_once).retry(1, backoff=backoff)("rests"))
        hedged = balancer.post(Task(waits).replica(2, after=HOUR)("hedged"))
        await world.until(lambda: len(calls) == 5)
        queued = balancer.post(Task(waits)("never"), queue_timeout=HOUR)
        old = balancer.post(Task(echo)("old"), priority=-5)
        await world.pause(1)
        clock.jump(2 * HOUR)
        new = balancer.post(Task(echo)("new"), priority=5)
        assert type((await limited).result.failure()) is TaskTimedOut
        assert type((await due).result.failure()) is DeadlineExceeded
        assert (await rests).result == Success("rests")
        assert (await queued).result.failure().where == "in the queue"
        assert [(await ticket).unwrap() for ticket in (old, new)] == ["old", "new"]
        assert 2 * HOUR <= (await old).queued < 3 * HOUR
        await world.until(lambda: calls.count("hedged") == 2)
        assert not patient.done
        gate.open()
        assert [(await ticket).unwrap() for ticket in (patient, hedged)] == ["patient", "hedged"]
        assert "never" not in calls
        await others_are_well(world, balancer)
    assert clock.clock.waits < 200, "nobody spins"


async def test_policies_with_a_state_go_on_after_a_jump_ahead(world: World, clock: Time) -> None:
    if not clock.settable:
        return

    async def fails(x: object) -> object:
        if x == "bad":
            raise OSError
        return x

    chain = Task(fails).breaker(Breaker(1, open_for=HOUR)).limit(Limit(rate=2, per=HOUR, wait=0))
    async with world.balancer() as balancer:

        async def tried(x: str) -> str:
            result = (await balancer.arun(chain(x))).result
            return "ok" if type(result) is Success else type(result.failure()).__name__

        assert [await tried(x) for x in ("bad", "good", "good")] == ["OSError", "CircuitOpen", "LimitExceeded"]
        clock.jump(2 * HOUR)
        assert [await tried(x) for x in ("good", "good", "good")] == ["ok", "ok", "LimitExceeded"]


async def test_a_clock_that_is_set_back_makes_things_late_and_not_wrong(world: World, clock: Time) -> None:
    """Trio's and the system's never are; one of a test, or of a loop of somebody's own, may be."""
    if world.mode not in ("asyncio", "thread"):
        return
    gate = world.gate()

    async def waits(x: object) -> object:
        await gate.passed()
        return x

    async with world.balancer(abandon_after=9 * HOUR) as balancer:
        limited = balancer.post(Task(waits).timeout(HOUR)(1))
        patient = balancer.post(Task(waits)(2))
        await world.until(lambda: balancer.stats().running == 2)
        await world.pause(1)
        clock.jump(-HOUR)
        await world.pause(1)
        assert not limited.done
        assert (await balancer.arun(Task(echo).timeout(5_000).retry(1)(3))).result == Success(3)
        clock.jump(2 * HOUR)
        assert type((await limited).result.failure()) is TaskTimedOut
        gate.open()
        assert (await patient).result == Success(2)
        assert repr(balancer)
        assert balancer.stats().runs.count == balancer.stats().done
    assert clock.clock.waits < 200, "nobody spins"
