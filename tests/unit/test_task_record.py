"""The log of a run: entries, tallies of many items, and how the logs of calls made at once become one."""

from typing import Any

import pytest

from rio_chain.errors import BridgeFailed, Skipped, TaskTimedOut
from rio_chain.results._task_record import (
    KEPT_ITEMS,
    ItemTotals,
    Log,
    TaskRecord,
    close,
    item_totals_of,
    merge,
    new_round,
    note_call,
    record_of,
)


def failed(error: Any, calls: int = 1) -> TaskRecord:
    entry = TaskRecord()
    entry.calls, entry.began, entry.ended = calls, 1.0, 2.0
    entry.failed(error)
    return entry


def running() -> TaskRecord:
    entry = TaskRecord()
    entry.calls, entry.began, entry.ended, entry.status = 1, 1.0, 2.0, "running"
    return entry


class TestTally:
    def test_counts_and_times_of_all_items(self) -> None:
        tally = ItemTotals()
        tally.add(0, (3.0, 5.0, "a"))
        tally.add(1, (2.0, 4.0, "b"))
        tally.add(2, failed(OSError("c"), calls=3))
        tally.done()
        assert (tally.status, tally.calls, tally.began, tally.ended) == ("succeeded", 5, 1.0, 5.0)
        assert tally.counts == {"succeeded": 2, "failed": 1}
        assert [item.number for item in tally.items] == [0, 1, 2]
        assert [str(error) for error in tally.errors] == ["c"]

    def test_the_first_thousand_and_all_failures(self) -> None:
        tally = ItemTotals()
        for number in range(3 * KEPT_ITEMS):
            tally.add(number, failed(OSError()) if number % KEPT_ITEMS == KEPT_ITEMS - 1 else (0.0, 1.0, number))
        assert len(tally.items) == KEPT_ITEMS + 2
        assert sum(tally.counts.values()) == 3 * KEPT_ITEMS

    def test_failures_are_not_kept_without_end(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("rio_chain.results._task_record.KEPT_ITEMS", 5)
        monkeypatch.setattr("rio_chain.results._task_record.KEPT_FAILURES", 25)
        tally = ItemTotals()
        for number in range(100):
            tally.add(number, failed(OSError()))
        assert (len(tally.items), len(tally.errors)) == (30, 25)
        assert tally.counts == {"failed": 100}

    def test_items_that_were_interrupted_learn_by_what(self) -> None:
        for error, sibling, status in (
            (OSError(), True, "cancelled"),
            (OSError(), False, "cancelled"),
            (TaskTimedOut("f", 5), False, "timed_out"),
            (TaskTimedOut("f", 5), True, "cancelled"),
        ):
            tally = ItemTotals()
            tally.add(0, (0.0, 1.0, "a"))
            tally.add(1, running())
            tally.add(2, None)
            assert tally.counts == {"succeeded": 1}
            tally.end(error, sibling=sibling)
            assert tally.counts == {"succeeded": 1, status: 1, "skipped": 1}
            assert (tally.status, tally.open) == (status, [])

    def test_how_the_whole_ends(self) -> None:
        error = OSError("x")
        tally = ItemTotals()
        tally.done(None, error)
        assert tally.status == "skipped"
        assert isinstance(tally.value, Skipped)
        tally = ItemTotals()
        tally.add(0, (0.0, 1.0, "a"))
        tally.add(1, entry := failed(error))
        tally.done(entry, error)
        assert (tally.status, tally.value) == ("failed", error)
        tally = ItemTotals()
        tally.add(0, failed(error))
        tally.done()
        assert (tally.status, tally.value) == ("failed", error)
        tally = ItemTotals()
        tally.add(0, found := (0.0, 1.0, "a"))
        tally.done(found, error)
        assert tally.status == "succeeded", "another task of that item has failed"

    def test_another_round_begins_anew_and_counts_on(self) -> None:
        log: Log = [None]
        tally = item_totals_of(log, 0)
        tally.add(0, failed(OSError()))
        tally.done()
        new_round(log, 0, 1)
        assert tally.status is None
        assert item_totals_of(log, 0) is tally
        tally.restart()
        tally.add(0, (0.0, 1.0, "a"))
        tally.done()
        assert (tally.calls, len(tally.errors), dict(tally.counts)) == (2, 1, {"succeeded": 1})
        new_round(log, 0, 1)
        close(log, 0, 1, OSError())
        assert (tally.status, tally.calls, dict(tally.counts), tally.items) == ("skipped", 2, {}, [])

    def test_it_takes_the_place_of_what_was_there(self) -> None:
        log: Log = [None]
        note_call(log, 0, 1.0, 2.0).failed(OSError())
        tally = item_totals_of(log, 0)
        assert (tally.calls, len(tally.errors)) == (1, 1)
        assert record_of(log, 0) is tally
        log = [(1.0, 2.0, "value")]
        assert item_totals_of(log, 0).calls == 1

    def test_of_tallies(self) -> None:
        inner, outer = ItemTotals(), ItemTotals()
        inner.add(0, (1.0, 2.0, "a"))
        inner.add(1, (1.0, 3.0, "b"))
        inner.done()
        outer.add(0, inner)
        outer.done()
        assert (outer.calls, dict(outer.counts)) == (2, {"succeeded": 1})
        assert outer.items[0].found is inner


class TestMerge:
    def test_the_winners_items_are_kept_and_all_calls_counted(self) -> None:
        logs: list[tuple[int, Log]] = []
        for number in range(2):
            tally = ItemTotals()
            tally.add(0, (1.0, 2.0, number))
            if number:
                tally.add(1, (1.0, 2.0, number))
                tally.done()
            else:
                tally.add(1, running())
            logs.append((number, [tally]))
        log: Log = [None]
        merge(log, 0, 1, logs, 1)
        merged = log[0]
        assert isinstance(merged, ItemTotals)
        assert (merged.status, merged.calls, dict(merged.counts)) == ("succeeded", 4, {"succeeded": 2})
        assert [item.found[2] for item in merged.items] == [1, 1]

    def test_a_loser_is_closed(self) -> None:
        tally = ItemTotals()
        tally.add(0, running())
        log: Log = [None]
        merge(log, 0, 1, [(0, [tally])], 1)
        close(log, 0, 1, None, sibling=True)
        assert (log[0].status, dict(log[0].counts)) == ("cancelled", {"cancelled": 1})

    def test_one_that_did_not_come_to_its_items(self) -> None:
        entry = TaskRecord()
        entry.skip(BridgeFailed("f", "a", "b", OSError()))
        tally = ItemTotals()
        tally.add(0, (1.0, 2.0, "a"))
        tally.done()
        for winner in (0, 1):
            log: Log = [None]
            merge(log, 0, 1, [(0, [entry]), (1, [tally])], winner)
            assert log[0].calls == 1
            assert log[0].status == ("succeeded" if winner else "skipped")
