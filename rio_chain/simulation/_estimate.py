"""Estimate: a number that knows how sure it is. It needs no numpy; what makes one does."""

from __future__ import annotations

import math
from typing import Self

TEN, THOUSAND = 10, 1000
INF = math.inf


class Estimate(float):
    """A number that was estimated, and between which bounds it lies with 95 % confidence.

    Attributes:
        low: the lower bound.
        high: the upper bound; ``inf`` where there are too few requests to give one.

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
        """Whether 0 is outside of the bounds: then it is no noise."""
        return self.low > 0 or self.high < 0

    @property
    def bounds(self) -> str:
        """The bounds in brackets; none where they are the value, and words where there are none."""
        if self.low == self.high:
            return ""
        if math.isinf(self.high):
            return "(too few)" if math.isinf(self.low) else f"({short(self.low)} or more)"
        return f"({short(self.low)} .. {short(self.high)})"

    def __repr__(self) -> str:
        return f"{short(self)} {self.bounds}".rstrip()

    __str__ = __repr__


def short(value: float) -> str:
    """A number in as many digits as a reader wants: three, and one behind the point of those up to 1000."""
    size = abs(value)
    if size in (0, INF):
        return f"{value:g}"
    return f"{value:.0f}" if size >= THOUSAND else f"{value:.1f}" if size >= TEN else f"{value:.3g}"
