"""The log of a run as JSON, and back: so that an Outcome outlives its process.

Values are written by the serializer. An error becomes its class and its text, and comes back as a ``RecalledError``, or
as an error of rio_chain with the same arguments.
"""

from __future__ import annotations

import base64
import json
from collections import Counter
from typing import TYPE_CHECKING, Any, cast

import rio_chain.errors
from rio_chain._journal_errors import RecalledError
from rio_chain.chain._nodes import Node, Seq, TaskNode
from rio_chain.chain._plan import Plan, compile_plan
from rio_chain.engine._runtime_protocol import kind_of
from rio_chain.errors import RioError, Skipped, describe_error
from rio_chain.journal._codec import JSON, Unstorable, is_iterator, prepared
from rio_chain.policies._plain_data import qualified
from rio_chain.results._error_summary import ErrorSummary
from rio_chain.results._failed import Failed
from rio_chain.results._nested_run import NestedRun
from rio_chain.results._outcome_pickle import Parts
from rio_chain.results._task_record import (
    CallRecord,
    ItemRecord,
    ItemTotals,
    Log,
    TaskRecord,
    item_totals_of,
    record_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rio_chain.journal._codec import Serializer

Data = Any
_PLAIN = JSON()
_SIMPLE = ("calls", "winner", "started", "denied", "wasted", "turn", "gave_up", "fallbacks", "recalled")


class LogCodec:
    """Writes and reads logs. ``start``: the instant on the clock of the run that is 0 in the text."""

    def __init__(self, serializer: Serializer, start: float) -> None:
        self.serializer = serializer
        self.start = start

    # --- values and errors --------------------------------------------------------------------------------------

    def value(self, value: Any) -> Data:
        """A value. Raises what the serializer raises."""
        data = self.serializer.dumps(value)
        return data if isinstance(data, str) else {"bytes": base64.b64encode(data).decode("ascii")}

    def read_value(self, data: Data) -> Any:
        """The value again."""
        return self.serializer.loads(data if isinstance(data, str) else base64.b64decode(data["bytes"]))

    def got(self, got: Any) -> Data:
        """The value of a run, or ``Failed``."""
        return {"error": self.error(got.error)} if type(got) is Failed else {"value": self.value(got)}

    def read_got(self, data: Data) -> Any:
        """The same again."""
        return Failed(self.read_error(data["error"])) if "error" in data else self.read_value(data["value"])

    def error(self, error: Any) -> Data:
        """An error."""
        if error is None:
            return None
        if isinstance(error, Skipped):
            return {"skipped": self.error(error.cause)}
        name = type(error).__name__
        if isinstance(error, RioError) and getattr(rio_chain.errors, name, None) is type(error):
            try:
                return {"rio": name, "args": prepared(list(error.args))}
            except Unstorable:
                pass
        if isinstance(error, RecalledError):
            return {"kind": error.kind, "text": error.text}
        if isinstance(error, ErrorSummary):
            return {"kind": qualified(error.type), "text": error.text}
        return {"kind": qualified(kind_of(error)), "text": describe_error(error, str)}

    def read_error(self, data: Data) -> Any:
        """The error again."""
        if data is None:
            return None
        if "skipped" in data:
            return Skipped(self.read_error(data["skipped"]))
        if "rio" in data:
            made: Exception = getattr(rio_chain.errors, data["rio"])(*restored(data["args"]))
            return made
        return RecalledError(data["kind"], data["text"])

    # --- records ------------------------------------------------------------------------------------------------

    def log(self, entries: Iterable[Any]) -> Data:
        """The entries of a log."""
        return [None if found is None else self._entry(found) for found in entries]

    def _entry(self, found: Any) -> Data:
        if type(found) is tuple:  # one call that succeeded
            began, ended, value = cast("tuple[float, float, Any]", found)
            return [began - self.start, ended - self.start, self.value(None if is_iterator(value) else value)]
        entry: TaskRecord = found
        if not (entry.status or entry.calls):
            return None
        data = {name: getattr(entry, name) for name in _SIMPLE if getattr(entry, name)}
        data |= {"status": entry.status, "times": [entry.began - self.start, entry.ended - self.start]}
        if entry.status == "succeeded":
            if entry.value is not None and not is_iterator(entry.value):
                data["value"] = self.value(entry.value)
        elif entry.value is not None:
            data["error"] = self.error(entry.value)
        if entry.errors:
            data["errors"] = [self.error(error) for error in entry.errors]
        data["spans"] = [self._span(one) for one in entry.call_records]
        if entry.nested is not None:
            data["nested"] = self._nested(entry.nested)
        if isinstance(entry, ItemTotals):
            data["counts"] = dict(entry.counts)
            data["items"] = [[item.number, self._entry(item.found)] for item in entry.items]
        return data

    def _span(self, one: CallRecord) -> Data:
        error = None if one.error is None else self.error(one.error)
        return [one.began - self.start, one.ended - self.start, one.replica, one.status, error]

    def _nested(self, nested: NestedRun) -> Data:
        outcome = nested.outcome()
        names = [task.name for task in outcome.plan.tasks]
        _, log, got, times = outcome_parts(outcome)
        return {
            "names": names,
            "log": self.log(log),
            "got": self.got(got),
            "times": [one - self.start for one in times[1:]],
        }

    # --- and back -----------------------------------------------------------------------------------------------

    def fill(self, log: Log, low: int, data: Data, *, recalled: bool = False) -> None:
        """Fill the entries of a log from ``low`` on."""
        for index, one in enumerate(data, start=low):
            if one is not None:
                entry = item_totals_of(log, index) if "counts" in one else record_of(log, index)
                self._fill(entry, one, recalled=recalled)

    def _fill(self, entry: TaskRecord, data: Data, *, recalled: bool = False) -> None:
        if kind_of(data) is list:
            began, ended, value = data
            entry.called(began + self.start, ended + self.start)
            TaskRecord.succeeded(entry, self.read_value(value))
            entry.recalled = recalled
            return
        for name in _SIMPLE:
            if name in data:
                setattr(entry, name, data[name])
        began, ended = data["times"]
        entry.began, entry.ended, entry.status = began + self.start, ended + self.start, data["status"]
        if "value" in data:
            entry.value = self.read_value(data["value"])
        elif "error" in data:
            entry.value = self.read_error(data["error"])
        entry.errors = [self.read_error(error) for error in data.get("errors", ())]
        entry.call_records = [self._read_span(*span) for span in data["spans"]]
        entry.recalled = entry.recalled or (recalled and entry.status == "succeeded")
        if "nested" in data:
            entry.nested = self._read_nested(data["nested"], recalled=recalled)
        if isinstance(entry, ItemTotals):
            entry.counts = Counter(data["counts"])
            entry.items = [ItemRecord(number, self._read_item(one, recalled=recalled)) for number, one in data["items"]]

    def _read_item(self, data: Data, *, recalled: bool) -> TaskRecord:
        made = ItemTotals() if data is not None and "counts" in data else TaskRecord()
        if data is not None:
            self._fill(made, data, recalled=recalled)
        return made

    def _read_span(self, began: float, ended: float, replica: int | None, status: Any, error: Data) -> CallRecord:
        one = CallRecord(began + self.start, ended + self.start)
        one.replica, one.status, one.error = replica, status, self.read_error(error)
        return one

    def _read_nested(self, data: Data, *, recalled: bool) -> NestedRun:
        plan = _plan_of(data["names"])
        log: Log = [None] * len(plan.tasks)
        self.fill(log, 0, data["log"], recalled=recalled)
        began, ended = (one + self.start for one in data["times"])
        nested = NestedRun(plan, log, (began, ended), None)
        nested.end(self.read_got(data["got"]))
        return nested


def outcome_parts(outcome: Any) -> Parts:
    """What an Outcome was made from."""
    return outcome.plan, outcome._log, outcome._got, outcome._times  # noqa: SLF001 - to make it again


def restored(data: Data) -> Any:
    """What ``prepared`` was given."""
    return _PLAIN.loads(json.dumps(data))


def _plan_of(names: list[str]) -> Plan:
    """A plan with these tasks, in place of one that only its process knows."""
    tasks: list[Node] = [TaskNode(_unknown, name, is_async=False, explicit=True) for name in names]
    return compile_plan(tasks[0] if len(tasks) == 1 else Seq(tuple(tasks)))


def _unknown(_: object) -> None:
    """In place of a function that a journal has not kept."""
