"""What goes with a call into the process of a lane."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
from conformance.lane_bodies import where

from rio_chain import Balancer, Task
from rio_chain._core.lane_wrapper import LANE_WRAPPER, CallInLane


def with_note(note: str, fn: Callable[[Any], Any], value: Any) -> tuple[str, Any]:
    return note, fn(value)


def refuses(_: Callable[[Any], Any], value: Any) -> Any:
    raise ValueError(value)


@pytest.fixture
def wrap() -> Iterator[Callable[[Callable[[], CallInLane | None]], object]]:
    before = LANE_WRAPPER.get()
    yield LANE_WRAPPER.set
    LANE_WRAPPER.set(before)


@pytest.mark.parametrize("executor", ["asyncio", "trio", "thread"])
def test_each_call_is_made_by_what_went_with_it(wrap: Callable[[Any], object], executor: str) -> None:
    left = iter(["first", "second", None])

    def next_one() -> CallInLane | None:
        note = next(left)
        return None if note is None else partial(with_note, note)

    wrap(next_one)
    with Balancer(executor, lanes={"cpu": 1}) as balancer:
        chain = Task(where).lane("cpu")
        (first, pid), (second, other), alone = [balancer.run(chain(None)).unwrap() for _ in range(3)]
    assert (first, second) == ("first", "second")
    assert pid == other == alone  # the function is the same one, and its process goes on


def test_an_error_of_it_is_that_of_the_call(wrap: Callable[[Any], object]) -> None:
    wrap(lambda: refuses)
    with Balancer("thread", lanes={"cpu": 1}) as balancer:
        error = balancer.run(Task(operator.neg).lane("cpu")(3)).result.failure()
        assert isinstance(error, ValueError)
        wrap(lambda: None)
        assert balancer.run(Task(operator.neg).lane("cpu")(3)).unwrap() == -3
