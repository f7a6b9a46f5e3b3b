"""How sure a figure is: percentiles, means and differences with 95 % intervals. Pure.

* A percentile lies between two order statistics, whatever the distribution (David and Nagaraja, *Order Statistics*,
  3rd ed., section 7.1). Requests that wait in one line are not independent: they count as fewer, by the design effect
  of their batches (Korn and Graubard, *Survey Methodology* 24, 1998).
* A mean is that of batches, which are nearly independent (Law, *Simulation Modeling and Analysis*, section 9.5.3).
* A difference of two runs on common random numbers is drawn again and again from whole blocks of both at once
  (Carlstein, *Annals of Statistics* 14, 1986), which keeps what is common.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from typing import Self

BATCHES = 20
T95 = 2.093
"""Student's t for 95 % and ``BATCHES - 1`` degrees of freedom."""
BLOCKS = 40
AGAIN = 200
"""How often the blocks are drawn."""
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


def rank(q: float, count: int) -> int:
    """Which of so many, from the least, is the quantile: nearest rank, counted from 0."""
    return max(0, math.ceil(q * count - 1e-9) - 1)


def mean(values: Sequence[float]) -> Estimate:
    """The mean; of fewer values than two for a batch nothing is known."""
    middle = math.fsum(values) / len(values)
    if len(values) < 2 * BATCHES:
        return Estimate(middle, -INF, INF)
    half = T95 * math.sqrt(_spread(_batch_means(values, BATCHES)) / BATCHES)
    return Estimate(middle, middle - half, middle + half)


def quantile(ordered: Sequence[float], arrived: Sequence[float], q: float) -> Estimate:
    """A quantile of values that are given in order of size, and as they came."""
    count = len(ordered)
    value = ordered[rank(q, count)]
    independent = max(1, int(count / design_effect([x <= value for x in arrived], q)))
    below, above = binomial_bounds(independent, q)
    low = 0.0 if below == 0 else ordered[max(0, math.floor(below / independent * count) - 1)]
    high = INF if above > independent else ordered[min(count, math.ceil(above / independent * count)) - 1]
    return Estimate(value, low, high)


def design_effect(flags: Sequence[bool], share: float) -> float:
    """How many of these count as one that is independent: what the means of batches vary more than they should."""
    count = len(flags)
    if count < 2 * BATCHES or not 0 < share < 1:
        return 1.0
    expected = share * (1 - share) * BATCHES / count
    return max(1.0, _spread(_batch_means(flags, BATCHES)) / expected)


def binomial_bounds(count: int, share: float, tail: float = 0.025) -> tuple[int, int]:
    """The ranks, from 1, between which the quantile ``share`` of ``count`` values lies; 0 and ``count + 1``: none."""
    reach = 12 * math.sqrt(count * share * (1 - share)) + 12
    first, last = max(0, int(count * share - reach)), min(count, int(count * share + reach))
    logs = math.lgamma(count + 1) - math.lgamma(first + 1) - math.lgamma(count - first + 1)
    mass = math.exp(logs + first * math.log(share) + (count - first) * math.log1p(-share))
    low, high, total = -1, count + 1, 0.0
    for k in range(first, last + 1):
        total += mass
        if low < 0 and total > tail:
            low = k
        if total >= 1 - tail:
            high = k + 1
            break
        mass *= (count - k) / (k + 1) * share / (1 - share)
    return max(low, 0), high


def share_of(flags: Sequence[bool]) -> Estimate:
    """The share of those that are true (Wilson's interval, for as many as count as independent)."""
    count = len(flags)
    share = sum(flags) / count
    n = count / design_effect(flags, share)
    z2 = 1.96**2
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = 1.96 / (1 + z2 / n) * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    low = 0.0 if share == 0 else max(0.0, middle - half)
    return Estimate(share, low, 1.0 if share == 1 else min(1.0, middle + half))


def bootstrap_weights(count: int, seed: int) -> list[list[int]]:
    """How often each block of requests counts, in each of the draws."""
    blocks = min(BLOCKS, count)
    draws = random.Random(f"{seed}/blocks")  # noqa: S311 - no secret
    found: list[list[int]] = []
    for _ in range(AGAIN):
        weights = [0] * blocks
        for block in draws.choices(range(blocks), k=blocks):
            weights[block] += 1
        found.append(weights)
    return found


def block_of(index: int, count: int) -> int:
    """The block of a request, of so many that came."""
    return index * min(BLOCKS, count) // count


def quantiles_again(arrived: Sequence[float], wanted: Sequence[float], weights: list[list[int]]) -> list[list[float]]:
    """For each draw of blocks the quantiles of the values that are in it, as often as they are; ``wanted`` grows."""
    count = len(arrived)
    downwards = sorted(range(count), key=arrived.__getitem__, reverse=True)
    values = [arrived[i] for i in downwards]
    blocks = [block_of(i, count) for i in downwards]
    sizes = [0] * len(weights[0])
    for block in blocks:
        sizes[block] += 1
    return [_quantiles(values, blocks, sizes, wanted, each) for each in weights]


def _quantiles(
    values: list[float], blocks: list[int], sizes: list[int], wanted: Sequence[float], weights: list[int]
) -> list[float]:
    """From the greatest value down, as far as the least quantile: high ones are found at once."""
    total = sum(size * weight for size, weight in zip(sizes, weights, strict=True))
    found: list[float] = []
    left = [(1 - q) * total + 1e-9 for q in wanted]
    above, value = 0, values[0]
    for here, block in zip(values, blocks, strict=True):
        weight = weights[block]
        if not weight:
            continue
        while left and above > left[-1]:
            found.append(value)
            left.pop()
        if not left:
            break
        value = here
        above += weight
    found += [value] * len(left)
    return found[::-1]


def means_again(values: Sequence[float], weights: list[list[int]]) -> list[float]:
    """For each draw of blocks the mean of the values that are in it."""
    count = len(values)
    sums, sizes = [0.0] * len(weights[0]), [0] * len(weights[0])
    for index, value in enumerate(values):
        block = block_of(index, count)
        sums[block] += value
        sizes[block] += 1

    def weighed(parts: Sequence[float], each: list[int]) -> float:
        return math.fsum(part * weight for part, weight in zip(parts, each, strict=True))

    return [weighed(sums, each) / weighed(sizes, each) for each in weights]


def between(value: float, drawn: Sequence[float]) -> Estimate:
    """The value with the bounds between which 95 % of those drawn again lie."""
    ordered = sorted(drawn)
    return Estimate(value, ordered[rank(0.025, len(ordered))], ordered[rank(0.975, len(ordered))])


def difference(a: float, b: float) -> float:
    """``a - b``; of two that are infinite, none."""
    return 0.0 if a == b else round(a - b, 9) + 0.0  # to the picosecond: what is left by rounding is no difference


def paired(a: Sequence[float], b: Sequence[float], of: Callable[[float, float], float] = difference) -> list[float]:
    """The differences of what was drawn with the same blocks."""
    return [of(x, y) for x, y in zip(a, b, strict=True)]


def _batch_means(values: Sequence[float], batches: int) -> list[float]:
    """The means of so many batches of neighbours, of one size; up to ``batches - 1`` values at the end are left out."""
    size = len(values) // batches
    return [math.fsum(values[k * size : (k + 1) * size]) / size for k in range(batches)]


def _spread(values: Sequence[float]) -> float:
    """The variance."""
    middle = math.fsum(values) / len(values)
    return math.fsum((value - middle) ** 2 for value in values) / (len(values) - 1)
