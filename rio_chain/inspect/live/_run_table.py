"""``request.run(live=True)``: shows a run while it goes on."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from returns.result import Failure

from rio_chain._core.deadline import Deadline
from rio_chain._core.units import Duration, escape_nonprintable, milliseconds
from rio_chain.errors import TicketCancelled
from rio_chain.executors import run_blocking
from rio_chain.executors._blocking_wait import wait_until_done
from rio_chain.executors._stream import events_of
from rio_chain.executors._ticket import Ticket
from rio_chain.inspect._shown_live import note_shown_live
from rio_chain.inspect.live._screen import Shown
from rio_chain.inspect.live._table import Cell, Sheet
from rio_chain.inspect.live._task_rows import HEAD, TaskRow, Tasks, ended, folded
from rio_chain.inspect.pictures._build_picture import picture
from rio_chain.inspect.pictures._paint_svg import paint
from rio_chain.inspect.pictures._picture import Mark, Marks
from rio_chain.inspect.pictures._svg_string import scrolled, svg_of

if TYPE_CHECKING:
    from rio_chain.chain._request import Request
    from rio_chain.engine._journal_protocol import RunJournal
    from rio_chain.executors._base import Executor
    from rio_chain.results._outcome import Outcome


def run_live(
    request: Request[Any],
    executor: str | Executor | None,
    deadline: Deadline | Duration | None,
    journal: RunJournal | None = None,
) -> Outcome[Any]:
    """Run it as ``run_blocking`` does, and show it meanwhile."""
    return run_blocking(request, executor, deadline, journal, followed)


@contextmanager
def followed(ticket: Ticket[Any]) -> Generator[Callable[[], object], None, None]:
    """Show the run of a ticket until the end of the block. Gives a function that waits for its answer."""
    with Shown(Running(ticket)) as look:
        yield partial(wait_until_done, ticket.host, ticket.add_waker, meanwhile=look)


class Running:
    """A run in progress, as a View.

    It shows no values: they may be large or secret, and notebooks are saved. When the run has ended, a notebook shows
    the picture of its Outcome, which contains the texts of errors.
    """

    def __init__(self, ticket: Ticket[Any]) -> None:
        self._ticket = ticket
        self._title = ticket.request.plan.title
        self._events = events_of(ticket)
        self._tasks = Tasks(ticket.request.plan)
        self._outcome: Outcome[Any] | None = None
        self._began = time.monotonic()
        self._said = [_key(row) for row in self._tasks.rows(0.0)]

    def sheet(self, rows: int) -> Sheet:
        """As ``View.sheet``."""
        found, note = self._now()
        kept, left = folded(found, rows)
        head = Cell(self._title)
        return Sheet(
            head, HEAD, [row.cells() for row in kept], left, note=note, picture=partial(self._picture, found, note)
        )

    def news(self) -> Iterator[str]:
        """As ``View.news``."""
        rows, note = self._now()
        for i, row in enumerate(rows):
            if self._said[i] != _key(row):
                self._said[i] = _key(row)
                yield row.line()
        if self._ticket.done:
            yield escape_nonprintable(f"{self._title}: {note.text}")

    def _picture(self, rows: list[TaskRow], note: Cell) -> str:
        """The plan with the state of each task."""
        outcome, plan = self._outcome, self._ticket.request.plan
        if outcome is not None:
            note_shown_live(outcome)
            return scrolled(svg_of(outcome))
        so_far = Marks({i: row.mark() for i, row in enumerate(rows)}, head=Mark("running", note.text))
        return scrolled(paint(picture(plan, so_far)))

    def _now(self) -> tuple[list[TaskRow], Cell]:
        """The tasks, and the state of the whole run."""
        over = self._ticket.done  # read first: events that came before the answer can then be read below
        while not self._events.empty():
            event = self._events.next()
            if event is not None:
                self._tasks.take(event)
        now = milliseconds(time.monotonic() - self._began)
        if not over:
            return self._tasks.rows(now), Cell(f"running for {now:.0f} ms", "busy")
        try:
            self._outcome = self._ticket.wait()
        except BaseException as error:  # noqa: BLE001 - raised by the user's code; the caller that waits gets it
            return self._tasks.rows(now), Cell(f"ended by {type(error).__name__} in {now:.1f} ms", "bad")
        return ended(self._outcome), _end(self._outcome)


def _end(outcome: Outcome[Any]) -> Cell:
    time_taken = f"in {outcome.elapsed:.1f} ms"
    if not isinstance(outcome.result, Failure):
        return Cell(f"succeeded {time_taken}", "good")
    error = outcome.result.failure()
    if isinstance(error, TicketCancelled):
        return Cell(f"cancelled {time_taken}", "warn")
    return Cell(f"failed {time_taken}: {type(error).__name__}", "bad")


def _key(row: TaskRow) -> object:
    """The part of a row that is worth a new line when it changes."""
    return row.state, row.attempts, tuple(row.items.items())
