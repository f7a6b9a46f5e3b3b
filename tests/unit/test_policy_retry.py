"""Retry and Backoff: which errors are retried, and after how long."""

from __future__ import annotations

import math
import pickle
from datetime import UTC, datetime, timedelta, tzinfo
from fractions import Fraction
from typing import Any

import attrs
import pytest
from conformance.policies.backends import RetryAfter
from hypothesis import given
from hypothesis import strategies as st
from refusals import refused

from rio_chain import (
    Backoff,
    BridgeFailed,
    CallbackFailed,
    ChainDefinitionError,
    CircuitOpen,
    LimitExceeded,
    NotAccepted,
    Skipped,
    TaskTimedOut,
)
from rio_chain.errors import NEVER_RETRIED
from rio_chain.policies import DEFAULT_BACKOFF, Accept, ByClass, Retry, Wait
from rio_chain.policies._match_errors import matches
from rio_chain.policies._retry_after import parse_retry_after

TODAY = datetime(2026, 1, 1, tzinfo=UTC)
FLAT = Backoff(base=10, factor=1, cap=10, jitter="none")


class Odd(float):
    def __float__(self) -> float:
        raise ZeroDivisionError


class OddText(str):
    __slots__ = ()

    def __float__(self) -> float:
        raise RecursionError


class OddZone(tzinfo):
    date: datetime

    def utcoffset(self, _: datetime | None) -> timedelta:
        raise LookupError


OddZone.date = datetime(2026, 1, 1, tzinfo=OddZone())


class TestBackoff:
    def test_exponential_up_to_the_cap(self) -> None:
        waits = [Backoff(base=50, factor=2, cap=300, jitter="none").delay(i) for i in range(5)]
        assert waits == [0.05, 0.1, 0.2, 0.3, 0.3]

    def test_factor_one_is_constant(self) -> None:
        assert [FLAT.delay(i) for i in range(3)] == [0.01] * 3

    def test_full_jitter_draws_below_the_bound(self) -> None:
        backoff = Backoff(base=100, factor=2, cap=1000)
        assert (backoff.delay(1, lambda: 0.0), backoff.delay(1, lambda: 0.5)) == (0.0, 0.1)

    def test_decorrelated_jitter_draws_between_the_base_and_three_times_the_delay_before(self) -> None:
        backoff = Backoff(base=100, cap=1000, jitter="decorrelated")
        assert backoff.delay(0, lambda: 0.0) == 0.1
        assert backoff.delay(0, lambda: 1.0) == pytest.approx(0.3)
        assert backoff.delay(1, lambda: 0.5, previous=0.2) == pytest.approx(0.35)
        assert backoff.delay(1, lambda: 1.0, previous=0.9) == 1.0
        assert backoff.delay(1, lambda: 0.5, previous=0.0) == 0.1  # the server may have asked for 0

    def test_a_number_of_retries_that_no_float_holds_is_the_cap(self) -> None:
        assert Backoff(jitter="none").delay(10_000) == 1.0
        assert Backoff(base=0, jitter="none").delay(10_000) == 0.0
        assert Backoff(base=0, jitter="decorrelated").bound(10_000) == 0.0

    @pytest.mark.parametrize(
        "backoff",
        [
            Backoff(),
            Backoff(base=0.1 + 0.2, factor=1 + 1 / 3, cap=timedelta(seconds=7.000001), jitter="decorrelated"),
            Backoff(max_retry_after=60_000),
            Backoff(max_retry_after=timedelta(seconds=7.000001)),
        ],
    )
    def test_the_repr_is_source(self, backoff: Backoff) -> None:
        assert eval(repr(backoff), {"Backoff": Backoff, "timedelta": timedelta}) == backoff  # noqa: S307 - our own

    def test_the_texts_have_units(self) -> None:
        assert str(Backoff()) == "backoff 50 ms x2 up to 1000 ms, full jitter"
        assert str(Backoff(jitter="decorrelated")) == "backoff from 50 ms up to 1000 ms, decorrelated jitter"
        assert str(Backoff(max_retry_after=5_000)) == (
            "backoff 50 ms x2 up to 1000 ms, full jitter, servers may ask for up to 5000 ms"
        )

    @pytest.mark.parametrize("most", [-1, math.nan, math.inf, True, "60"])
    def test_a_most_that_is_no_duration(self, most: Any) -> None:
        rule = "`max_retry_after` must be a finite number of milliseconds (or a timedelta), 0 or more; got "
        refused(lambda: Backoff(max_retry_after=most), rule)

    def test_a_jitter_that_is_none(self) -> None:
        jitter: Any = "half"
        refused(
            lambda: Backoff(jitter=jitter), "`jitter` must be 'full', 'equal', 'none' or 'decorrelated'; got 'half'"
        )


class TestRetryAfter:
    @pytest.mark.parametrize(
        ("asked", "seconds"),
        [
            (2, 2.0),
            (0, 0.0),
            (0.5, 0.5),
            ("120", 120.0),
            (timedelta(seconds=3), 3.0),
            (TODAY + timedelta(seconds=9), 9.0),
            (TODAY - timedelta(days=1), 0.0),
            ("Thu, 01 Jan 2026 00:00:07 GMT", 7.0),
            ("Thu, 01 Jan 2026 00:00:07 -0000", 7.0),
            ("Wed, 31 Dec 2025 00:00:00 GMT", 0.0),
            ("Thursday, 01-Jan-26 00:00:07 GMT", 7.0),
            (Fraction(1, 2), 0.5),
        ],
    )
    def test_what_is_meant(self, asked: object, seconds: float) -> None:
        assert parse_retry_after(asked, TODAY) == seconds

    @pytest.mark.parametrize(
        "asked",
        [
            *(-1, math.nan, math.inf, -math.inf, 10**400, -(10**400), Fraction(10**400), True, None, [3], object()),
            *("soon", "", "-5", "nan", "inf", "9" * 5000, b"120", bytearray(b"120"), timedelta(-1)),
            *("Wed, 21 Oct 99999999999999999999 07:28:00 GMT", "Wed, 21 Oct 2015 99:28:00 GMT"),
            *("Wed, 21 Oct 2015 07:28:00 +9999", "Wed, 99 Foo 2015 07:28:00 GMT", "1 2 3 4 5 6 7 8", "\x00", "Oct"),
            *(Odd(2.0), OddZone.date, OddText("7")),
        ],
        ids=lambda asked: type(asked).__name__,
    )
    def test_what_can_not_be_read_is_ignored(self, asked: object) -> None:
        assert parse_retry_after(asked, TODAY) is None

    def test_a_date_without_a_zone_is_local_time(self) -> None:
        now = datetime.now(UTC)
        local = (now + timedelta(seconds=30)).astimezone().replace(tzinfo=None)
        assert parse_retry_after(local, now) == pytest.approx(30)

    def test_a_date_beyond_the_calendar(self) -> None:
        assert parse_retry_after(datetime.min, TODAY) in (None, 0.0)  # noqa: DTZ901 - the point

    def test_it_is_waited_without_jitter_where_it_is_the_longer_wait(self) -> None:
        assert [Retry(1).delay(0, RetryAfter(asked), draw=lambda: 0.5) for asked in (0.7, "0.7", 0.01)] == [
            0.7,
            0.7,
            0.025,
        ]
        assert Retry(1, backoff=None).delay(0, RetryAfter("3")) == 3.0

    def test_the_wait_of_the_backoff_is_the_least(self) -> None:
        assert Retry(1, backoff=FLAT).delay(0, RetryAfter(0)) == 0.01
        assert Retry(1, backoff=lambda _: 2.0).delay(0, RetryAfter(0)) == 2.0
        assert Retry(1, backoff=lambda _: 2.0).delay(0, RetryAfter(9)) == 9.0
        assert Retry(1, on={RetryAfter: FLAT}).delay(0, RetryAfter("Wed, 21 Oct 2015 07:28:00 GMT")) == 0.01

    def test_the_cap_is_the_most_unless_more_is_allowed(self) -> None:
        patient = Backoff(cap=100, jitter="none", max_retry_after=timedelta(seconds=60))
        assert Retry(1).delay(0, RetryAfter(3600)) == 1.0
        assert [Retry(1, backoff=patient).delay(0, RetryAfter(asked)) for asked in (20, 3600)] == [20.0, 60.0]
        assert Retry(1, on={RetryAfter: patient}, backoff=None).delay(0, RetryAfter(20)) == 20.0
        assert Retry(1, backoff=Backoff(jitter="none", max_retry_after=0)).delay(0, RetryAfter(20)) == 0.05

    def test_nonsense_leaves_it_to_the_backoff(self) -> None:
        assert Retry(1, backoff=FLAT).delay(0, RetryAfter(-1)) == 0.01

    def test_what_a_function_said_wins_over_the_attribute(self) -> None:
        retry = Retry(1, backoff=Backoff(base=10, jitter="none", cap=5_000), retry_after=lambda _: None)
        assert retry.delay(0, RetryAfter(7), retry_after=timedelta(seconds=2)) == 2.0
        assert retry.delay(0, RetryAfter(7), retry_after=None) == 0.01

    def test_an_attribute_that_raises_is_none(self) -> None:
        class Odd(Exception):
            @property
            def retry_after(self) -> float:
                raise LookupError

        assert Retry(1, backoff=FLAT).delay(0, Odd()) == 0.01


class TestOn:
    def test_by_class_tuple_and_predicate(self) -> None:
        assert matches(OSError, ConnectionError()) is True
        assert matches((OSError, ValueError), KeyError()) is False
        assert matches(callable, KeyError()) is None

    def test_exception_also_means_the_error_value_of_a_failure(self) -> None:
        assert Retry(1).matches("no exception at all") is True
        assert Retry(1, on=OSError).matches("no exception at all") is False

    @pytest.mark.parametrize(
        "error", [CircuitOpen(), LimitExceeded(), BridgeFailed("b", "x", "y", 1), CallbackFailed("on", "f", 1)]
    )
    @pytest.mark.parametrize("on", [Exception, callable, {Exception: None}])
    def test_what_another_attempt_cannot_mend_is_never_retried(self, on: Any, error: Exception) -> None:
        assert Retry(3, on=on).matches(error) is False

    def test_a_timeout_is_retried(self) -> None:
        assert Retry(3).matches(TaskTimedOut("f", 10)) is True

    def test_left_counts_retries(self) -> None:
        assert [Retry(2).left(done) for done in range(3)] == [True, True, False]


class TestByClass:
    retry = Retry(3, on={OSError: FLAT, ConnectionError: Backoff(base=20, jitter="none"), ValueError: None})

    def test_the_class_nearest_to_the_error_counts(self) -> None:
        assert [self.retry.delay(0, e()) for e in (OSError, ConnectionResetError, UnicodeError)] == [0.01, 0.02, 0.0]

    def test_others_do_not_match(self) -> None:
        assert [self.retry.matches(e) for e in (OSError(), KeyError(), "text")] == [True, False, False]

    def test_exception_means_error_values_too(self) -> None:
        retry = Retry(1, on={Exception: FLAT})
        assert retry.matches("text") is True
        assert retry.delay(0, "text") == 0.01

    def test_it_is_data(self) -> None:
        same = Retry(3, on={OSError: FLAT, ConnectionError: Backoff(base=20, jitter="none"), ValueError: None})
        assert (same, hash(same)) == (self.retry, hash(self.retry))
        assert isinstance(same.on, ByClass)
        assert list(same.on) == [OSError, ConnectionError, ValueError]
        assert repr(Retry(1, on={ValueError: None}).on) == "{ValueError: None}"

    def test_its_text(self) -> None:
        assert str(Retry(2, on={OSError: FLAT, ValueError: None})) == (
            "retry up to 2 times, OSError: backoff 10 ms x1 up to 10 ms, none jitter, ValueError: at once"
        )

    @pytest.mark.parametrize("on", [{}, {3: None}, {"OSError": FLAT}])
    def test_what_is_no_mapping_of_classes(self, on: Any) -> None:
        refused(lambda: Retry(1, on=on), "`on` must be an exception class or a tuple of them; got ")

    def test_a_backoff_that_is_none(self) -> None:
        refused(lambda: Retry(1, on={OSError: 5}), "`backoff` must be a Backoff, such as Backoff(base=50), ")


class TestWaitsMadeElsewhere:
    @pytest.mark.parametrize("backoff", [3, "full", Backoff, lambda: 1.0])
    def test_what_is_no_backoff(self, backoff: Any) -> None:
        refused(lambda: Retry(1, backoff=backoff), "`backoff` must be a Backoff, such as Backoff(base=50), a tenacity ")

    def test_an_async_function_is_none(self) -> None:
        async def wait(_: object) -> float:
            return 1.0

        refused(lambda: Retry(1, backoff=wait), "got the async function `wait`, which nothing awaits here")

    def test_what_it_is_called_with(self) -> None:
        seen: list[Any] = []

        def wait(state: Any) -> timedelta:
            seen.append(state)
            return timedelta(seconds=2)

        error = OSError()
        assert Retry(5, backoff=wait).delay(2, error, elapsed=1.5, idle=0.5) == 2.0
        state = seen[0]
        assert (state.attempt_number, state.outcome.exception(), state.outcome.failed) == (3, error, True)
        assert (state.seconds_since_start, state.idle_for) == (1.5, 0.5)

    @pytest.mark.parametrize("gave", [None, -1, math.nan, math.inf, True, "1"])
    def test_it_must_give_seconds(self, gave: Any) -> None:
        def odd(_: object) -> Any:
            return gave

        with pytest.raises(TypeError, match="a wait must give finite seconds, 0 or more; odd gave "):
            Retry(1, backoff=odd).delay(0, OSError())

    def test_its_errors_are_those_of_the_users_code(self) -> None:
        def odd(_: object) -> float:
            return 1.0

        assert isinstance(Retry(1, backoff=odd).waits(OSError()), Wait)
        assert Retry(1, backoff=odd) == Retry(1, backoff=odd)
        assert str(Retry(1, backoff=odd)) == "retry once, backoff by odd"

    def test_tenacity(self) -> None:
        tenacity = pytest.importorskip("tenacity")
        made = tenacity.wait_fixed(1) + tenacity.wait_exponential(multiplier=2, max=10)
        retry = Retry(9, backoff=made)
        assert [retry.delay(i, OSError()) for i in range(4)] == [3, 5, 9, 11]
        chained = Retry(9, on={OSError: tenacity.wait_chain(tenacity.wait_fixed(1), tenacity.wait_fixed(7))})
        assert [chained.delay(i, OSError()) for i in range(3)] == [1, 7, 7]
        asked = Retry(9, backoff=tenacity.wait_exception(lambda error: error.args[0]))
        assert asked.delay(0, OSError(4)) == 4
        for wait in (tenacity.wait_random(1, 2), tenacity.wait_random_exponential(), tenacity.wait_incrementing(1, 1)):
            assert Retry(9, backoff=wait).delay(1, OSError()) >= 0


def test_accept_is_data() -> None:
    assert Accept(bool) == Accept(bool)
    assert str(Accept(bool)) == "accepted answers only"


# --- the decisions by themselves ---

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
    with pytest.raises(
        ChainDefinitionError, match="`jitter` must be 'full', 'equal', 'none' or 'decorrelated'; got 'some'"
    ):
        Backoff(jitter="some")  # type: ignore[arg-type]


def test_attempts_are_one_more_than_retries() -> None:
    assert [Retry(2).left(done) for done in range(4)] == [True, True, False, False]
    assert not Retry(0).left(0)


@pytest.mark.parametrize("kind", NEVER_RETRIED)
@pytest.mark.parametrize("on", [Exception, BaseException, (OSError, Exception), lambda _: True])
def test_errors_that_no_attempt_can_mend_are_never_retried(kind: type[Exception], on: Any) -> None:
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
def test_on_says_which_errors_are_retried(on: Any, error: object, expected: bool | None) -> None:
    assert Retry(3, on=on).matches(error) is expected


@pytest.mark.parametrize("asked", [1, 1.5, 7])
@pytest.mark.parametrize("backoff", [None, Backoff(cap=7_000)])
def test_the_retry_after_of_an_error_is_waited(asked: float, backoff: Backoff | None) -> None:
    assert Retry(3, backoff=backoff).delay(0, RetryAfter(asked)) == asked


@pytest.mark.parametrize("asked", [-1, float("nan"), float("inf"), True, "soon", None, object()])
def test_a_retry_after_that_is_no_duration_is_ignored(asked: Any) -> None:
    assert Retry(3, backoff=Backoff(jitter="none")).delay(0, RetryAfter(asked)) == 0.05
    assert Retry(3, backoff=None).delay(0, RetryAfter(asked)) == 0


def test_an_error_without_retry_after_backs_off() -> None:
    assert Retry(3, backoff=Backoff(jitter="none")).delay(1, ValueError()) == 0.1
    assert Retry(3, backoff=Backoff(jitter="none")).delay(1, Skipped()) == 0.1
