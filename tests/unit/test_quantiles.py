"""The quantiles that need no numpy are those that numpy gives."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rio_chain._core.quantiles import nearest_rank, quantile


@given(st.lists(st.floats(0, 1e3), min_size=1, max_size=60), st.integers(1, 999))
def test_they_are_those_of_numpy(values: list[float], permille: int) -> None:
    ordered, q = sorted(values), permille / 1000
    weights = np.ones(len(values))  # with weights numpy divides, and is exact where `q * count` is not
    assert quantile(ordered, q) == np.quantile(ordered, q, method="inverted_cdf", weights=weights)
    assert quantile(ordered, q, interpolate=True) == pytest.approx(np.quantile(ordered, q), abs=1e-9)


def test_the_nearest_rank_is_exact_where_a_product_is_not() -> None:
    assert 0.07 * 100 > 7
    assert nearest_rank(0.07, 100) == 6


def test_those_of_the_nearest_rank_are_values_that_occurred() -> None:
    values = [float(n) for n in range(1, 101)]
    assert [quantile(values, q) for q in (0.5, 0.95, 0.99)] == [50, 95, 99]
    assert quantile([7.0], 0.5) == 7


def test_the_ends_are_the_least_and_the_greatest() -> None:
    assert [quantile([1.0, 2.0, 9.0], q, interpolate=i) for q in (0, 1) for i in (False, True)] == [1, 1, 9, 9]
