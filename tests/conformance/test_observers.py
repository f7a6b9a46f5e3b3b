"""Observers: which events they get, in which order, with which fields, and in which context."""

from __future__ import annotations

import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar, Token
from typing import Any

import pytest
from conformance.harness import World
from conformance.lane_bodies import halve

from rio_chain import (
    Backoff,
    Balancer,
    BalancerClosed,
    Breaker,
    Budget,
    Cache,
    Event,
    Limit,
    QueueFull,
    Request,
    Saturated,
    SingleFlight,
    Task,
    add_observer,
    current_attempt,
    each,
    fan_out,
)
from rio_chain.observers import Observer

STREAMED = ("started", "attempt_failed", "finished", "value")
inside: ContextVar[str] = ContextVar("inside", default="nothing")


class Seen:
    """An observer that keeps what it is called with."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def __call__(self, event: Event) -> None:
        self.events.append(event)

    def words(self, *kinds: str) -> list[str]:
        """Each in short; those that a stream gives as well are left out."""
        shown = [event for event in self.events if (event.kind in kinds if kinds else event.kind not in STREAMED)]
        return [in_short(event) for event in shown]

    def of(self, kind: str) -> list[Event]:
        return [event for event in self.events if event.kind == kind]


def in_short(event: Event) -> str:
    """``attempt_ended a 2.1 failed``: of the second call of the first hedge of ``a``."""
    task = event.task or ""
    item = "" if event.item is None else f"[{event.item}]"
    attempt = "" if not event.attempt else f" {event.attempt}" + (f".{event.replica}" if event.replica else "")
    said = event.status or event.reason or ""
    return " ".join(f"{event.kind} {'/'.join((*event.within, task))}{item}{attempt} {said}".split())


@pytest.fixture
def seen() -> Seen:
    return Seen()


@asynccontextmanager
async def observed(world: World, seen: Seen, **options: Any) -> AsyncIterator[Balancer]:
    async with world.balancer(observers=[seen], **options) as balancer:
        yield balancer


async def watched(world: World, seen: Seen, request: Request[Any]) -> Any:
    async with observed(world, seen) as balancer:
        return await balancer.arun(request)


async def echo(x: object) -> object:
    return x


async def fails(_: object) -> None:
    raise OSError("no")


class Flaky:
    """Fails so many times, then answers."""

    def __init__(self, failures: int) -> None:
        self.left = failures

    async def __call__(self, x: object) -> object:
        self.left -= 1
        if self.left >= 0:
            raise OSError("secret")
        return x


def a(fn: Any = echo) -> Task[..., Any]:
    return Task(fn).named("a")


def b(fn: Any = echo) -> Task[..., Any]:
    return Task(fn).named("b")


# --- one run ------------------------------------------------------------------------------------------------------


async def test_a_run_its_attempts_and_its_end(world: World, seen: Seen) -> None:
    await watched(world, seen, (a() >> b()).named("both")(1))
    assert seen.words() == [
        "request_started", "attempt_started a 1", "attempt_ended a 1 succeeded",
        "attempt_started b 1", "attempt_ended b 1 succeeded", "request_ended succeeded",
    ]  # fmt: skip
    assert {event.chain for event in seen.events} == {"both"}
    (number,) = {event.run for event in seen.events}
    assert number > 0
    ends = [event for event in seen.events if event.kind.endswith("_ended")]
    assert all(event.elapsed is not None and event.elapsed >= 0 for event in ends)
    assert [event.elapsed for event in seen.events if event.kind.endswith("_started")] == [None] * 3
    assert [event.at for event in seen.events] == sorted(event.at for event in seen.events)


async def test_a_stream_and_observers_get_the_same_events_besides_their_own(world: World, seen: Seen) -> None:
    async with observed(world, seen) as balancer:
        streamed = [event async for event in balancer.stream(a(Flaky(1)).retry(1, backoff=None)(1))]
    assert [in_short(event) for event in streamed[:-1]] == seen.words(*STREAMED)
    assert seen.words("request_ended") == ["request_ended succeeded"]
    assert isinstance(streamed[1].error, OSError)
    assert seen.of("attempt_failed")[0].error == "OSError"


async def test_process_wide_observers_see_all_runs_until_they_are_removed(world: World, seen: Seen) -> None:
    request = Task(echo).named("observed")(1)
    with add_observer(seen) as remove:
        await world.run(request)
    await world.run(request)
    mine = [event for event in seen.events if event.chain == "observed"]
    assert [in_short(event) for event in mine if event.kind.startswith("request_")] == [
        "request_started", "request_ended succeeded",
    ]  # fmt: skip
    remove()


async def test_an_observer_in_both_places_is_called_once(world: World, seen: Seen) -> None:
    with add_observer(seen):
        await watched(world, seen, Task(echo).named("twice")(1))
    assert [event.kind for event in seen.events if event.chain == "twice"].count("request_started") == 1


async def test_an_observer_in_both_places_sees_what_it_may_see_by_either(world: World, seen: Seen) -> None:
    own = Observer(seen, errors=True)
    async with world.balancer(observers=[own]) as balancer:
        with add_observer(seen, values=True):
            await balancer.arun((a() >> b(fails))(1))
            assert (await balancer.arun(a()(2))).ok
        await balancer.arun(b(fails)(1))
    ends = [event for event in seen.of("finished") if event.task == "b"]
    assert [type(event.error) for event in ends] == [OSError, OSError]
    assert [event.value for event in seen.of("finished") if event.task == "a"] == [1, 2]
    assert len(seen.of("request_ended")) == 3
    assert (own.errors, own.values) == (True, False)


async def test_a_run_keeps_its_observers_when_they_are_removed(world: World, seen: Seen) -> None:
    removers = [add_observer(seen)]

    async def removes(x: object) -> object:
        removers[0]()
        await world.pause(5)
        return x

    async with world.balancer(observers=[Observer(seen, errors=True)]) as balancer:
        await balancer.arun((a(removes) >> b())(1))
    assert seen.words() == [
        "request_started", "attempt_started a 1", "attempt_ended a 1 succeeded",
        "attempt_started b 1", "attempt_ended b 1 succeeded", "request_ended succeeded",
    ]  # fmt: skip


@pytest.mark.real_time
async def test_an_abandoned_call_ends_for_an_observer_that_was_removed(world: World, seen: Seen) -> None:
    world.not_virtual("a sync function takes no time")
    leave = threading.Event()

    def stuck(_: object) -> None:
        leave.wait(5)

    async with world.balancer() as balancer:
        with add_observer(seen):
            await balancer.arun(a(stuck).timeout(20)(1))
        leave.set()
        await world.until(lambda: seen.of("call_returned"))
    assert seen.words("attempt_started", "attempt_ended") == ["attempt_started a 1", "attempt_ended a 1 abandoned"]


async def test_errors_and_values_are_given_where_they_are_asked_for(world: World, seen: Seen) -> None:
    full = Seen()
    observers = [seen, Observer(full, errors=True, values=True)]
    async with world.balancer(observers=observers) as balancer:
        await balancer.arun((a() >> b(fails))(7))
    assert {event.error for event in seen.events} == {None, "OSError"}
    assert {event.value for event in seen.events} == {None}
    assert "'" not in repr(seen.events)
    assert all(isinstance(event.error, (OSError, type(None))) for event in full.events)
    assert [event.value for event in full.events if event.kind == "finished"] == [7, None]
    assert [repr(event) for event in full.events] == [repr(event) for event in seen.events]


# --- policies -----------------------------------------------------------------------------------------------------


async def test_a_retry_reports_each_attempt_and_why_it_gave_up(world: World, seen: Seen) -> None:
    await watched(world, seen, a(fails).retry(1, backoff=None)(1))
    assert seen.words() == [
        "request_started", "attempt_started a 1", "attempt_ended a 1 failed", "attempt_started a 2",
        "attempt_ended a 2 failed", "retry_gave_up a 2 exhausted", "request_ended failed",
    ]  # fmt: skip
    assert [event.error for event in seen.of("attempt_ended")] == ["OSError", "OSError"]
    assert seen.of("retry_gave_up")[0].policy == "retry"
    assert seen.of("request_ended")[0].error == "OSError"


async def test_a_retry_reports_the_wait_that_follows(world: World, seen: Seen) -> None:
    linear = Backoff(base=2, step=1, jitter="none")
    await watched(world, seen, a(fails).retry(2, backoff=linear)(1))
    assert [(event.task, event.attempt, round(event.delay or 0, 6)) for event in seen.of("retry_waits")] == [
        ("a", 1, 2),
        ("a", 2, 3),
    ]
    assert [(event.error, event.policy) for event in seen.of("retry_waits")] == [("OSError", "retry")] * 2
    assert [kind for kind in seen.words() if "ended a" in kind or "waits" in kind] == [
        "attempt_ended a 1 failed", "retry_waits a 1", "attempt_ended a 2 failed", "retry_waits a 2",
        "attempt_ended a 3 failed",
    ]  # fmt: skip


async def test_why_a_retry_gives_up(world: World, seen: Seen) -> None:
    async with observed(world, seen) as balancer:
        await balancer.arun(a(fails).retry(1, on=ValueError)(1))
        await balancer.arun(a(fails).retry(1, backoff=Backoff(base=60_000, jitter="none")).timeout(500)(1))
        await balancer.arun((a(fails) >> b()).retry(1, on=ValueError)(1))
    assert seen.words("retry_gave_up") == [
        "retry_gave_up a 1 not_retried", "retry_gave_up a 1 no_time", "retry_gave_up 1 not_retried",
    ]  # fmt: skip


async def test_an_async_call_that_is_timed_out(world: World, seen: Seen) -> None:
    async def slow(_: object) -> None:
        await world.pause(10_000)

    await watched(world, seen, a(slow).timeout(20)(1))
    assert seen.words() == [
        "request_started", "attempt_started a 1", "attempt_ended a 1 timed_out", "request_ended timed_out",
    ]  # fmt: skip
    elapsed = seen.of("attempt_ended")[0].elapsed
    assert elapsed is not None
    assert world.about(elapsed, 20)
    assert seen.of("request_ended")[0].error == "TaskTimedOut"


@pytest.mark.real_time
async def test_a_sync_call_that_is_abandoned_and_returns(world: World, seen: Seen) -> None:
    world.not_virtual("a sync function takes no time")
    leave = threading.Event()

    def stuck(_: object) -> int:
        leave.wait(5)
        return 1

    async with observed(world, seen) as balancer:
        await balancer.arun(a(stuck).timeout(20)(1))
        assert seen.words() == [
            "request_started", "attempt_started a 1", "call_abandoned a 1", "request_ended timed_out",
        ]  # fmt: skip
        leave.set()
        await world.until(lambda: seen.of("call_returned"))
    assert seen.words()[4:] == ["attempt_ended a 1 abandoned", "call_returned a 1"]
    elapsed = [seen.of(kind)[0].elapsed for kind in ("call_abandoned", "call_returned")]
    assert elapsed[0] is not None
    assert elapsed[1] is not None
    assert 0 < elapsed[0] <= elapsed[1]


async def test_a_hedge_that_wins(world: World, seen: Seen) -> None:
    async def call(x: object) -> object:
        await world.pause(1 if current_attempt().replica else 10_000)
        return x

    await watched(world, seen, a(call).replica(2, after=world.short)(1))
    assert seen.words() == [
        "request_started", "attempt_started a 1", "hedge_started a 1.1", "attempt_started a 1.1",
        "attempt_ended a 1.1 succeeded", "attempt_ended a 1 cancelled", "hedge_won a 1.1", "request_ended succeeded",
    ]  # fmt: skip


async def test_a_hedge_that_is_late(world: World, seen: Seen) -> None:
    began = world.gate()

    async def call(x: object) -> object:
        if current_attempt().replica:
            began.open()
            await world.pause(10_000)
        await began.passed()
        return x

    await watched(world, seen, a(call).replica(2, after=world.short / 2)(1))
    assert seen.words() == [
        "request_started", "attempt_started a 1", "hedge_started a 1.1", "attempt_started a 1.1",
        "attempt_ended a 1 succeeded", "attempt_ended a 1.1 cancelled", "hedge_wasted a 1.1", "request_ended succeeded",
    ]  # fmt: skip


async def test_a_hedge_in_time_is_not_made(world: World, seen: Seen) -> None:
    await watched(world, seen, a().replica(2, after=10_000)(1))
    assert seen.words() == [
        "request_started", "attempt_started a 1", "attempt_ended a 1 succeeded", "request_ended succeeded",
    ]  # fmt: skip


async def test_a_limit_around_a_hedge_is_one_failed_attempt(world: World, seen: Seen) -> None:
    async def slow(_: object) -> None:
        await world.pause(10_000)

    await watched(world, seen, a(slow).replica(2, after=None).timeout(20)(1))
    assert seen.words("attempt_failed", "attempt_ended") == ["attempt_ended a 1 timed_out", "attempt_failed a 1"]


async def test_observing_a_hedge_that_is_not_needed_changes_no_count(world: World, seen: Seen) -> None:
    chain = (a() | b()).replica(2, after=10_000)
    async with world.balancer() as plain:
        first = await plain.arun(chain(1))
    second = await watched(world, seen, chain(1))
    counts = [[(r.started, r.wasted, r.winner) for r in outcome] for outcome in (first, second)]
    assert counts[0] == counts[1] == [(1, 0, 0), (0, 0, None)]


async def test_a_hedge_that_the_budget_denies(world: World, seen: Seen) -> None:
    async def call(x: object) -> object:
        await world.pause(world.short)
        return x

    await watched(world, seen, a(call).replica(2, after=world.short / 2).budget(Budget(0, floor=0))(1))
    assert seen.words() == [
        "request_started", "attempt_started a 1", "hedge_denied a 1.1", "budget_denied a 1.1",
        "attempt_ended a 1 succeeded", "request_ended succeeded",
    ]  # fmt: skip
    assert seen.of("budget_denied")[0].policy == "budget"


async def test_a_hedge_after_a_failure_that_the_budget_denies(world: World, seen: Seen) -> None:
    await watched(world, seen, a(fails).replica(2, after=10_000).budget(Budget(0, floor=0))(1))
    assert seen.words() == [
        "request_started", "attempt_started a 1", "attempt_ended a 1 failed", "hedge_denied a 1.1",
        "budget_denied a 1.1", "request_ended failed",
    ]  # fmt: skip


async def test_a_retry_that_the_budget_denies(world: World, seen: Seen) -> None:
    await watched(world, seen, a(fails).retry(2, backoff=None).budget(Budget(0, floor=0))(1))
    assert seen.words() == [
        "request_started", "attempt_started a 1", "attempt_ended a 1 failed", "budget_denied a 1",
        "retry_gave_up a 1 budget", "request_ended failed",
    ]  # fmt: skip


async def test_a_retried_hedge(world: World, seen: Seen) -> None:
    await watched(world, seen, a(fails).replica(2, after=10_000).retry(1, backoff=None)(1))
    assert seen.words() == [
        "request_started",
        "attempt_started a 1", "attempt_ended a 1 failed",
        "hedge_started a 1.1", "attempt_started a 1.1", "attempt_ended a 1.1 failed", "hedge_wasted a 1.1",
        "attempt_started a 2", "attempt_ended a 2 failed",
        "hedge_started a 2.1", "attempt_started a 2.1", "attempt_ended a 2.1 failed", "hedge_wasted a 2.1",
        "retry_gave_up a 2 exhausted", "request_ended failed",
    ]  # fmt: skip


async def test_a_fan_out_and_a_fallback(world: World, seen: Seen) -> None:
    await watched(world, seen, fan_out(a(), b(fails).or_else(lambda _: 2))(1))
    words = seen.words()
    assert sorted(words[1:-1]) == [
        "attempt_ended a 1 succeeded", "attempt_ended b 1 failed", "attempt_started a 1", "attempt_started b 1",
    ]  # fmt: skip
    assert (words[0], words[-1]) == ("request_started", "request_ended succeeded")


async def test_items_have_their_index(world: World, seen: Seen) -> None:
    await watched(world, seen, each(a(), limit=1)(["x", "y"]))
    assert seen.words() == [
        "request_started", "attempt_started a[0] 1", "attempt_ended a[0] 1 succeeded",
        "attempt_started a[1] 1", "attempt_ended a[1] 1 succeeded", "request_ended succeeded",
    ]  # fmt: skip


async def test_a_breaker_reports_its_changes_to_the_run_that_caused_them(world: World, seen: Seen) -> None:
    breaker = Breaker(2, open_for=20, name="shops")
    flaky = Flaky(3)
    async with observed(world, seen) as balancer:
        for _ in range(2):
            await balancer.arun(a(flaky).breaker(breaker)(1))
        await balancer.arun(a(flaky).breaker(breaker)(1))  # refused
        await world.pause(30)
        await balancer.arun(a(flaky).breaker(breaker)(1))  # the probe fails
        await world.pause(30)
        await balancer.arun(a(flaky).breaker(breaker)(1))
    changes = seen.of("breaker_changed")
    assert [event.reason for event in changes] == ["open", "half_open", "open", "half_open", "closed"]
    assert {event.policy for event in changes} == {"shops"}
    runs = [event.run for event in seen.of("request_started")]
    assert [event.run for event in changes] == [runs[1], runs[3], runs[3], runs[4], runs[4]]
    last = [in_short(event) for event in seen.events if event.run == runs[4] and event.kind not in STREAMED]
    assert last == [
        "request_started", "breaker_changed half_open", "attempt_started a 1", "attempt_ended a 1 succeeded",
        "breaker_changed closed", "request_ended succeeded",
    ]  # fmt: skip


async def test_a_change_without_a_run_goes_to_the_process_wide_observers(world: World, seen: Seen) -> None:
    breaker, everywhere = Breaker(name="by hand"), Seen()
    async with observed(world, seen), Balancers(everywhere):
        breaker.open()
        breaker.open()
        breaker.close()
    changes = [(event.policy, event.reason, event.run) for event in everywhere.of("breaker_changed")]
    assert changes == [("by hand", "open", 0), ("by hand", "closed", 0)]
    assert not seen.of("breaker_changed")


class Balancers:
    """``add_observer`` as an async block."""

    def __init__(self, seen: Seen) -> None:
        self.seen = seen

    async def __aenter__(self) -> None:
        self.remove = add_observer(self.seen)

    async def __aexit__(self, *_: object) -> None:
        self.remove()


async def test_a_limit_reports_the_calls_that_waited_and_were_refused(world: World, seen: Seen) -> None:
    limit = Limit(1)
    begun = world.gate()

    async def held(x: object) -> object:
        begun.open()
        await world.pause(20)
        return x

    async with observed(world, seen) as balancer:

        async def second() -> None:
            await begun.passed()
            await balancer.arun(b().limit(limit)(1))

        await world.together(lambda: balancer.arun(a(held).limit(limit)(1)), second)
        strict = Limit(1, wait=0)
        begun = world.gate()

        async def refused() -> None:
            await begun.passed()
            await balancer.arun(b().limit(strict)(1))

        await world.together(lambda: balancer.arun(a(held).limit(strict)(1)), refused)
    assert seen.words("limit_waited", "limit_refused") == ["limit_waited b", "limit_refused b"]
    waited, refusal = seen.of("limit_waited")[0], seen.of("limit_refused")[0]
    assert waited.elapsed is not None
    assert waited.elapsed > 0
    assert (waited.policy, refusal.policy, refusal.error) == ("limit", "limit", "LimitExceeded")


async def test_a_limit_whose_line_is_too_slow_refuses_after_the_wait(world: World, seen: Seen) -> None:
    limit, begun, release = Limit(1, wait=20), world.gate(), world.gate()

    async def held(x: object) -> object:
        begun.open()
        await release.passed()
        return x

    async with observed(world, seen) as balancer:

        async def second() -> None:
            await begun.passed()
            await balancer.arun(b().limit(limit)(1))
            release.open()

        await world.together(lambda: balancer.arun(a(held).limit(limit)(1)), second)
    assert seen.words("limit_waited", "limit_refused") == ["limit_refused b"]
    elapsed = seen.of("limit_refused")[0].elapsed
    assert elapsed is not None
    assert world.about(elapsed, 20)


async def test_a_cache_reports_hits_and_misses(world: World, seen: Seen) -> None:
    cache = Cache(60_000)
    async with observed(world, seen) as balancer:
        for _ in range(2):
            await balancer.arun(a().cache(cache)(1))
    assert seen.words() == [
        "request_started", "cache_miss a", "attempt_started a 1", "attempt_ended a 1 succeeded",
        "request_ended succeeded", "request_started", "cache_hit a", "request_ended succeeded",
    ]  # fmt: skip


async def test_a_call_that_joins_a_flight(world: World, seen: Seen) -> None:
    flights, begun = SingleFlight(), world.gate()

    async def held(x: object) -> object:
        begun.open()
        await world.until(lambda: seen.of("flight_joined"))
        return x

    async with observed(world, seen) as balancer:

        async def second() -> None:
            await begun.passed()
            await balancer.arun(a(held).single_flight(flights)(1))

        await world.together(lambda: balancer.arun(a(held).single_flight(flights)(1)), second)
    assert seen.words("flight_joined", "attempt_started") == ["attempt_started a 1", "flight_joined a"]
    first, second_ = [event.run for event in seen.of("request_started")]
    assert (seen.of("attempt_started")[0].run, seen.of("flight_joined")[0].run) == (first, second_)


@pytest.mark.real_time
async def test_calls_in_a_lane(world: World, seen: Seen) -> None:
    world.not_virtual("no process is started for it")
    async with observed(world, seen, lanes={"cpu": 1}) as balancer:
        await balancer.arun(Task(halve).named("a").lane("cpu")(4))
        await balancer.arun(Task(halve).named("a").lane("cpu")(3))
        await balancer.arun(Task(time.sleep).named("b").lane("cpu").timeout(20)(30))
    assert seen.words("attempt_started", "attempt_ended", "call_abandoned") == [
        "attempt_started a 1", "attempt_ended a 1 succeeded", "attempt_started a 1", "attempt_ended a 1 failed",
        "attempt_started b 1", "attempt_ended b 1 timed_out",
    ]  # fmt: skip
    assert seen.of("attempt_ended")[1].error == "str"  # it returned a Failure that holds a text


# --- Requests in Requests -----------------------------------------------------------------------------------------


async def test_a_request_that_a_task_returns_is_a_part_of_its_run(world: World, seen: Seen) -> None:
    async def more(x: object) -> Request[Any]:
        return b()(x)

    await watched(world, seen, a(more)(1))
    assert seen.words() == [
        "request_started", "attempt_started a 1", "attempt_ended a 1 succeeded",
        "attempt_started a/b 1", "attempt_ended a/b 1 succeeded", "request_ended succeeded",
    ]  # fmt: skip
    assert len({event.run for event in seen.events}) == 1


async def test_a_request_that_a_bridge_returns_is_observed_but_not_streamed(world: World, seen: Seen) -> None:
    async with observed(world, seen) as balancer:

        def more(x: object) -> Request[Any]:
            return b()(x)

        request = (a() >> more)(1)
        streamed = [event async for event in balancer.stream(request)]
    assert [event.task for event in streamed] == ["a", "a", None]
    assert seen.words("attempt_started") == ["attempt_started a 1", "attempt_started b 1"]


async def test_a_request_that_a_body_runs_has_a_number_of_its_own(world: World, seen: Seen) -> None:
    async def runs(x: object) -> object:
        return (await b()(x)).unwrap()

    with add_observer(seen):
        await world.run(a(runs).named("outer_task").named("outer_task")(1))
    outer = {event.run for event in seen.events if event.chain == "outer_task"}
    inner = {event.run for event in seen.events if event.chain == "b"}
    assert len(outer) == len(inner) == 1
    assert outer != inner


# --- the balancer -------------------------------------------------------------------------------------------------


async def test_requests_that_are_queued_withdrawn_and_refused(world: World, seen: Seen) -> None:
    release, begun = world.gate(), world.gate()

    async def held(x: object) -> object:
        begun.open()
        await release.passed()
        return x

    async with observed(world, seen, workers=1, buffer=1) as balancer:
        first = balancer.post(a(held)(1))
        await begun.passed()
        second = balancer.post(b().named("second")(1))
        with pytest.raises(QueueFull):
            balancer.post(b().named("third")(1))
        second.cancel()
        fourth = balancer.post(b().named("fourth")(1))
        release.open()
        await first
        await second
        await fourth
    with pytest.raises(BalancerClosed):
        balancer.post(b().named("fifth")(1))
    with pytest.raises(BalancerClosed):
        await balancer.arun(b().named("sixth")(1))
    with pytest.raises(BalancerClosed):
        [event async for event in balancer.stream(b().named("seventh")(1))]
    said = [f"{event.chain} {in_short(event)}" for event in seen.events if event.kind.startswith("request_")]
    assert said == [
        "a request_started", "second request_queued", "third request_rejected full", "second request_ended cancelled",
        "fourth request_queued", "a request_ended succeeded", "fourth request_started",
        "fourth request_ended succeeded", "fifth request_rejected closed", "sixth request_rejected closed",
        "seventh request_rejected closed",
    ]  # fmt: skip
    assert [event.error for event in seen.of("request_rejected")] == ["QueueFull", *["BalancerClosed"] * 3]


async def test_a_request_whose_time_is_over_in_the_queue(world: World, seen: Seen) -> None:
    release, begun = world.gate(), world.gate()

    async def held(x: object) -> object:
        begun.open()
        await release.passed()
        return x

    async with observed(world, seen, workers=1) as balancer:
        first = balancer.post(a(held)(1))
        await begun.passed()
        await balancer.arun(b()(1), queue_timeout=10)
        release.open()
        await first
    said = [in_short(event) for event in seen.events if event.chain == "b"]
    assert said[0] == "request_queued"
    assert said[-1] == "request_ended timed_out"
    assert "request_started" not in said


async def test_arun_that_is_cancelled_in_the_queue_has_ended(world: World, seen: Seen) -> None:
    release, begun, queued = world.gate(), world.gate(), world.gate()

    async def held(x: object) -> object:
        begun.open()
        await release.passed()
        return x

    def tell(event: Event) -> None:
        seen(event)
        if event.kind == "request_queued":
            queued.open()

    async with world.balancer(observers=[tell], workers=1) as balancer:
        first = balancer.post(a(held)(1))
        await begun.passed()
        child = world.start(lambda: balancer.arun(b()(1)))
        await queued.passed()
        child.stop()
        await child.ended()
        said = [in_short(event) for event in seen.events if event.chain == "b"]
        assert said == ["request_queued", "request_ended cancelled"]
        release.open()
        await first
        stats = balancer.stats()
    assert (stats.succeeded, stats.cancelled, stats.done) == (1, 1, 1)


class Secret:
    def __repr__(self) -> str:
        return "s3cret"


@pytest.mark.parametrize(
    ("chain", "name"),
    [
        (a().or_else("s3cret"), "a | ..."),
        (a().or_else(Secret()), "a | ..."),
        (a() >> b().or_else("s3cret").timeout(9_000), "a >> (b | ...)"),
        (fan_out(left=a().or_else(Secret()), right=b()), "fan_out(left=a | ..., right=b)"),
        ((a() >> b()).named("page").or_else("s3cret"), "page | ..."),
        (a().or_else("s3cret").named("page"), "page"),
        (a().or_else("s3cret").named("page").retry(1, backoff=None), "page"),
    ],
)
async def test_events_show_no_constants_of_the_chain(world: World, seen: Seen, chain: Any, name: str) -> None:
    async with observed(world, seen) as balancer:
        assert (await balancer.arun(chain(1))).ok
    with pytest.raises(BalancerClosed):
        await balancer.arun(chain(1))
    assert seen.events[-1].kind == "request_rejected"
    assert {event.chain for event in seen.events} == {name}
    assert "s3cret" not in "".join(map(repr, seen.events))


@pytest.mark.real_time
async def test_a_saturated_balancer_rejects(world: World, seen: Seen) -> None:
    world.not_virtual("a sync function takes no time")
    leave = threading.Event()
    async with observed(world, seen, workers=1, max_abandoned=1) as balancer:
        await balancer.arun(a(lambda _: leave.wait(5)).timeout(10)(1))
        with pytest.raises(Saturated):
            await balancer.arun(b()(1))
        leave.set()
    assert seen.words("request_rejected") == ["request_rejected saturated"]


async def test_each_request_of_a_map_is_a_run(world: World, seen: Seen) -> None:
    async with observed(world, seen, workers=2) as balancer:
        outcomes = [outcome async for outcome in balancer.amap(a(), [1, 2, 3])]
    assert len(outcomes) == 3
    assert seen.words("request_started", "request_ended").count("request_ended succeeded") == 3
    assert len({event.run for event in seen.events}) == 3


async def test_a_run_that_is_cancelled_ends(world: World, seen: Seen) -> None:
    begun = world.gate()

    async def held(_: object) -> None:
        begun.open()
        await world.pause(10_000)

    async with observed(world, seen) as balancer:
        child = world.start(lambda: balancer.arun(a(held)(1)))
        await begun.passed()
        child.stop()
        await child.ended()
    assert seen.words() == [
        "request_started", "attempt_started a 1", "attempt_ended a 1 cancelled", "request_ended cancelled",
    ]  # fmt: skip


# --- contexts -----------------------------------------------------------------------------------------------------


class Attaching:
    """Sets a context variable when something starts and resets it when that ends, as an adapter for traces does."""

    def __init__(self) -> None:
        self.tokens: list[tuple[tuple[Any, ...], Token[str]]] = []
        self.errors: list[BaseException] = []
        self._lock = threading.Lock()

    def __call__(self, event: Event) -> None:
        key = event.run, event.kind.partition("_")[0], event.task, event.item, event.attempt, event.replica
        if event.kind in ("attempt_started", "request_started"):
            token = inside.set(f"{inside.get()} > {event.task or event.chain} {event.attempt}.{event.replica}")
            with self._lock:
                self.tokens.append((key, token))
        elif event.kind in ("attempt_ended", "request_ended"):
            with self._lock:
                found = [pair for pair in self.tokens if pair[0] == key][-1]
                self.tokens.remove(found)
            try:
                inside.reset(found[1])
            except ValueError as error:  # of another context
                self.errors.append(error)


async def attached(world: World, chain: Any, *, runs: int = 1) -> None:
    attaching = Attaching()
    async with world.balancer(observers=[attaching]) as balancer:
        for _ in range(runs):
            await balancer.arun(chain(1))
            assert inside.get() == "nothing"
        await world.until(lambda: not attaching.tokens)
    assert attaching.errors == []


async def test_observers_that_set_the_same_context_variable_undo_it_in_reverse(world: World) -> None:
    left: list[str] = []

    def sets(name: str, begin: str, end: str) -> Any:
        tokens: dict[Any, Token[str]] = {}

        def observe(event: Event) -> None:
            key = event.run, event.task, event.attempt
            if event.kind == begin:
                tokens[key] = inside.set(name)
            elif event.kind == end:
                left.append(f"{name} ends in {inside.get()}")
                inside.reset(tokens.pop(key))
                left.append(inside.get())

        return observe

    for begin, end in (("request_started", "request_ended"), ("attempt_started", "attempt_ended")):
        everywhere, own = sets("everywhere", begin, end), sets("own", begin, end)
        async with world.balancer(observers=[own]) as balancer:
            with add_observer(everywhere):
                await balancer.arun(a()(1))
        assert left == ["own ends in own", "everywhere", "everywhere ends in everywhere", "nothing"], begin
        left.clear()


async def test_an_attempt_starts_and_ends_in_the_context_of_its_async_body(world: World) -> None:
    found: list[str] = []

    async def body(_: object) -> None:
        found.append(inside.get())
        await world.pause(1)
        found.append(inside.get())
        raise OSError

    await attached(world, (a(body).retry(1, backoff=None) | 0).named("run"), runs=2)
    once = ["nothing > run 0.0 > a 1.0"] * 2 + ["nothing > run 0.0 > a 2.0"] * 2
    assert found == once * 2


@pytest.mark.real_time
async def test_an_attempt_starts_and_ends_in_the_context_of_its_sync_body(world: World) -> None:
    found: list[str] = []

    def body(x: object) -> object:
        found.append(inside.get())
        return x

    chain = a(body) >> Task(body).inline().named("b") >> (lambda x: [x]) >> each(Task(body).named("c"))
    await attached(world, chain.named("run"))
    assert found == [f"nothing > run 0.0 > {name} 1.0" for name in "abc"]


@pytest.mark.real_time
async def test_what_a_sync_function_gives_to_await_runs_in_the_context_of_its_attempt(world: World, seen: Seen) -> None:
    """As ``lambda url: client.get(url)`` does."""
    found: list[str] = []

    async def rest(x: int) -> int:
        found.append(inside.get())
        await world.pause(1)
        found.append(inside.get())
        if current_attempt() == 1:
            raise OSError
        return x

    def body(x: int) -> object:
        return rest(x)

    chain = a(body).retry(1, backoff=None) >> (lambda _: 7) >> Task(body).inline().named("b").retry(1, backoff=None)
    await attached(world, chain.named("run"))
    calls = [f"nothing > run 0.0 > {name} {number}.0" for name in "ab" for number in (1, 2)]
    assert found == [call for call in calls for _ in range(2)]
    async with world.balancer(observers=[seen]) as balancer:
        assert (await balancer.arun(chain(1))).unwrap() == 7
    started_and_ended = ("attempt_started", "attempt_ended")
    assert [(event.kind, event.task, event.status) for event in seen.events if event.kind in started_and_ended] == [
        (kind, name, status if kind == "attempt_ended" else None)
        for name in "ab"
        for status in ("failed", "succeeded")
        for kind in started_and_ended
    ]


@pytest.mark.real_time
async def test_what_a_sync_function_gives_to_await_is_timed_out(world: World, seen: Seen) -> None:
    ended: list[str] = []

    async def rest(_: int) -> None:
        try:
            await world.pause(10_000)
        finally:
            ended.append(inside.get())

    def body(x: int) -> object:
        return rest(x)

    await attached(world, a(body).timeout(world.short).named("run"))
    assert ended == ["nothing > run 0.0 > a 1.0"]
    async with world.balancer(observers=[seen]) as balancer:
        await balancer.arun(a(body).timeout(world.short)(1))
    assert [event.status for event in seen.of("attempt_ended")] == ["timed_out"]
    assert not seen.of("call_abandoned")


@pytest.mark.real_time
async def test_an_abandoned_call_keeps_its_context_to_its_end(world: World) -> None:
    world.not_virtual("a sync function takes no time")
    found: list[str] = []

    def body(_: object) -> None:
        world.block(50)
        found.append(inside.get())

    await attached(world, a(body).timeout(10).named("run"))
    assert found == ["nothing > run 0.0 > a 1.0"]


async def test_hedges_and_branches_are_inside_their_run(world: World) -> None:
    found: list[str] = []

    async def body(x: object) -> object:
        found.append(inside.get())
        await world.pause(1 if current_attempt().replica else 10_000)
        return x

    async def branch(x: object) -> object:
        found.append(inside.get())
        return x

    chain = a(body).replica(2, after=10) >> fan_out(b(branch), Task(branch).named("c"))
    await attached(world, chain.named("run"))
    run = "nothing > run 0.0"
    assert sorted(found) == [f"{run} > a 1.0", f"{run} > a 1.1", f"{run} > b 1.0", f"{run} > c 1.0"]


# --- observers that misbehave -------------------------------------------------------------------------------------


@pytest.mark.real_time
async def test_a_storm_with_observers_that_raise_are_slow_and_post(world: World, seen: Seen) -> None:
    reported: list[type[BaseException] | None] = []
    raised, posted = [0], list[Any]()

    def raises(_: Event) -> None:
        raised[0] += 1
        raise [OSError, SystemExit, GeneratorExit][raised[0] % 3]

    def slow(event: Event) -> None:
        if event.kind == "request_ended":
            world.block(1)

    def posts(event: Event) -> None:
        if event.kind == "attempt_ended":
            posted.append(balancer.post(b().named("posted")(1)))

    hook, threading.excepthook = threading.excepthook, lambda args: reported.append(args.exc_type)
    try:
        observers = [raises, slow, posts, seen]
        async with world.balancer(observers=observers, workers=5) as balancer:
            chain = a(Flaky(7)).replica(2, after=10_000).retry(3, backoff=None) >> fan_out(
                b(), Task(lambda x: x).named("c")
            )
            outcomes = await world.together(*[lambda: balancer.arun(chain(1))] * 40)
            assert [outcome.unwrap() for outcome in outcomes] == [(1, 1)] * 40
            for ticket in posted:
                assert (await ticket).unwrap() == 1
    finally:
        threading.excepthook = hook
    assert reported == [SystemExit]
    assert raised[0] == len(seen.events)
    kinds = [event.kind for event in seen.events]
    assert kinds.count("attempt_started") == kinds.count("attempt_ended") == len(posted)
    assert kinds.count("request_started") == kinds.count("request_ended") == 40
    assert "posted" not in {event.chain for event in seen.events}
