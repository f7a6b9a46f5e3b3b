"""OpenTelemetry: spans and metrics of runs. Needs ``pip install 'rio-chain[otel]'``: opentelemetry-api alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from rio_chain.contrib._extra import require
from rio_chain.errors import ChainDefinitionError
from rio_chain.results._events import Event
from rio_chain.results._observers import PausingObserver

if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import TracerProvider

    from rio_chain.contrib._otel_providers import ProviderWatch

__all__ = ["OpenTelemetryObserver"]


class OpenTelemetryObserver(PausingObserver):
    """An observer that gives OpenTelemetry a span for each run, task and attempt, and metrics.

    Hand it to ``add_observer`` or to ``Balancer(observers=[...])``. The span of an attempt is current while the body
    of the attempt runs. So a span that the body opens is its child, and a ``traceparent`` that a client sends names it,
    in a lane as well. All spans are of the kind INTERNAL. Those of hedges have a link to the call that they hedge.

    A run that begins while no provider is set costs nothing.

    Args:
        tracer_provider: where the spans go; None: the global one.
        meter_provider: where the metrics go; None: the global one.
        spans: False: no spans.
        metrics: False: no metrics.

    Raises:
        ImportError: opentelemetry-api is not installed.
        ChainDefinitionError: neither spans nor metrics.
    """

    __slots__ = ("_handlers", "_providers")

    def __init__(
        self,
        *,
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
        spans: bool = True,
        metrics: bool = True,
    ) -> None:
        require("opentelemetry.trace", "opentelemetry-api", "otel", "OpenTelemetryObserver")
        if not (spans or metrics):
            raise ChainDefinitionError(
                "`spans` and `metrics` are both False, so there is nothing to observe; leave one of them out"
            )
        from rio_chain.contrib._otel_metrics import opentelemetry_metrics, watch_meters  # noqa: PLC0415 - needs the extra
        from rio_chain.contrib._otel_spans import OpenTelemetrySpans, watch_tracers  # noqa: PLC0415

        handlers: list[Callable[[Event], None]] = []
        providers: list[ProviderWatch] = []
        if metrics:  # first, so that the attempt's span is current when its duration is recorded
            handlers.append(opentelemetry_metrics(meter_provider))
            providers.append(watch_meters(meter_provider))
        if spans:
            handlers.append(OpenTelemetrySpans(tracer_provider))
            providers.append(watch_tracers(tracer_provider))
        self._handlers = tuple(handlers)
        self._providers = tuple(providers)

    def idle(self) -> bool:
        """Whether no provider is set, so that a run need not be observed."""
        for provider in self._providers:  # noqa: SIM110 - asked before each run, and `all` takes twice as long
            if not provider.idle():
                return False
        return True

    def __call__(self, event: Event, /) -> None:
        """Take one event."""
        for handler in self._handlers:
            handler(event)
