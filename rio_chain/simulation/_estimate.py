"""Estimate: a number with its confidence interval. The class needs no numpy; computing the interval does."""

from __future__ import annotations

import math
from typing import Self

TEN, THOUSAND = 10, 1000
INF = math.inf


class Estimate(float):
    """An estimated number, and the bounds between which the true one is with 95 % confidence.

    Attributes:
        low: the lower bound.
        high: the upper bound; ``inf`` if there are too few requests for one.

    Example:
        >>> p99 = Estimate(312.4, 301.2, 330.9)
        >>> p99 < 400, p99.high, p99
        (True, 330.9, 312.4 (301.2 .. 330.9))
    """

    low: float
    high: float

    def __new__(cls, value: float, low: float, high: float) -> Self:
        """As ``float``."""
        self = super().__new__(cls, value)
        self.low, self.high = low, high
        return self

    def __reduce__(self) -> tuple[type[Self], tuple[float, float, float]]:
        return type(self), (float(self), self.low, self.high)

    @property
    def significant(self) -> bool:
        """Whether 0 is outside of the bounds, so that the number is more than noise."""
        return self.low > 0 or self.high < 0

    @property
    def bounds(self) -> str:
        """The bounds in parentheses; empty if they equal the value. Words if there are too few requests for bounds."""
        if self.low == self.high:
            return ""
        if math.isinf(self.high):
            return "(too few)" if math.isinf(self.low) else f"({short(self.low)} or more)"
        return f"({short(self.low)} .. {short(self.high)})"

    def __repr__(self) -> str:
        return f"{short(self)} {self.bounds}".rstrip()

    __str__ = __repr__


def short(value: float) -> str:
    """A number with three digits, or with one digit after the point between 10 and 1000, or without any above that."""
    size = abs(value)
    if size in (0, INF):
        return f"{value:g}"
    return f"{value:.0f}" if size >= THOUSAND else f"{value:.1f}" if size >= TEN else f"{value:.3g}"
