"""The metrics of contrib: which events are counted and timed, with which labels."""

from __future__ import annotations

import re
import sys
import threading
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from rio_chain import ChainDefinitionError, Event
from rio_chain.contrib._metrics import (
    BUCKETS,
    COUNTS,
    DURATIONS,
    MOST_SERIES,
    OTHER,
    Labels,
    Metric,
    Recorder,
    Series,
    label_names,
)
from rio_chain.contrib.otel import OpenTelemetryObserver
from rio_chain.contrib.prometheus import PrometheusObserver

ROOT = Path(__file__).parents[2]


def event(kind: str, **more: Any) -> Event:
    return Event(kind, more.pop("task", "fetch"), 1.0, chain=more.pop("chain", "page"), **more)  # type: ignore[arg-type]


class Kept:
    """What a Recorder has recorded, by the name of the metric and the labels."""

    def __init__(self) -> None:
        self.seconds: list[tuple[str, Labels, float]] = []
        self.counts: Counter[tuple[str, Labels]] = Counter()
        self.recorder = Recorder(
            lambda metric: partial(self._times, metric), lambda metric: partial(self._adds, metric)
        )

    def _times(self, metric: Metric, labels: Labels) -> Any:
        return lambda seconds: self.seconds.append((metric.name, labels, seconds))

    def _adds(self, metric: Metric, labels: Labels) -> Any:
        return lambda: self.counts.update([(metric.name, labels)])


def test_durations_are_in_seconds() -> None:
    kept = Kept()
    kept.recorder(event("attempt_ended", status="succeeded", elapsed=250.0, attempt=2))
    kept.recorder(event("request_ended", task=None, status="failed", elapsed=1500.0))
    assert kept.seconds == [
        ("rio_chain.attempt.duration", ("page", "fetch", "succeeded"), 0.25),
        ("rio_chain.request.duration", ("page", "failed"), 1.5),
    ]


def test_a_request_that_never_ran_has_no_duration() -> None:
    kept = Kept()
    kept.recorder(event("request_ended", task=None, status="cancelled"))
    assert kept.seconds == []


@pytest.mark.parametrize("kind", COUNTS)
def test_an_event_is_counted_once(kind: str) -> None:
    kept = Kept()
    kept.recorder(event(kind, reason="why"))
    metric, status = COUNTS[kind]
    labels = ("page", "fetch", status or "why") if metric.of_task else ("page", status or "why")
    assert kept.counts == {(metric.name, labels): 1}
    assert kept.seconds == []


def test_other_events_are_not_counted() -> None:
    kept = Kept()
    for kind in ("started", "finished", "attempt_failed", "request_queued", "attempt_started"):
        kept.recorder(event(kind, status="succeeded", elapsed=1.0))
    assert not kept.counts
    assert kept.seconds == []


def test_labels_have_no_numbers_of_runs_and_items_and_no_texts_of_errors() -> None:
    kept = Kept()
    for number in range(50):
        error = OSError(f"user {number} is not known")
        kept.recorder(
            event("attempt_ended", run=number, item=number, attempt=number, error=error, status="failed", elapsed=1.0)
        )
    assert {labels for _, labels, _ in kept.seconds} == {("page", "fetch", "failed")}


def test_a_metric_has_up_to_a_thousand_series_with_those_that_are_other() -> None:
    kept = Kept()
    for number in range(MOST_SERIES + 500):
        kept.recorder(event("cache_hit", task=f"user {number}"))
    kept.recorder(event("cache_hit", task="user 7"))
    kept.recorder(event("cache_miss", task="one more"))
    kept.recorder(event("cache_stale", task="one more"))
    assert kept.counts["rio_chain.cache", ("page", "user 7", "hit")] == 2
    assert kept.counts["rio_chain.cache", (OTHER, OTHER, "hit")] == 503
    assert kept.counts["rio_chain.cache", (OTHER, OTHER, "miss")] == 1
    assert len(kept.counts) == MOST_SERIES
    kept.recorder(event("hedge_won", task="one more"))  # each metric has a thousand of its own
    assert kept.counts["rio_chain.hedge", ("page", "one more", "won")] == 1


@pytest.mark.parametrize("metric", {*DURATIONS.values(), *(count.metric for count in COUNTS.values())})
def test_no_metric_has_more_series_whatever_comes(metric: Metric) -> None:
    made: list[Labels] = []

    def make(labels: Labels) -> Labels:
        made.append(labels)
        return labels

    series = Series(metric, make)
    for status in metric.statuses:
        for number in range(MOST_SERIES):
            series.of(event("cache_hit", task=f"task {number}", chain=f"chain {number}"), status)
        series.of(event("cache_hit", task=OTHER, chain=OTHER), status)
    assert len(set(made)) == MOST_SERIES
    assert len(made) == MOST_SERIES
    names = len(label_names(metric)) - 1
    assert [labels for labels in made if labels[:-1] == (OTHER,) * names] == [
        (*(OTHER,) * names, status) for status in metric.statuses
    ]


def test_threads_that_make_names_at_once_make_no_more_series() -> None:
    series: Series[Labels] = Series(COUNTS["cache_hit"].metric, lambda labels: labels)
    gate = threading.Barrier(8)
    got: list[set[Labels]] = []

    def work() -> None:
        gate.wait()
        got.append({series.of(event("cache_hit", task=f"task {number}"), "hit") for number in range(MOST_SERIES)})

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set().union(*got)) <= MOST_SERIES - 1  # there is no miss


def test_threads_that_come_at_once_get_the_same_series() -> None:
    series: Series[list[Labels]] = Series(COUNTS["cache_hit"].metric, lambda labels: [labels])
    gate = threading.Barrier(8)
    got: list[list[int]] = []

    def work() -> None:
        gate.wait()
        got.append([id(series.of(event("cache_hit", task=f"task {number}"), "hit")) for number in range(200)])

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got == [got[0]] * 8
    assert len(set(got[0])) == 200


def test_the_page_about_metrics_has_every_metric() -> None:
    metrics = {*DURATIONS.values(), *(count.metric for count in COUNTS.values())}
    _, _, page = (ROOT / "docs/how-to/observe/otel.md").read_text(encoding="utf-8").partition("## Metrics")
    rows = {found[1]: found[0] for found in re.finditer(r"^\| `(rio_chain[\w.]+)` .*$", page, re.MULTILINE)}
    assert set(rows) == {metric.name for metric in metrics}
    for metric in metrics:
        assert ("task" in rows[metric.name].split(" | ")[2]) == metric.of_task, metric
    for count in COUNTS.values():
        assert count.status is None or f"`{count.status}`" in rows[count.metric.name], count


def test_buckets_are_those_that_opentelemetry_advises_for_http() -> None:
    assert BUCKETS == (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)
    assert label_names(DURATIONS["attempt_ended"]) == ("chain", "task", "status")


@pytest.mark.parametrize(
    ("make", "module", "extra"),
    [
        (OpenTelemetryObserver, "opentelemetry.trace", "otel"),
        (PrometheusObserver, "prometheus_client", "prometheus"),
    ],
)
def test_without_its_extra_an_adapter_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch, make: Any, module: str, extra: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=re.escape(f"pip install 'rio-chain[{extra}]'")):
        make()


def test_an_observer_of_nothing_is_refused() -> None:
    pytest.importorskip("opentelemetry.trace", reason="needs rio-chain[otel]")
    with pytest.raises(ChainDefinitionError, match="`spans` and `metrics` are both False"):
        OpenTelemetryObserver(spans=False, metrics=False)
