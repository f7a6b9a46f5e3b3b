"""Moves the times in a log from the clock of one process to that of another."""

from __future__ import annotations

from rio_chain.results._nested_run import NestedRun
from rio_chain.results._task_record import ItemTotals, Log, TaskRecord


def shift_times(log: Log, by: float) -> None:
    """Add ``by`` seconds to all times in the log, and in the logs in it."""
    logs = [log]
    while logs:
        log = logs.pop()
        for index, found in enumerate(log):
            if isinstance(found, TaskRecord):
                _shift(found, by, logs)
            elif found is not None:
                began, ended, value = found
                log[index] = began + by, ended + by, value


def _shift(record: TaskRecord, by: float, logs: list[Log]) -> None:
    record.began += by
    record.ended += by
    for call in record.call_records:
        call.began += by
        call.ended += by
    if isinstance(record.nested, NestedRun):
        logs.append(record.nested.shift(by))
    if isinstance(record, ItemTotals):
        for items in (record.items, record.open):
            inner = [item.found for item in items]
            shift_times(inner, by)
            items[:] = [item._replace(found=found) for item, found in zip(items, inner, strict=True)]
