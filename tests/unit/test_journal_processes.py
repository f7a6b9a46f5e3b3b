"""The journal and real processes: one that is killed, one that is stopped for too long, two at once, and a fork."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from rio_chain import Journal, RunInUse, Task

CHILD = Path(__file__).with_name("journal_child.py")
ITEMS = 60
CALLS = Counter({f"begin {ITEMS}": 1, f"total {ITEMS}": 1, **{f"fetch {i}": 1 for i in range(ITEMS)}})
RESULT = f"<Success: {sum(i * i for i in range(ITEMS))}>"

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals")


class Place:
    """A journal and a file with the calls, for the processes of one test."""

    def __init__(self, folder: Path) -> None:
        self.file, self.log = folder / "runs.db", folder / "calls"

    def start(
        self, executor: str, pause: float = 5, lease: float = 30_000, items: int = ITEMS
    ) -> subprocess.Popen[str]:
        given = [self.file, self.log, executor, "one", items, pause, lease]
        child = subprocess.Popen(
            [sys.executable, str(CHILD), *map(str, given)], stdout=subprocess.PIPE, text=True, env=os.environ.copy()
        )
        assert child.stdout is not None
        assert child.stdout.readline() == "begun\n"
        return child

    def calls(self) -> Counter[str]:
        return Counter(self.log.read_text().split("\n")[:-1] if self.log.exists() else [])

    def records(self) -> int:
        with Journal(self.file) as journal:
            found = journal.status("one")
            return 0 if found is None else found.records

    def until_its_lease_has_ended(self) -> None:
        with Journal(self.file) as journal:
            for _ in range(10_000):
                found = journal.status("one")
                if found is not None and found.status == "interrupted":
                    return
                time.sleep(0.002)
        raise AssertionError("its lease does not end")

    def content(self) -> list[str]:
        db = sqlite3.connect(self.file)
        try:
            return list(db.iterdump())
        finally:
            db.close()

    def until_called(self, times: int) -> None:
        for _ in range(10_000):
            if self.calls().total() >= times:
                return
            time.sleep(0.002)
        raise AssertionError("it makes no calls")


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def end_of(child: subprocess.Popen[str]) -> str:
    out, _ = child.communicate(timeout=50)
    return out.strip()


def kill(child: subprocess.Popen[str]) -> None:
    child.kill()
    child.communicate()


# --- killed ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("executor", "after"),
    [
        *(("asyncio", after) for after in (1, 9, 40, 62)),
        *(("trio", after) for after in (2, 20, 55)),
        *(("thread", after) for after in (1, 15, 50)),
    ],
)
def test_a_killed_process_is_followed_by_one_that_calls_only_what_was_not_recorded(
    place: Place, executor: str, after: int
) -> None:
    child = place.start(executor)
    place.until_called(after)
    kill(child)
    before, records = place.calls(), place.records()
    assert end_of(place.start(executor)) == RESULT
    calls = place.calls()
    assert calls.keys() == CALLS.keys()
    again = calls - CALLS
    assert all(again[call] <= before[call] for call in again)
    assert again.total() <= before.total() - records
    assert end_of(place.start(executor)) == RESULT  # it has ended, so nothing is called
    assert place.calls() == calls


@pytest.mark.parametrize("executor", ["asyncio", "trio", "thread"])
def test_after_a_kill_half_way_through_2000_items_only_what_is_missing_is_called(place: Place, executor: str) -> None:
    items = 2_000
    child = place.start(executor, pause=3, items=items)  # so that it has not ended before the kill
    place.until_called(items // 2)
    kill(child)
    before, records = place.calls(), place.records()
    assert items // 3 < records < items, "it was killed half-way"
    assert end_of(place.start(executor, pause=0, items=items)) == f"<Success: {sum(i * i for i in range(items))}>"
    fetched = place.calls() - before
    assert fetched.pop(f"total {items}") == 1
    assert fetched.total() == items - (records - 1)  # the first task has a record, too
    assert set(fetched.values()) == {1}
    assert all(fetched[f"fetch {i}"] for i in range(items) if f"fetch {i}" not in before)


def test_the_run_of_a_dead_process_is_interrupted_at_once_and_not_when_its_lease_ends(place: Place) -> None:
    child = place.start("asyncio", pause=50)
    place.until_called(5)
    with Journal(place.file) as journal:
        running = journal.status("one")
        kill(child)
        dead = journal.status("one")
    assert running is not None
    assert dead is not None
    assert (running.status, dead.status) == ("running", "interrupted")
    assert str(child.pid) in dead.owner


# --- two at once ----------------------------------------------------------------------------------------------------


def test_a_second_process_is_refused_while_the_first_one_runs(place: Place) -> None:
    first = place.start("asyncio", pause=150)
    place.until_called(3)
    assert end_of(place.start("asyncio")) == "in use"
    assert end_of(first) == RESULT
    assert place.calls() == CALLS


def test_two_processes_that_begin_at_once_call_nothing_twice(place: Place) -> None:
    both = [place.start("asyncio"), place.start("asyncio")]
    assert RESULT in [end_of(child) for child in both]
    assert place.calls() == CALLS


# --- stopped --------------------------------------------------------------------------------------------------------


def test_a_process_that_was_stopped_for_twice_its_lease_writes_nothing_more(place: Place) -> None:
    child = place.start("asyncio", pause=30, lease=400)
    place.until_called(12)
    time.sleep(0.015)  # so that it is not in the middle of a write, whose lock would stay
    os.kill(child.pid, signal.SIGSTOP)
    place.until_its_lease_has_ended()
    assert end_of(place.start("asyncio", lease=400)) == RESULT  # another process takes it over
    content = place.content()
    os.kill(child.pid, signal.SIGCONT)
    assert end_of(child) == "lost"
    assert place.content() == content


def test_a_process_that_was_stopped_is_lost_even_if_nobody_has_taken_its_run(place: Place) -> None:
    child = place.start("trio", pause=30, lease=300)
    place.until_called(12)
    time.sleep(0.015)  # so that it is not in the middle of a write, whose lock would stay
    os.kill(child.pid, signal.SIGSTOP)
    records = place.records()
    place.until_its_lease_has_ended()
    os.kill(child.pid, signal.SIGCONT)
    assert end_of(child) == "lost"
    assert place.records() == records
    assert end_of(place.start("trio")) == RESULT


def test_a_lease_is_renewed_while_a_slow_task_runs(tmp_path: Path) -> None:
    with Journal(tmp_path / "runs.db", lease=150) as journal, Journal(tmp_path / "runs.db") as other:

        def slow(x: int) -> int:
            for _ in range(8):
                time.sleep(0.05)
                with pytest.raises(RunInUse):
                    Task(slow)(x).run(journal=other, run_id="one")
            return x

        outcome = Task(slow)(1).run(journal=journal, run_id="one", executor="thread")
        assert outcome.unwrap() == 1


# --- forks ----------------------------------------------------------------------------------------------------------


def test_a_forked_child_uses_the_journal_with_a_connection_of_its_own(tmp_path: Path) -> None:
    with Journal(tmp_path / "runs.db") as journal:
        assert Task(len)("four").run(journal=journal, run_id="parent").unwrap() == 4
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                again = Task(len)("four").run(journal=journal, run_id="parent", executor="virtual")
                new = Task(len)("child").run(journal=journal, run_id="child", executor="virtual")
                journal.close()
                code = 0 if again.only.recalled and new.unwrap() == 5 else 2
            finally:
                os._exit(code)
        assert os.waitpid(pid, 0)[1] == 0
        assert [run.id for run in journal.runs()] == ["parent", "child"]
