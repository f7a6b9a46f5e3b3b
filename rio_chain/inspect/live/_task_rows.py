"""The state of each task of a run, from its events: a row for each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from attrs import frozen

from rio_chain._core.units import escape_nonprintable
from rio_chain.chain._plan import Plan
from rio_chain.inspect.live._table import Cell, Tone
from rio_chain.inspect.pictures._picture import Mark
from rio_chain.inspect.pictures._status_marks import duration
from rio_chain.results._events import Event
from rio_chain.results._outcome import Outcome
from rio_chain.results._response import Response
from rio_chain.results._task_record import Status, by_status_order

State = Status | Literal["waiting", "running", "retrying"]

TONE_OF: dict[State, Tone] = {
    "waiting": "quiet",
    "running": "busy",
    "retrying": "warn",
    "succeeded": "good",
    "failed": "bad",
    "timed_out": "bad",
    "abandoned": "bad",
    "cancelled": "warn",
    "skipped": "quiet",
}
LAST: tuple[State, ...] = ("waiting", "skipped", "succeeded")
"""The states that are left out first if there is no room for all rows."""


@frozen
class TaskRow:
    """The present state of one task. Times are milliseconds."""

    name: str
    state: State
    attempts: int
    elapsed: float | None
    items: Mapping[str, int]
    error: str

    def cells(self) -> tuple[Cell, ...]:
        """As a row of a table."""
        quiet: Tone = "quiet" if self.state in ("waiting", "skipped") else ""
        elapsed = "" if self.elapsed is None else f"{self.elapsed:.1f} ms"
        attempts = str(self.attempts or "")
        return Cell(self.name, quiet), Cell(self.state, TONE_OF[self.state]), Cell(attempts), Cell(elapsed), self.more()

    def more(self) -> Cell:
        """Details: the items, or the error."""
        items = ", ".join(f"{number} {state}" for state, number in self.items.items() if number)
        if items or not self.error:
            return Cell(f"items: {items}" if items else "")
        over = self.state not in ("running", "retrying")
        return Cell(self.error, "bad") if over else Cell(f"after {self.error}", "warn")

    def mark(self) -> Mark:
        """Its mark in a picture, in the same words as for a run that has ended."""
        over = sum(self.items.values()) - self.items.get("running", 0)
        items, more = f"{over} items" if self.items else "", self.more().text
        match self.state:
            case "running" | "retrying":
                call = f"{self.state}, call {self.attempts}" if self.attempts > 1 else self.state
                return Mark("running", items or call, more)
            case state:
                calls = f", {self.attempts} calls" if self.attempts > 1 else ""
                timed = state == "succeeded" and self.elapsed is not None
                took = duration(self.elapsed or 0.0) if timed else state.replace("_", " ")
                return Mark(state, items or f"{took}{calls}", more)

    def line(self) -> str:
        """The row as one line of text."""
        name, state, attempts, elapsed, more = (cell.text for cell in self.cells())
        calls = f"{attempts} attempts" if self.attempts > 1 and not self.items else ""
        return (
            f"{escape_nonprintable(name)}: "
            f"{', '.join(filter(None, (state, calls, elapsed, escape_nonprintable(more))))}"
        )


HEAD = ("task", "status", "attempts", "elapsed", "")


class _Task:
    """The state of one task, from its events."""

    def __init__(self) -> None:
        self.state: State = "waiting"
        self.calls = 0
        self.running = 0  # calls in progress; several may be made at once
        self.began: float | None = None
        self.ended: float | None = None
        self.open: set[int] = set()  # items in progress
        self.items = Counter[str]()
        self.error = ""

    def take(self, event: Event) -> None:
        """Take in an event of the task."""
        if event.error is not None:
            self.error = type(event.error).__name__
        if event.kind == "started":
            self.calls += 1
            self.running += 1
            self.began, self.ended, self.state = event.at if self.began is None else self.began, None, "running"
            if event.item is not None:
                self.open.add(event.item)
        elif event.kind == "attempt_failed":
            self.running = max(0, self.running - 1)
            self.state = "running" if self.running or event.item is not None else "retrying"
        elif event.kind == "finished" and event.status is not None:
            self.finished(event, event.status)

    def finished(self, event: Event, status: Status) -> None:
        """The turn of the task has ended, or that of one of its items."""
        if event.item is None:
            self.state, self.running, self.ended = status, 0, event.at
            self.error = self.error if event.error is not None else ""
            return
        self.open.discard(event.item)
        self.items[status] += 1
        self.ended = None if self.open else event.at

    def row(self, name: str, now: float) -> TaskRow:
        """Its present state."""
        end = now if self.ended is None else self.ended
        items: dict[str, int] = {**by_status_order(self.items), "running": len(self.open)} if self.items else {}
        elapsed = None if self.began is None else max(0.0, end - self.began)
        return TaskRow(name, self.state, self.calls, elapsed, items, self.error)


class Tasks:
    """The tasks of a run, from its events."""

    def __init__(self, plan: Plan) -> None:
        self._tasks = {task.name: _Task() for task in plan.tasks}

    def take(self, event: Event) -> None:
        """Take in an event."""
        if event.task is not None and not event.within:
            self._tasks[event.task].take(event)

    def rows(self, now: float) -> list[TaskRow]:
        """All of them in plan order, ``now`` milliseconds after the run began."""
        return [task.row(name, now) for name, task in self._tasks.items()]


def ended(outcome: Outcome[object]) -> list[TaskRow]:
    """The rows of a run that has ended."""
    return [_ended(response) for response in outcome]


def _ended(response: Response) -> TaskRow:
    failed = response.status not in ("succeeded", "skipped") and response.errors
    error = type(response.errors[-1]).__name__ if failed else ""
    elapsed = response.elapsed if response.attempts else None
    return TaskRow(response.name, response.status, response.attempts, elapsed, {**response.counts}, error)


def folded(rows: Sequence[TaskRow], most: int) -> tuple[list[TaskRow], str]:
    """At most ``most`` rows, first those that are not waiting or done; and the rest, counted in words."""
    if len(rows) <= most:
        return [*rows], ""
    by_need = sorted(range(len(rows)), key=lambda i: rows[i].state in LAST)  # stable: else in plan order
    kept = sorted(by_need[: most - 1])
    left = by_need[most - 1 :]
    return [rows[i] for i in kept], f"and {len(left)} more: {counted(rows[i].state for i in left)}"


def counted(states: Iterable[State]) -> str:
    """The number of tasks in each state: ``900 waiting, 60 succeeded``."""
    return ", ".join(f"{number} {state}" for state, number in Counter(states).most_common())
