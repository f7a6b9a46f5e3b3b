"""The metrics of ``contrib/_metrics.py`` for OpenTelemetry."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from opentelemetry.metrics import get_meter, get_meter_provider

from rio_chain.contrib._metrics import BUCKETS, Labels, Metric, Recorder, label_names
from rio_chain.contrib._otel_providers import ProviderWatch

if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider


def opentelemetry_metrics(provider: MeterProvider | None) -> Recorder:
    """An observer that records the metrics there, or with the global provider if that is None."""
    meter = get_meter("rio_chain", meter_provider=provider)

    def histogram(metric: Metric) -> Callable[[Labels], Callable[[float], object]]:
        made = meter.create_histogram(metric.name, "s", metric.description, explicit_bucket_boundaries_advisory=BUCKETS)
        return lambda labels: partial(made.record, attributes=attributes(metric, labels))

    def counter(metric: Metric) -> Callable[[Labels], Callable[[], object]]:
        made = meter.create_counter(metric.name, "1", metric.description)
        return lambda labels: partial(made.add, 1, attributes(metric, labels))

    return Recorder(histogram, counter)


def watch_meters(provider: MeterProvider | None) -> ProviderWatch:
    """Whether metrics go anywhere."""
    return ProviderWatch(provider, get_meter_provider, "_METER_PROVIDER")


def attributes(metric: Metric, labels: Labels) -> dict[str, str]:
    """The labels as OpenTelemetry names them."""
    return {f"rio_chain.{name}": value for name, value in zip(label_names(metric), labels, strict=True)}
