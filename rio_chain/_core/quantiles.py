"""Quantiles of values that are already in order. Plain Python: it is there without numpy.

``simulation`` takes those of weighted values, and how sure they are, from numpy and scipy.
"""

from __future__ import annotations

import math
from collections.abc import Sequence


def nearest_rank(q: float, count: int) -> int:
    """Which of so many values in order is the quantile, counted from 0: as many as ``q`` says do not exceed it.

    The method is ``inverted_cdf`` of ``numpy.quantile``.

    Example:
        >>> nearest_rank(0.5, 10), nearest_rank(0.99, 100), nearest_rank(0, 10)
        (4, 98, 0)
    """
    return max(0, math.ceil(q * count - 1e-9) - 1)  # 0.07 * 100 is a little more than 7


def quantile(ordered: Sequence[float], q: float, *, interpolate: bool = False) -> float:
    """The quantile of values in order: that of the nearest rank.

    Args:
        ordered: from the least to the greatest; one or more.
        q: from 0 to 1.
        interpolate: take a value between two neighbours in proportion, as the method ``linear`` of ``numpy.quantile``.

    Example:
        >>> quantile([1.0, 2.0, 4.0, 8.0], 0.5), quantile([1.0, 2.0, 4.0, 8.0], 0.5, interpolate=True)
        (2.0, 3.0)
    """
    if not interpolate:
        return ordered[nearest_rank(q, len(ordered))]
    last = len(ordered) - 1
    at = q * last
    low = int(at)
    below, above = ordered[low], ordered[min(low + 1, last)]
    return below + (above - below) * (at - low)
