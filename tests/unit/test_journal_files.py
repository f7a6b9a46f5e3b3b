"""What may be wrong with the file of a journal. Each has its own error, and nothing is overwritten."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from rio_chain import (
    ChainDefinitionError,
    Journal,
    JournalCorrupt,
    JournalError,
    JournalFull,
    JournalReadOnly,
    JournalTooNew,
    Task,
)
from rio_chain.journal import Pickle, _sqlite_store
from rio_chain.journal._sqlite_store import SqliteStore
from rio_chain.journal._store import Row


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "runs.db"


def run(path: Path, text: str = "four", run_id: str = "one") -> int:
    with Journal(path) as journal:
        return Task(len)(text).run(journal=journal, run_id=run_id).unwrap()


def test_only_the_owner_may_read_the_files(path: Path) -> None:
    with Journal(path) as journal:
        Task(len)("four").run(journal=journal, run_id="one")
        files = sorted(path.parent.iterdir())
        assert [file.name for file in files] == ["runs.db", "runs.db-shm", "runs.db-wal"]
        assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}


def test_a_file_that_is_no_database_is_left_as_it_is(path: Path) -> None:
    path.write_bytes(b"some notes of the user\n" * 100)
    with pytest.raises(JournalCorrupt):
        run(path)
    assert path.read_bytes() == b"some notes of the user\n" * 100


def test_a_database_of_another_program_is_left_as_it_is(path: Path) -> None:
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE notes (text)")
    db.close()
    data = path.read_bytes()
    with pytest.raises(JournalCorrupt, match="not a journal"):
        run(path)
    assert path.read_bytes() == data


def test_a_damaged_journal_is_reported_and_left_as_it_is(path: Path) -> None:
    with Journal(path) as journal:
        for i in range(50):
            Task(len)("x" * 500).run(journal=journal, run_id=f"run {i}")
    data = bytearray(path.read_bytes())
    data[4096:] = b"\xff" * (len(data) - 4096)
    path.write_bytes(data)
    with pytest.raises(JournalCorrupt):
        run(path)
    assert path.read_bytes() == data


@pytest.mark.parametrize(
    "change", ["fence = 'x'", "until = 'x'", "created = 'x'", "plan = 'x'", "plan = '[1]'", "plan = '7'"]
)
def test_a_damaged_row_is_reported(path: Path, change: str) -> None:
    run(path)
    with contextlib.closing(sqlite3.connect(path)) as db, db:
        db.execute(f"UPDATE runs SET {change}")  # noqa: S608
    with pytest.raises(JournalCorrupt, match="is damaged"):
        run(path)
    with Journal(path) as journal, pytest.raises(JournalCorrupt, match="is damaged"):
        journal.runs()


def test_a_journal_of_a_newer_version_is_left_as_it_is(path: Path) -> None:
    run(path)
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    data = path.read_bytes()
    with pytest.raises(JournalTooNew, match="version 99") as caught:
        run(path)
    assert (caught.value.found, caught.value.known) == (99, _sqlite_store.VERSION)
    assert path.read_bytes() == data


def test_a_journal_of_an_older_version_is_brought_up_to_date(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as before:
        before.setattr(_sqlite_store, "STEPS", _sqlite_store.STEPS[:1])
        before.setattr(_sqlite_store, "VERSION", 1)
        assert run(path) == 4
    with Journal(path) as journal:
        assert Task(len)("four").run(journal=journal, run_id="one").only.recalled
    with sqlite3.connect(path) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (_sqlite_store.VERSION,)
        assert db.execute("SELECT count(*) FROM sqlite_master WHERE name = 'runs_by_time'").fetchone() == (1,)
    db.close()


def test_a_read_only_file_is_reported(path: Path) -> None:
    run(path)
    path.chmod(0o400)
    data = path.read_bytes()
    with pytest.raises(JournalReadOnly):
        run(path, run_id="two")
    assert path.read_bytes() == data


def test_a_folder_that_does_not_exist_is_reported(tmp_path: Path) -> None:
    with pytest.raises(JournalError, match="No such file"):
        run(tmp_path / "missing" / "runs.db")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(disk)],  # noqa: S607
        check=False,
        capture_output=True,
    )
    if mounted.returncode:
        pytest.skip("mount is not allowed here, so there is no small disk")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)  # noqa: S607


def test_a_full_disk_ends_the_run_and_keeps_what_was_committed(small_disk: Path) -> None:
    path = small_disk / "runs.db"
    calls: list[int] = []

    def large(n: int) -> str:
        calls.append(n)
        return os.urandom(40_000).hex()

    def next_number(_: str) -> int:
        return len(calls)

    chain = Task(large).named("large 0")
    for i in range(1, 12):
        chain = chain >> next_number >> Task(large).named(f"large {i}")  # type: ignore[assignment]
    with Journal(path) as journal:
        outcome = (chain | "a fallback does not see it")(0).run(journal=journal, run_id="one", executor="thread")
        assert isinstance(outcome.error, JournalFull), outcome.result
    kept = path.stat().st_size
    assert kept > 0
    assert len(calls) < 12
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        [count] = db.execute("SELECT count(*) FROM records").fetchone()
    db.close()
    assert 0 < count <= len(calls)


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"path": 7}, "`path` must be that of a file"),
        ({"path": ""}, "`path` must be that of a file"),
        ({"path": "a\0b"}, "`path` must be that of a file"),
        ({"path": "\ud800"}, "`path` must be that of a file"),
        ({"path": "mysql://host/db"}, "`path` must be that of a file"),
        ({"lease": 0}, "lease"),
        ({"lease": "soon"}, "lease"),
        ({"on_change": "ignore"}, "'refuse' or 'rerun'"),
        ({"synchronous": "off"}, "'normal' or 'full'"),
        ({"serializer": object()}, "dumps and loads"),
        ({"serializer": Pickle}, r"serializer=Pickle\(\)"),
        ({"failures": 1}, "failures"),
    ],
)
def test_wrong_arguments_are_refused(path: Path, given: dict[str, object], text: str) -> None:
    arguments: dict[str, object] = {"path": path, **given}
    with pytest.raises(ChainDefinitionError, match=text):
        Journal(**arguments)  # type: ignore[arg-type]


def test_any_number_of_records_is_written(path: Path) -> None:
    store = SqliteStore(path, "normal")
    sizes = (0, 1, 3, 63, 64, 85, 300)
    for number, size in enumerate(sizes):
        store.begin()
        store.put_records(number, [Row(str(i), None, f"value {i}", None) for i in range(size)])
        store.put_records(number, [Row(str(i), b"x", f"newer {i}", "{}") for i in range(size // 2)])
        store.commit()
    for number, size in enumerate(sizes):
        expected = [Row(str(i), None, f"value {i}", None) for i in range(size // 2, size)]
        expected += [Row(str(i), b"x", f"newer {i}", "{}") for i in range(size // 2)]
        assert sorted(store.records(number)) == sorted(expected)
    store.close()


def test_a_run_whose_end_was_not_written_does_not_keep_its_lease(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise JournalError("the disk is away")

    def breaks(text: str) -> str:
        broken.setattr(journal._writer.store, "begin", fail)
        return text

    with Journal(path, lease=60_000) as journal:
        with monkeypatch.context() as broken:
            outcome = Task(breaks)("four").run(journal=journal, run_id="one")
            assert type(outcome.error) is JournalError
        assert journal._writer.active == {}, "nothing renews it"
