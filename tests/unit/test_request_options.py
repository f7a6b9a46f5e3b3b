"""The terms of a request: what the defaults are, and what an inherited deadline makes of one's own."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from fake_clock import FakeClock

from rio_chain import Balancer, ChainDefinitionError
from rio_chain.balancer._posted_request import request_options
from rio_chain.engine._current_run import CURRENT

CLOCK = FakeClock(1_000.0)


@contextmanager
def in_a_body_with(seconds: float) -> Iterator[None]:
    strand: Any = SimpleNamespace(open=True, given_up=(), deadline=CLOCK() + seconds, rt=SimpleNamespace(now=CLOCK))
    token = CURRENT.set(strand)
    try:
        yield
    finally:
        CURRENT.reset(token)


@pytest.mark.parametrize("on_full", ["wait", "reject"])
def test_the_shortcut_for_no_options_means_the_same(on_full: Any) -> None:
    asked_for_nothing = request_options(CLOCK, on_full=on_full)
    assert asked_for_nothing is request_options(CLOCK, 0, on_full=on_full)
    assert asked_for_nothing == request_options(CLOCK, 0.0, on_full=on_full)  # the long way
    assert asked_for_nothing is not request_options(CLOCK, 0.0, on_full=on_full)


@pytest.mark.parametrize("call", ["run", "arun", "post", "map", "amap"])
def test_every_way_in_has_the_same_priority_where_none_is_given(call: str) -> None:
    assert inspect.signature(getattr(Balancer, call)).parameters["priority"].default == 0


def test_only_a_request_with_reject_is_refused_when_the_buffer_is_full() -> None:
    assert request_options(CLOCK, on_full="reject").bounded
    assert not request_options(CLOCK, on_full="wait").bounded


def test_what_only_says_that_it_is_equal_to_everything_is_no_answer_to_on_full() -> None:
    class Equal:
        __hash__ = None  # type: ignore[assignment]

        def __eq__(self, other: object) -> bool:
            return True

    given: Any = Equal()
    with pytest.raises(ChainDefinitionError, match="`on_full` must be 'wait' or 'reject'"):
        request_options(CLOCK, on_full=given)


@pytest.mark.parametrize(("own", "around", "left"), [(None, 5, 5), (2_000, 5, 2), (9_000, 5, 5), (2_000, None, 2)])
def test_the_earlier_of_the_own_and_the_inherited_deadline_counts(
    own: float | None, around: float | None, left: float
) -> None:
    if around is None:
        terms = request_options(CLOCK, deadline=own)
    else:
        with in_a_body_with(around):
            terms = request_options(CLOCK, deadline=own)
    assert terms.deadline is not None
    assert terms.deadline.remaining() == pytest.approx(left * 1_000)


def test_threads_and_abandoned_calls_go_by_the_number_of_workers() -> None:
    assert Balancer(workers=3)._binding._sizes == (12, 6)
    assert Balancer(workers=3, threads=1, max_abandoned=2)._binding._sizes == (1, 2)
