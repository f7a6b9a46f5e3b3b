"""What must stay linear, counted in calls and not in time."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import reduce
from typing import Any

import pytest

from rio_chain import Chain, Task


def f(x: Any) -> Any:
    return x


def shifted(n: int) -> Chain[..., Any]:
    return reduce(lambda chain, _: chain >> Task(f), range(n - 1), Task(f))


def wrapped(n: int) -> Chain[..., Any]:
    return reduce(lambda chain, _: chain.retry(1).timeout(10), range(n // 10), Task(f))


def calls(work: Callable[[], object]) -> int:
    """How many functions were called, ours and built-in ones."""
    count = 0

    def tick(_frame: object, event: str, _arg: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(tick)
    try:
        work()
    finally:
        sys.setprofile(before)
    return count


@pytest.mark.parametrize("build", [shifted, wrapped])
def test_building_and_compiling_are_linear(build: Callable[[int], Chain[..., Any]]) -> None:
    def both(n: int) -> Callable[[], object]:
        return lambda: build(n).plan()

    both(10)()
    assert calls(both(400)) < 2.2 * calls(both(200))


def test_a_step_costs_the_same_however_long_the_chain_is_already() -> None:
    short, long = shifted(2), shifted(2_000)
    for step in (lambda chain: chain.timeout(1), lambda chain: chain.retry(1), lambda chain: chain.named("x")):
        step(short)
        assert calls(lambda step=step: step(long)) <= calls(lambda step=step: step(short)) + 5  # type: ignore[misc]


def test_a_request_costs_the_same_however_long_the_chain_is() -> None:
    short, long = shifted(2), shifted(2_000)
    short(1), long(1)
    assert calls(lambda: long(1)) <= calls(lambda: short(1)) + 5
