"""The log of a run: what is noted of each task while it runs. Responses are made of it when somebody looks."""

from __future__ import annotations

from collections import Counter, deque
from typing import Any, Literal, NamedTuple, get_args

from rio_chain.errors import Abandoned, BridgeFailed, DeadlineExceeded, Skipped, TaskTimedOut, TicketCancelled
from rio_chain.results._error_summary import KEPT, add_error, summary_of

Status = Literal["succeeded", "failed", "timed_out", "abandoned", "skipped", "cancelled"]

GaveUp = Literal["exhausted", "no_time", "not_retried", "budget"]
"""Why a retry made no further attempt."""

_STATUS_OF: tuple[tuple[type[Exception], Status], ...] = (
    (TaskTimedOut, "timed_out"),
    (DeadlineExceeded, "timed_out"),
    (Abandoned, "abandoned"),
    (TicketCancelled, "cancelled"),
)


def status_of(error: object) -> Status:
    """How a run or task ended that failed with this error.

    By identity: a user's class of errors may be neither hashable nor comparable.
    """
    for kind, status in _STATUS_OF:
        if type(error) is kind:
            return status
    return "failed"


_FAILED = ("failed", "timed_out")

KEPT_SPANS = 100


class CallRecord:
    """When one call of a task ran, and how that ended. ``status`` None: it was interrupted."""

    __slots__ = ("began", "ended", "error", "replica", "status")

    def __init__(self, began: float, ended: float) -> None:
        self.began = began
        self.ended = ended
        self.replica: int | None = None  # which of the calls made at once; the innermost of them counts
        self.status: Status | None = None
        self.error: Any = None


class TaskRecord:
    """The log of one task in one run. ``status`` None: its turn has not come; "running": no answer yet."""

    __slots__ = (
        "began",
        "call_records",
        "calls",
        "denied",
        "ended",
        "errors",
        "gave_up",
        "nested",
        "repeats",
        "started",
        "status",
        "turn",
        "value",
        "wasted",
        "winner",
    )

    def __init__(self) -> None:
        self.calls = 0
        self.began = self.ended = 0.0
        self.errors: list[Any] = []
        self.status: Status | Literal["running"] | None = None
        self.value: Any = None  # the answer, or the error
        self.winner = 0
        self.started = self.denied = self.wasted = self.repeats = 0  # repeats: by a cluster, as a worker was lost
        self.call_records: list[CallRecord] = []  # of the first calls
        self.turn = 0  # which of them is the first of this turn
        self.gave_up: GaveUp | None = None
        self.nested: Any = None  # a NestedRun: that of a Request which the last call returned

    def succeeded(self, value: Any) -> None:
        """The call, or a policy in place of it, gave an answer."""
        self.status, self.value = "succeeded", value
        self._end_call_records("succeeded", None)

    def failed(self, error: Any) -> None:
        """The call, or what was made of it, failed with ``error``."""
        self._end_nested(error)
        self.status, self.value = status_of(error), error
        self._end_call_records(self.status, error)
        self.add_error(error)

    def add_error(self, error: Any) -> None:
        """One more of the errors that are kept; of most of many only a summary."""
        summed_up = add_error(self.errors, error)
        if summed_up is not None:
            old, new = summed_up
            if not any(first is old for first in self.errors[:KEPT]):
                for call_record in self.call_records:
                    if call_record.error is old:
                        call_record.error = new

    def sum_up(self) -> None:
        """Keep summaries of its errors alone."""
        self.errors = [summary_of(error) for error in self.errors]
        for call_record in self.call_records:
            call_record.error = summary_of(call_record.error)
        if self.status not in (None, "running", "succeeded"):
            self.value = summary_of(self.value)

    def called(self, began: float, ended: float) -> None:
        """One more call was made."""
        if not self.calls:
            self.began = began
        self.calls += 1
        self.ended = ended
        if len(self.call_records) < KEPT_SPANS:
            self.call_records.append(CallRecord(began, ended))

    def new_turn(self) -> None:
        """It gets another turn: what it did counts, how it ended no longer does."""
        self.status = self.gave_up = self.nested = None
        self.turn = len(self.call_records)

    def retry_gave_up(self, reason: GaveUp) -> None:
        """A retry made no further attempt. Of several, one that does not retry such errors says least."""
        if self.status in _FAILED and (self.gave_up is None or reason != "not_retried"):
            self.gave_up = reason

    def _end_nested(self, error: Any) -> None:
        if self.nested is not None:
            self.nested.interrupted(error)

    def _end_call_records(self, status: Status, error: Any) -> None:
        """The last call of this turn ended so, and all that were interrupted."""
        last = len(self.call_records) - 1
        for place, call_record in enumerate(self.call_records):
            if call_record.status is None or place == last >= self.turn:
                call_record.status, call_record.error = status, error

    def add_calls(self, other: TaskRecord, replica: int | None = None) -> None:
        """Count the calls of another record as its own; ``replica``: they were those of that contender."""
        if other.calls:
            self.began = other.began if not self.calls else min(self.began, other.began)
            self.ended = max(self.ended, other.ended)
        self.calls += other.calls
        self.denied += other.denied
        self.repeats += other.repeats
        for call_record in other.call_records[: KEPT_SPANS - len(self.call_records)]:
            call_record.replica = replica if call_record.replica is None else call_record.replica
            self.call_records.append(call_record)
        self.turn = len(self.call_records)
        for error in other.errors:
            self.add_error(error)

    def take_end(self, other: TaskRecord) -> None:
        """End as another TaskRecord did."""
        if other.calls:
            self.ended = other.ended
        self.status, self.value, self.gave_up = other.status, other.value, other.gave_up
        self.nested = other.nested

    def skip(self, error: Any) -> None:
        """Its turn will not come, because of ``error``."""
        self.status = "skipped"
        self.value = error if isinstance(error, BridgeFailed) else Skipped(error)

    def end(self, error: Any, *, sibling: bool) -> None:
        """``error`` ended its turn; ``sibling``: it is that of a branch beside it."""
        if self.status is None:
            self.skip(error)
        elif sibling or status_of(error) == "failed":
            self._end_nested(error)
            self.status, self.value = "cancelled", Skipped(error)
            self._end_call_records("cancelled", self.value)
        else:
            self.failed(error)


Log = list[Any]
"""Per task, in plan order: None, or ``(began, ended, value)`` of one call that succeeded, or a ``TaskRecord``."""


def record_of(log: Log, index: int) -> TaskRecord:
    """The task's record, made from the short form where need be."""
    found: Any = log[index]
    if isinstance(found, TaskRecord):
        return found
    entry = log[index] = full_record(found)
    return entry


def full_record(found: tuple[float, float, Any] | None) -> TaskRecord:
    """An TaskRecord of the short form."""
    entry = TaskRecord()
    if found is not None:
        began, ended, value = found
        entry.called(began, ended)
        entry.succeeded(value)
    return entry


def note_call(log: Log, index: int, began: float, ended: float) -> TaskRecord:
    """One more call of the task was made."""
    entry = record_of(log, index)
    entry.called(began, ended)
    return entry


def new_round(log: Log, low: int, high: int) -> None:
    """Tasks ``low`` up to ``high`` get another turn: what they did counts, how it ended no longer does."""
    for index in range(low, high):
        if log[index] is not None:
            record_of(log, index).new_turn()


def close(log: Log, low: int, high: int, error: Any, *, sibling: bool = False) -> None:
    """``error`` ended the turn of tasks ``low`` up to ``high``: say so at those that were running or had not begun.

    ``sibling``: the error is that of a branch beside them.
    """
    for index in range(low, high):
        found: Any = log[index]
        if found is None or (isinstance(found, TaskRecord) and found.status in (None, "running")):
            record_of(log, index).end(error, sibling=sibling)


def merge(log: Log, low: int, high: int, logs: list[tuple[int, Log]], winner: int | None) -> None:
    """Add what several calls made at once have logged, each in a log of its own; the winner says how it ended."""
    for index in range(low, high):
        ran = [(number, record_of(own, index)) for number, own in logs if own[index] is not None]
        if not ran:
            continue
        last = min(ran, key=lambda one: (one[0] != winner, one[1].status != "running", one[0]))[1]
        total = item_totals_of(log, index) if isinstance(last, ItemTotals) else record_of(log, index)
        for number, entry in ran:
            total.add_calls(entry, number)
        total.take_end(last)


# --- many items -------------------------------------------------------------------------------------------------

KEPT_ITEMS = 1_000
KEPT_FAILURES = 10_000


class ItemRecord(NamedTuple):
    """What one item of an ``each`` or ``expand`` left at one task: ``found`` as in a Log."""

    number: int
    found: Any


def _for_all(item: ItemRecord) -> tuple[bool, int]:
    """Who speaks for all items where none has succeeded: the first that was run, not the first that ended."""
    return item.found.status == "skipped", item.number


def by_status_order(counts: Counter[str]) -> dict[str, int]:
    """The counts in the order of ``Status``: which one came first is a matter of time."""
    return {status: counts[status] for status in get_args(Status) if counts[status]}


class ItemTotals(TaskRecord):
    """The log of a task that runs once for each item: counts of all, and what the first items and the failures left."""

    __slots__ = ("counts", "dropped", "drops", "failures", "inner_items", "items", "last", "open")

    def __init__(self) -> None:
        super().__init__()
        self.drops = False  # whether items that fail are dropped
        self.restart()

    def restart(self) -> None:
        """Another round: calls go on counting, items begin anew."""
        self.status = "running"
        self.gave_up = self.nested = None
        self.counts: Counter[str] = Counter()
        self.items: list[ItemRecord] = []
        self.open: list[ItemRecord] = []  # that were interrupted, and don't know yet by what
        self.failures = 0  # of the items beyond the first
        self.inner_items = 0  # items of these
        self.dropped = 0  # of the first items that failed
        self.last: deque[TaskRecord] = deque()  # of the last ones

    def add(self, number: int, found: Any) -> None:
        """An item has ended."""
        if found is not None and not isinstance(found, TaskRecord):
            began, ended, _ = found
            self._count(1, began, ended)
            self._keep(ItemRecord(number, found), "succeeded")
            return
        entry = found or TaskRecord()
        if entry.status in (None, "running"):
            self.open.append(ItemRecord(number, entry))
        else:
            self._keep(ItemRecord(number, entry), entry.status)
        self._count(entry.calls, entry.began, entry.ended)
        for error in entry.errors:
            self.add_error(error)
            if len(self.errors) > KEPT_FAILURES:
                del self.errors[KEPT]
        self.denied += entry.denied
        self.repeats += entry.repeats

    def _count(self, calls: int, began: float, ended: float) -> None:
        if calls:
            self.began = min(began, self.began) if self.calls else began
            self.ended = max(ended, self.ended)
            self.calls += calls

    def _keep(self, item: ItemRecord, status: str | None) -> None:
        self.counts[str(status)] += 1
        if isinstance(item.found, ItemTotals):
            self._trim(item.found)
        if sum(self.counts.values()) <= KEPT_ITEMS:
            self.items.append(item)
        elif status not in ("succeeded", "skipped") and self.failures < KEPT_FAILURES:
            self.items.append(item)
            self.failures += 1
        else:
            return
        if self.drops and status != "succeeded":
            self._sum_up(item.found)

    def _sum_up(self, entry: TaskRecord) -> None:
        """Nobody gets the error of an item that is dropped: it is kept as those of many attempts are."""
        if self.dropped < KEPT:
            self.dropped += 1
            return
        self.last.append(entry)
        if len(self.last) > KEPT:
            self.last.popleft().sum_up()

    def _trim(self, inner: ItemTotals) -> None:
        """Items of items: a thousand times a thousand of them would be too many."""
        self.inner_items += len(inner.items)
        if self.inner_items > KEPT_FAILURES:
            inner.items = []

    def done(self, failed: Any = None, error: Any = None) -> None:
        """All items have ended. ``error``: that of the whole; ``failed``: what the item left whose error that is."""
        if isinstance(failed, TaskRecord):
            self.status, self.value, self.gave_up = failed.status, failed.value, failed.gave_up
        elif failed is None and self.counts and not self.counts["succeeded"]:
            first = min(self.items, key=_for_all).found
            self.status, self.value, self.gave_up = first.status, first.value, first.gave_up
        elif self.counts:
            self.succeeded(None)
        else:
            self.skip(error)

    def skip(self, error: Any) -> None:
        """As ``TaskRecord.skip``; what an earlier round left is gone."""
        self.restart()
        super().skip(error)

    def sum_up(self) -> None:
        """As ``TaskRecord.sum_up``, also for its items."""
        super().sum_up()
        for item in self.items:
            if isinstance(item.found, TaskRecord):
                item.found.sum_up()

    def close_open(self, error: Any, *, sibling: bool) -> None:
        """``error`` ended the items that were interrupted."""
        for item in self.open:
            item.found.end(error, sibling=sibling)
            self._keep(item, item.found.status)
        self.open = []

    def end(self, error: Any, *, sibling: bool) -> None:
        """As ``TaskRecord.end``, also for items that were interrupted; a task that none of them came to was not run."""
        self.close_open(error, sibling=sibling)
        if self.status == "running" and not self.counts.keys() - {"skipped"}:
            super().skip(error)
        else:
            super().end(error, sibling=sibling)

    def take_end(self, other: TaskRecord) -> None:
        """As ``TaskRecord.take_end``, with its items."""
        super().take_end(other)
        if isinstance(other, ItemTotals):
            self.counts, self.items, self.open, self.failures = other.counts, other.items, other.open, other.failures


def item_totals_of(log: Log, index: int) -> ItemTotals:
    """The task's ItemTotals, which takes the place of what was there."""
    found: Any = log[index]
    if isinstance(found, ItemTotals):
        return found
    tally = log[index] = ItemTotals()
    tally.add_calls(found if isinstance(found, TaskRecord) else full_record(found))
    return tally
