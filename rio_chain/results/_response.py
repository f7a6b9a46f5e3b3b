"""Response: the record of one task in one run, made from the run's log when it is read."""

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

    The gap between two spans is a backoff. Spans that overlap are calls made at once.

    Attributes:
        began: when the call began.
        ended: when it ended, or when the run stopped waiting for it.
        attempt: the number of the call, from 1, among those of the same replica.
        replica: the number of the call, from 0, among those made at once.
        status: as that of a Response.
        error: the error of the call, as in ``Response.errors``; None if it succeeded.
    """

    began: float
    ended: float
    attempt: int
    replica: int
    status: Status
    error: Any = None

    @property
    def elapsed(self) -> float:
        """The duration in milliseconds."""
        return self.ended - self.began


class Response:
    """The record of one task in one run. Times are milliseconds.

    Attributes:
        name: the task's name in the plan.
        status: ``succeeded``, ``failed``, ``timed_out``, ``abandoned``, ``skipped`` or ``cancelled``.
        result: ``Success(value)`` or ``Failure(error)`` of the last round.
        attempts: the number of calls in the whole run; 0 if it was skipped.
        elapsed: the time from the start of the task's first call to the end of its last call, with the waits between.
        errors: the errors of all attempts of the task, in order. The first 10 and the last 10 are unchanged. Each error
            between them is an ``ErrorSummary``. A task in an ``each`` or ``expand`` has at most 10,000.
        winner: the number of the replica that gave the answer, from 0. None if no replica did.
        started: how many replicas were started in the last round; 0 without ``.replica``.
        wasted: how many of these replicas were not used.
        denied: how many retries and replicas a budget did not allow, in the whole run.
        gave_up: why the ``.retry`` around the task did not call it again after a failure:

            - ``"exhausted"``: no retry was left
            - ``"no_time"``: a timeout around the retry would have expired during the wait before the next attempt
            - ``"not_retried"``: the retry is not for this error
            - ``"stopped"``: the ``stop`` of the retry returned True
            - ``"budget"``: a budget denied the retry
            - None: there is no retry around the task, the task did not fail, or something else ended it
        nested: the Outcome of the Request that the last call of the task returned. None if it returned no Request.
        recalled: whether its answer comes from the journal, and the task was not called. For a task in an ``each`` or
            ``expand``, whether all of its ``items`` were recalled.
        counts: for a task in an ``each`` or ``expand``, the number of its items by status. Else empty.
        index: for one of the ``items``, its number, from 0. Else None.
    """

    __slots__ = ("_found", "_hedged", "_start", "index", "name")

    def __init__(
        self, name: str, found: Any, cause: Any, index: int | None = None, start: float = 0.0, *, hedged: bool = False
    ) -> None:
        self.name = name
        self.index = index
        self._hedged = hedged  # the log does not say so if no second call was due
        self._start = start  # the start of the run, on its clock
        if type(found) is not tuple:
            found = TaskRecord() if found is None else found
            if found.status is None:
                found.skip(cause)
        # in the form of the log, and decoded when it is read
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
        """The number of calls in the whole run."""
        found = self._found
        return 1 if type(found) is tuple else cast("TaskRecord", found).calls

    @property
    def errors(self) -> tuple[Any, ...]:
        """The errors of all attempts, in order. If there are many, some are an ``ErrorSummary``."""
        return tuple(self._entry.errors)

    @property
    def started(self) -> int:
        """How many replicas were started in the last round."""
        return self._entry.started or int(self._hedged and self.attempts > 0 and not self.counts)

    @property
    def wasted(self) -> int:
        """How many of these replicas were not used."""
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
        """Why the retry around it did not call it again."""
        return self._entry.gave_up

    @property
    def recalled(self) -> bool:
        """Whether its answer comes from the journal."""
        entry = self._entry
        if isinstance(entry, ItemTotals):
            return bool(entry.items) and all(getattr(item.found, "recalled", False) for item in entry.items)
        return entry.recalled

    @property
    def _fallbacks(self) -> int:
        return self._entry.fallbacks

    @property
    def nested(self) -> Outcome[Any] | None:
        """The Outcome of the Request that its last call returned. Its times count from its own start."""
        nested = self._entry.nested
        outcome: Outcome[Any] | None = None if nested is None else nested.outcome()
        return outcome

    @property
    def nested_began(self) -> float:
        """When that Request began, in milliseconds since the run began; 0 if there is none."""
        nested = self._entry.nested
        return 0.0 if nested is None else self._ms(nested.began)

    @property
    def error(self) -> Any:
        """The error that it failed with, or why it was skipped; None if it succeeded."""
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
        """For a task in an ``each`` or ``expand``: one Response for each item, by ``index``; else empty.

        There is one for each of the first 1,000 items that ended, and for up to 10,000 failures after them. If items
        have items themselves, about 10,000 of these are kept in all, those of the first items. ``counts`` counts all.
        """
        items = sorted(self._items, key=_number)
        start, hedged = self._start, self._hedged
        return tuple(Response(self.name, item.found, None, item.number, start, hedged=hedged) for item in items)

    @property
    def spans(self) -> tuple[Span, ...]:
        """One Span for each of the first 100 calls, by when they began.

        Empty if there are ``items``, which have theirs.

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
        """Convert an instant of the run's clock to milliseconds since the run began."""
        return milliseconds(at - self._start)

    @property
    def result(self) -> Success[Any] | Failure[Any]:
        """``Success(value)`` or ``Failure(error)``. If there are ``items``, the value is the tuple of their values."""
        if self._items and self.status == "succeeded":
            return Success(tuple(item.result.unwrap() for item in self.items if item.status == "succeeded"))
        value = self._entry.value
        return Success(value) if self.status == "succeeded" else Failure(value)

    @property
    def began(self) -> float:
        """When its first call began, in milliseconds since the run began; 0 if there was none."""
        return self._ms(self._entry.began) if self.attempts else 0.0

    @property
    def elapsed(self) -> float:
        """The duration in milliseconds."""
        entry = self._entry
        return milliseconds(entry.ended - entry.began)

    @property
    def winner(self) -> int | None:
        """Which of the calls made at once gave the answer."""
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
