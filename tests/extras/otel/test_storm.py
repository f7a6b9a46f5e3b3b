"""Many requests at once, with spans and metrics of all of them."""

from __future__ import annotations

import random
import time

import pytest

from rio_chain import Balancer, Task, each
from rio_chain.contrib.otel import OpenTelemetryObserver
from rio_chain.testing import sleep

pytest.importorskip("opentelemetry.sdk", reason="needs rio-chain[otel] and opentelemetry-sdk")

from extras.otel.conftest import Traced
from opentelemetry.sdk.metrics import MeterProvider


@pytest.mark.parametrize("executor", ["asyncio", "trio", "thread"])
def test_each_span_ends_and_is_in_the_trace_of_its_request(traced: Traced, executor: str) -> None:
    draw = random.Random(7)

    async def flaky(number: int) -> int:
        await sleep(draw.choice([0, 1, 2, 8]))
        if draw.random() < 0.2:
            raise OSError
        return number

    def blocking(number: int) -> int:
        time.sleep(draw.choice([0, 0.001, 0.004]))
        if draw.random() < 0.2:
            raise OSError
        return number

    first = Task(flaky).timeout(6).retry(2, backoff=None).replica(2, after=3).or_else(0)
    second = Task(blocking).timeout(3).retry(1, backoff=None).or_else(0)
    page = ((first & second) >> each(Task(flaky).named("item").or_else(0), limit=2)).named("page")
    observer = OpenTelemetryObserver(tracer_provider=traced.provider, meter_provider=MeterProvider())
    with Balancer(executor, workers=20, max_abandoned=1_000, observers=[observer]) as balancer:
        for outcome in balancer.map(page, range(100)):
            outcome.unwrap()
    spans = traced.spans
    pages = [span for span in spans if span.name == "page"]
    assert len({span.context.trace_id for span in pages}) == len(pages) == 100
    by_id = {span.context.span_id: span for span in spans}
    for span in spans:
        if span.parent is not None:
            above = by_id[span.parent.span_id]
            wanted = "rio_chain.attempts" if "rio_chain.attempt" in span.attributes else "rio_chain.chain"
            assert wanted in above.attributes
            assert above.context.trace_id == span.context.trace_id
        assert span.attributes["rio_chain.outcome"]
