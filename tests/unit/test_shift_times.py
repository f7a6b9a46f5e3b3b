"""Times of a log that came from another process, also those of items and of Requests that tasks returned."""

from rio_chain import Task, each
from rio_chain.results._shift_times import shift_times
from rio_chain.results._task_record import ItemTotals, TaskRecord, note_call


def test_short_and_long_records_move() -> None:
    log = [(1.0, 2.0, "value"), None, TaskRecord()]
    note_call(log, 2, 3.0, 4.0).succeeded("other")
    shift_times(log, 10.0)
    assert log[0] == (11.0, 12.0, "value")
    assert log[1] is None
    record = log[2]
    assert isinstance(record, TaskRecord)
    assert (record.began, record.ended) == (13.0, 14.0)
    assert [(call.began, call.ended) for call in record.call_records] == [(13.0, 14.0)]


def test_items_move_too() -> None:
    totals = ItemTotals()
    totals.add(0, (1.0, 2.0, "a"))
    failed = TaskRecord()
    failed.called(2.0, 3.0)
    failed.failed(ValueError())
    totals.add(1, failed)
    shift_times([totals], 5.0)
    assert (totals.began, totals.ended) == (6.0, 8.0)
    assert totals.items[0].found == (6.0, 7.0, "a")
    assert (failed.began, failed.ended) == (7.0, 8.0)


def test_the_request_that_a_task_returned_moves_with_it() -> None:
    outcome = Task(lambda n: each(Task(abs).named("item"))([n, -n])).named("asks")(3).run()
    log = outcome._log
    before = outcome["asks"].nested_began
    shift_times(log, 1.0)
    nested = outcome["asks"].nested
    assert nested is not None
    assert abs(outcome["asks"].nested_began - before - 1_000) < 1e-6
    assert nested["item"].items[0].began >= 0
    assert abs(nested["item"].items[0].elapsed) < 1_000
