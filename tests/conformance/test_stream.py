"""``request.stream()``: its events, their order, and what stopping it does."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import pytest
from conformance.harness import Child, World

from rio_chain import (
    Backoff,
    Breaker,
    Cache,
    Chain,
    ChainDefinitionError,
    CircuitOpen,
    DeadlineExceeded,
    Event,
    NotAccepted,
    Request,
    Skipped,
    Stream,
    Task,
    TaskTimedOut,
    TicketCancelled,
    UsageError,
    each,
    fan_out,
    race,
    remaining,
    settle,
)
from rio_chain.engine._current_run import CURRENT, Run, Strand

who: ContextVar[str] = ContextVar("who", default="nobody")


def stream(world: World, request: Request[Any], **terms: Any) -> Stream[Any]:
    """As users of this mode read one: on the loop that runs, or from there on another executor."""
    return request.stream(**terms) if world.native else request.stream(executor=world.executor, **terms)


async def read(world: World, request: Request[Any], **terms: Any) -> list[Event]:
    return [event async for event in stream(world, request, **terms)]


def words(events: list[Event]) -> list[str]:
    """Each in short: ``started a 2`` is the second call of ``a``, ``started a 1.1`` the first of its replica 1."""
    listed = []
    for event in events:
        attempt = f" {event.attempt}" if event.attempt and event.kind != "finished" else ""
        replica = f".{event.replica}" if event.replica and event.kind != "finished" else ""
        listed.append(f"{event.kind} {event.task or ''}{attempt}{replica}{event.status or ''}".strip())
    return [text.replace("finished a", "a ").replace("finished b", "b ").replace("finished c", "c ") for text in listed]


async def echo(x: object) -> object:
    return x


async def fails(_: object) -> None:
    raise OSError("no")


class Flaky:
    """Fails so many times, then answers."""

    def __init__(self, failures: int) -> None:
        self.left = failures
        self.errors: list[OSError] = []

    async def __call__(self, x: object) -> object:
        self.left -= 1
        if self.left >= 0:
            self.errors.append(OSError(str(self.left)))
            raise self.errors[-1]
        return x


class Slow:
    """Stays until it is cancelled, and takes its time to clean up."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.calls = self.ended = 0

    async def __call__(self, x: object) -> object:
        self.calls += 1
        try:
            await self.world.pause(10_000)
        finally:
            await self.world.shielded(2)
            self.ended += 1
        return x


@pytest.fixture
def slow(world: World) -> Slow:
    return Slow(world)


def a(fn: Callable[..., Any] = echo) -> Task[..., Any]:
    return Task(fn).named("a")


def b(fn: Callable[..., Any] = echo) -> Task[..., Any]:
    return Task(fn).named("b")


def c(fn: Callable[..., Any] = echo) -> Task[..., Any]:
    return Task(fn).named("c")


# --- the events ------------------------------------------------------------------------------------------------


async def test_tasks_start_and_finish_in_order(world: World) -> None:
    events = await read(world, (a() >> str >> b() >> c())(7))
    assert words(events) == [
        "started a 1", "a succeeded", "started b 1", "b succeeded", "started c 1", "c succeeded", "ended",
    ]  # fmt: skip
    assert [event.attempt for event in events if event.kind == "finished"] == [1, 1, 1]
    assert events[-1].task is None
    assert events[-1].outcome is not None
    assert events[-1].outcome.unwrap() == "7"
    assert all(event.outcome is None for event in events[:-1])
    assert all(event.item is None and event.error is None for event in events)


async def test_it_tells_when(world: World) -> None:
    async def waits(x: object) -> object:
        await world.pause(10)
        return x

    events = await read(world, (a(waits) >> b(waits))(7))
    expected = [0, 10, 10, 20, 20]
    assert all(world.about(event.at, at) for event, at in zip(events, expected, strict=True)), events
    assert [event.at for event in events] == sorted(event.at for event in events)


async def test_it_tells_while_it_happens(world: World) -> None:
    gate = world.gate()

    async def waits(x: object) -> object:
        await gate.passed()
        return x

    listed = []
    async for event in stream(world, (a() >> b(waits))(7)):
        listed.append(event)
        if (event.kind, event.task) == ("started", "b"):
            gate.open()
    assert words(listed) == ["started a 1", "a succeeded", "started b 1", "b succeeded", "ended"]


async def test_retries_are_events_and_finish_once(world: World) -> None:
    flaky = Flaky(2)
    rest = Backoff(base=5, factor=1, jitter="none")
    events = await read(world, (a(flaky).retry(3, backoff=rest) >> b())(7))
    assert words(events)[:7] == [
        "started a 1", "attempt_failed a 1", "started a 2", "attempt_failed a 2", "started a 3", "a succeeded",
        "started b 1",
    ]  # fmt: skip
    assert [event.error for event in events if event.kind == "attempt_failed"] == flaky.errors
    assert [event.attempt for event in events if event.kind == "finished"] == [3, 1]
    assert world.about(events[4].at, 10)


async def test_a_failure_finishes_when_it_is_given_up(world: World) -> None:
    events = await read(world, (a(fails).retry(1, backoff=None) >> b() >> c())(7))
    assert words(events) == [
        "started a 1", "attempt_failed a 1", "started a 2", "attempt_failed a 2", "a failed", "b skipped",
        "c skipped", "ended",
    ]  # fmt: skip
    assert type(events[4].error) is OSError
    assert [type(event.error) for event in events[5:7]] == [Skipped, Skipped]
    assert [event.attempt for event in events[4:7]] == [2, 0, 0]
    assert events[-1].outcome is not None
    assert events[-1].outcome.result.failure() is events[4].error


async def test_a_wider_retry_starts_and_finishes_again(world: World) -> None:
    flaky = Flaky(1)
    events = await read(world, (a() >> b(flaky) >> c()).retry(1, backoff=None)(7))
    assert words(events) == [
        "started a 1", "a succeeded", "started b 1", "attempt_failed b 1", "b failed", "started a 2", "a succeeded",
        "started b 2", "b succeeded", "started c 1", "c succeeded", "ended",
    ]  # fmt: skip


async def test_a_task_that_a_later_round_does_not_reach_is_skipped(world: World) -> None:
    class Second:
        calls = 0

        async def __call__(self, x: object) -> object:
            self.calls += 1
            if self.calls == 2:
                raise OSError
            return x

    events = await read(world, (a(Second()) >> b(fails)).retry(1, backoff=None)(7))
    assert words(events) == [
        "started a 1", "a succeeded", "started b 1", "attempt_failed b 1", "b failed", "started a 2",
        "attempt_failed a 2", "a failed", "b skipped", "ended",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "judge",
    [
        lambda chain, good: chain.retry(2, backoff=None, accept=good),
        lambda chain, good: chain.accept(good).retry(2, backoff=None),
        lambda chain, good: chain.timeout(5_000).accept(good).timeout(5_000).retry(2, backoff=None).timeout(5_000),
        lambda chain, good: chain.replica(2, after=5_000).accept(good).retry(2, backoff=None),
    ],
)
async def test_an_answer_that_is_refused_has_not_finished(world: World, judge: Callable[..., Chain[..., Any]]) -> None:
    numbers = iter(range(9))

    async def number(_: object) -> int:
        return next(numbers)

    events = await read(world, (judge(a(number), lambda value: value == 2) >> b())(7))
    assert words(events) == [
        "started a 1", "attempt_failed a 1", "started a 2", "attempt_failed a 2", "started a 3", "a succeeded",
        "started b 1", "b succeeded", "ended",
    ]  # fmt: skip
    assert [type(event.error) for event in events if event.kind == "attempt_failed"] == [NotAccepted] * 2


async def test_a_fallback_begins_when_the_primary_has_finished(world: World) -> None:
    events = await read(world, (a(fails).or_else(b()) >> c())(7))
    assert words(events) == [
        "started a 1", "attempt_failed a 1", "a failed", "started b 1", "b succeeded", "started c 1", "c succeeded",
        "ended",
    ]  # fmt: skip
    wide = await read(world, ((a(fails) >> b()).or_else(0) >> c())(7))
    assert words(wide) == [
        "started a 1", "attempt_failed a 1", "a failed", "b skipped", "started c 1", "c succeeded", "ended",
    ]  # fmt: skip


async def test_a_fallback_that_was_not_needed_is_skipped_at_the_end(world: World) -> None:
    events = await read(world, (a().or_else(b()) >> c())(7))
    assert words(events) == ["started a 1", "a succeeded", "started c 1", "c succeeded", "b skipped", "ended"]


async def test_a_bridge_that_fails_skips_what_follows(world: World) -> None:
    events = await read(world, (a() >> (lambda x: 1 // (x - 7)) >> b())(7))
    assert words(events) == ["started a 1", "a succeeded", "b skipped", "ended"]


async def test_branches_give_events_as_they_come(world: World) -> None:
    async def later(x: object) -> object:
        await world.pause(10)
        return x

    events = await read(world, ((a(later) & b()) >> c())(7))
    assert set(words(events)[:2]) < {"started a 1", "started b 1", "b succeeded"}
    assert words(events)[-4:] == ["a succeeded", "started c 1", "c succeeded", "ended"]


async def test_a_branch_that_fails_has_finished_before_those_beside_it(world: World, slow: Slow) -> None:
    async def fails_soon(_: object) -> None:
        await world.until(lambda: slow.calls)
        raise OSError

    events = await read(world, fan_out(a(slow), b(fails_soon) >> c())(7))
    assert words(events)[2:] == ["attempt_failed b 1", "b failed", "a cancelled", "c skipped", "ended"]
    assert slow.ended == 1


async def test_settled_branches_finish_each_by_itself(world: World) -> None:
    async def later(x: object) -> object:
        await world.pause(10)
        return x

    events = await read(world, settle(a(fails), b(later))(7))
    assert words([event for event in events if event.task != "b"]) == [
        "started a 1", "attempt_failed a 1", "a failed", "ended",
    ]  # fmt: skip
    assert words(events)[-2:] == ["b succeeded", "ended"]


async def test_timeouts_are_failed_attempts(world: World, slow: Slow) -> None:
    events = await read(world, (a(slow).timeout(world.short).retry(1, backoff=None) >> b())(7))
    assert words(events) == [
        "started a 1", "attempt_failed a 1", "started a 2", "attempt_failed a 2", "a timed_out", "b skipped",
        "ended",
    ]  # fmt: skip
    assert [type(event.error) for event in events if event.kind == "attempt_failed"] == [TaskTimedOut] * 2
    assert slow.ended == 2


async def test_the_deadline_of_a_stream(world: World, slow: Slow) -> None:
    events = await read(world, (a() >> b(slow) >> c())(7), deadline=world.short)
    assert words(events) == [
        "started a 1", "a succeeded", "started b 1", "attempt_failed b 1", "b timed_out", "c skipped", "ended",
    ]  # fmt: skip
    assert type(events[-2].error) is Skipped
    assert type(events[3].error) is DeadlineExceeded
    over = await read(world, a()(7), deadline=0)
    assert words(over) == ["a skipped", "ended"]


async def test_a_hedge_is_an_event_and_the_task_finishes_once(world: World, slow: Slow) -> None:
    calls = []

    async def late_first(x: object) -> object:
        calls.append(x)
        return await slow(x) if len(calls) == 1 else x

    events = await read(world, (a(late_first).replica(2, after=5) >> b())(7))
    assert words(events) == [
        "started a 1", "hedge_started a 1.1", "started a 1.1", "a succeeded", "started b 1", "b succeeded", "ended",
    ]  # fmt: skip
    assert (events[3].attempt, events[3].replica) == (2, 1)
    assert world.about(events[1].at, 5)
    assert slow.ended == 1


async def test_replicas_that_fail_are_events(world: World) -> None:
    flaky = Flaky(3)
    events = await read(world, a(flaky).replica(2, after=None).retry(1, backoff=None)(7))
    assert words(events) == [
        "started a 1", "attempt_failed a 1", "hedge_started a 1.1", "started a 1.1", "attempt_failed a 1.1",
        "started a 2", "attempt_failed a 2", "hedge_started a 2.1", "started a 2.1", "a succeeded", "ended",
    ]  # fmt: skip
    assert (events[-2].attempt, events[-2].replica) == (4, 1)


async def test_a_race_of_chains_tells_no_hedge(world: World, slow: Slow) -> None:
    async def soon(x: object) -> object:
        await world.until(lambda: slow.calls)
        return x

    events = await read(world, (race(a(slow), b(soon)) >> c())(7))
    assert sorted(words(events)[:2]) == ["started a 1", "started b 1.1"]
    assert words(events)[2:] == ["a cancelled", "b succeeded", "started c 1", "c succeeded", "ended"]


async def test_what_a_policy_answers_or_refuses_was_not_started(world: World) -> None:
    cached = a().cache(Cache(10_000)) >> b()
    await world.run(cached(7))
    assert words(await read(world, cached(7))) == ["a succeeded", "started b 1", "b succeeded", "ended"]
    broken = a(fails).breaker(Breaker(1)) >> b()
    await world.run(broken(7))
    events = await read(world, broken(7))
    assert words(events) == ["attempt_failed a", "a failed", "b skipped", "ended"]
    assert type(events[0].error) is CircuitOpen


async def test_a_request_that_a_function_returns_gives_events_within_its_task(world: World) -> None:
    async def decides(x: object) -> Request[Any]:
        return (b(Flaky(1)).retry(1, backoff=None) >> a(decides_again))(x)

    async def decides_again(x: object) -> Request[Any]:
        return c()(x)

    events = await read(world, a(decides)(7))
    assert [(event.within, event.kind, event.task) for event in events] == [
        ((), "started", "a"),
        (("a",), "started", "b"),
        (("a",), "attempt_failed", "b"),
        (("a",), "started", "b"),
        (("a",), "finished", "b"),
        (("a",), "started", "a"),
        (("a", "a"), "started", "c"),
        (("a", "a"), "finished", "c"),
        (("a",), "finished", "a"),
        ((), "finished", "a"),
        ((), "ended", None),
    ]
    assert repr(events[7]).startswith("<Event finished a/a/c: succeeded, at ")
    assert [event.at for event in events] == sorted(event.at for event in events)


async def test_what_a_nested_request_did_not_run_is_reported_at_its_end(world: World) -> None:
    async def decides(x: object) -> Request[Any]:
        return (b(fails) >> c())(x)

    events = await read(world, a(decides)(7))
    assert [(*event.within, event.kind, event.task, event.status) for event in events[2:]] == [
        ("a", "attempt_failed", "b", None),
        ("a", "finished", "b", "failed"),
        ("a", "finished", "c", "skipped"),
        ("attempt_failed", "a", None),
        ("finished", "a", "failed"),
        ("ended", None, None),
    ]
    assert isinstance(events[4].error, Skipped)

    async def slow(x: object) -> None:
        await world.pause(10_000)

    async def decides_slowly(x: object) -> Request[Any]:
        return (b(slow) >> c())(x)

    events = await read(world, a(decides_slowly).timeout(world.short)(7))
    assert [(*event.within, event.kind, event.task, event.status) for event in events[2:]] == [
        ("a", "attempt_failed", "b", None),
        ("a", "finished", "b", "timed_out"),
        ("a", "finished", "c", "skipped"),
        ("attempt_failed", "a", None),
        ("finished", "a", "timed_out"),
        ("ended", None, None),
    ]


@pytest.mark.real_time
async def test_sync_functions_give_events_too(world: World) -> None:
    events = await read(world, (a(str) >> b(len).inline() >> c(hex).retry(1))(7))
    assert words(events) == [
        "started a 1", "a succeeded", "started b 1", "b succeeded", "started c 1", "c succeeded", "ended",
    ]  # fmt: skip


async def test_the_events_of_an_each_have_the_number_of_their_item(world: World) -> None:
    async def odd(x: int) -> int:
        if x % 2 == 0:
            raise OSError
        return x

    events = await read(world, (each(a(odd) >> b(), on_error="keep") >> c())([1, 2]))
    items = [[event for event in events if event.item == number] for number in range(2)]
    assert words(items[0]) == ["started a 1", "a succeeded", "started b 1", "b succeeded"]
    assert words(items[1]) == ["started a 1", "attempt_failed a 1", "a failed", "b skipped"]
    whole = [event for event in events if event.item is None]
    assert {"started c 1", "c succeeded", "a succeeded", "b succeeded", "ended"} == set(words(whole))


async def test_items_that_are_stopped_have_finished_too(world: World, slow: Slow) -> None:
    async def second_fails(x: int) -> int:
        if x == 1:
            await slow(x)
        await world.until(lambda: slow.calls)
        raise OSError

    events = await read(world, (each(a(second_fails) >> b()) >> c())([1, 2]))
    assert words([event for event in events if event.item == 0]) == ["started a 1", "a cancelled", "b skipped"]
    assert words([event for event in events if event.item == 1])[-2:] == ["a failed", "b skipped"]
    assert slow.ended == 1


# --- how it runs -------------------------------------------------------------------------------------------------


async def test_context_and_deadline_of_the_caller_hold(world: World) -> None:
    async def look(_: object) -> tuple[str, float]:
        return who.get(), remaining()

    async def outer(x: object) -> list[Event]:
        return await read(world, a(look)(x))

    token = who.set("caller")
    events = (await world.run(Task(outer).timeout(4_000)(7))).unwrap()
    who.reset(token)
    name, left = events[-1].outcome.unwrap()
    assert name == "caller"
    assert 0 < left <= 4_000


async def test_the_outcome_is_there_when_all_is_read(world: World) -> None:
    events = stream(world, a(fails)(7))
    assert repr(events) == "<Stream of a: not begun>"
    with pytest.raises(UsageError, match="the run has not"):
        _ = events.outcome
    last = [event async for event in events][-1]
    assert events.outcome is last.outcome
    assert type(events.outcome.result.failure()) is OSError
    assert repr(events) == "<Stream of a: over>"


async def test_streams_side_by_side_keep_apart(world: World) -> None:
    async def one(n: int) -> list[str]:
        return words(await read(world, (a(Flaky(n)).retry(5, backoff=None) >> b())(n)))

    listed = await world.together(*(lambda n=n: one(n) for n in range(4)))
    assert [sum(word.startswith("attempt_failed") for word in words) for words in listed] == [0, 1, 2, 3]
    assert all(words[-4:] == ["a succeeded", "started b 1", "b succeeded", "ended"] for words in listed)


async def test_a_run_never_waits_for_its_reader(world: World) -> None:
    done = world.gate()

    async def last(x: object) -> object:
        done.open()
        return x

    reading = aiter(stream(world, (a() >> b() >> c(last))(7)))
    assert (await anext(reading)).kind == "started"
    await done.passed()
    rest = [event async for event in reading]
    assert words(rest)[-3:] == ["started c 1", "c succeeded", "ended"]
    with pytest.raises(StopAsyncIteration):
        await anext(reading)


async def test_who_does_not_stream_pays_nothing(world: World) -> None:
    """No run is begun by a stream that nobody reads, and beside one that is read others run as ever."""
    kinds = []

    async def look(x: object) -> object:
        strand = CURRENT.get()
        assert strand is not None
        kinds.append((type(strand), type(strand.run), strand.run.log[0]))
        return x

    unread = stream(world, a(look)(7))
    reading = aiter(stream(world, a()(7)))
    await anext(reading)
    await world.run((a(look) >> b(look))(7))
    assert [kind[:2] for kind in kinds] == [(Strand, Run)] * 2
    assert kinds[0][2] is None, "not even a TaskRecord"
    assert type(kinds[1][2]) is tuple
    assert repr(unread) == "<Stream of a: not begun>"
    assert [event.kind async for event in reading] == ["finished", "ended"]


# --- stopping it -------------------------------------------------------------------------------------------------


async def test_leaving_the_loop_cancels_the_run(world: World, slow: Slow) -> None:
    events = stream(world, (a() >> b(slow).retry(3).or_else(0) >> c())(7))
    async for event in events:
        if (event.kind, event.task) == ("started", "b"):
            break
    await world.until(lambda: slow.ended == slow.calls and repr(events).endswith("over>"))
    assert slow.calls <= 1
    assert type(events.outcome.result.failure()) is TicketCancelled
    assert str(events.outcome.result.failure()) == "cancelled: its events are not read any more"


async def test_leaving_the_block_waits_for_the_clean_up(world: World, slow: Slow) -> None:
    async with stream(world, (a(slow) & b(slow))(7)) as events:
        async for _ in events:
            await world.until(lambda: slow.calls == 2)
            break
    assert slow.ended == 2
    assert [response.status for response in events.outcome] == ["cancelled", "cancelled"]


async def test_an_error_in_the_loop_cancels_the_run_and_goes_on(world: World, slow: Slow) -> None:
    async def reads() -> None:
        async with stream(world, a(slow)(7)) as events:
            async for event in events:
                await world.until(lambda: slow.calls)
                _ = 1 // (event.attempt - 1)

    with pytest.raises(ZeroDivisionError):
        await reads()
    assert slow.ended == 1


async def test_a_block_that_reads_nothing_runs_nothing(world: World, slow: Slow) -> None:
    async with stream(world, a(slow)(7)):
        pass
    assert slow.calls == 0


async def test_a_reader_that_is_cancelled_cancels_the_run_and_waits(world: World, slow: Slow) -> None:
    seen = []

    async def reads() -> None:
        try:
            seen.extend([event.kind async for event in stream(world, a(slow)(7))])
        finally:
            seen.append(f"ended {slow.ended}")

    child: Child = world.start(reads)
    await world.until(lambda: slow.calls)
    child.stop()
    await child.ended()
    assert child.cancelled
    assert child.error is None
    assert child.cancelling == (0 if world.mode in ("trio", "virtual") else 1)
    assert seen == ["ended 1"]


async def test_a_reader_that_is_cancelled_in_its_block(world: World, slow: Slow) -> None:
    async def reads() -> None:
        async with stream(world, a(slow)(7)) as events:
            async for _ in events:
                await world.pause(20_000)

    child = world.start(reads)
    await world.until(lambda: slow.calls)
    child.stop()
    await child.ended()
    assert child.cancelled
    assert slow.ended == 1


async def test_a_limit_around_the_loop(world: World, slow: Slow) -> None:
    async with world.limit(world.short) as limit:
        async for _ in stream(world, a(slow)(7)):
            pass
    assert limit.expired
    assert slow.ended == slow.calls <= 1


@pytest.mark.real_time
async def test_a_sync_function_is_abandoned(world: World) -> None:
    world.not_virtual("a sync function takes no time, so no limit ends it")
    over = threading.Event()

    def blocks(x: object) -> object:
        over.wait(30)
        return x

    try:
        async with stream(world, (a(blocks) >> b())(7)) as events:
            async for event in events:
                assert event.kind == "started"
                break
        assert events.outcome["b"].status == "skipped"
    finally:
        over.set()


async def test_a_base_exception_of_a_body_is_raised_to_the_reader(world: World) -> None:
    class Leave(BaseException):
        pass

    async def leaves(_: object) -> None:
        raise Leave

    events = stream(world, (a() >> b(leaves))(7))
    reading = aiter(events)
    assert words([await anext(reading) for _ in range(3)]) == ["started a 1", "a succeeded", "started b 1"]
    with pytest.raises(Leave):
        await anext(reading)
    with pytest.raises(Leave):
        _ = events.outcome


# --- values -----------------------------------------------------------------------------------------------------------


async def values_of(world: World, request: Request[Any]) -> list[tuple[Any, ...]]:
    events = await read(world, request, values=True)
    return [(*event.within, event.branch, event.item, event.value) for event in events if event.kind == "value"]


async def test_values_of_branches_come_as_they_are_there(world: World) -> None:
    async def late(x: int) -> str:
        await world.pause(30)
        return f"late {x}"

    async def quick(x: int) -> str:
        return f"quick {x}"

    async def upper(text: str) -> str:
        return text.upper()

    page = fan_out(late=a(late) >> upper, quick=c(quick), instead=b(fails).or_else([5]))
    found = await values_of(world, page(7))
    assert sorted(found[:2]) == [("instead", None, [5]), ("quick", None, "quick 7")]
    assert found[2:] == [("late", None, "LATE 7")]
    nested = a(quick) & (b(quick) & c(late))
    found = await values_of(world, nested(7))
    assert sorted(found[:2]) == [("0", None, "quick 7"), ("1/0", None, "quick 7")]
    assert found[2:] == [("1/1", None, "late 7"), ("1", None, ("quick 7", "late 7"))]
    both = await values_of(world, settle(a(fails), b(quick))(7))
    assert both == [("1", None, "quick 7")]


async def test_values_of_items_and_in_nested_requests(world: World) -> None:
    async def slower(x: int) -> int:
        await world.pause(10 * x)
        return x * x

    assert await values_of(world, each(a(slower), on_error="drop")([3, 1, 2])) == [
        ("", 1, 1),
        ("", 2, 4),
        ("", 0, 9),
    ]

    async def decides(x: object) -> Request[Any]:
        return (b() & c())(x)

    assert sorted(await values_of(world, a(decides)(7))) == [("a", "0", None, 7), ("a", "1", None, 7)]


async def test_a_task_tells_its_value_only_when_asked(world: World) -> None:
    listed = [event.value for event in await read(world, (a() >> b())(7)) if event.kind == "finished"]
    assert listed == [None, None]
    asked = await read(world, (a() >> b(fails).or_else(5))(7), values=True)
    assert [(event.task, event.value) for event in asked if event.kind == "finished"] == [("a", 7), ("b", None)]
    assert all("7" not in repr(event).rpartition(", at ")[0] for event in asked)
    with pytest.raises(ChainDefinitionError, match="`values`"):
        a()(7).stream(values=1)  # type: ignore[arg-type]
