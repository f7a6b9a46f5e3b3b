"""How long a call takes, as a distribution. Pure data.

Each distribution is given by its quantile function, so each draw uses exactly one random number. Two models that use
the same numbers can then be compared on equal terms.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from statistics import NormalDist
from typing import cast

from attrs import frozen

from rio_chain._core.units import format_duration, seconds, short_repr
from rio_chain.errors import ChainDefinitionError

_NORMAL = NormalDist()
_P99 = _NORMAL.inv_cdf(0.99)
_SMALLEST = 2.0**-54
"""Less than the smallest number above 0 that ``random()`` returns: the normal distribution has no quantile at 0."""


@frozen
class Constant:
    """Every call takes the same time."""

    at: float

    def quantile(self, share: float) -> float:  # noqa: ARG002 - as the others
        """Seconds within which that share of the calls has answered."""
        return self.at

    @property
    def mean(self) -> float:
        """The mean in seconds."""
        return self.at

    def __str__(self) -> str:
        return format_duration(self.at)


@frozen
class Uniform:
    """All durations between two bounds, equally likely."""

    low: float
    high: float

    def __attrs_post_init__(self) -> None:
        if self.high < self.low:
            raise ChainDefinitionError(
                f"`high` must be `low` or more; got {format_duration(self.high)}, below {format_duration(self.low)}"
            )

    def quantile(self, share: float) -> float:
        """Seconds within which that share of the calls has answered."""
        return self.low + share * (self.high - self.low)

    @property
    def mean(self) -> float:
        """The mean in seconds."""
        return (self.low + self.high) / 2

    def __str__(self) -> str:
        return f"uniform between {format_duration(self.low)} and {format_duration(self.high)}"


@frozen
class Exponential:
    """The memoryless distribution of queueing theory: most calls are short, and a long one may still take long."""

    mean: float

    def quantile(self, share: float) -> float:
        """Seconds within which that share of the calls has answered."""
        return -self.mean * math.log1p(-share)

    def __str__(self) -> str:
        return f"exponential, mean {format_duration(self.mean)}"


@frozen
class Lognormal:
    """Half of the calls are faster than the median.

    One in a hundred is slower than the p99, and some are much slower.
    """

    median: float
    p99: float

    def __attrs_post_init__(self) -> None:
        if self.p99 < self.median:
            raise ChainDefinitionError(
                f"`p99` must be the median or more; got {format_duration(self.p99)}, "
                f"below the median {format_duration(self.median)}"
            )

    @property
    def sigma(self) -> float:
        """The standard deviation of the logarithm."""
        return math.log(self.p99 / self.median) / _P99

    def quantile(self, share: float) -> float:
        """Seconds within which that share of the calls has answered."""
        return self.median * math.exp(self.sigma * _NORMAL.inv_cdf(max(share, _SMALLEST)))

    @property
    def mean(self) -> float:
        """The mean in seconds."""
        return self.median * math.exp(self.sigma**2 / 2)

    def __str__(self) -> str:
        return f"lognormal, median {format_duration(self.median)}, p99 {format_duration(self.p99)}"


@frozen
class Empirical:
    """Measured durations, all equally likely. There is nothing between them, and nothing beyond the longest."""

    samples: tuple[float, ...]  # sorted

    def quantile(self, share: float) -> float:
        """Seconds within which that share of the calls has answered."""
        return self.samples[min(int(share * len(self.samples)), len(self.samples) - 1)]

    @property
    def mean(self) -> float:
        """The mean in seconds."""
        return math.fsum(self.samples) / len(self.samples)

    def __repr__(self) -> str:
        return f"Empirical({self})"

    def __str__(self) -> str:
        few = "1 latency" if len(self.samples) == 1 else f"{len(self.samples)} latencies"
        return (
            f"{few} as measured, median {format_duration(self.quantile(0.5))}, "
            f"the longest {format_duration(self.samples[-1])}"
        )


Latency = Constant | Uniform | Exponential | Lognormal | Empirical


def empirical(samples: object) -> Empirical:
    """The distribution of measured latencies, which are given in milliseconds."""
    if not isinstance(samples, Iterable) or isinstance(samples, (str, bytes)):
        raise ChainDefinitionError(f"`samples` must be a list of latencies in milliseconds; got {short_repr(samples)}")
    given = tuple(sorted(seconds(sample, "samples", zero=True) for sample in cast("Iterable[object]", samples)))
    if not given:
        raise ChainDefinitionError("`samples` needs at least one latency; got none")
    return Empirical(given)
