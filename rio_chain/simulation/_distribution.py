"""Distribution: a set of durations, with percentiles."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any

from rio_chain._core.quantiles import quantile
from rio_chain._core.units import number, short_repr
from rio_chain.errors import ChainDefinitionError
from rio_chain.simulation._estimate import Estimate, short
from rio_chain.simulation._extra import require_statistics

PERCENTILES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99, "p99.9": 0.999}
"""The percentiles that are shown."""


class Distribution:
    """A set of durations in milliseconds, in the order in which they came.

    Its figures are numbers with a 95 % interval: ``latency.p99``, ``latency.p99.low``. They need numpy and scipy, which
    the extra ``rio-chain[simulate]`` installs.

    Example:
        >>> took = Distribution([10.0] * 990 + [80.0] * 10)
        >>> took.p50, took.p99 < 20, len(took)
        (10.0, True, 1000)
    """

    def __init__(self, values: Iterable[float]) -> None:
        self.values: Sequence[float] = array("d", values)

    @cached_property
    def ordered(self) -> Sequence[float]:
        """The values, sorted."""
        return array("d", sorted(self.values))

    def quantile(self, q: float) -> Estimate:
        """The value that a share ``q`` of the durations does not exceed: 0.99 for the p99.

        Raises:
            ChainDefinitionError: ``q`` is not a number above 0 and below 1.
            ImportError: the extra ``rio-chain[simulate]`` is not installed.
        """
        if not 0 < number(q, "q", above=0) < 1:
            raise ChainDefinitionError(
                f"`q` must be more than 0 and less than 1, as 0.99 for the p99; got {short_repr(q)}"
            )
        require_statistics("Distribution.quantile")
        from rio_chain.simulation._confidence_intervals import quantile as estimated  # noqa: PLC0415 - it imports numpy

        return estimated(self.ordered, self.values, q)

    @cached_property
    def p50(self) -> Estimate:
        """The median."""
        return self.quantile(0.5)

    @cached_property
    def p90(self) -> Estimate:
        """The value that one in 10 exceeds."""
        return self.quantile(0.9)

    @cached_property
    def p95(self) -> Estimate:
        """The value that one in 20 exceeds."""
        return self.quantile(0.95)

    @cached_property
    def p99(self) -> Estimate:
        """The value that one in 100 exceeds."""
        return self.quantile(0.99)

    @cached_property
    def p999(self) -> Estimate:
        """The value that one in 1000 exceeds."""
        return self.quantile(0.999)

    @cached_property
    def mean(self) -> Estimate:
        """The mean."""
        require_statistics("Distribution.mean")
        from rio_chain.simulation._confidence_intervals import mean  # noqa: PLC0415 - it imports numpy

        return mean(self.values)

    @property
    def percentiles(self) -> dict[str, Estimate]:
        """The percentiles that are shown, by name."""
        return dict(zip(PERCENTILES, (self.p50, self.p90, self.p95, self.p99, self.p999), strict=True))

    def __len__(self) -> int:
        return len(self.values)

    def to_dict(self) -> dict[str, Any]:
        """The figures as plain data, each as ``[value, low, high]`` in milliseconds; None means no bound."""
        figures = {"mean": self.mean, **self.percentiles}
        return {
            "count": len(self),
            **{name: plain_estimate(figure) for name, figure in figures.items()},
            "max": plain_number(self.ordered[-1]),
        }

    def __repr__(self) -> str:
        p50, p99 = (quantile(self.ordered, q) for q in (0.5, 0.99))
        return f"<Distribution of {len(self)}: p50 {short(p50)} ms, p99 {short(p99)} ms>"


def plain_number(value: float) -> float | None:
    """A number for JSON, rounded so that it is the same on every machine; None if it is infinite."""
    return round(float(value), 6) if abs(value) != float("inf") else None


def plain_estimate(value: Estimate) -> list[float | None]:
    """An estimate for JSON: value, low, high."""
    return [plain_number(value), plain_number(value.low), plain_number(value.high)]
