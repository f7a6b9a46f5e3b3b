"""Figures and how sure they are: draws, arrivals, percentiles, intervals, differences."""

from __future__ import annotations

import math
import pickle
import random
from collections.abc import Callable
from datetime import timedelta
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from scipy.stats.mstats import hdquantiles

from rio_chain import ChainDefinitionError
from rio_chain._core.quantiles import quantile
from rio_chain.simulation import Distribution, Estimate, _confidence_intervals, poisson, regular, trace
from rio_chain.simulation._random_draws import Draws


def test_a_draw_follows_from_its_place_alone() -> None:
    draws = Draws(seed=1)
    there = [draws.at(5, 2, 1).random() for _ in range(2)]
    draws.at(9, 9, 9).gauss()  # leaves half of a pair behind
    assert [draws.at(5, 2, 1).random(), draws.at(5, 2, 1).random()] == there
    assert draws.at(5, 2, 1).gauss() == draws.at(5, 2, 1).gauss()


def test_draws_of_neighbours_and_seeds_have_nothing_in_common() -> None:
    a = [Draws(0).at(i, 0, 0).random() for i in range(4000)]
    others = [
        [Draws(1).at(i, 0, 0).random() for i in range(4000)],
        [Draws(0).at(i, 0, 1).random() for i in range(4000)],
    ]
    for b in [*others, [*a[1:], a[0]]]:
        product = sum((x - 0.5) * (y - 0.5) for x, y in zip(a, b, strict=True)) / 4000 * 12
        assert abs(product) < 4 / math.sqrt(4000)  # the correlation


def test_draws_are_uniform() -> None:
    draws = Draws(3)
    counts = [0] * 10
    for i in range(10_000):
        counts[int(draws.at(i).random() * 10)] += 1
    assert sum((count - 1000) ** 2 / 1000 for count in counts) < 27.9  # chi squared, 9 degrees, 1 in 1000


def test_draws_give_bits_as_random_does() -> None:
    draws = Draws(0).at(1)
    assert all(0 <= draws.getrandbits(70) < 2**70 for _ in range(100))
    assert {draws.randrange(3) for _ in range(100)} == {0, 1, 2}


def test_poisson_arrivals_come_at_their_rate() -> None:
    instants = list(poisson(50).instants(20_000, seed=2))
    assert instants[-1] == pytest.approx(400, rel=0.03)
    assert instants == list(poisson(50).instants(20_000, seed=2))
    gaps = [b - a for a, b in pairwise(instants)]
    assert sum(gap > 0.02 for gap in gaps) / len(gaps) == pytest.approx(math.exp(-1), rel=0.03)


def test_regular_arrivals_come_at_even_distances() -> None:
    assert list(regular(20).instants(4, seed=0)) == [0, 0.05, 0.1, 0.15]


def test_a_trace_begins_with_its_first_instant() -> None:
    assert list(trace([1000, 1020, timedelta(seconds=2)]).instants(9, seed=0)) == pytest.approx([0, 0.02, 1])


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: poisson(0), "`per_second` must be a finite number, more than 0; got 0"),
        (lambda: poisson(math.nan), "`per_second`"),
        (lambda: regular(-3), "`per_second`"),
        (lambda: trace([]), "at least one instant"),
        (lambda: trace([5, 3]), "in order of time; number 1 is 3 ms, after 5 ms: write trace(sorted(...))"),
        (lambda: trace([0, math.inf]), "`instant`"),
        (lambda: trace("0, 20"), "instants in milliseconds"),
        (lambda: trace(5), "instants in milliseconds"),
    ],
)
def test_arrivals_that_are_none_are_refused(make: Callable[[], Any], says: str) -> None:
    with pytest.raises(ChainDefinitionError) as refused:
        make()
    assert says in str(refused.value)


def test_percentiles_are_those_of_the_nearest_rank() -> None:
    took = Distribution(range(1, 1001))
    assert (took.p50, took.p90, took.p95, took.p99, took.p999) == (500, 900, 950, 990, 999)


def test_an_interval_of_a_percentile_covers_it_95_times_of_100() -> None:
    draws = random.Random(1)
    covered = {0.5: 0, 0.99: 0}
    for _ in range(300):
        took = Distribution(draws.expovariate(1) for _ in range(400))
        for q in covered:
            found = took.quantile(q)
            covered[q] += found.low <= -math.log(1 - q) <= found.high
    assert all(count >= 285 - 15 for count in covered.values())  # 4 standard deviations below 95 %


def test_an_interval_of_what_is_not_independent_is_wider() -> None:
    draws = random.Random(5)
    alone = [draws.random() for _ in range(2000)]
    together = [value for value in alone[:40] for _ in range(50)]  # the same number of values, of 40 that are free
    wide, narrow = Distribution(together).p50, Distribution(alone).p50
    assert wide.high - wide.low > 3 * (narrow.high - narrow.low)
    assert Distribution(together).mean.high - Distribution(together).mean.low > 0.1


def test_where_there_are_too_few_the_bound_is_infinite() -> None:
    assert Distribution(range(100)).p999.high == math.inf
    assert Distribution(range(10)).mean.high == math.inf


def test_binomial_bounds_leave_2_5_percent_on_either_side() -> None:
    low, high = _confidence_intervals.binomial_bounds(100, 0.5)
    assert (low, high) == (40, 61)  # as every table has it
    assert _confidence_intervals.binomial_bounds(20, 0.99) == (19, 21)  # no bound above


def test_a_share_has_the_interval_of_wilson() -> None:
    found = _confidence_intervals.share_of([True] * 8 + [False] * 2)
    assert (found, found.low, found.high) == pytest.approx((0.8, 0.4901625, 0.9433178), abs=1e-6)
    every, none = (_confidence_intervals.share_of([flag] * 50) for flag in (True, False))
    assert (every.high, none.low) == (1, 0)


def test_a_share_of_what_is_not_independent_is_less_sure() -> None:
    alone = _confidence_intervals.share_of([i % 10 != 0 for i in range(2000)])
    together = _confidence_intervals.share_of([i >= 200 for i in range(2000)])  # those that fail follow each other
    assert alone == together == 0.9
    assert together.low < alone.low < 0.9 < alone.high < together.high


def test_a_difference_of_two_that_never_end_is_none() -> None:
    found = _confidence_intervals.difference([math.inf, math.inf, 1.0, 0.3], [math.inf, 1.0, math.inf, 0.1])
    assert list(found) == [0, math.inf, -math.inf, 0.2]


def test_an_estimate_is_a_number_that_knows_its_bounds() -> None:
    gain = Estimate(12.0, 3.0, 20.0)
    assert gain + 1 == 13
    assert gain.significant
    assert not Estimate(1, -1, 2).significant
    again = pickle.loads(pickle.dumps(gain))  # noqa: S301 - our own
    assert (again, again.low, again.high) == (gain, 3.0, 20.0)
    assert repr(gain) == "12.0 (3 .. 20.0)"


def test_drawn_again_with_the_same_blocks_what_is_common_cancels() -> None:
    draws = random.Random(4)
    a = [draws.expovariate(1) for _ in range(2000)]
    b = [value + 0.1 for value in a]
    weights = _confidence_intervals.bootstrap_weights(2000, seed=0)
    first, second = (_confidence_intervals.bootstrap_quantiles(values, [0.5, 0.99], weights) for values in (a, b))
    assert _confidence_intervals.difference(second, first) == pytest.approx(np.full((len(weights), 2), 0.1))


def test_with_each_block_once_the_quantiles_are_those_of_the_whole() -> None:
    draws = random.Random(4)
    values = [draws.random() for _ in range(997)]
    once = np.ones((1, _confidence_intervals.BLOCKS), dtype=np.int64)
    found = _confidence_intervals.bootstrap_quantiles(values, [0.0001, 0.5, 0.9, 0.999], once)[0]
    assert list(found) == [quantile(sorted(values), q) for q in (0.0001, 0.5, 0.9, 0.999)]
    assert _confidence_intervals.bootstrap_means(values, once)[0] == pytest.approx(sum(values) / 997)


def test_a_smooth_quantile_is_that_of_harrell_and_davis() -> None:
    draws = random.Random(4)
    values = [draws.expovariate(1) for _ in range(500)]
    for q in (0.5, 0.99):
        [expected] = hdquantiles(values, [q])
        assert _confidence_intervals.smooth_quantile(values, q) == pytest.approx(float(expected))
    assert _confidence_intervals.smooth_quantile([1.0] * 90 + [math.inf] * 10, 0.99) > 1e8


@pytest.mark.parametrize("q", [0, 1, 1.5, math.nan, "p99"])
def test_a_quantile_that_is_none_is_refused(q: Any) -> None:
    with pytest.raises(ChainDefinitionError, match="`q` must be"):
        Distribution([1.0]).quantile(q)
