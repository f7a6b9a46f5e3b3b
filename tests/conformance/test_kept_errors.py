"""Which errors a Response keeps as they are, and which as a class and a text."""

from __future__ import annotations

import gc
import weakref
from itertools import count
from typing import Any

import pytest
from conformance.harness import World
from returns.result import Failure

from rio_chain import ErrorSummary, NotEnoughSuccesses, Skipped, Task, at_least, each, fan_out


class Down(Exception):
    """An error that knows something large."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.known = Known()


class Known:
    """Something large."""


def alive() -> int:
    gc.collect()
    return sum(isinstance(found, Known) for found in gc.get_objects())


def failing() -> Task[[Any], Any]:
    numbers = count(1)

    async def fetch(_: Any) -> None:
        raise Down(f"error {next(numbers)}")

    return Task(fetch)


def texts(errors: tuple[Any, ...]) -> list[str]:
    return [error.text if isinstance(error, ErrorSummary) else str(error) for error in errors]


@pytest.mark.parametrize("retries", [19, 20, 40])
async def test_the_first_ten_and_the_last_ten_errors_are_kept_as_they_are(world: World, retries: int) -> None:
    outcome = await world.run(failing().retry(retries, backoff=None)(1))
    errors = outcome.only.errors
    assert len(errors) == outcome.only.attempts == retries + 1
    assert texts(errors) == [f"error {k + 1}" for k in range(retries + 1)]
    between = errors[10 : retries + 1 - 10]
    assert all(type(error) is ErrorSummary and error.type is Down for error in between)
    assert all(type(error) is Down for error in (*errors[:10], *errors[-10:]))
    assert outcome.result.failure() is errors[-1]
    spans = outcome.only.spans
    assert [span.error for span in spans] == list(errors[:100])
    assert alive() == min(20, retries + 1)


async def test_more_rounds_keep_no_more(world: World) -> None:
    chain = failing().retry(20, backoff=None).retry(2, backoff=None)
    outcome = await world.run(chain(1))
    assert texts(outcome.only.errors) == [f"error {k + 1}" for k in range(63)]
    assert sum(type(error) is Down for error in outcome.only.errors) == 20
    assert alive() == 20


async def test_hedges_keep_no_more(world: World) -> None:
    chain = failing().retry(20, backoff=None).replica(2, after=None)
    outcome = await world.run(chain(1))
    assert len(outcome.only.errors) == 42
    assert sum(type(error) is Down for error in outcome.only.errors) == 20
    assert alive() <= 21, "the failure of a hedge is that of its first call"


async def test_items_that_are_dropped_leave_the_first_and_the_last_errors(world: World) -> None:
    chain = Task(list).inline() >> each(failing() >> Task(len), on_error="drop", limit=1)  # type: ignore[var-annotated]
    outcome = await world.run(chain(range(50)))
    assert outcome.unwrap() == []
    first, then = outcome[1], outcome[2]
    assert texts(first.errors) == [f"error {k + 1}" for k in range(50)]
    assert [type(error) is Down for error in first.errors] == [True] * 10 + [False] * 30 + [True] * 10
    failures = [item.result.failure() for item in first.items]
    assert [type(error) is Down for error in failures] == [True] * 10 + [False] * 30 + [True] * 10
    assert texts(tuple(failures)) == texts(first.errors)
    skipped = [item.result.failure() for item in then.items]
    assert all(type(error) is Skipped for error in skipped)
    assert [type(error.cause) is Down for error in skipped] == [True] * 10 + [False] * 30 + [True] * 10
    assert alive() == 20


async def test_so_do_those_of_at_least(world: World) -> None:
    chain = Task(list).inline() >> each(failing(), on_error=at_least(1), limit=1)  # type: ignore[var-annotated]
    outcome = await world.run(chain(range(30)))
    error = outcome.result.failure()
    assert isinstance(error, NotEnoughSuccesses)
    assert texts(error.errors) == [f"error {k + 1}" for k in range(30)]
    assert sum(type(one) is Down for one in error.errors) == 20
    assert alive() == 20


async def test_items_that_are_kept_are_kept_as_they_are(world: World) -> None:
    chain = Task(list).inline() >> each(failing(), on_error="keep", limit=1)  # type: ignore[var-annotated]
    outcome = await world.run(chain(range(30)))
    assert all(isinstance(result, Failure) and type(result.failure()) is Down for result in outcome.unwrap())
    assert all(type(item.result.failure()) is Down for item in outcome[1].items)


async def test_what_an_error_that_is_summed_up_knew_is_free_while_the_run_goes_on(world: World) -> None:
    refs: list[weakref.ref[Known]] = []

    async def fetch(_: Any) -> int:
        error = Down("no")
        refs.append(weakref.ref(error.known))
        if len(refs) == 40:
            error = None  # type: ignore[assignment]
            return sum(ref() is not None for ref in refs)
        raise error

    gc.disable()
    try:
        outcome = await world.run(fan_out(Task(fetch).retry(50, backoff=None))(1))
    finally:
        gc.enable()
    assert outcome.unwrap() == (20,)


async def test_texts_of_errors_are_short_wherever_they_are_shown(world: World) -> None:
    class Long(Exception):
        def __str__(self) -> str:
            return "x" * 10_000_000

    class Raises(Exception):
        def __str__(self) -> str:
            raise RuntimeError

        __repr__ = __str__

    for kind in (Long, Raises):

        async def fetch(_: Any, kind: type[Exception] = kind) -> None:
            raise kind

        outcome = await world.run((Task(fetch).retry(30, backoff=None) >> Task(len))(1))
        for text in (outcome.summary(), str(outcome.svg()), str(outcome.timeline()), *shown(outcome)):
            assert kind.__name__ in text or "failed" in text
            assert len(text) < 50_000
        assert all(len(error.text) <= 200 for error in outcome[0].errors if isinstance(error, ErrorSummary))
        assert len(str(outcome[1].result.failure())) < 2_000


def shown(outcome: Any) -> list[str]:
    return list(outcome._repr_mimebundle_().values())
