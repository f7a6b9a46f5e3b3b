"""The record that a caller takes from the one call of a batch."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from rio_chain import Batch, Task
from rio_chain.engine._batch import _take_record
from rio_chain.engine._batch_work import BatchWork
from rio_chain.results._task_record import TaskRecord


def ended(status: str) -> TaskRecord:
    record = TaskRecord()
    record.status, record.calls = status, 1  # type: ignore[assignment]
    return record


@pytest.mark.parametrize(
    ("before", "of_call", "after"),
    [
        ("cancelled", "running", "cancelled"),  # the balancer closed and gave the run its end first
        ("running", "running", "running"),
        ("running", "timed_out", "timed_out"),
        ("cancelled", "timed_out", "timed_out"),
    ],
)
def test_a_call_that_still_runs_is_never_the_end_of_a_task(before: str, of_call: str, after: str) -> None:
    own = ended(before)
    _take_record([own], [ended(of_call)], 0, 1)
    assert own.status == after
    assert own.calls == 2


def test_a_task_whose_batch_was_cancelled_before_its_call_is_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if a closing balancer stopped the strand of the batch before it stopped the caller."""
    begin = BatchWork.begin

    def begins_and_ends(work: BatchWork, parked: object) -> None:
        begin(work, parked)  # type: ignore[arg-type]
        assert work.strand is not None
        work.strand.cancel("closed")

    async def fetch(keys: Sequence[int]) -> list[int]:
        return list(keys)

    monkeypatch.setattr(BatchWork, "begin", begins_and_ends)
    outcome = Task(fetch).batch(Batch(wait=40))(1).run()
    assert not outcome.ok
    assert outcome.only.status == "cancelled"
