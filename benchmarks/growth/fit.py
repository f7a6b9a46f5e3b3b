"""How cost grows with number."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence


def exponent(sizes: Sequence[int], costs: Sequence[float]) -> float:
    """The slope of the straight line through the logarithms: 0 is a constant, 1 is linear."""
    slope, _ = statistics.linear_regression([math.log(n) for n in sizes], [math.log(c) for c in costs])
    return slope


def head(title: str, sizes: Sequence[int]) -> str:
    return f"  {title:30}" + "".join(f"{size:>12,}" for size in sizes) + f"{'exponent':>11}"


def line(name: str, sizes: Sequence[int], costs: Sequence[float]) -> str:
    return f"  {name:30}" + "".join(f"{one:12.2f}" for one in costs) + f"{exponent(sizes, costs):11.2f}"
