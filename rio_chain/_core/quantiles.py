"""Quantiles of sorted values, in plain Python, so that they work without numpy.

``simulation`` uses numpy and scipy for quantiles of weighted values and their confidence intervals.
"""

from __future__ import annotations

import math
from collections.abc import Sequence


def nearest_rank(q: float, count: int) -> int:
    """The index of the quantile among ``count`` sorted values: a share of ``q`` of them is at most as large.

    The method is ``inverted_cdf`` of ``numpy.quantile``.

    Example:
        >>> nearest_rank(0.5, 10), nearest_rank(0.99, 100), nearest_rank(0, 10)
        (4, 98, 0)
    """
    return max(0, math.ceil(q * count - 1e-9) - 1)  # 0.07 * 100 is a little more than 7


def quantile(ordered: Sequence[float], q: float, *, interpolate: bool = False) -> float:
    """The quantile of sorted values, by nearest rank.

    Args:
        ordered: from the least to the greatest; one or more.
        q: from 0 to 1.
        interpolate: interpolate between the two neighbours, as the method ``linear`` of ``numpy.quantile``.

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
