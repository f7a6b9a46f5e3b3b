"""The log of a run: a record of each task while it runs. Responses are made from it when they are read."""

from __future__ import annotations

from collections import Counter, deque
from typing import Any, Literal, NamedTuple, get_args

from rio_chain.errors import Abandoned, BridgeFailed, DeadlineExceeded, Skipped, TaskTimedOut, TicketCancelled
from rio_chain.results._error_summary import KEPT, add_error, summary_of

Status = Literal["succeeded", "failed", "timed_out", "abandoned", "skipped", "cancelled"]

GaveUp = Literal["exhausted", "no_time", "not_retried", "stopped", "budget"]
"""Why a retry made no further attempt."""

_STATUS_OF: tuple[tuple[type[Exception], Status], ...] = (
    (TaskTimedOut, "timed_out"),
    (DeadlineExceeded, "timed_out"),
    (Abandoned, "abandoned"),
    (TicketCancelled, "cancelled"),
)


def status_of(error: object) -> Status:
    """The status of a run or task that failed with this error.

    Compares classes by identity: a user's error class may be neither hashable nor comparable.
    """
    for kind, status in _STATUS_OF:
        if type(error) is kind:
            return status
    return "failed"


_FAILED = ("failed", "timed_out")

KEPT_SPANS = 100


class CallRecord:
    """When one call of a task ran, and how it ended. ``status`` is None if the call was interrupted."""

    __slots__ = ("began", "ended", "error", "replica", "status")

    def __init__(self, began: float, ended: float) -> None:
        self.began = began
        self.ended = ended
        self.replica: int | None = None  # its number among calls made at once, in the innermost race
        self.status: Status | None = None
        self.error: Any = None


class TaskRecord:
    """One task in one run. ``status`` is None before it begins, and "running" until it has an answer."""

    __slots__ = (
        "began", "call_records", "calls", "denied", "ended", "errors", "fallbacks", "gave_up", "nested", "recalled",
        "repeats", "started", "status", "turn", "value", "wasted", "winner",
    )  # fmt: skip

    def __init__(self) -> None:
        self.calls = 0
        self.began = self.ended = 0.0
        self.errors: list[Any] = []
        self.status: Status | Literal["running"] | None = None
        self.value: Any = None  # the answer, or the error
        self.winner = 0
        self.started = self.denied = self.wasted = self.repeats = 0  # repeats: by a cluster, as a worker was lost
        self.call_records: list[CallRecord] = []  # of the first calls
        self.turn = 0  # the index of the first call of this turn
        self.gave_up: GaveUp | None = None
        self.fallbacks = 0  # a bit for each `or_else` whose primary ends with this task and has failed
        self.nested: Any = None  # the NestedRun of the Request that the last call returned
        self.recalled = False  # its answer comes from a journal

    def succeeded(self, value: Any) -> None:
        """The call, or a policy in place of it, gave an answer."""
        self.status, self.value = "succeeded", value
        self._end_call_records("succeeded", None)

    def failed(self, error: Any) -> None:
        """The call has failed with ``error``, or a policy made a failure of its answer."""
        self._end_nested(error)
        self.status, self.value = status_of(error), error
        self._end_call_records(self.status, error)
        self.add_error(error)

    def add_error(self, error: Any) -> None:
        """Add an error. If there are many, only a summary is kept of most of them."""
        summed_up = add_error(self.errors, error)
        if summed_up is not None:
            old, new = summed_up
            if not any(first is old for first in self.errors[:KEPT]):
                for call_record in self.call_records:
                    if call_record.error is old:
                        call_record.error = new

    def sum_up(self) -> None:
        """Replace all of its errors by their summaries."""
        self.errors = [summary_of(error) for error in self.errors]
        for call_record in self.call_records:
            call_record.error = summary_of(call_record.error)
        if self.status not in (None, "running", "succeeded"):
            self.value = summary_of(self.value)

    def called(self, began: float, ended: float) -> None:
        """A call was made."""
        if not self.calls:
            self.began = began
        self.calls += 1
        self.ended = ended
        if len(self.call_records) < KEPT_SPANS:
            self.call_records.append(CallRecord(began, ended))

    def new_turn(self) -> None:
        """It gets another turn. The earlier calls still count, but their result does not."""
        self.status = self.gave_up = self.nested = None
        self.fallbacks, self.recalled = 0, False
        self.turn = len(self.call_records)

    def retry_gave_up(self, reason: GaveUp) -> None:
        """A retry made no further attempt. Of several reasons, "not_retried" is the least informative."""
        if self.status in _FAILED and (self.gave_up is None or reason != "not_retried"):
            self.gave_up = reason

    def _end_nested(self, error: Any) -> None:
        if self.nested is not None:
            self.nested.interrupted(error)

    def _end_call_records(self, status: Status, error: Any) -> None:
        """Set the end of the last call of this turn, and of all calls that were interrupted."""
        last = len(self.call_records) - 1
        for place, call_record in enumerate(self.call_records):
            if call_record.status is None or place == last >= self.turn:
                call_record.status, call_record.error = status, error

    def add_calls(self, other: TaskRecord, replica: int | None = None) -> None:
        """Add the calls of another record to this one. ``replica``: its number among calls made at once."""
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
        """End in the same way as another record."""
        if other.calls:
            self.ended = other.ended
        self.status, self.value, self.gave_up = other.status, other.value, other.gave_up
        self.nested, self.fallbacks, self.recalled = other.nested, other.fallbacks, other.recalled

    def skip(self, error: Any) -> None:
        """It will not run, because of ``error``."""
        self.status = "skipped"
        self.value = error if isinstance(error, BridgeFailed) else Skipped(error)

    def end(self, error: Any, *, sibling: bool) -> None:
        """``error`` ended its turn. ``sibling``: it is the error of a branch next to it."""
        if self.status is None:
            self.skip(error)
        elif sibling or status_of(error) == "failed":
            self._end_nested(error)
            self.status, self.value = "cancelled", Skipped(error)
            self._end_call_records("cancelled", self.value)
        else:
            self.failed(error)


Log = list[Any]
"""For each task in plan order: None, or ``(began, ended, value)`` of one call that succeeded, or a ``TaskRecord``."""


def record_of(log: Log, index: int) -> TaskRecord:
    """The record of a task. If the log has the short form, it is replaced by a full record."""
    found: Any = log[index]
    if isinstance(found, TaskRecord):
        return found
    entry = log[index] = full_record(found)
    return entry


def full_record(found: tuple[float, float, Any] | None) -> TaskRecord:
    """A TaskRecord made from the short form."""
    entry = TaskRecord()
    if found is not None:
        began, ended, value = found
        entry.called(began, ended)
        entry.succeeded(value)
    return entry


def note_call(log: Log, index: int, began: float, ended: float) -> TaskRecord:
    """A call of the task was made."""
    entry = record_of(log, index)
    entry.called(began, ended)
    return entry


def new_round(log: Log, low: int, high: int) -> None:
    """Tasks ``low`` up to ``high`` get another turn. The earlier calls still count, but their results do not."""
    for index in range(low, high):
        if log[index] is not None:
            record_of(log, index).new_turn()


def fell_back(log: Log, low: int, high: int, number: int) -> None:
    """Note that this ``or_else`` uses its fallback, as one of the tasks ``low`` up to ``high`` failed, or a bridge."""
    if low < high:  # else its primary has only bridges, which have no record
        record_of(log, high - 1).fallbacks |= 1 << number


def close(log: Log, low: int, high: int, error: Any, *, sibling: bool = False) -> None:
    """``error`` ended the turn of tasks ``low`` up to ``high``: end the records of those that have not ended.

    ``sibling``: it is the error of a branch next to them.
    """
    for index in range(low, high):
        found: Any = log[index]
        if found is None or (isinstance(found, TaskRecord) and found.status in (None, "running")):
            record_of(log, index).end(error, sibling=sibling)


def merge(log: Log, low: int, high: int, logs: list[tuple[int, Log]], winner: int | None) -> None:
    """Merge the logs of calls made at once, each of which has a log of its own. The winner gives the result."""
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
    """The record of one item of an ``each`` or ``expand`` for one task; ``found`` is as in a Log."""

    number: int
    found: Any


def _for_all(item: ItemRecord) -> tuple[bool, int]:
    """A sort key: if no item has succeeded, the first one that was run gives the result, not the first that ended."""
    return item.found.status == "skipped", item.number


def by_status_order(counts: Counter[str]) -> dict[str, int]:
    """The counts in the order of ``Status``, as the order in which they came depends on timing."""
    return {status: counts[status] for status in get_args(Status) if counts[status]}


class ItemTotals(TaskRecord):
    """The record of a task that runs once for each item: counts of all, and records of the first items and failures."""

    __slots__ = ("counts", "dropped", "drops", "failures", "inner_items", "items", "last", "open")

    def __init__(self) -> None:
        super().__init__()
        self.drops = False  # whether items that fail are dropped
        self.restart()

    def restart(self) -> None:
        """Begin another round: calls are still counted, and items begin anew."""
        self.status = "running"
        self.gave_up = self.nested = None
        self.fallbacks = 0
        self.counts: Counter[str] = Counter()
        self.items: list[ItemRecord] = []
        self.open: list[ItemRecord] = []  # items that were interrupted, and whose error is not known yet
        self.failures = 0  # kept items that failed, after the first KEPT_ITEMS
        self.inner_items = 0  # items of the kept items
        self.dropped = 0  # failed items that are dropped, among the first
        self.last: deque[TaskRecord] = deque()  # the last of them

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
        self.fallbacks |= entry.fallbacks
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
        """Keep only a summary of the error of a dropped item, as of the errors of many attempts."""
        if self.dropped < KEPT:
            self.dropped += 1
            return
        self.last.append(entry)
        if len(self.last) > KEPT:
            self.last.popleft().sum_up()

    def _trim(self, inner: ItemTotals) -> None:
        """Limit the items of items: a thousand times a thousand would be too many."""
        self.inner_items += len(inner.items)
        if self.inner_items > KEPT_FAILURES:
            inner.items = []

    def done(self, failed: Any = None, error: Any = None) -> None:
        """All items have ended. ``error`` is that of the whole; ``failed`` is the record of the item it comes from."""
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
        """As ``TaskRecord.skip``, and forget an earlier round."""
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
        """As ``TaskRecord.end``, also for interrupted items. If no item reached this task, it was not run."""
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
    """The ItemTotals of a task, which replaces another kind of record."""
    found: Any = log[index]
    if isinstance(found, ItemTotals):
        return found
    tally = log[index] = ItemTotals()
    tally.add_calls(found if isinstance(found, TaskRecord) else full_record(found))
    return tally
