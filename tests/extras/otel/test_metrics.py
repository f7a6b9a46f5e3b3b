"""The metrics that OpenTelemetry gets."""

from __future__ import annotations

from typing import Any

import pytest

from rio_chain import Balancer, Breaker, Cache, Task, current_attempt
from rio_chain.contrib._metrics import BUCKETS
from rio_chain.contrib.otel import OpenTelemetryObserver
from rio_chain.testing import sleep

pytest.importorskip("opentelemetry.sdk", reason="needs rio-chain[otel] and opentelemetry-sdk")

from extras.otel.conftest import Traced
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader


class Metrics:
    def __init__(self) -> None:
        self._reader = InMemoryMetricReader()
        self.provider = MeterProvider([self._reader])

    def read(self) -> dict[str, Any]:
        """By name: what a collector gets."""
        data: Any = self._reader.get_metrics_data()
        return {
            metric.name: metric
            for resource in data.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }


def labels(point: Any) -> tuple[str, ...]:
    found = dict(point.attributes)
    return tuple(found.pop(f"rio_chain.{name}") for name in ("chain", "task", "status") if f"rio_chain.{name}" in found)


async def fetch(number: int) -> int:
    attempt = current_attempt()
    if attempt.replica:
        return number
    if attempt == 1:
        raise OSError(f"user {number} is not known")
    await sleep(5_000)
    return number


@pytest.mark.parametrize("executor", ["asyncio", "trio", "thread"])
def test_attempts_and_requests_are_timed_and_hedges_are_counted(executor: str) -> None:
    metrics = Metrics()
    observer = OpenTelemetryObserver(meter_provider=metrics.provider, spans=False)
    page = Task(fetch).retry(1, backoff=None).replica(2, after=30).named("page")
    with Balancer(executor, observers=[observer]) as balancer:
        for number in range(2):
            balancer.run(page(number)).unwrap()
    read = metrics.read()
    attempts, requests = read["rio_chain.attempt.duration"], read["rio_chain.request.duration"]
    assert (attempts.unit, requests.unit) == ("s", "s")
    counted = {labels(point): (point.count, point.sum) for point in attempts.data.data_points}
    assert {key: count for key, (count, _) in counted.items()} == {
        ("page", "fetch", "failed"): 2,
        ("page", "fetch", "cancelled"): 2,
        ("page", "fetch", "succeeded"): 2,
    }
    assert 0.03 <= counted["page", "fetch", "cancelled"][1] < 5  # seconds
    assert [point.explicit_bounds for point in attempts.data.data_points] == [BUCKETS] * 3
    assert [(labels(point), point.count) for point in requests.data.data_points] == [(("page", "succeeded"), 2)]
    hedges = {labels(point): point.value for point in read["rio_chain.hedge"].data.data_points}
    assert hedges["page", "fetch", "started"] == 2
    assert "is not known" not in "".join(metric.to_json() for metric in read.values())


def test_a_breaker_and_a_cache_are_counted() -> None:
    metrics = Metrics()
    observer = OpenTelemetryObserver(meter_provider=metrics.provider, spans=False)

    def fails(_: int) -> int:
        raise OSError

    with Balancer("thread", observers=[observer]) as balancer:
        for _ in range(2):
            balancer.run(Task(fails).breaker(Breaker(failures=1)).named("page")(1))
        cached = Task(abs).cache(Cache(ttl=10_000)).named("cached")
        for _ in range(3):
            balancer.run(cached(1)).unwrap()
    read = metrics.read()
    assert {labels(point)[-1] for point in read["rio_chain.breaker.change"].data.data_points} == {"open"}
    cache = {labels(point)[-1]: point.value for point in read["rio_chain.cache"].data.data_points}
    assert cache == {"miss": 1, "hit": 2}


def test_the_duration_of_an_attempt_is_recorded_while_its_span_is_current(traced: Traced) -> None:
    """So that an exemplar has the span."""
    from opentelemetry.sdk.metrics import AlwaysOnExemplarFilter  # noqa: PLC0415 - needs the extra

    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], exemplar_filter=AlwaysOnExemplarFilter())
    observer = OpenTelemetryObserver(tracer_provider=traced.provider, meter_provider=provider)
    with Balancer("thread", observers=[observer]) as balancer:
        balancer.run(Task(abs).named("call")(1)).unwrap()
    data: Any = reader.get_metrics_data()
    found = {metric.name: metric for metric in data.resource_metrics[0].scope_metrics[0].metrics}
    (point,) = found["rio_chain.attempt.duration"].data.data_points
    assert [one.span_id for one in point.exemplars] == [traced.only("call attempt").context.span_id]
