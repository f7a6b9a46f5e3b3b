"""What one run leaves of each task: a Response, made from the run's log when somebody looks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from attrs import frozen
from returns.result import Failure, Success

from rio_chain._core.units import milliseconds
from rio_chain.results._task_record import (
    CallRecord,
    GaveUp,
    ItemRecord,
    ItemTotals,
    Status,
    TaskRecord,
    by_status_order,
    full_record,
)

if TYPE_CHECKING:
    from rio_chain.results._outcome import Outcome


@frozen
class Span:
    """One call of a task: when it ran, in milliseconds since the run began, and how it ended.

    The gap between two spans is a backoff; spans that overlap are calls made at once.

    Attributes:
        began: when it began.
        ended: when it ended, or was no longer waited for.
        attempt: which call it is, counted from 1, among those of the same replica.
        replica: which of the calls made at once, counted from 0.
        status: as that of a Response.
        error: what it failed with, as in ``Response.errors``; None when it succeeded.
    """

    began: float
    ended: float
    attempt: int
    replica: int
    status: Status
    error: Any = None

    @property
    def elapsed(self) -> float:
        """Milliseconds."""
        return self.ended - self.began


class Response:
    """One task's record of one run. Times are milliseconds.

    Attributes:
        name: the task's name in the plan.
        status: ``succeeded``, ``failed``, ``timed_out``, ``abandoned``, ``skipped`` or ``cancelled``.
        result: ``Success(value)`` or ``Failure(error)`` of the last round.
        attempts: calls made in the whole run; 0 when it was skipped.
        elapsed: from the start of its first call to the end of its last, waits between them included.
        errors: the errors of all its attempts, in order: the first 10 and the last 10 as they are, those between as
            ``ErrorSummary``. Of a task in an ``each`` or ``expand`` at most 10,000.
        winner: which of the calls made at once gave the answer, counted from 0; None when none did.
        started: how many replicas were started in the last round; 0 without ``.replica``.
        wasted: how many of them were started in vain.
        denied: how many retries and replicas a budget did not allow, in the whole run.
        gave_up: why a task that failed was not called again by the ``.retry`` around it: ``"exhausted"``, no retry was
            left; ``"no_time"``, the wait before it did not fit into a limit; ``"not_retried"``, the error is none of
            those that it retries; ``"budget"``, the budget denied it. None: there is no retry around it, the task did
            not fail, or something else ended it.
        nested: the Outcome of the Request that its last call returned; None when it returned none.
        counts: of a task in an ``each`` or ``expand``: how many of its items ended with which status; else empty.
        index: of one of its ``items``: which one, counted from 0; else None.
    """

    __slots__ = ("_found", "_hedged", "_start", "index", "name")

    def __init__(
        self, name: str, found: Any, cause: Any, index: int | None = None, start: float = 0.0, *, hedged: bool = False
    ) -> None:
        self.name = name
        self.index = index
        self._hedged = hedged  # where no second call was due, the log says nothing of calls made at once
        self._start = start  # of the run, on its clock
        if type(found) is not tuple:
            found = TaskRecord() if found is None else found
            if found.status is None:
                found.skip(cause)
        # as in the log; what it means is read when it is asked
        self._found: tuple[float, float, Any] | TaskRecord = found

    @property
    def _entry(self) -> TaskRecord:
        found = self._found
        return full_record(found) if type(found) is tuple else cast("TaskRecord", found)

    @property
    def status(self) -> Status:
        """How it ended."""
        found = self._found
        return "succeeded" if type(found) is tuple else cast("Status", cast("TaskRecord", found).status)

    @property
    def attempts(self) -> int:
        """Calls made in the whole run."""
        found = self._found
        return 1 if type(found) is tuple else cast("TaskRecord", found).calls

    @property
    def errors(self) -> tuple[Any, ...]:
        """The errors of all attempts, in order; many of them as ``ErrorSummary``."""
        return tuple(self._entry.errors)

    @property
    def started(self) -> int:
        """How many replicas were started in the last round."""
        return self._entry.started or int(self._hedged and self.attempts > 0 and not self.counts)

    @property
    def wasted(self) -> int:
        """How many of them in vain."""
        return self._entry.wasted

    @property
    def denied(self) -> int:
        """How many retries and replicas a budget did not allow."""
        return self._entry.denied

    @property
    def repeats(self) -> int:
        """How often Dask began it again because a worker was lost; 0 elsewhere. These calls are not in ``attempts``."""
        return self._entry.repeats

    @property
    def gave_up(self) -> GaveUp | None:
        """Why the retry around it made no further attempt."""
        return self._entry.gave_up

    @property
    def nested(self) -> Outcome[Any] | None:
        """The Outcome of the Request that its last call returned. Its times count from its own beginning."""
        nested = self._entry.nested
        outcome: Outcome[Any] | None = None if nested is None else nested.outcome()
        return outcome

    @property
    def nested_began(self) -> float:
        """When that Request began, in milliseconds since the run did; 0 when there is none."""
        nested = self._entry.nested
        return 0.0 if nested is None else self._ms(nested.began)

    @property
    def error(self) -> Any:
        """What it failed with, or why it was skipped; None when it succeeded."""
        return None if self.status == "succeeded" else self._entry.value

    @property
    def counts(self) -> Mapping[str, int]:
        """How many items ended with which status."""
        entry = self._entry
        return by_status_order(entry.counts) if isinstance(entry, ItemTotals) else {}

    @property
    def _items(self) -> list[ItemRecord]:
        entry = self._entry
        return entry.items if isinstance(entry, ItemTotals) else []

    @property
    def items(self) -> tuple[Response, ...]:
        """Of a task in an ``each`` or ``expand``: one Response for each item, by ``index``; else none.

        There is one for each of the first 1,000 items that ended, and for up to 10,000 failures after them. Where
        these have items in turn, those of the first ones are kept, about 10,000 in all; all are in ``counts``.
        """
        items = sorted(self._items, key=_number)
        start, hedged = self._start, self._hedged
        return tuple(Response(self.name, item.found, None, item.number, start, hedged=hedged) for item in items)

    @property
    def spans(self) -> tuple[Span, ...]:
        """One Span for each of its calls, by when they began: the first 100. Where there are ``items``, theirs.

        Example:
            >>> from rio_chain import Task
            >>> [span] = Task(len)("four").run().only.spans
            >>> span.attempt, span.replica, span.status
            (1, 0, 'succeeded')
        """
        if self.counts:
            return ()
        made: Counter[int] = Counter()
        spans: list[Span] = []
        for call_record in sorted(self._entry.call_records, key=_begins):
            replica = call_record.replica or 0
            made[replica] += 1
            times = self._ms(call_record.began), self._ms(call_record.ended)
            spans.append(Span(*times, made[replica], replica, call_record.status or "cancelled", call_record.error))
        return tuple(spans)

    def _ms(self, at: float) -> float:
        """An instant of the run's clock as users see it."""
        return milliseconds(at - self._start)

    @property
    def result(self) -> Success[Any] | Failure[Any]:
        """``Success(value)`` or ``Failure(error)``. Where there are ``items``, the value is the tuple of theirs."""
        if self._items and self.status == "succeeded":
            return Success(tuple(item.result.unwrap() for item in self.items if item.status == "succeeded"))
        value = self._entry.value
        return Success(value) if self.status == "succeeded" else Failure(value)

    @property
    def began(self) -> float:
        """When its first call began, in milliseconds since the run did; 0 when there was none."""
        return self._ms(self._entry.began) if self.attempts else 0.0

    @property
    def elapsed(self) -> float:
        """Milliseconds."""
        entry = self._entry
        return milliseconds(entry.ended - entry.began)

    @property
    def winner(self) -> int | None:
        """Which of the calls made at once answered."""
        return self._entry.winner if self.status == "succeeded" else None

    def __repr__(self) -> str:
        tries = f", {self.attempts} attempts" if self.attempts > 1 else ""
        items = f" ({', '.join(f'{n} {status}' for status, n in self.counts.items())})" if self.counts else ""
        item = f"[{self.index}]" if self.index is not None else ""
        return f"<Response {self.name}{item}: {self.status}{items}{tries}, {self.elapsed:.1f} ms>"


def _number(item: ItemRecord) -> int:
    return item.number


def _begins(call_record: CallRecord) -> float:
    return call_record.began
