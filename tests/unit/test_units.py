"""Durations and numbers: what is taken, what is refused, and how both are shown."""

from __future__ import annotations

import math
import sys
from datetime import timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rio_chain import ChainDefinitionError
from rio_chain._core.units import count, escape_nonprintable, format_duration, milliseconds, number, seconds, short_repr


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (100, 0.1),
        (0.5, 0.0005),
        (timedelta(seconds=2), 2.0),
        (timedelta(microseconds=1), 1e-6),
        (Fraction(1, 2), 0.0005),
        (1e12, 1e9),
    ],
)
def test_milliseconds_become_float_seconds(value: Any, expected: float) -> None:
    got = seconds(value, "limit")
    assert (type(got), got) == (float, expected)


@pytest.mark.parametrize(
    "value",
    [-1, -0.001, math.nan, math.inf, -math.inf, True, "100", None, [1], 1j, Decimal(1), timedelta(seconds=-1)],
)
@pytest.mark.parametrize("zero", [True, False])
def test_what_is_no_duration_is_refused(value: Any, zero: bool) -> None:
    with pytest.raises(ChainDefinitionError) as caught:
        seconds(value, "limit", zero=zero)
    rule = "0 or more" if zero else "more than 0"
    assert (
        str(caught.value)
        == f"`limit` must be a finite number of milliseconds (or a timedelta), {rule}; got {short_repr(value)}"
    )


@pytest.mark.parametrize("value", [0, 0.0, timedelta(0)])
def test_zero_is_a_duration_where_that_makes_sense(value: Any) -> None:
    assert seconds(value, "limit", zero=True) == 0
    with pytest.raises(ChainDefinitionError, match="more than 0"):
        seconds(value, "limit")


@given(st.floats(0, 1e15))
def test_milliseconds_go_in_and_come_out(value: float) -> None:
    assert milliseconds(seconds(value, "limit", zero=True)) == pytest.approx(value, rel=1e-15)


@given(st.timedeltas(timedelta(0), timedelta(days=10_000)))
def test_a_timedelta_is_its_milliseconds(value: timedelta) -> None:
    assert seconds(value, "limit", zero=True) == pytest.approx(
        seconds(value / timedelta(milliseconds=1), "x", zero=True)
    )


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0.1, "100 ms"), (0.00005, "0.05 ms"), (30.0, "30000 ms"), (0.0, "0 ms"), (1 / 3, "333.3333333 ms")],
)
def test_a_span_shows_its_unit(value: float, expected: str) -> None:
    assert format_duration(value) == expected


@pytest.mark.parametrize(("value", "least"), [(0, 0), (1, 1), (sys.maxsize, 0)])
def test_a_count(value: int, least: int) -> None:
    assert count(value, "workers", least=least) == value


@pytest.mark.parametrize("value", [-1, 1.0, True, "1", None, math.nan])
def test_what_is_no_count(value: Any) -> None:
    with pytest.raises(ChainDefinitionError) as caught:
        count(value, "workers")
    assert str(caught.value) == f"`workers` must be a whole number, 0 or more; got {short_repr(value)}"


def test_a_count_below_its_least() -> None:
    with pytest.raises(ChainDefinitionError, match="`workers` must be a whole number, 1 or more; got 0"):
        count(0, "workers", least=1)


@pytest.mark.parametrize("value", [sys.maxsize + 1, 10**400])
def test_a_count_that_no_collection_can_have(value: int) -> None:
    with pytest.raises(ChainDefinitionError, match=f"`workers` must be a whole number, {sys.maxsize} or less; got "):
        count(value, "workers")


@pytest.mark.parametrize("value", [0, -5, 2.5, Fraction(1, 2)])
def test_a_number(value: Any) -> None:
    got = number(value, "priority")
    assert (type(got), got) == (float, float(value))


@pytest.mark.parametrize("value", [math.nan, math.inf, True, "1", None, 1j])
def test_what_is_no_number(value: Any) -> None:
    with pytest.raises(ChainDefinitionError) as caught:
        number(value, "priority")
    assert str(caught.value) == f"`priority` must be a finite number; got {short_repr(value)}"


def test_a_number_out_of_its_range() -> None:
    with pytest.raises(ChainDefinitionError, match=r"`factor` must be a finite number, 1 or more; got 0\.5"):
        number(0.5, "factor", least=1)
    with pytest.raises(ChainDefinitionError, match="`factor` must be a finite number, more than 0; got 0"):
        number(0, "factor", above=0)


class Broken:
    def __repr__(self) -> str:
        raise RuntimeError("no")


class Spoofed:
    def __repr__(self) -> str:
        return "\x1b[2J<script>\n\u202eevil"


def test_a_value_is_shown_on_one_short_line_whatever_it_is() -> None:
    assert "Broken" in short_repr(Broken())
    assert short_repr(Spoofed()) == r"\x1b[2J<script>\n\u202eevil"
    assert len(short_repr("x" * 10_000)) < 80
    assert len(short_repr(list(range(10_000)))) < 80
    assert len(short_repr(dict.fromkeys(range(10_000)))) < 80


def test_a_dict_is_shown_in_its_own_order() -> None:
    assert short_repr({"user": 1, "a": {"z": 2, "b": 3}}) == "{'user': 1, 'a': {'z': 2, 'b': 3}}"
    assert short_repr({9: 1, 8: 2, 7: 3, 6: 4, 5: 5}) == "{9: 1, 8: 2, 7: 3, 6: 4, ...}"
    deep = {1: {}, 0: {1: {1: {1: {1: {1: {1: {}}}}}}}}
    assert short_repr(deep) == "{1: {}, 0: {1: {1: {1: {1: {1: {...}}}}}}}"


@given(st.text())
def test_inert_text_is_printable_ascii(text: str) -> None:
    assert all(" " <= c <= "~" for c in escape_nonprintable(text))
    assert not text.isascii() or not text.isprintable() or escape_nonprintable(text) == text


@given(st.recursive(st.none() | st.text() | st.binary() | st.floats(), st.lists))
def test_any_value_can_be_shown(value: Any) -> None:
    text = short_repr(value)
    assert all(" " <= c <= "~" for c in text)
