"""Replica, the choosers and Quantile: when calls start and which answer wins."""

import functools
import math
import re
from collections.abc import Callable, Sized
from typing import Any

import pytest

from rio_chain import ChainDefinitionError
from rio_chain.policies import Chooser, Quantile, Replica, first
from rio_chain.policies._best_and_quorum import best, quorum
from rio_chain.policies._chooser import Arrival, Ask, Decision


def arrivals(chooser: Chooser, *values: Any, at: float = 0.0) -> list[Arrival]:
    """Answers of replica 0, 1, ... one second apart, marked by the chooser's own callback."""
    fn = chooser.ask.fn if chooser.ask is not None else lambda value: value
    return [Arrival(i, value, fn(value), at + i) for i, value in enumerate(values)]


class TestFirst:
    def test_the_first_wins(self) -> None:
        chooser = first()
        assert chooser.ask is None
        assert chooser.good(None)
        assert chooser.decide([], left=2, now=0) == Decision(missing=1)
        assert chooser.decide(arrivals(chooser, "a", "b"), left=0, now=9) == Decision(winner=0)

    def test_with_accept_the_first_that_is_accepted(self) -> None:
        chooser = first(accept=bool)
        assert chooser.ask == Ask("accept", bool)
        assert [chooser.good(mark) for mark in (True, False, 0)] == [True, False, False]

    def test_nobody_is_left(self) -> None:
        assert first().decide([], left=0, now=0).hopeless


class TestBest:
    chooser = best(len, within=2000)

    def test_it_waits_for_others_until_the_window_ends(self) -> None:
        came = arrivals(self.chooser, "a", "bbb", at=10)
        assert self.chooser.decide([], left=3, now=10) == Decision(missing=1)
        assert self.chooser.decide(came[:1], left=2, now=10) == Decision(until=12)
        assert self.chooser.decide(came, left=1, now=11.5) == Decision(until=12)
        assert self.chooser.decide(came, left=1, now=12) == Decision(winner=1)

    def test_it_does_not_wait_for_nobody(self) -> None:
        assert self.chooser.decide(arrivals(self.chooser, "a", "bbb", "cc"), left=0, now=2) == Decision(winner=1)

    def test_enough_ends_it(self) -> None:
        chooser = best(len, within=2000, enough=2)
        assert chooser.decide(arrivals(chooser, "a", "bb"), left=1, now=1) == Decision(winner=1)

    def test_of_equals_the_first(self) -> None:
        assert self.chooser.decide(arrivals(self.chooser, "b", "a"), left=0, now=1) == Decision(winner=0)

    def test_no_window_is_the_best_of_those_that_are_there(self) -> None:
        chooser = best(len, within=0)
        assert chooser.decide(arrivals(chooser, "a"), left=1, now=0) == Decision(winner=0)

    def test_none_and_nan_are_not_acceptable(self) -> None:
        marks = {"none": None, "nan": math.nan, "fine": 3}
        ask = best(marks.__getitem__, within=1).ask
        assert ask is not None
        assert [self.chooser.good(ask.fn(value)) for value in marks] == [False, False, True]

    def test_a_score_must_be_a_number(self) -> None:
        ask = best(str, within=1).ask  # type: ignore[arg-type]  # the point
        assert ask is not None
        assert (ask.role, ask.fn.__name__) == ("score", "str")
        with pytest.raises(TypeError, match="a score must be a number, or None for an unacceptable answer; got '7'"):
            ask.fn(7)


class TestQuorum:
    def test_so_many_must_agree(self) -> None:
        chooser = quorum(2)
        assert chooser.least == 2
        came = arrivals(chooser, {"a": 1}, {"b": 2}, {"a": 1})
        assert chooser.decide([], left=3, now=0) == Decision(missing=2)
        assert chooser.decide(came[:1], left=2, now=0) == Decision(missing=1)
        assert chooser.decide(came[:2], left=1, now=0) == Decision(missing=1)
        assert chooser.decide(came, left=0, now=0) == Decision(winner=0)

    def test_hopeless(self) -> None:
        chooser = quorum(3)
        assert chooser.decide(arrivals(chooser, 1, 2), left=2, now=0) == Decision(missing=2)
        assert chooser.decide(arrivals(chooser, 1, 2), left=1, now=0) == Decision(missing=2, hopeless=True)

    def test_by(self) -> None:
        chooser = quorum(2, by=str.lower)
        assert chooser.decide(arrivals(chooser, "b", "A", "a"), left=0, now=0) == Decision(winner=1)
        assert chooser.ask == Ask("by", str.lower)


class TestReplica:
    def test_all_at_once(self) -> None:
        replica = Replica(3)
        assert (replica.delay(), replica.starts(started=0, running=0, missing=1)) == (0.0, 3)

    def test_after_a_delay_or_a_failure(self) -> None:
        replica = Replica(3, after=0.02)
        assert replica.delay() == 0.02
        assert replica.starts(started=0, running=0, missing=1) == 1
        assert replica.starts(started=1, running=1, missing=1) == 0
        assert replica.starts(started=2, running=1, missing=1, failed=True) == 1
        assert replica.starts(started=3, running=0, missing=1, failed=True) == 0

    def test_one_at_a_time(self) -> None:
        replica = Replica(2, after=None)
        assert replica.delay() is None
        assert replica.starts(started=1, running=0, missing=1, failed=True) == 1

    def test_a_quorum_starts_as_many_as_it_takes(self) -> None:
        replica = Replica(5, after=0.02, pick=quorum(3))
        assert replica.starts(started=0, running=0, missing=3) == 3
        assert replica.starts(started=3, running=1, missing=2) == 1, "two disagree"

    def test_a_quantile_says_when(self) -> None:
        late = Quantile(0.5, warmup=2)
        replica = Replica(2, after=late)
        assert replica.delay() is None, "no data, no hedge"
        late.add(0.1)
        late.add(0.3)
        assert replica.delay() == pytest.approx(0.2)

    @pytest.mark.parametrize(
        ("replica", "text"),
        [
            (Replica(2), "2 replicas, all at once, the first answer wins"),
            (Replica(2, 0.02, first(bool)), "2 replicas, after 20 ms, the first that bool accepts wins"),
            (Replica(3, None, quorum(2, len)), "3 replicas, one at a time, what 2 agree on wins, compared by len"),
            (
                Replica(2, Quantile(0.09), best(len, 9, 9)),
                "2 replicas, after the p9 of latencies, the best by len within 9 ms of the first wins, or 9 is reached",
            ),
        ],
    )
    def test_its_text(self, replica: Replica, text: str) -> None:
        assert str(replica) == text

    @pytest.mark.parametrize(
        "chooser", [first(), first(accept=len), best(len, within=0.1), best(len, 5, 1.5), quorum(2), quorum(1, by=len)]
    )
    def test_a_chooser_is_data_with_its_source_as_repr(self, chooser: Chooser) -> None:
        names = {"first": first, "best": best, "quorum": quorum, "len": len}
        again = eval(repr(chooser), names)  # noqa: S307 - our own
        assert (again, hash(again)) == (chooser, hash(chooser))


class TestQuantile:
    def test_it_has_no_value_before_its_warm_up(self) -> None:
        late = Quantile(0.5, warmup=3)
        late.add(1)
        late.add(3)
        assert late.value() is None
        assert repr(late) == "<Quantile p50 2 of 3 answers to warm up>"
        late.add(2)
        assert late.value() == 2
        assert repr(late) == "<Quantile p50 of 3 answers: 2000 ms>"

    def test_old_answers_age_away(self) -> None:
        late = Quantile(0.9, warmup=1, window=10)
        for _ in range(10):
            late.add(5.0)
        for _ in range(10):
            late.add(0.1)
        assert late.value() == pytest.approx(0.1)

    def test_what_is_no_latency_is_not_counted(self) -> None:
        late = Quantile(warmup=1)
        for odd in (math.nan, -1.0, math.inf):
            late.add(odd)
        assert late.value() is None


async def later(_: object) -> bool:
    return True


def two(a: object, b: object) -> bool:
    return a is b


@functools.wraps(two)
def of_one(value: object) -> bool:
    return two(value, value)


@functools.wraps(len)
def of_two(value: Sized, least: int) -> bool:
    return len(value) >= least


def test_a_decorated_function_is_judged_by_what_is_called() -> None:
    assert first(accept=of_one).accept is of_one


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: first(accept=of_two), "and `len` can't be called with just one argument"),
        (lambda: first(accept=3), "`accept` must be a function of the value that returns True or False; got 3"),
        (
            lambda: first(accept=later),
            "`accept` must be a function of the value that returns True or False; got the async",
        ),
        (lambda: first(accept=two), "and `two` can't be called with just one argument"),
        (lambda: best("len", 5), "`score` must be a function of the value that returns a number; got 'len'"),
        (lambda: best(len, -5), "`within` must be a finite number of milliseconds (or a timedelta), 0 or more; got -5"),
        (lambda: best(len, 5, enough="all"), "`enough` must be a finite number; got 'all'"),
        (lambda: quorum(0), "`k` must be a whole number, 1 or more; got 0"),
        (lambda: quorum(1, by=1), "`by` must be a function of the value that returns what is compared; got 1"),
        (lambda: Replica(0), "`n` must be a whole number, 1 or more; got 0"),
        (
            lambda: Replica(2, pick=quorum(3)),
            "`pick` must not need more than 2 answers, as there are no more replicas; got quorum(3)",
        ),
        (lambda: Quantile(1), "`q` must be more than 0 and less than 1; got 1"),
        (lambda: Quantile(0), "`q` must be a finite number, more than 0; got 0"),
        (lambda: Quantile(warmup=0), "`warmup` must be a whole number, 1 or more; got 0"),
        (
            lambda: Quantile(warmup=9, window=5),
            "`warmup` must be at most `window`, which is 5, else there is never a value",
        ),
    ],
)
def test_bad_input(make: Callable[[], object], text: str) -> None:
    with pytest.raises(ChainDefinitionError, match=re.escape(text)):
        make()
