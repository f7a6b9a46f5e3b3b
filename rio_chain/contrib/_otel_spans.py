"""A span for each run, task and attempt.

The span of a run is current in the context of that run. Branches, hedges, items and worker threads have copies of this
context. The span of an attempt is current in the context in which the body runs, so each is ended where it began.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from contextvars import ContextVar
from functools import partial
from typing import TYPE_CHECKING, Any

from opentelemetry import propagate
from opentelemetry.context import Context, attach, detach, get_current
from opentelemetry.trace import (
    Link,
    Span,
    SpanContext,
    StatusCode,
    get_current_span,
    get_tracer,
    get_tracer_provider,
    set_span_in_context,
)

from rio_chain._core.lane_wrapper import LANE_WRAPPER, CallInLane
from rio_chain.contrib._otel_providers import ProviderWatch
from rio_chain.results._events import Event, error_name

if TYPE_CHECKING:
    from opentelemetry.trace import TracerProvider

NAME = "rio_chain"
"""Of the tracer, and of the span of a run whose chain has no name."""
NO_ERROR = ("succeeded", "cancelled")
"""The statuses that leave that of a span unset. The loser of a hedge is cancelled."""

Path = tuple[str, ...]


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
            self._runs[event.run] = RunSpans(span)

    def _request_ended(self, event: Event) -> None:
        run = self._runs.pop(event.run, None)
        if run is None:
            return
        run.leave()
        for task in run.all_tasks():
            if event.status == "cancelled":  # in the midst of them
                task.span.set_attribute("rio_chain.outcome", "cancelled")
            task.span.end()
        end_span(run.span, event)

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
        span = self._tracer.start_span(f"{event.task} attempt", task.context, attributes=attributes, links=links)
        if event.replica:
            task.hedged = True
            task.unlinked.append(span)
        else:
            task.first = span.get_span_context()
        task.link()
        self._attempt.set(AttemptSpan(span, event, self._attempt.get()))

    def _attempt_ended(self, event: Event) -> None:
        attempt = self._attempt.get()
        if attempt is None or not attempt.is_of(event):
            return  # the observer was added in the middle of it
        self._attempt.set(attempt.outer)
        detach(attempt.token)
        end_span(attempt.span, event)

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


class RunSpans:
    """The spans of a run. Its own is current from its beginning to its end."""

    __slots__ = ("_lock", "_open", "_outside", "_tasks", "_wrapper", "context", "span")

    def __init__(self, span: Span) -> None:
        self.span = span
        self._outside = get_current()
        self._wrapper = LANE_WRAPPER.get()
        self.context = set_span_in_context(span, self._outside)
        self._open: dict[TaskSpan, None] = {}
        self._tasks: dict[Path, TaskSpan] = {}
        self._lock = threading.RLock()
        attach(self.context)
        LANE_WRAPPER.set(headers_for_lane)

    def leave(self) -> None:
        """Make current what was current before it, unless the run is ended from another context."""
        if get_current_span() is self.span:
            attach(self._outside)
            LANE_WRAPPER.set(self._wrapper)

    def find(self, event: Event) -> TaskSpan | None:
        """The span of the task that the event is about, if one is open: the last that began."""
        return self._tasks.get(path_of(event))

    def begin(self, event: Event, start: Callable[..., Span], *, first: bool) -> TaskSpan:
        """The span of the task that the event is about, or a new one. ``first``: the first call of an item begins."""
        path = path_of(event)
        with self._lock:  # hedges begin on several threads at once
            found = self._tasks.get(path)
            if found is not None and not (first and found.begun):
                found.begun = found.begun or first  # a hedge may come before the call that it is made beside
                return found
            parent = self._tasks.get(path[:-1])  # the task that returned the Request in which this one runs
            context = self.context if parent is None else parent.context
            attributes: dict[str, str | int] = {"rio_chain.task": event.task or ""}
            if event.item is not None:
                attributes["rio_chain.item"] = event.item
            span = start(event.task or "", context, attributes=attributes)
            task = self._tasks[path] = TaskSpan(span, context, (event.run, path), begun=first)
            self._open[task] = None
            return task

    def remove(self, task: TaskSpan) -> bool:
        """The task has finished. False: that was known."""
        with self._lock:
            found, task.open = task.open, False
            self._open.pop(task, None)
            if self._tasks.get(task.key[1]) is task:
                del self._tasks[task.key[1]]
            return found

    def all_tasks(self) -> list[TaskSpan]:
        """Those that are still open."""
        with self._lock:
            found = [*self._open]
            for task in found:
                task.open = False
            self._open, self._tasks = {}, {}
            return found


class TaskSpan:
    """The span of a task, around its attempts."""

    __slots__ = ("begun", "context", "first", "hedged", "key", "open", "span", "unlinked")

    def __init__(self, span: Span, context: Context, key: tuple[int, Path], *, begun: bool) -> None:
        self.span = span
        self.key = key
        self.begun = begun  # of an item: its first call has begun
        self.open = True
        self.hedged = False  # hedges of an item run in contexts of their own
        self.context = set_span_in_context(span, context)
        self.first: SpanContext | None = None  # of the call that hedges are made beside
        self.unlinked: list[Span] = []  # hedges; on threads one may begin before that call

    def link(self) -> None:
        """Give each hedge a link to the call that it is made beside. Popping is atomic, so there is one."""
        first = self.first
        while first is not None and self.unlinked:
            with contextlib.suppress(IndexError):  # another thread was quicker
                self.unlinked.pop().add_link(first)


class AttemptSpan:
    """The span of an attempt. It is current while the body runs, in the context of that."""

    __slots__ = ("event", "outer", "span", "token")

    def __init__(self, span: Span, event: Event, outer: AttemptSpan | None) -> None:
        self.span = span
        self.event = event
        self.outer = outer
        self.token = attach(set_span_in_context(span, get_current()))

    def is_of(self, end: Event) -> bool:
        """Whether this event ends it."""
        begun = self.event
        return (begun.run, begun.attempt, begun.replica) == (end.run, end.attempt, end.replica) and (
            path_of(begun) == path_of(end)
        )


def path_of(event: Event) -> Path:
    """The names of the tasks that lead to this one, as ``Event.within`` writes them, and its own."""
    name = event.task or ""
    return (*event.within, name if event.item is None else f"{name}[{event.item}]")


def end_span(span: Span, event: Event) -> None:
    """End it as its event says."""
    status = event.status or ""
    if event.kind == "attempt_ended" and status == "abandoned":  # a sync function returned when nobody waited for it
        status = "cancelled"
        span.set_attribute("rio_chain.abandoned", True)  # noqa: FBT003 - its value
    span.set_attribute("rio_chain.outcome", status)
    if status not in NO_ERROR:
        span.set_attribute("error.type", status if event.error is None else error_name(event.error))
        span.set_status(StatusCode.ERROR)
    span.end()


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
