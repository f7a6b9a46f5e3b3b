"""Why a retry made no further attempt, and the note on what ``unwrap`` raises."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from conformance.harness import World

from rio_chain import (
    Backoff,
    Breaker,
    Budget,
    CircuitOpen,
    NotAccepted,
    Outcome,
    Task,
    TaskTimedOut,
    each,
    settle,
)

STEADY = Backoff(base=5_000, cap=5_000, factor=1, jitter="none")


async def fails(x: Any) -> Any:
    raise OSError(f"no {x}")


async def answers(x: Any) -> Any:
    return x


CASES: dict[str, tuple[Callable[[Task[[Any], Any]], Any], str | None, int]] = {
    "no retry": (lambda task: task.timeout(10_000), None, 1),
    "none left": (lambda task: task.retry(2, backoff=None), "exhausted", 3),
    "none asked for": (lambda task: task.retry(0), "exhausted", 1),
    "no time": (lambda task: task.retry(5, backoff=STEADY).timeout(1_000), "no_time", 1),
    "another error": (lambda task: task.retry(5, on=ValueError), "not_retried", 1),
    "a predicate": (lambda task: task.retry(5, on=lambda error: "no" not in str(error)), "not_retried", 1),
    "a budget": (lambda task: task.retry(5, backoff=None).budget(Budget(0, floor=0)), "budget", 1),
    "around both": (lambda task: (task >> answers).retry(1, backoff=None), "exhausted", 2),
    "an inner one": (lambda task: task.retry(1, backoff=None).retry(3, on=ValueError), "exhausted", 2),
    "an outer one": (lambda task: task.retry(1, on=ValueError).retry(1, backoff=None), "exhausted", 2),
    "a fallback": (lambda task: task.retry(1, backoff=None).or_else(0), "exhausted", 2),
    "a branch": (lambda task: settle(task.retry(1, backoff=None), Task(answers)), "exhausted", 2),
    "a hedge": (lambda task: task.replica(2, after=5).retry(1, backoff=None), "exhausted", 4),
    "in a hedge": (lambda task: task.retry(1, backoff=None).replica(2), "exhausted", 4),
}


@pytest.mark.parametrize("case", CASES)
async def test_the_reason(world: World, case: str) -> None:
    write, reason, attempts = CASES[case]
    outcome = await world.run(write(Task(fails))(1))
    found = outcome["fails"]
    assert (found.status, found.gave_up, found.attempts) == ("failed", reason, attempts)
    if "answers" in [response.name for response in outcome]:
        assert outcome["answers"].gave_up is None


async def test_none_where_it_succeeds_at_last(world: World) -> None:
    calls: list[int] = []

    async def second(x: int) -> int:
        calls.append(x)
        if len(calls) < 4:
            raise OSError
        return x

    chain = Task(second).retry(1, backoff=None).retry(5, backoff=None)
    outcome = await world.run(chain(7))
    assert (outcome.value, outcome.only.attempts, outcome.only.gave_up) == (7, 4, None)


async def test_errors_that_are_never_retried_and_a_value_that_is_refused(world: World) -> None:
    breaker = Breaker(min_calls=1, ratio=0.1)
    chain = Task(fails).breaker(breaker).retry(5, backoff=None)
    outcome = await world.run(chain(1))
    assert isinstance(outcome.error, CircuitOpen)
    assert outcome.only.gave_up == "not_retried"
    refused = await world.run(Task(answers).retry(2, backoff=None, accept=lambda x: x > 9)(1))
    assert isinstance(refused.error, NotAccepted)
    assert (refused.only.gave_up, refused.only.attempts) == ("exhausted", 3)


async def test_a_limit_that_ends_an_attempt_is_no_retry_that_gave_up(world: World) -> None:
    async def slow(_: int) -> None:
        await world.pause(10_000)

    outcome = await world.run(Task(slow).retry(3, backoff=None).timeout(world.short)(1))
    assert isinstance(outcome.error, TaskTimedOut)
    assert (outcome.only.status, outcome.only.gave_up) == ("timed_out", None)
    each_attempt = await world.run(Task(slow).timeout(5).retry(1, backoff=None)(1))
    assert (each_attempt.only.status, each_attempt.only.gave_up) == ("timed_out", "exhausted")


async def test_of_items(world: World) -> None:
    chain = each(Task(fails).retry(1, backoff=None), on_error="keep")
    outcome: Outcome[Any] = await world.run(chain([1, 2]))
    assert [item.gave_up for item in outcome.only.items] == ["exhausted"] * 2
    whole = await world.run(each(Task(fails).retry(1, backoff=None), limit=1)([1, 2]))
    assert whole.only.gave_up == "exhausted"
    with pytest.raises(OSError, match="no 1") as caught:
        whole.unwrap()
    assert caught.value.__notes__ == ["2 attempts: OSError: no 1; OSError: no 1 (task fails; no retry is left)"]


async def test_the_note_is_added_once_to_an_error_that_is_shared(world: World) -> None:
    shared = OSError("down")

    async def down(_: int) -> None:
        raise shared

    outcomes = [await world.run(Task(down).retry(n, backoff=None)(1)) for n in (0, 2, 4)]
    assert getattr(shared, "__notes__", []) == [], "a run adds none"
    for outcome in (*outcomes, *outcomes):
        with pytest.raises(OSError, match="down") as caught:
            outcome.unwrap()
        assert caught.value is shared
    assert shared.__notes__ == ["3 attempts: OSError: down; OSError: down; OSError: down (task down; no retry is left)"]
    assert shared.__cause__ is None
    assert shared.__context__ is None
