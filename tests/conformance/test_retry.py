"""Retries: how many calls are made, which errors are worth one, and how long is waited in between."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta
from itertools import pairwise

import pytest
from conformance.harness import World
from returns.result import Failure, Success

from rio_chain import (
    Abandoned,
    Backoff,
    CallbackFailed,
    CircuitOpen,
    DeadlineExceeded,
    Limit,
    LimitExceeded,
    NotAccepted,
    Skipped,
    Task,
    TaskTimedOut,
    TicketCancelled,
    current_attempt,
    remaining,
)

STEADY = Backoff(base=10, factor=2, cap=30, jitter="none")


class Fails:
    """Fails so many times, with an error of its own each time, then answers."""

    def __init__(self, times: int, make: type[Exception] = OSError) -> None:
        self.times = times
        self.calls = 0
        self.make = make

    async def fetch(self, x: int) -> int:
        self.calls += 1
        if self.calls <= self.times:
            raise self.make(f"error {self.calls}")
        return x


@pytest.mark.parametrize(("times", "calls"), [(0, 1), (1, 2), (3, 4)])
async def test_calls_end_with_the_first_that_succeeds(world: World, times: int, calls: int) -> None:
    backend = Fails(times)
    outcome = await world.run(Task(backend.fetch).retry(3, backoff=None)(7))
    assert outcome.result == Success(7)
    assert backend.calls == outcome.only.attempts == calls
    assert [str(e) for e in outcome.only.errors] == [f"error {k + 1}" for k in range(times)]
    assert outcome.only.winner == 0


@pytest.mark.parametrize("retries", [0, 1, 3])
async def test_retry_n_makes_at_most_n_plus_1_calls(world: World, retries: int) -> None:
    backend = Fails(100)
    outcome = await world.run((Task(backend.fetch).retry(retries, backoff=None) >> Task(str))(7))
    assert backend.calls == outcome["fetch"].attempts == retries + 1
    assert [str(e) for e in outcome["fetch"].errors] == [f"error {k + 1}" for k in range(retries + 1)]
    error = outcome.result.failure()
    assert error is outcome["fetch"].errors[-1], "the last error is the failure"
    assert outcome["fetch"].status == "failed"
    assert outcome["fetch"].winner is None
    assert outcome["str"].attempts == 0
    assert outcome["str"].result.failure().cause is error


async def test_a_retry_around_two_tasks_runs_both_again(world: World) -> None:
    first, second = Fails(0), Fails(2)
    chain = (Task(first.fetch).named("a") >> Task(second.fetch).named("b")).retry(2, backoff=None)
    outcome = await world.run(chain(7))
    assert outcome.result == Success(7)
    assert [r.attempts for r in outcome] == [3, 3]
    assert [len(r.errors) for r in outcome] == [0, 2]


async def test_retries_multiply_when_nested(world: World) -> None:
    backend = Fails(100)
    outcome = await world.run(Task(backend.fetch).retry(1, backoff=None).retry(2, backoff=None)(7))
    assert backend.calls == outcome.only.attempts == 6


@pytest.mark.parametrize(
    ("on", "calls"),
    [
        (OSError, 3),
        (ValueError, 1),
        ((ValueError, OSError), 3),
        (lambda error: isinstance(error, OSError), 3),
        (lambda error: "error 1" in str(error), 2),
        (lambda _: False, 1),
    ],
)
async def test_on_names_the_errors_worth_a_retry(world: World, on: object, calls: int) -> None:
    backend = Fails(100)
    outcome = await world.run(Task(backend.fetch).retry(2, on=on, backoff=None)(7))
    assert backend.calls == outcome.only.attempts == calls
    assert type(outcome.result.failure()) is OSError


async def test_a_predicate_that_raises_is_a_callback_failure(world: World) -> None:
    backend = Fails(100)

    def predicate(error: object) -> bool:
        raise LookupError("broken predicate")

    outcome = await world.run(Task(backend.fetch).retry(3, on=predicate, backoff=None).retry(3, backoff=None)(7))
    error = outcome.result.failure()
    assert type(error) is CallbackFailed
    assert (error.role, error.callback, type(error.error)) == ("on", "predicate", LookupError)
    assert str(error) == "the `on` callable `predicate` failed: LookupError('broken predicate')"
    assert backend.calls == outcome.only.attempts == 1, "never retried"


async def test_a_value_that_accept_refuses_is_retried(world: World) -> None:
    answers = iter(["", "", "page"])

    async def fetch(_: int) -> str:
        return next(answers)

    outcome = await world.run(Task(fetch).retry(3, accept=bool, backoff=None)(7))
    assert outcome.result == Success("page")
    assert outcome.only.attempts == 3
    assert [type(e) for e in outcome.only.errors] == [NotAccepted, NotAccepted]


async def test_a_value_that_is_never_accepted(world: World) -> None:
    async def fetch(_: int) -> str:
        return ""

    outcome = await world.run((Task(fetch).retry(1, accept=bool, backoff=None) >> Task(len).inline())(7))
    error = outcome.result.failure()
    assert type(error) is NotAccepted
    assert (error.name, error.value, str(error)) == ("fetch", "", "the answer of `fetch` was not accepted")
    assert [r.status for r in outcome] == ["failed", "skipped"]
    assert outcome["fetch"].attempts == 2


async def test_accept_around_two_tasks(world: World) -> None:
    backend = Fails(0)

    async def count(_: int) -> int:
        return backend.calls

    chain = (Task(backend.fetch) >> Task(count)).retry(5, accept=lambda n: n >= 3, backoff=None)
    outcome = await world.run(chain(7))
    assert outcome.result == Success(3)
    assert [r.attempts for r in outcome] == [3, 3]


async def test_an_accept_that_raises_is_a_callback_failure(world: World) -> None:
    backend = Fails(0)

    def accept(_: object) -> bool:
        raise LookupError("broken")

    outcome = await world.run(Task(backend.fetch).retry(3, accept=accept, backoff=None)(7))
    error = outcome.result.failure()
    assert type(error) is CallbackFailed
    assert (error.role, error.callback) == ("accept", "accept")
    assert backend.calls == 1


async def test_on_does_not_count_for_values_that_are_not_accepted_unless_it_names_them(world: World) -> None:
    backend = Fails(0)
    outcome = await world.run(Task(backend.fetch).retry(3, on=OSError, accept=lambda _: False, backoff=None)(7))
    assert type(outcome.result.failure()) is NotAccepted
    assert backend.calls == 1


async def test_backoff_grows_up_to_its_cap(world: World) -> None:
    starts = []

    async def fetch(_: int) -> None:
        starts.append(world.now() if world.native else time.monotonic() * 1000)
        raise OSError

    outcome = await world.run(Task(fetch).retry(4, backoff=STEADY)(7))
    waits = [b - a for a, b in pairwise(starts)]
    assert all(world.about(got, due) for got, due in zip(waits, [10, 20, 30, 30], strict=True)), waits
    assert world.about(outcome.only.elapsed, 90), "the waits between the calls are in it"


async def test_full_jitter_waits_at_most_the_bound(world: World) -> None:
    backend = Fails(3)
    outcome = await world.run(Task(backend.fetch).retry(3, backoff=Backoff(base=10, factor=1, cap=10))(7))
    assert outcome.result == Success(7)
    assert not world.virtual or 0 <= outcome.elapsed <= 30


async def test_the_error_says_how_long_to_wait(world: World) -> None:
    class Busy(Exception):
        retry_after = 0.02  # seconds, as HTTP has it

    backend = Fails(2, Busy)
    outcome = await world.run(Task(backend.fetch).retry(2, backoff=None)(7))
    assert outcome.result == Success(7)
    assert world.about(outcome.elapsed, 40)


@pytest.mark.parametrize("asked", [-1, float("nan"), float("inf"), "soon", True, None])
async def test_nonsense_in_retry_after_is_no_wait(world: World, asked: object) -> None:
    class Busy(Exception):
        retry_after = asked

    backend = Fails(1, Busy)
    outcome = await world.run(Task(backend.fetch).retry(1, backoff=Backoff(base=10, jitter="none"))(7))
    assert outcome.result == Success(7)
    assert world.about(outcome.elapsed, 10)


@pytest.mark.parametrize("where", ["around the retry", "around two", "deadline", "abandon_after"])
async def test_a_wait_that_does_not_fit_returns_the_last_error_at_once(world: World, where: str) -> None:
    backend = Fails(100)
    task = Task(backend.fetch).retry(3, backoff=Backoff(base=10_000, cap=60_000, jitter="none"))
    chain = {"around the retry": task.timeout(5_000), "around two": (task >> Task(str)).timeout(5_000)}.get(where, task)
    if where == "deadline":
        outcome = await world.run(chain(7), deadline=timedelta(seconds=5))
    elif where == "abandon_after":
        async with world.balancer(abandon_after=5_000) as balancer:
            outcome = await balancer.arun(chain(7))
    else:
        outcome = await world.run(chain(7))
    assert type(outcome.result.failure()) is OSError
    assert backend.calls == 1
    assert outcome.elapsed < 4_000
    assert outcome[0].status == "failed"


NEVER = [
    CircuitOpen("open"),
    LimitExceeded("full"),
    CallbackFailed("on", "f", "x"),
    DeadlineExceeded(),
    Abandoned(5),
    TicketCancelled(),
    Skipped(),
]


@pytest.mark.parametrize("error", NEVER, ids=lambda e: type(e).__name__)
@pytest.mark.parametrize("raised", [True, False])
async def test_some_errors_are_never_retried(world: World, error: Exception, raised: bool) -> None:
    calls = []

    async def fetch(x: int) -> object:
        calls.append(x)
        if raised:
            raise error
        return Failure(error)

    outcome = await world.run(Task(fetch).retry(3, on=BaseException, backoff=None)(7))
    assert outcome.result.failure() is error
    assert calls == [7]


async def test_a_timeout_is_retried(world: World) -> None:
    waits = iter([1_000, 1])

    async def fetch(x: int) -> int:
        await world.pause(next(waits))
        return x

    outcome = await world.run(Task(fetch).timeout(world.short).retry(1, backoff=None)(7))
    assert outcome.result == Success(7)
    assert [type(e) for e in outcome.only.errors] == [TaskTimedOut]
    assert (outcome.only.attempts, outcome.only.status) == (2, "succeeded")


async def test_every_attempt_gets_the_same_input_and_knows_its_number(world: World) -> None:
    seen = []

    async def fetch(x: object) -> None:
        seen.append((current_attempt(), x))
        raise OSError

    value = object()
    await world.run(Task(fetch).retry(2, backoff=None)(value))
    assert seen == [(1, value), (2, value), (3, value)]


@pytest.mark.real_time
async def test_sync_functions_are_retried_the_same(world: World) -> None:
    calls = []

    def fetch(x: int) -> int:
        calls.append(current_attempt())
        if len(calls) < 3:
            raise OSError(f"error {len(calls)}")
        return x

    outcome = await world.run((Task(fetch).retry(3, backoff=None) >> Task(str))(7))
    assert outcome.result == Success("7")
    assert calls == [1, 2, 3]
    assert [str(e) for e in outcome["fetch"].errors] == ["error 1", "error 2"]


async def test_a_shared_exception_object_is_left_as_it_is(world: World) -> None:
    shared = OSError("made once")

    async def fetch(_: int) -> None:
        raise shared

    def handler(error: BaseException) -> str:
        return str(error)

    async def other(_: int) -> None:
        raise ValueError("other")

    chain = (Task(fetch).retry(2, backoff=None) >> Task(str)).or_else(Task(other)).or_else(handler)
    outcome = await world.run(chain(7))
    assert outcome.result == Success("other")
    assert shared.__cause__ is None
    assert shared.__context__ is None
    assert len(getattr(shared, "__notes__", [])) <= 1


async def test_a_retry_that_helped_is_over(world: World) -> None:
    first, second = Fails(1), Fails(100)
    outcome = await world.run((Task(first.fetch).named("a").retry(3, backoff=None) >> Task(second.fetch).named("b"))(7))
    assert type(outcome.result.failure()) is OSError
    assert (first.calls, second.calls) == (2, 1), "what fails later is none of its business"
    assert [r.status for r in outcome] == ["succeeded", "failed"]


@pytest.mark.real_time
async def test_a_limit_that_passes_just_before_a_part_is_run_again(world: World) -> None:
    """An asyncio loop that is blocked before the retry wakes it before the limit. What was held is given back."""
    limit = Limit(1)

    async def fails(_: int) -> None:
        if world.executor == "asyncio":
            loop = asyncio.get_running_loop()
            loop.call_soon(loop.call_soon, world.block, 30)  # in the second wait: after the look at the limits
        raise OSError

    chain = (Task(str) >> Task(fails)).limit(limit).retry(1, backoff=None).timeout(20)
    error = (await world.run(chain(7))).result.failure()
    assert type(error) is TaskTimedOut or world.executor != "asyncio"
    assert (limit.running, limit.waiting) == (0, 0)


async def test_a_retry_that_helped_leaves_no_limit_behind(world: World) -> None:
    left = []

    async def ask(x: int) -> int:
        left.append(remaining())
        return x

    chain = Task(Fails(1).fetch).timeout(5_000).retry(3, backoff=None).timeout(8_000) >> Task(ask)
    assert (await world.run(chain(7))).result == Success(7)
    assert left[0] > 10_000
