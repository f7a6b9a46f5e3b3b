"""Prometheus: metrics of runs. Needs ``pip install 'rio-chain[prometheus]'``, which is prometheus-client."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from rio_chain.contrib._extra import require
from rio_chain.results._events import Event

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

__all__ = ["PrometheusObserver"]


class PrometheusObserver:
    """An observer that counts and times runs for Prometheus. Make one per registry, at the start of the process.

    Hand it to ``add_observer`` or to ``Balancer(observers=[...])``. The metrics are those of ``OpenTelemetryObserver``,
    with names as Prometheus writes them: ``rio_chain_attempt_duration_seconds``.

    Args:
        registry: where the metrics are registered; None: the one of prometheus-client.

    Raises:
        ImportError: prometheus-client is not installed.
        ValueError: the registry has these metrics already.
    """

    __slots__ = ("_take",)

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        require("prometheus_client", "prometheus-client", "prometheus", "PrometheusObserver")
        from rio_chain.contrib._prometheus_metrics import prometheus_metrics  # noqa: PLC0415 - needs the extra

        self._take: Callable[[Event], None] = prometheus_metrics(registry)

    def __call__(self, event: Event, /) -> None:
        """Take one event."""
        self._take(event)
