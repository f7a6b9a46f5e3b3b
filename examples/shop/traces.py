"""An OpenTelemetry collector in memory: the spans of the last traces."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult

from rio_chain.contrib.otel import OpenTelemetryObserver

TRACES = 5
KEPT = 50
"""Traces with spans that have ended; of so many the last ones are shown."""


class Collector(SpanExporter):
    """Keeps spans by their trace. A real program has an OTLPSpanExporter in its place."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._traces: dict[int, list[ReadableSpan]] = {}

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Take spans that have ended."""
        with self._lock:
            for span in spans:
                if span.context is not None:
                    self._traces.setdefault(span.context.trace_id, []).append(span)
            while len(self._traces) > KEPT:
                del self._traces[next(iter(self._traces))]
        return SpanExportResult.SUCCESS

    def traces(self) -> list[list[dict[str, Any]]]:
        """The last ones whose run has ended, the newest first. Each is a list of spans in the order of a tree."""
        with self._lock:
            ended = [list(spans) for spans in self._traces.values() if any(span.parent is None for span in spans)]
        return [tree(spans) for spans in reversed(ended[-TRACES:])]


def tree(spans: list[ReadableSpan]) -> list[dict[str, Any]]:
    """The spans of a trace: each after its parent, with how deep it is, and with its times in milliseconds."""
    children: dict[int | None, list[ReadableSpan]] = {}
    for span in sorted(spans, key=lambda span: span.start_time or 0):
        children.setdefault(span.parent.span_id if span.parent else None, []).append(span)
    began = min(span.start_time or 0 for span in spans)
    rows: list[dict[str, Any]] = []

    def add(parent: int | None, depth: int) -> None:
        for span in children.get(parent, []):
            start, end = span.start_time or began, span.end_time or began
            attributes = span.attributes or {}
            rows.append({
                "name": span.name,
                "depth": depth,
                "from": (start - began) / 1e6,
                "took": (end - start) / 1e6,
                "outcome": attributes.get("rio_chain.outcome"),
                "error": attributes.get("error.type"),
            })  # fmt: skip
            if span.context is not None:
                add(span.context.span_id, depth + 1)

    add(None, 0)
    return rows


def traced(collector: Collector) -> OpenTelemetryObserver:
    """An observer whose spans go there."""
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(collector))
    return OpenTelemetryObserver(tracer_provider=provider, metrics=False)
