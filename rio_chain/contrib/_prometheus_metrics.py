"""The metrics of ``contrib/_metrics.py`` for Prometheus."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Histogram

from rio_chain.contrib._metrics import BUCKETS, Labels, Metric, Recorder, label_names


def prometheus_metrics(registry: CollectorRegistry | None) -> Recorder:
    """An observer that records the metrics there, or in the client's own registry if that is None."""
    where = REGISTRY if registry is None else registry

    def histogram(metric: Metric) -> Callable[[Labels], Callable[[float], object]]:
        name = f"{prometheus_name(metric)}_seconds"
        made = Histogram(name, metric.description, label_names(metric), registry=where, buckets=BUCKETS)
        return lambda labels: made.labels(*labels).observe

    def counter(metric: Metric) -> Callable[[Labels], Callable[[], object]]:
        made = Counter(prometheus_name(metric), metric.description, label_names(metric), registry=where)
        return lambda labels: made.labels(*labels).inc

    return Recorder(histogram, counter)


def prometheus_name(metric: Metric) -> str:
    """As ``rio_chain_attempt_duration``; the client adds ``_total`` to the name of a counter."""
    return metric.name.replace(".", "_")
