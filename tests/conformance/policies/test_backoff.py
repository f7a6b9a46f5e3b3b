"""How long a retry waits, which wait an error may ask for, and where there is none."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
import tenacity
from conformance.harness import World
from conformance.policies.backends import HANG, RetryAfter, backend
from returns.result import Success

from rio_chain import Backoff, CallbackFailed, DeadlineExceeded, Task, TaskTimedOut, remaining

STEADY = Backoff(base=10, factor=1, cap=10, jitter="none")


# --- kinds ------------------------------------------------------------------------------------------------------


async def test_a_constant_backoff(world: World) -> None:
    back = backend(world, (1, OSError("x")))
    await world.run(Task(back.fetch).retry(3, backoff=STEADY)(7))
    assert back.started(0, 11, 22, 33)


async def test_an_exponential_one(world: World) -> None:
    back = backend(world, (0, OSError("x")))
    await world.run(Task(back.fetch).retry(4, backoff=Backoff(base=5, factor=2, cap=15, jitter="none"))(7))
    assert back.started(0, 5, 15, 30, 45)


async def test_a_linear_one(world: World) -> None:
    back = backend(world, (0, OSError("x")))
    await world.run(Task(back.fetch).retry(4, backoff=Backoff(base=5, step=5, cap=15, jitter="none"))(7))
    assert back.started(0, 5, 15, 30, 45)


@pytest.mark.parametrize("jitter", ["full", "equal", "decorrelated"])
async def test_jitter_stays_in_its_bounds(world: World, jitter: Any) -> None:
    backoff = Backoff(base=5, factor=2, cap=20, jitter=jitter)
    back = backend(world, (0, OSError("x")))
    await world.run(Task(back.fetch).retry(8, backoff=backoff)(7))
    waits = [b - a for a, b in zip(back.starts, back.starts[1:], strict=False)]
    if world.virtual:
        assert all(
            1000 * backoff.least(k) - 1e-3 <= wait <= 1000 * backoff.bound(k) + 1e-3 for k, wait in enumerate(waits)
        ), waits
        assert any(0 < wait % 5 < 5 for wait in waits), "they are drawn"
    assert len(back.calls) == 9


@pytest.mark.parametrize(
    ("wait", "expected"),
    [
        (tenacity.wait_fixed(0.01), (0, 10, 20, 30)),
        (tenacity.wait_incrementing(0.005, 0.005), (0, 5, 15, 30)),
        (tenacity.wait_chain(tenacity.wait_fixed(0.001), tenacity.wait_fixed(0.01)), (0, 1, 11, 21)),
        (lambda state: 0.005 * state.attempt_number, (0, 5, 15, 30)),
        (lambda state: timedelta(milliseconds=5) if str(state.outcome.exception()) == "x" else 1, (0, 5, 10, 15)),
        (lambda state: 0.001 * state.args[0] * state.attempt_number, (0, 7, 21, 42)),
        (lambda state: 0.01 if state.idle_for == 0 else state.idle_for, (0, 10, 20, 40)),
    ],
)
async def test_a_tenacity_wait(world: World, wait: Any, expected: tuple[float, ...]) -> None:
    back = backend(world, (0, OSError("x")))
    await world.run(Task(back.fetch).retry(3, backoff=wait)(7))
    assert back.started(*expected)


@pytest.mark.parametrize("wait", [lambda _: -1, lambda _: "soon", lambda _: 1 / 0])
async def test_a_wait_that_gives_nonsense_is_a_callback_failure(world: World, wait: Any) -> None:
    back = backend(world, (0, OSError("x")))
    outcome = await world.run(Task(back.fetch).retry(3, backoff=wait)(7))
    error = outcome.result.failure()
    assert (type(error), error.role) == (CallbackFailed, "backoff")
    assert len(back.calls) == 1


async def test_a_wait_sees_all_arguments_of_the_call(world: World) -> None:
    seen = []

    def wait(state: Any) -> float:
        seen.append((state.args, dict(state.kwargs)))
        return 0

    async def fails(a: int, b: int, *, c: int) -> int:
        raise OSError(a, b, c)

    await world.run(Task(fails).retry(1, backoff=wait)(1, 2, c=3))
    assert seen == [((1, 2), {"c": 3})]


# --- when to stop -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stop", "calls"),
    [
        (tenacity.stop_after_attempt(3), 3),
        (tenacity.stop_after_attempt(3) & tenacity.stop_after_delay(0.035), 5),
        (tenacity.stop_after_attempt(3) | tenacity.stop_after_delay(0.015), 3),
        (tenacity.stop_before_delay(0.015), 2),
        (lambda state: state.args == (7,) and state.attempt_number == 2, 2),
        (lambda _: False, 8),
    ],
)
async def test_a_stop_is_a_second_bound(world: World, stop: Any, calls: int) -> None:
    back = backend(world, (0, OSError("x")))
    outcome = await world.run(Task(back.fetch).retry(7, backoff=STEADY, stop=stop)(7))
    assert len(back.calls) == calls if world.virtual else 2 <= len(back.calls) <= 8
    assert outcome.only.gave_up == ("exhausted" if calls == 8 else "stopped")


async def test_a_stop_that_raises_is_a_callback_failure(world: World) -> None:
    back = backend(world, (0, OSError("x")))
    error = (await world.run(Task(back.fetch).retry(7, stop=lambda _: 1 / 0)(7))).result.failure()
    assert (type(error), error.role, len(back.calls)) == (CallbackFailed, "stop", 1)


async def test_the_note_says_that_it_was_stopped(world: World) -> None:
    outcome = await world.run(
        Task(backend(world, (0, OSError("x"))).fetch).retry(7, backoff=None, stop=lambda _: True)(7)
    )
    assert outcome.only.attempts == 1
    outcome = await world.run(
        Task(backend(world, (0, OSError("x"))).fetch).retry(7, backoff=None, stop=tenacity.stop_after_attempt(2))(7)
    )
    with pytest.raises(OSError, match="x") as caught:
        outcome.unwrap()
    assert "the stop of the retry says so" in caught.value.__notes__[0]


# --- which error, which wait ------------------------------------------------------------------------------------


async def test_classes_each_with_a_backoff_of_its_own(world: World) -> None:
    class Busy(OSError):
        pass

    back = backend(world, (0, Busy()), (0, OSError()), (0, ConnectionError()), (0, KeyError()))
    on = {OSError: STEADY, Busy: Backoff(base=20, jitter="none"), ConnectionError: None}
    outcome = await world.run(Task(back.fetch).retry(9, on=on)(7))
    assert type(outcome.result.failure()) is KeyError, "no class that is named"
    assert back.started(0, 20, 30, 30)


async def test_a_class_with_a_tenacity_wait(world: World) -> None:
    back = backend(world, (0, OSError()), (0, "a"))
    outcome = await world.run(Task(back.fetch).retry(9, on={OSError: tenacity.wait_fixed(0.02)})(7))
    assert outcome.result == Success("a")
    assert back.started(0, 20)


# --- asked for by the server -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("asked", [0.02, "0.02", timedelta(milliseconds=20)])
async def test_the_error_says_how_long(world: World, asked: Any) -> None:
    back = backend(world, (0, RetryAfter(asked)), (0, "a"))
    outcome = await world.run(Task(back.fetch).retry(1, backoff=Backoff(base=5, jitter="none"))(7))
    assert outcome.result == Success("a")
    assert back.started(0, 20)


@pytest.mark.parametrize("asked", [0, "0", timedelta(0), "Wed, 21 Oct 2015 07:28:00 GMT", b"0", "soon", 10**400])
async def test_never_sooner_than_the_backoff_says(world: World, asked: Any) -> None:
    back = backend(world, (0, RetryAfter(asked)))
    await world.run(Task(back.fetch).retry(3, backoff=STEADY)(7))
    assert back.started(0, 10, 20, 30)


async def test_never_later_than_the_cap_unless_more_is_allowed(world: World) -> None:
    back = backend(world, (0, RetryAfter(3600)), (0, "a"))
    outcome = await world.run(Task(back.fetch).retry(1, backoff=STEADY)(7))
    assert outcome.result == Success("a")
    assert back.started(0, 10)
    patient = Backoff(base=10, factor=1, cap=10, jitter="none", max_retry_after=30)
    back = backend(world, (0, RetryAfter(0.02)), (0, RetryAfter(3600)), (0, "a"))
    assert (await world.run(Task(back.fetch).retry(2, backoff=patient)(7))).result == Success("a")
    assert back.started(0, 20, 50)


async def test_or_until_when(world: World) -> None:
    seconds = 3600 if world.virtual else 0
    date = datetime.now(UTC) + timedelta(seconds=seconds, milliseconds=40)
    back = backend(world, (0, RetryAfter(date)), (0, RetryAfter(format_datetime(date, usegmt=True))), (0, "a"))
    outcome = await world.run(Task(back.fetch).retry(2, backoff=None).timeout(timedelta(hours=3))(7))
    assert outcome.result == Success("a")
    assert len(back.calls) == 3
    if world.virtual:  # the calendar is real: what passes of it in between is not much
        first, second = back.starts[1], back.starts[2] - back.starts[1]
        assert 3_590_000 <= second <= first + 1 <= 3_600_042


async def test_a_function_of_the_error_says_it(world: World) -> None:
    class Response(Exception):
        headers: dict[str, str] = {"Retry-After": "0.02"}  # noqa: RUF012 - a test's

    back = backend(world, (0, Response()), (0, OSError()), (0, "a"))
    backoff = Backoff(base=10, factor=1, cap=10, jitter="none", max_retry_after=1000)
    chain = Task(back.fetch).retry(
        2, backoff=backoff, retry_after=lambda e: getattr(e, "headers", {}).get("Retry-After")
    )
    outcome = await world.run(chain(7))
    assert outcome.result == Success("a")
    assert back.started(0, 20, 30), "None leaves it to the backoff"


async def test_a_backoff_function_that_raises_is_a_callback_failure(world: World) -> None:
    back = backend(world, (0, OSError()))
    outcome = await world.run(Task(back.fetch).retry(2, retry_after=lambda _: 1 / 0)(7))
    error = outcome.result.failure()
    assert (type(error), error.role) == (CallbackFailed, "retry_after")
    assert len(back.calls) == 1


# --- limits -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["around", "far around", "deadline", "each replica"])
async def test_no_wait_past_any_limit(world: World, where: str) -> None:
    error = RetryAfter(6)
    back = backend(world, (1, error))
    task = Task(back.fetch).retry(5, backoff=None)
    chain = {
        "around": task.timeout(5_000),
        "far around": (task.or_else("no", on=ValueError) >> Task(str).inline()).timeout(5_000),
        "each replica": task.timeout(5_000).replica(1),
    }.get(where, task)
    terms = {"deadline": timedelta(seconds=5)} if where == "deadline" else {}
    outcome = await world.run(chain(7), **terms)
    assert outcome.result.failure() is error, "the last error, not a limit that has not passed"
    assert outcome.elapsed < 4_000
    assert len(back.calls) == 1


async def test_a_wait_that_fits_is_waited(world: World) -> None:
    back = backend(world, (1, OSError()), (1, OSError()), (1, "a"))
    outcome = await world.run(Task(back.fetch).retry(5, backoff=STEADY).timeout(5_000)(7))
    assert outcome.result == Success("a")
    assert back.started(0, 11, 22)


async def test_an_attempt_never_gets_more_than_what_is_left(world: World) -> None:
    left = []

    async def fetch(_: int) -> None:
        left.append(remaining())
        await world.pause(world.short * 0.4)
        raise OSError

    outcome = await world.run(Task(fetch).timeout(world.short).retry(9, backoff=None).timeout(2 * world.short)(7))
    assert type(outcome.result.failure()) is TaskTimedOut
    assert outcome.result.failure().ms == 2 * world.short, "the outer limit answers"
    assert all(0 <= ms <= world.short + 1e-6 for ms in left)
    if world.virtual:
        assert [round(ms) for ms in left] == [20, 20, 20, 16, 8]


async def test_no_time_left_is_no_call(world: World) -> None:
    back = backend(world, (1, "a"))
    outcome = await world.run(Task(back.fetch).retry(5)(7), deadline=0)
    assert type(outcome.result.failure()) is DeadlineExceeded
    assert back.calls == []


async def test_a_cancel_is_never_retried(world: World) -> None:
    back = backend(world, (HANG, "a"), cleanup=1)
    child = world.start(lambda: world.run(Task(back.fetch).retry(5, on=BaseException, backoff=None)(7)))
    await world.until(lambda: back.calls)
    child.stop()
    assert (await child.ended()).cancelled
    assert back.ends == ["cleaned up"]


async def test_counts_live_in_the_run(world: World) -> None:
    back = backend(world, (1, OSError()))
    chain = Task(back.fetch).retry(2, backoff=None)
    request = chain(7)
    outcomes = await world.together(*[lambda: world.run(request) for _ in range(4)])
    assert [outcome.only.attempts for outcome in outcomes] == [3] * 4
    assert len(back.calls) == 12
