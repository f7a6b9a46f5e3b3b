"""Spans of runs with pieces on workers. They have the right times, and functions there get the headers of the run."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from extras.dask.bodies import fails_twice

from rio_chain import Balancer, DaskExecutor, Task, each

pytest.importorskip("opentelemetry.sdk.trace", reason="needs opentelemetry-sdk")


def headers_here(_: Any) -> dict[str, str]:
    from opentelemetry import propagate  # noqa: PLC0415 - only where it is called

    headers: dict[str, str] = {}
    propagate.inject(headers)
    time.sleep(0.05)
    return headers


async def headers_on_the_loop(value: Any) -> dict[str, str]:
    found = headers_here(value)
    await asyncio.sleep(0.001)
    return found


@pytest.fixture
def spans() -> Any:
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter  # noqa: PLC0415

    return InMemorySpanExporter()


@pytest.fixture
def traced(address: str, spans: Any) -> Any:
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor  # noqa: PLC0415

    from rio_chain.contrib.otel import OpenTelemetryObserver  # noqa: PLC0415

    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    observer = OpenTelemetryObserver(tracer_provider=provider, metrics=False)
    with Balancer(DaskExecutor(address), observers=[observer]) as balancer:
        yield balancer


@pytest.mark.parametrize("body", [headers_here, headers_on_the_loop])
def test_a_function_on_a_worker_sends_the_traceparent_of_its_run(traced: Balancer, spans: Any, body: Any) -> None:
    chain = (Task(body).named("a") >> (Task(body).named("b") & each(Task(body).named("item")))).named("page")
    first = traced.run((Task(body).named("a"))(1)).unwrap()
    assert first["traceparent"].count("-") == 3
    spans.clear()
    outcome = traced.run((chain)({1: 2, 3: 4}), deadline=30_000)
    sent = [outcome["a"].result.unwrap(), outcome["b"].result.unwrap(), *outcome.unwrap()[1]]
    (run,) = [span for span in spans.get_finished_spans() if span.parent is None]
    expected = f"{run.context.trace_id:032x}", f"{run.context.span_id:016x}"
    assert {tuple(headers["traceparent"].split("-")[1:3]) for headers in sent} == {expected}


def test_spans_of_attempts_have_the_times_of_the_worker(traced: Balancer, spans: Any) -> None:
    chain = Task(headers_here).named("slow") >> Task(fails_twice).named("flaky").retry(2, backoff=None)
    traced.run(chain(1)).unwrap()
    found = spans.get_finished_spans()
    (run,) = [span for span in found if span.parent is None]
    assert len(found) == 1 + 2 + 1 + 3
    (slow,) = [span for span in found if span.name == "slow attempt"]
    assert slow.end_time - slow.start_time >= 50_000_000
    attempts = [span for span in found if span.name == "flaky attempt"]
    assert [span.attributes["rio_chain.attempt"] for span in attempts] == [1, 2, 3]
    assert [span.status.is_ok for span in attempts] == [False, False, True]
    for span in found:
        assert run.start_time <= span.start_time <= span.end_time <= run.end_time + 1_000_000
    tasks = {span.context.span_id: span for span in found if span.parent and span.parent.span_id == run.context.span_id}
    assert {span.name for span in tasks.values()} == {"slow", "flaky"}
    for attempt in (slow, *attempts):
        task = tasks[attempt.parent.span_id]
        assert task.start_time <= attempt.start_time <= attempt.end_time <= task.end_time + 1_000_000
