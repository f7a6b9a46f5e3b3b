"""Without a provider runs are not observed; one that is set later is found."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from rio_chain import Balancer, Task, add_observer
from rio_chain.contrib.otel import OpenTelemetryObserver
from rio_chain.results._deliver import observers_now
from rio_chain.results._observers import OBSERVERS, Observer

pytest.importorskip("opentelemetry.sdk", reason="needs rio-chain[otel] and opentelemetry-sdk")

from extras.otel.conftest import Traced
from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.trace import NoOpTracerProvider

NOTHING: dict[str, Any] = {"tracer_provider": NoOpTracerProvider(), "meter_provider": NoOpMeterProvider()}


def test_a_run_is_not_observed_where_nothing_is_recorded(traced: Traced) -> None:
    assert observers_now([Observer(OpenTelemetryObserver(**NOTHING))]) == ()
    spans = Observer(OpenTelemetryObserver(**{**NOTHING, "tracer_provider": traced.provider}))
    metrics = Observer(OpenTelemetryObserver(**{**NOTHING, "meter_provider": MeterProvider()}))
    assert observers_now([spans, metrics]) == (spans, metrics)
    with add_observer(OpenTelemetryObserver(**NOTHING)):
        assert len(OBSERVERS) == 1
        assert observers_now() == ()


def test_other_observers_go_on() -> None:
    seen: list[str] = []
    with Balancer(observers=[OpenTelemetryObserver(**NOTHING), lambda event: seen.append(event.kind)]) as balancer:
        balancer.run(Task(abs)(1)).unwrap()
    assert seen[0] == "request_started"


LATER = """
from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from rio_chain import Task, add_observer
from rio_chain.contrib.otel import OpenTelemetryObserver

observer = OpenTelemetryObserver()
add_observer(observer)
assert observer.idle()
Task(abs).named("before")(1).run().unwrap()

exporter = InMemorySpanExporter()
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(exporter))
trace.set_tracer_provider(provider)
assert not observer.idle()
Task(abs).named("spans")(1).run().unwrap()
reader = InMemoryMetricReader()
metrics.set_meter_provider(MeterProvider([reader]))
Task(abs).named("both")(1).run().unwrap()
print([span.name for span in exporter.get_finished_spans()])
print("before" in reader.get_metrics_data().to_json(), "both" in reader.get_metrics_data().to_json())
"""


def test_a_provider_that_is_set_later_gets_spans_and_metrics() -> None:
    done = subprocess.run(
        [sys.executable, "-c", LATER],
        env={"PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    names = ["spans attempt", "spans", "spans", "both attempt", "both", "both"]
    assert (done.stdout.splitlines(), done.stderr) == ([str(names), "False True"], "")
