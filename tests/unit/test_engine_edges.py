"""The engine by itself: what is kept when a run is over, runs without a limit, and how values are closed."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
from types import SimpleNamespace
from typing import Any

import pytest
from virtual_loops import on_asyncio, on_trio

from rio_chain import Abandoned, Request, Task, current_attempt, remaining
from rio_chain.engine._current_run import Run, inherited
from rio_chain.engine._discarded_results import close_all, close_here
from rio_chain.engine._runtime_protocol import Raised
from rio_chain.executors import waiter_here


async def hangs(_: object) -> None:
    """Until it is cancelled."""
    await waiter_here().wait()


async def quick(x: object) -> object:
    return x


# --- limits ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loop", [on_asyncio, on_trio])
@pytest.mark.parametrize(
    "request_",
    [Task(hangs)(1), Task(hangs).retry(2)(1), (Task(quick).timeout(50) >> hangs)(1), (Task(quick) >> Task(hangs))(1)],
    ids=["a task", "its retries", "a bridge", "the second of two"],
)
def test_what_nothing_else_limits_is_abandoned_after_thirty_seconds(loop: Any, request_: Request[Any]) -> None:
    async def main() -> None:
        outcome = await request_
        error = outcome.result.failure()
        assert (type(error), round(outcome.elapsed)) == (Abandoned, 30_000)

    loop(main)


@pytest.mark.parametrize("loop", [on_asyncio, on_trio])
def test_the_limit_of_a_task_says_nothing_of_the_bridge_after_it(loop: Any) -> None:
    async def slow(x: object) -> float:
        del x
        return (await Task(hangs).timeout(90).or_else(0.0)(1)).elapsed

    async def main() -> None:
        outcome = await (Task(quick).timeout(50) >> slow >> Task(quick).named("after"))(1)
        assert outcome.unwrap() == pytest.approx(90)

    loop(main)


# --- a context that lives on ----------------------------------------------------------------------------------------


def test_after_the_run_there_is_no_current_one() -> None:
    kept: list[contextvars.Context] = []

    def keeps(x: int) -> int:
        kept.append(contextvars.copy_context())
        return x

    async def nested(x: int) -> Any:
        kept.append(contextvars.copy_context())
        return Task(keeps).inline().named("inner").timeout(9_000)(x)

    (Task(nested) >> Task(keeps).named("second")).timeout(9_000)(1).run()
    assert len(kept) == 3
    for context in kept:
        assert context.run(remaining) == float("inf")
        assert context.run(inherited) is None
        attempt = context.run(current_attempt)
        assert (attempt, attempt.replica) == (1, 0)


def test_outside_of_any_run_it_is_the_first_attempt_and_no_replica() -> None:
    assert (current_attempt(), current_attempt().replica) == (1, 0)


# --- what nobody gets is closed -------------------------------------------------------------------------------------


class Answer:
    """Says how it was closed."""

    def __init__(self, error: Exception | None = None) -> None:
        self.log: list[str] = []
        self.error = error
        self.opened: Any = None

    async def aclose(self) -> None:
        self.log.append("aclose")
        if self.error is not None:
            raise self.error

    def close(self) -> None:
        self.log.append("close")


class AsyncClose:
    """Its ``close`` has to be awaited."""

    def __init__(self) -> None:
        self.made: Any = None

    def close(self) -> Any:
        self.made = quick(None)
        return self.made


class NotMine:
    """A class may be an answer; what it has is for its objects."""

    closed = 0

    @classmethod
    def close(cls) -> None:
        cls.closed += 1


def closed(answer: Any, *, places: bool) -> None:
    async def call(fn: Any, args: Any, kwargs: Any) -> Any:
        return fn(*args, **kwargs)

    async def call_async(fn: Any, args: Any, kwargs: Any) -> Any:
        try:
            return await fn(*args, **kwargs)
        except Exception as error:  # noqa: BLE001 - as runtimes do
            return Raised(error)

    rt = SimpleNamespace(places=places, direct=places, call=call, call_async=call_async)
    strand: Any = SimpleNamespace(rt=rt, permits=(), pinned=(), in_race=None)
    asyncio.run(close_all(strand, [answer, answer]))


@pytest.mark.parametrize("places", [False, True])
def test_one_way_to_close_is_enough(places: bool) -> None:
    answer = Answer()
    closed(answer, places=places)
    assert answer.log == ["aclose"], "and once, however often it is there"


@pytest.mark.parametrize("places", [False, True])
def test_where_one_way_to_close_fails_the_other_is_tried(places: bool) -> None:
    answer = Answer(OSError("lost"))
    closed(answer, places=places)
    assert answer.log == ["aclose", "close"]


@pytest.mark.parametrize("places", [False, True])
def test_a_class_is_not_closed(places: bool) -> None:
    closed(NotMine, places=places)
    close_here([NotMine])
    assert NotMine.closed == 0


def test_where_nothing_can_be_awaited_a_coroutine_is_not_left_to_warn() -> None:
    answer = AsyncClose()
    close_here([answer])
    assert inspect.getcoroutinestate(answer.made) == inspect.CORO_CLOSED


def test_the_first_reason_to_stop_is_kept() -> None:
    run, first = Run(Task(len).plan()), ValueError("first")
    run.stop(first)
    run.stop(ValueError("second"))
    assert run.stop_error is first
