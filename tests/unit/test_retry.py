"""Backoff and Retry: pure decisions."""

from __future__ import annotations

import pickle
from datetime import timedelta
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rio_chain import Backoff, ChainDefinitionError, NotAccepted, Skipped, TaskTimedOut
from rio_chain.errors import NEVER_RETRIED
from rio_chain.policies import DEFAULT_BACKOFF, Retry

durations = st.floats(0, 1e6)
factors = st.floats(1, 100)
backoffs = st.builds(Backoff, base=durations, factor=factors, cap=durations, jitter=st.sampled_from(["full", "none"]))
retries = st.integers(0, 10_000)
draws = st.floats(0, 1, exclude_max=True)


@given(backoffs, retries, draws)
def test_a_delay_is_never_negative_and_never_more_than_the_cap(backoff: Backoff, retry: int, draw: float) -> None:
    assert 0 <= backoff.delay(retry, lambda: draw) <= backoff.cap


@given(backoffs, retries, draws)
def test_a_delay_follows_the_formula(backoff: Backoff, retry: int, draw: float) -> None:
    try:
        bound = min(backoff.cap, backoff.base * backoff.factor**retry)
    except OverflowError:
        bound = backoff.cap if backoff.base else 0.0
    expected = bound * draw if backoff.jitter == "full" else bound
    assert backoff.delay(retry, lambda: draw) == expected


@given(backoffs, retries)
def test_without_jitter_delays_never_fall(backoff: Backoff, retry: int) -> None:
    steady = attrs.evolve(backoff, base=backoff.base * 1000, cap=backoff.cap * 1000, jitter="none")
    assert steady.delay(retry) <= steady.delay(retry + 1)


@given(backoffs, retries)
def test_the_draw_of_the_default_is_in_bounds_too(backoff: Backoff, retry: int) -> None:
    assert 0 <= backoff.delay(retry) <= backoff.cap


@given(backoffs)
def test_a_backoff_is_plain_data(backoff: Backoff) -> None:
    assert pickle.loads(pickle.dumps(backoff)) == backoff  # noqa: S301 - our own
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        backoff.base = 1  # type: ignore[misc]


def test_the_default_is_the_documented_one() -> None:
    assert DEFAULT_BACKOFF == Backoff(base=50, factor=2, cap=1000, jitter="full") == Backoff()
    bounds = [DEFAULT_BACKOFF.delay(n, lambda: 1.0) for n in range(7)]
    assert bounds == pytest.approx([0.05, 0.1, 0.2, 0.4, 0.8, 1.0, 1.0])


def test_it_shows_its_units() -> None:
    assert repr(Backoff(base=timedelta(seconds=1), cap=2_500)) == (
        "Backoff(base=1000, factor=2, cap=2500, jitter='full')"
    )
    assert str(Backoff(jitter="none")) == "backoff 50 ms x2 up to 1000 ms, none jitter"
    assert str(Retry(3)) == "retry up to 3 times, backoff 50 ms x2 up to 1000 ms, full jitter"
    assert str(Retry(3, backoff=None)) == "retry up to 3 times, at once"


def test_an_unknown_jitter_is_refused() -> None:
    with pytest.raises(ChainDefinitionError, match="`jitter` must be 'full', 'none' or 'decorrelated'; got 'some'"):
        Backoff(jitter="some")  # type: ignore[arg-type]


def test_attempts_are_one_more_than_retries() -> None:
    assert [Retry(2).left(done) for done in range(4)] == [True, True, False, False]
    assert not Retry(0).left(0)


@pytest.mark.parametrize("kind", NEVER_RETRIED)
@pytest.mark.parametrize("on", [Exception, BaseException, (OSError, Exception), lambda _: True])
def test_what_another_attempt_cannot_mend_is_never_retried(kind: type[Exception], on: Any) -> None:
    error = kind.__new__(kind)
    assert Retry(3, on=on).matches(error) is False


@pytest.mark.parametrize(
    ("on", "error", "expected"),
    [
        (Exception, ValueError(), True),
        (Exception, TaskTimedOut("f", 1), True),
        (Exception, NotAccepted("f", 1), True),
        (Exception, "an error value of a returned Failure", True),
        (OSError, ConnectionError(), True),
        (OSError, ValueError(), False),
        (OSError, "an error value", False),
        ((OSError, ValueError), ValueError(), True),
        ((OSError, ValueError), KeyError(), False),
        (TaskTimedOut, TaskTimedOut("f", 1), True),
        (str, "an error value", True),
        (lambda error: False, ValueError(), None),
    ],
)
def test_which_errors_are_worth_it(on: Any, error: object, expected: bool | None) -> None:
    assert Retry(3, on=on).matches(error) is expected


class Busy(Exception):
    def __init__(self, retry_after: Any) -> None:
        super().__init__(retry_after)
        self.retry_after = retry_after


@pytest.mark.parametrize("told", [1, 1.5, 7])
@pytest.mark.parametrize("backoff", [None, Backoff(cap=7_000)])
def test_what_the_server_asks_for_is_waited(told: float, backoff: Backoff | None) -> None:
    assert Retry(3, backoff=backoff).delay(0, Busy(told)) == told


@pytest.mark.parametrize("told", [-1, float("nan"), float("inf"), True, "soon", None, object()])
def test_what_it_cannot_have_meant_is_ignored(told: Any) -> None:
    assert Retry(3, backoff=Backoff(jitter="none")).delay(0, Busy(told)) == 0.05
    assert Retry(3, backoff=None).delay(0, Busy(told)) == 0


def test_an_error_without_a_word_about_it_backs_off() -> None:
    assert Retry(3, backoff=Backoff(jitter="none")).delay(1, ValueError()) == 0.1
    assert Retry(3, backoff=Backoff(jitter="none")).delay(1, Skipped()) == 0.1
