"""The metrics that the adapters give, as data: which event is counted or timed, under which name and labels.

There are no gauges. How many requests run or wait right now is in ``Balancer.stats()``; a gauge that is counted up and
down is wrong for ever when an observer is added or removed in the middle of a run.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, NamedTuple, TypeVar, get_args

from rio_chain.results._events import Event
from rio_chain.results._task_record import GaveUp, Status

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
"""Seconds: what OpenTelemetry advises for the durations of HTTP requests."""
MOST_SERIES = 1_000
"""Combinations of labels per metric. A name for which there is no room is ``other``, and those count as well."""
OTHER = "other"


class Metric(NamedTuple):
    """One metric. Its labels are the chain, the task if ``of_task``, and the status, which is one of ``statuses``."""

    name: str
    """As OpenTelemetry writes it: ``rio_chain.attempt.duration``."""
    description: str
    statuses: tuple[str, ...]
    of_task: bool = True


class Count(NamedTuple):
    """How an event counts."""

    metric: Metric
    status: str | None
    """The label. If it is None, the label is the event's ``reason``."""


STATUSES: tuple[str, ...] = get_args(Status)
REQUEST_DURATION = Metric(
    "rio_chain.request.duration", "How long requests ran, without their time in the queue.", STATUSES, of_task=False
)
ATTEMPT_DURATION = Metric("rio_chain.attempt.duration", "How long single calls of tasks ran.", STATUSES)
REJECTED = Metric(
    "rio_chain.request.rejected",
    "Requests that a balancer did not take.",
    ("full", "closed", "saturated", "overlap", "missed"),
    of_task=False,
)
HEDGE = Metric("rio_chain.hedge", "Hedged calls: started, won, wasted, denied.", ("started", "won", "wasted", "denied"))
GAVE_UP = Metric("rio_chain.retry.gave_up", "Failures that a retry did not retry, by reason.", get_args(GaveUp))
BREAKER = Metric(
    "rio_chain.breaker.change", "Changes of breakers, by the state after them.", ("open", "half_open", "closed")
)
LIMIT = Metric("rio_chain.limit", "Calls that waited for a limit or were refused by it.", ("waited", "refused"))
CACHE = Metric("rio_chain.cache", "Lookups in caches: hit, stale, miss.", ("hit", "stale", "miss"))
FLIGHT = Metric("rio_chain.single_flight", "Calls that joined one that was under way.", ("joined",))
BATCH = Metric(
    "rio_chain.batch", "Calls that joined a batch, and calls that were made for all of one.", ("joined", "sent")
)
BUDGET = Metric("rio_chain.budget", "Retries and hedges that a budget denied.", ("denied",))
CALL = Metric(
    "rio_chain.call",
    "Calls that were abandoned while they ran, and those of them that returned.",
    ("abandoned", "returned"),
)

DURATIONS = {"request_ended": REQUEST_DURATION, "attempt_ended": ATTEMPT_DURATION}
"""By the kind of event: what its ``elapsed`` is recorded in."""

COUNTS = {
    "request_rejected": Count(REJECTED, None),
    "hedge_started": Count(HEDGE, "started"),
    "hedge_won": Count(HEDGE, "won"),
    "hedge_wasted": Count(HEDGE, "wasted"),
    "hedge_denied": Count(HEDGE, "denied"),
    "retry_gave_up": Count(GAVE_UP, None),
    "breaker_changed": Count(BREAKER, None),
    "limit_waited": Count(LIMIT, "waited"),
    "limit_refused": Count(LIMIT, "refused"),
    "cache_hit": Count(CACHE, "hit"),
    "cache_stale": Count(CACHE, "stale"),
    "cache_miss": Count(CACHE, "miss"),
    "flight_joined": Count(FLIGHT, "joined"),
    "batch_joined": Count(BATCH, "joined"),
    "batch_sent": Count(BATCH, "sent"),
    "budget_denied": Count(BUDGET, "denied"),
    "call_abandoned": Count(CALL, "abandoned"),
    "call_returned": Count(CALL, "returned"),
}
"""By the kind of event: what it adds 1 to."""

Labels = tuple[str, ...]
Instrument = TypeVar("Instrument")


class Series(Generic[Instrument]):
    """What records each combination of labels of a metric: up to ``MOST_SERIES``, whatever names a program has.

    Labels are the chain's given name, the task and the status. Keys, numbers of runs and items, and texts of errors are
    never labels.
    """

    __slots__ = ("_known", "_make", "_metric", "_room")

    def __init__(self, metric: Metric, make: Callable[[Labels], Instrument]) -> None:
        self._metric = metric
        self._make = make
        self._known: dict[Labels, Instrument] = {}
        # A token for each series with names of its own; the others are for those that have `other`. No lock, which a
        # fork might copy held: pop is atomic.
        self._room = [None] * (MOST_SERIES - len(metric.statuses))

    def of(self, event: Event, status: str | None) -> Instrument:
        """What records this event, made once for each combination of labels."""
        said = status or ""
        labels = (event.chain, event.task or "", said) if self._metric.of_task else (event.chain, said)
        found = self._known.get(labels)
        return self._new(labels) if found is None else found

    def _new(self, labels: Labels) -> Instrument:
        other = labels[:-1] == (OTHER,) * (len(labels) - 1)  # one that is called so has the room of those
        if not other:
            try:
                self._room.pop()
            except IndexError:
                labels, other = (*(OTHER for _ in labels[:-1]), labels[-1]), True
                found = self._known.get(labels)
                if found is not None:
                    return found
        made = self._make(labels)
        known = self._known.setdefault(labels, made)
        if known is not made and not other:  # another thread was quicker
            self._room.append(None)
        return known


class Recorder:
    """An observer that records metrics.

    Args:
        histogram: gives for a metric what gives for labels what records seconds.
        counter: the same for what adds 1.
    """

    __slots__ = ("_counts", "_durations")

    def __init__(
        self,
        histogram: Callable[[Metric], Callable[[Labels], Callable[[float], object]]],
        counter: Callable[[Metric], Callable[[Labels], Callable[[], object]]],
    ) -> None:
        self._durations = {kind: Series(metric, histogram(metric)) for kind, metric in DURATIONS.items()}
        counters = {
            metric: Series(metric, counter(metric)) for metric in {count.metric: 0 for count in COUNTS.values()}
        }
        self._counts = {kind: (counters[count.metric], count.status) for kind, count in COUNTS.items()}

    def __call__(self, event: Event) -> None:
        """Take one event."""
        duration = self._durations.get(event.kind)
        if duration is not None:
            if event.elapsed is not None:
                duration.of(event, event.status)(event.elapsed / 1000)
            return
        count = self._counts.get(event.kind)
        if count is not None:
            counter, status = count
            counter.of(event, status or event.reason)()


def label_names(metric: Metric) -> tuple[str, ...]:
    """The labels of a metric, in their order."""
    return ("chain", "task", "status") if metric.of_task else ("chain", "status")
