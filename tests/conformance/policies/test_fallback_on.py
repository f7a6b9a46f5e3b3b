"""Fallbacks for some errors only."""

from __future__ import annotations

from typing import Any

import pytest
from conformance.harness import World
from conformance.policies.backends import HANG, backend
from returns.result import Failure, Success

from rio_chain import CallbackFailed, CircuitOpen, LimitExceeded, Task, TaskTimedOut


@pytest.mark.parametrize(
    ("on", "caught"),
    [
        (OSError, True),
        (ValueError, False),
        ((ValueError, OSError), True),
        (lambda error: "disk" in str(error), True),
        (lambda error: "net" in str(error), False),
    ],
)
async def test_on_names_the_errors_that_are_replaced(world: World, on: Any, caught: bool) -> None:
    error = OSError("disk")
    back = backend(world, (1, error))
    outcome = await world.run(Task(back.fetch).or_else("no", on=on)(7))
    assert outcome.result == (Success("no") if caught else Failure(error))
    assert outcome.only.status == "failed"


async def test_the_first_fallback_that_wants_it_gets_it(world: World) -> None:
    back, spare = backend(world, (HANG, "a")), backend(world, (1, "spare"))
    chain = (Task(back.fetch).timeout(world.short).or_else("refused", on=(CircuitOpen, LimitExceeded))).or_else(
        Task(spare.fetch).named("spare"), on=TaskTimedOut
    )
    outcome = await world.run(chain(7))
    assert outcome.result == Success("spare")
    assert spare.calls[0].given == 7


async def test_a_fallback_that_does_not_want_it_is_skipped(world: World) -> None:
    back, spare = backend(world, (1, OSError("x"))), backend(world, (1, "spare"))
    outcome = await world.run(Task(back.fetch).or_else(Task(spare.fetch).named("spare"), on=ValueError)(7))
    assert type(outcome.result.failure()) is OSError
    assert (outcome["spare"].status, spare.calls) == ("skipped", [])


async def test_the_error_value_of_a_failure(world: World) -> None:
    back = backend(world, (1, Failure("broken")))
    assert (await world.run(Task(back.fetch).or_else(0, on=lambda e: e == "broken")(7))).result == Success(0)
    assert (await world.run(Task(back.fetch).or_else(0, on=OSError)(7))).result == Failure("broken")
    assert (await world.run(Task(back.fetch).or_else(0)(7))).result == Success(0)


async def test_a_predicate_that_raises_is_a_callback_failure(world: World) -> None:
    def odd(_: object) -> bool:
        raise LookupError("odd")

    back = backend(world, (1, OSError("x")))
    outcome = await world.run(Task(back.fetch).or_else(0, on=odd)(7))
    error = outcome.result.failure()
    assert (type(error), error.role, error.callback) == (CallbackFailed, "on", "odd")


async def test_an_outer_expiry_is_none_of_its_business(world: World) -> None:
    back = backend(world, (HANG, "x"))
    outcome = await world.run(Task(back.fetch).or_else(0, on=TaskTimedOut).timeout(world.short)(7))
    assert type(outcome.result.failure()) is TaskTimedOut
