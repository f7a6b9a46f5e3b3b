"""The spans of one run: its own, those of its tasks and attempts, and the links between attempts.

An attempt that is made beside another one has a link to that. On threads it may begin before that one does, and end
too; then its span is ended, with the time at which it should have, when the link is there or the run is over.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from opentelemetry.context import Context, attach, get_current
from opentelemetry.trace import Span, SpanContext, StatusCode, get_current_span, set_span_in_context

from rio_chain._core.lane_wrapper import LANE_WRAPPER, CallInLane
from rio_chain.results._deliver import AGE
from rio_chain.results._events import Event, error_name

NO_ERROR = ("succeeded", "cancelled")
"""The statuses that leave that of a span unset. The loser of a hedge is cancelled."""

Path = tuple[str, ...]
Call = tuple[Path, int, int]
"""The path of the task, the attempt and the replica."""


class RunSpans:
    """The spans of a run. Its own is current from its beginning to its end."""

    __slots__ = ("_attempts", "_lock", "_open", "_outside", "_tasks", "_unlinked", "_wrapper", "context", "span")

    def __init__(self, span: Span, wrapper: Callable[[], CallInLane | None]) -> None:
        self.span = span
        self._outside = get_current()
        self._wrapper = LANE_WRAPPER.get()
        self.context = set_span_in_context(span, self._outside)
        self._open: dict[TaskSpan, None] = {}
        self._tasks: dict[Path, TaskSpan] = {}
        self._attempts: dict[Call, list[AttemptSpan | Event]] = {}  # going on; an Event: one was abandoned as it began
        self._unlinked: dict[Path, list[AttemptSpan]] = {}  # by a task that has not begun, beside which they are made
        self._lock = threading.RLock()  # hedges begin on several threads at once
        attach(self.context)
        LANE_WRAPPER.set(wrapper)

    def leave(self) -> None:
        """Make current what was current before it, unless the run is ended from another context."""
        if get_current_span() is self.span:
            attach(self._outside)
            LANE_WRAPPER.set(self._wrapper)

    def end(self, event: Event) -> None:
        """The run is over, and so is all in it."""
        with self._lock:
            tasks = [*self._open]
            unlinked = [*self._unlinked.values(), *(task.unlinked for task in tasks)]
            self._open, self._tasks, self._unlinked = {}, {}, {}
            for task in tasks:
                task.open = False
        for attempt in [attempt for attempts in unlinked for attempt in attempts]:
            attempt.linked()  # there is nothing to link it to
        for task in tasks:
            task.end(event)
        end_span(self.span, event)

    def find(self, event: Event) -> TaskSpan | None:
        """The span of the task that the event is about, if one is open: the last that began."""
        return self._tasks.get(path_of(event))

    def begin(self, event: Event, start: Callable[..., Span], *, first: bool) -> TaskSpan:
        """The span of the task that the event is about, or a new one. ``first``: the first call of an item begins."""
        path = path_of(event)
        with self._lock:
            found = self._tasks.get(path)
            if found is not None and not (first and found.begun):
                found.begun = found.begun or first  # a hedge may come before the call that it is made beside
                return found
            parent = self._tasks.get(path[:-1])  # the task that returned the Request in which this one runs
            context = self.context if parent is None else parent.context
            attributes: dict[str, str | int] = {"rio_chain.task": event.task or ""}
            if event.item is not None:
                attributes["rio_chain.item"] = event.item
            span = start(event.task or "", context, attributes=attributes, start_time=time_of_event())
            task = self._tasks[path] = TaskSpan(span, context, (event.run, path), begun=first)
            task.unlinked = self._unlinked.pop(path, task.unlinked)
            self._open[task] = None
            return task

    def link(self, attempt: AttemptSpan, event: Event) -> None:
        """Link the attempts that are made at once: this one to the first, or others to this one, which is the first."""
        task = attempt.task
        with self._lock:
            if not event.replica:
                task.first = attempt.span.get_span_context()
                waiting, task.unlinked = task.unlinked, []
                for other in waiting:
                    other.span.add_link(task.first)
                    other.linked()
                return
            path = path_of(event, event.beside or event.task)
            beside = task if event.beside in (None, event.task) else self._tasks.get(path)
            if beside is not None and beside.first is not None:
                attempt.span.add_link(beside.first)
                return
            attempt.waits = True
            (self._unlinked.setdefault(path, []) if beside is None else beside.unlinked).append(attempt)

    def began(self, attempt: AttemptSpan, event: Event) -> Event | None:
        """An attempt goes on. Gives the event that it was abandoned, if that came before.

        Several may go on under one number, if a part of the chain is called twice at once: a hedge of an ``each``, or
        of a task that returns a Request.
        """
        with self._lock:
            going = self._attempts.setdefault(_call_of(event), [])
            for found in going:
                if isinstance(found, Event):
                    going.remove(found)
                    return found
            going.append(attempt)
            return None

    def going(self, event: Event) -> AttemptSpan | None:
        """The attempt that this event ends."""
        with self._lock:
            found = self._attempts.get(_call_of(event), [])
            return next((one for one in found if isinstance(one, AttemptSpan) and one.open), None)

    def ended(self, attempt: AttemptSpan) -> None:
        """The function of an attempt has returned."""
        call = _call_of(attempt.event)
        with self._lock:
            going = self._attempts.get(call, [])
            if attempt in going:
                going.remove(attempt)
                if not going:
                    del self._attempts[call]

    def abandoned(self, event: Event) -> AttemptSpan | None:
        """The attempt that this event is about: the first that is open. None: it has not begun."""
        with self._lock:
            going = self._attempts.setdefault(_call_of(event), [])
            for attempt in going:
                if isinstance(attempt, AttemptSpan) and attempt.open:
                    return attempt
            going.append(event)
            return None

    def end_attempt(self, attempt: AttemptSpan, event: Event) -> None:
        """The function of an attempt has ended, or nobody waits for it any more."""
        with self._lock:
            attempt.end(event)

    def remove(self, task: TaskSpan) -> bool:
        """The task has finished. Returns False if that was known."""
        with self._lock:
            found, task.open = task.open, False
            self._open.pop(task, None)
            unlinked, task.unlinked = task.unlinked, []
            if self._tasks.get(task.key[1]) is task:
                del self._tasks[task.key[1]]
            for attempt in unlinked:
                attempt.linked()
            return found


class TaskSpan:
    """The span of a task, around its attempts."""

    __slots__ = ("begun", "broke", "context", "first", "hedged", "key", "open", "span", "unlinked")

    def __init__(self, span: Span, context: Context, key: tuple[int, Path], *, begun: bool) -> None:
        self.span = span
        self.key = key
        self.begun = begun  # of an item: its first call has begun
        self.open = True
        self.hedged = False  # hedges of an item run in contexts of their own
        self.context = set_span_in_context(span, context)
        self.broke: Event | None = None  # the end of the call that ended last, if that failed
        self.first: SpanContext | None = None  # of the call that hedges are made beside
        self.unlinked: list[AttemptSpan] = []  # hedges that began before that call

    def end(self, run_ended: Event) -> None:
        """The run has ended, and nothing was said of this task: it was cancelled, unless it is what has failed."""
        if run_ended.status == "failed" and self.broke is not None:
            end_span(self.span, self.broke)
            return
        self.span.set_attribute("rio_chain.outcome", "cancelled")
        self.span.end()


class AttemptSpan:
    """The span of an attempt. It is current while the body runs, in the context of that, if that is here."""

    __slots__ = ("_end", "event", "open", "outer", "span", "task", "token", "waits")

    def __init__(
        self, span: Span, event: Event, task: TaskSpan, outer: AttemptSpan | None, *, current: bool = True
    ) -> None:
        self.span = span
        self.event = event
        self.task = task
        self.waits = False  # for its link
        self.open = True
        self._end: tuple[Event, int] | None = None  # what has ended it, and when, while it waits
        self.outer = outer
        self.token = attach(set_span_in_context(span, get_current())) if current else None

    def end(self, event: Event) -> None:
        """End the span, the first time this is called: by its function, or by the run that waits no more for that."""
        if not self.open:
            return
        self.open = False
        self.task.broke = event if event.status == "failed" else None
        if self.waits:
            self._end = event, time_of_event() or time.time_ns()
        else:
            end_span(self.span, event)

    def linked(self) -> None:
        """It has its link, or never will."""
        self.waits = False
        if self._end is not None:
            end_span(self.span, *self._end)

    def is_of(self, end: Event) -> bool:
        """Whether this event ends it."""
        begun = self.event
        return (begun.run, begun.attempt, begun.replica) == (end.run, end.attempt, end.replica) and (
            path_of(begun) == path_of(end)
        )


def _call_of(event: Event) -> Call:
    return path_of(event), event.attempt, event.replica


def path_of(event: Event, task: str | None = None) -> Path:
    """The names of the tasks that lead to this one, as ``Event.within`` writes them, and its own, or another one's."""
    name = task or event.task or ""
    return (*event.within, name if event.item is None else f"{name}[{event.item}]")


def end_span(span: Span, event: Event, at: int | None = None) -> None:
    """End it as its event says."""
    status = event.status or ""
    if event.kind == "call_abandoned" or (event.kind == "attempt_ended" and status == "abandoned"):
        status = "cancelled"
        span.set_attribute("rio_chain.abandoned", True)  # noqa: FBT003 - its value
    span.set_attribute("rio_chain.outcome", status)
    if status not in NO_ERROR:
        span.set_attribute("error.type", status if event.error is None else error_name(event.error))
        span.set_status(StatusCode.ERROR)
    span.end(at or time_of_event())


def time_of_event() -> int | None:
    """When the event happened that is being delivered, in nanoseconds since 1970. None: now."""
    age = AGE.get()
    return None if age is None else time.time_ns() - int(age * 1e9)
