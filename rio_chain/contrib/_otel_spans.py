"""A span for each run, task and attempt.

The span of a run is current in the context of that run. Branches, hedges, items and worker threads have copies of this
context. The span of an attempt is current in the context in which the body runs, so each is ended where it began.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from functools import partial
from typing import TYPE_CHECKING, Any

from opentelemetry import propagate
from opentelemetry.context import attach, detach
from opentelemetry.trace import Link, SpanContext, get_current_span, get_tracer, get_tracer_provider

from rio_chain._core.lane_wrapper import CallInLane
from rio_chain.contrib._otel_providers import ProviderWatch
from rio_chain.contrib._otel_run_spans import AttemptSpan, RunSpans, TaskSpan, end_span, path_of, time_of_event
from rio_chain.results._events import Event

if TYPE_CHECKING:
    from opentelemetry.trace import TracerProvider

NAME = "rio_chain"
"""Of the tracer, and of the span of a run whose chain has no name."""


class OpenTelemetrySpans:
    """An observer that opens and ends spans."""

    __slots__ = ("_attempt", "_batch", "_handlers", "_item", "_runs", "_tracer")

    def __init__(self, provider: TracerProvider | None) -> None:
        self._tracer = get_tracer(NAME, tracer_provider=provider)
        self._runs: dict[int, RunSpans] = {}  # by ``Event.run``; setting and removing one is atomic
        self._attempt: ContextVar[AttemptSpan | None] = ContextVar("rio_chain_otel_attempt", default=None)
        # The task that an item is at, in the context of the item. Items of an `each` in an `each` have the same path.
        self._item: ContextVar[TaskSpan | None] = ContextVar("rio_chain_otel_item", default=None)
        # In the context of the call of a batch: its event, and those who wait for it.
        self._batch: ContextVar[tuple[Event, list[SpanContext]] | None] = ContextVar(
            "rio_chain_otel_batch", default=None
        )
        self._handlers: dict[str, Callable[[Event], None]] = {
            "started": self._started,
            "batch_sent": self._batch_sent,
            "request_started": self._request_started,
            "request_ended": self._request_ended,
            "attempt_started": self._attempt_started,
            "attempt_ended": self._attempt_ended,
            "call_abandoned": self._call_abandoned,
            "finished": self._finished,
        }

    def __call__(self, event: Event) -> None:
        """Take one event."""
        handler = self._handlers.get(event.kind)
        if handler is not None:
            handler(event)

    def _request_started(self, event: Event) -> None:
        around = get_current_span().get_span_context()
        span = self._tracer.start_span(event.chain or NAME, attributes={"rio_chain.chain": event.chain})
        if span.get_span_context() != around:  # else the tracer opens none, as there is no provider
            self._runs[event.run] = RunSpans(span, headers_for_lane)

    def _request_ended(self, event: Event) -> None:
        run = self._runs.pop(event.run, None)
        if run is None:
            return
        run.leave()
        run.end(event)

    def _batch_sent(self, event: Event) -> None:
        others = [self._runs.get(number) for number in event.runs if number != event.run]
        self._batch.set((event, [run.span.get_span_context() for run in others if run is not None]))

    def _waiting(self, event: Event) -> list[SpanContext]:
        """The spans of the other runs that wait for this attempt, as it is one of the call of a batch."""
        sent, waiting = self._batch.get() or (event, [])
        same = (sent.run, sent.within) == (event.run, event.within) and sent.task in (None, event.task)
        return waiting if same else []

    def _started(self, event: Event) -> None:
        run = self._runs.get(event.run)
        if run is not None and event.item is not None and event.attempt == 1 and not event.replica:
            self._item.set(run.begin(event, self._tracer.start_span, first=True))

    def _attempt_started(self, event: Event) -> None:
        run = self._runs.get(event.run)
        if run is None:
            return
        task = self._item_at(event) or run.begin(event, self._tracer.start_span, first=False)
        attributes: dict[str, str | int] = {"rio_chain.task": event.task or "", "rio_chain.attempt": event.attempt}
        if event.replica:
            attributes["rio_chain.replica"] = event.replica
        if event.item is not None:
            attributes["rio_chain.item"] = event.item
        links = [Link(context) for context in self._waiting(event)]
        at = time_of_event()
        name = f"{event.task} attempt"
        span = self._tracer.start_span(name, task.context, attributes=attributes, links=links, start_time=at)
        attempt = AttemptSpan(span, event, task, self._attempt.get(), current=at is None)
        task.hedged = task.hedged or event.replica > 0
        run.link(attempt, event)
        if at is None:
            self._attempt.set(attempt)
        gone = run.began(attempt, event)
        if gone is not None:
            run.end_attempt(attempt, gone)

    def _attempt_ended(self, event: Event) -> None:
        if time_of_event() is not None:
            self._ended_elsewhere(event)
            return
        attempt = self._attempt.get()
        if attempt is None or not attempt.is_of(event):
            return  # the observer was added in the middle of it
        self._attempt.set(attempt.outer)
        if attempt.token is not None:
            detach(attempt.token)
        run = self._runs.get(event.run)
        if run is None:
            attempt.end(event)
        else:
            run.ended(attempt)
            run.end_attempt(attempt, event)

    def _ended_elsewhere(self, event: Event) -> None:
        """The function has run in another process, so the span has been current nowhere."""
        run = self._runs.get(event.run)
        attempt = None if run is None else run.going(event)
        if run is not None and attempt is not None:
            run.ended(attempt)
            run.end_attempt(attempt, event)

    def _call_abandoned(self, event: Event) -> None:
        """Its function runs on, maybe for ever. The span has ended, and is still current for that."""
        run = self._runs.get(event.run)
        attempt = None if run is None else run.abandoned(event)
        if run is not None and attempt is not None:
            run.end_attempt(attempt, event)

    def _finished(self, event: Event) -> None:
        run = self._runs.get(event.run)
        if run is None:
            return
        task = self._item_at(event)
        if task is None:
            task = run.find(event)
            if task is not None and event.item is not None and not task.hedged:
                return  # an item of the `each` around, which has the number of one in it that goes on
        if task is not None and run.remove(task):
            task.span.set_attribute("rio_chain.attempts", event.attempt)
            end_span(task.span, event)

    def _item_at(self, event: Event) -> TaskSpan | None:
        task = self._item.get() if event.item is not None else None
        return task if task is not None and task.open and task.key == (event.run, path_of(event)) else None


def watch_tracers(provider: TracerProvider | None) -> ProviderWatch:
    """Whether spans go anywhere."""
    return ProviderWatch(provider, get_tracer_provider, "_TRACER_PROVIDER")


def headers_for_lane() -> CallInLane | None:
    """What gives a call in a lane the headers that a request sent from here would have."""
    headers: dict[str, str] = {}
    propagate.inject(headers)
    return partial(call_with_headers, headers) if headers else None


def call_with_headers(headers: dict[str, str], fn: Callable[[Any], Any], value: Any) -> Any:
    """Call a function in the process of a lane, below the span that the headers name."""
    token = attach(propagate.extract(headers))
    try:
        return fn(value)
    finally:
        detach(token)
