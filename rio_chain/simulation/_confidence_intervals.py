"""Confidence intervals of 95 % for percentiles, means and differences. Pure functions, with numpy and scipy.

* A percentile is between two order statistics, whatever the distribution (David and Nagaraja, *Order Statistics*,
  3rd ed., section 7.1). Requests that wait in one queue are not independent. They count as fewer, by the design effect
  of their batches (Korn and Graubard, *Survey Methodology* 24, 1998).
* A mean uses the means of batches, which are nearly independent (Law, *Simulation Modeling and Analysis*, section
  9.5.3).
* A difference of two runs on common random numbers is bootstrapped from whole blocks of both runs at once
  (Carlstein, *Annals of Statistics* 14, 1986), which keeps what both have in common.
"""

from __future__ import annotations

import importlib
import math
import random
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rio_chain._core.quantiles import quantile as nearest
from rio_chain.simulation._estimate import INF, Estimate

stats: Any = importlib.import_module("scipy.stats")  # it has no types

Floats = NDArray[np.float64]
Weights = NDArray[np.int64]
"""A row for each draw, a column for each block: how often the block counts."""

BATCHES = 20
CONFIDENCE = 0.95
TAILS = (0.025, 0.975)
BLOCKS = 40
DRAWS = 200
"""How often the blocks are drawn."""


def mean(values: Sequence[float]) -> Estimate:
    """The mean, with Student's interval of batch means. With fewer than two values a batch the interval is infinite.

    If no value is negative, the interval does not go below 0.
    """
    middle = math.fsum(values) / len(values)
    least = 0.0 if min(values) >= 0 else -INF
    if len(values) < 2 * BATCHES:
        return Estimate(middle, least, INF)
    half = stats.t.ppf(TAILS[1], BATCHES - 1) * stats.sem(_batch_means(values))
    return Estimate(middle, max(least, middle - float(half)), middle + float(half))


def quantile(ordered: Sequence[float], arrived: Sequence[float], q: float) -> Estimate:
    """A quantile of values, which are given sorted and in the order in which they came."""
    count = len(ordered)
    value = nearest(ordered, q)
    independent = max(1, int(count / design_effect(np.asarray(arrived) <= value, q)))
    below, above = binomial_bounds(independent, q)
    low = 0.0 if below == 0 else ordered[max(0, math.floor(below / independent * count) - 1)]
    high = INF if above > independent else ordered[min(count, math.ceil(above / independent * count)) - 1]
    return Estimate(value, low, high)


def smooth_quantile(values: Sequence[float], q: float) -> float:
    """The quantile as a weighted mean of the order statistics near it (Harrell and Davis, *Biometrika* 69, 1982).

    It varies less than a single order statistic. Infinite values count as very large ones.
    """
    ordered = np.sort(np.minimum(np.asarray(values, dtype=np.float64), 1e9))
    count = len(ordered)
    weights = np.diff(stats.beta.cdf(np.arange(count + 1) / count, (count + 1) * q, (count + 1) * (1 - q)))
    return float(weights @ ordered)


def design_effect(flags: ArrayLike, share: float) -> float:
    """How many of these values count as one independent value: how much more batch means vary than expected."""
    found = np.asarray(flags, dtype=np.float64)
    if len(found) < 2 * BATCHES or not 0 < share < 1:
        return 1.0
    expected = share * (1 - share) * BATCHES / len(found)
    return max(1.0, float(np.var(_batch_means(found), ddof=1)) / expected)


def binomial_bounds(count: int, share: float) -> tuple[int, int]:
    """The ranks, from 1, between which the quantile ``share`` of ``count`` values is; 0 and ``count + 1``: no bound."""
    low, high = stats.binom.ppf(TAILS, count, share)
    return int(low), int(high) + 1


def share_of(flags: Sequence[bool]) -> Estimate:
    """The share of true values, with Wilson's interval for the number of independent values."""
    count = len(flags)
    share = sum(flags) / count
    independent = max(1, int(count / design_effect(flags, share)))
    found = stats.binomtest(round(share * independent), independent).proportion_ci(CONFIDENCE, method="wilson")
    return Estimate(share, min(share, float(found.low)), max(share, float(found.high)))


def bootstrap_weights(count: int, seed: int) -> Weights:
    """How often each block of requests counts, in each of the draws.

    They are drawn with ``random``, whose numbers are the same in each version; those of numpy's generators may change.
    """
    blocks = min(BLOCKS, count)
    draws = random.Random(f"{seed}/blocks")  # noqa: S311 - no secret
    drawn = [draws.choices(range(blocks), k=blocks) for _ in range(DRAWS)]
    return np.array([np.bincount(each, minlength=blocks) for each in drawn], dtype=np.int64)


def bootstrap_quantiles(arrived: Sequence[float], wanted: Sequence[float], weights: Weights) -> Floats:
    """For each draw of blocks, a row with the quantiles of the values in it, each counted as often as its block."""
    order = np.argsort(arrived, kind="stable")
    values, blocks = np.asarray(arrived)[order], _blocks(len(arrived), weights)[order]
    drawn = [np.quantile(values, wanted, method="inverted_cdf", weights=each[blocks]) for each in weights]
    return np.array(drawn, dtype=np.float64)


def bootstrap_means(values: Sequence[float], weights: Weights) -> Floats:
    """For each draw of blocks, the mean of the values in it."""
    blocks = _blocks(len(values), weights)
    sums, sizes = np.bincount(blocks, np.asarray(values)), np.bincount(blocks)
    found: Floats = (weights @ sums) / (weights @ sizes)
    return found


def between(value: float, drawn: Floats) -> Estimate:
    """The value with the bounds that contain 95 % of the draws."""
    low, high = np.quantile(drawn, TAILS, method="inverted_cdf")
    return Estimate(value, float(low), float(high))


def difference(a: ArrayLike, b: ArrayLike) -> Floats:
    """``a - b``, element by element; 0 if both are the same infinity."""
    x, y = np.broadcast_arrays(np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64))
    left: Floats = np.subtract(x, y, out=np.zeros(x.shape), where=x != y)
    return left.round(9) + 0.0  # rounded to the picosecond, so that rounding errors are no difference


def _blocks(count: int, weights: Weights) -> NDArray[np.intp]:
    """The block of each request. Neighbours are in the same block."""
    blocks: NDArray[np.intp] = np.arange(count) * weights.shape[1] // count
    return blocks


def _batch_means(values: ArrayLike) -> Floats:
    """The means of batches of neighbours, all of one size. Up to ``BATCHES - 1`` values at the end are left out."""
    found = np.asarray(values, dtype=np.float64)
    size = len(found) // BATCHES
    means: Floats = found[: size * BATCHES].reshape(BATCHES, size).mean(axis=1)
    return means
