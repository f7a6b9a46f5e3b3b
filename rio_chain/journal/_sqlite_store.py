"""The store in an SQLite file, with a write-ahead log."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import stat
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import attrs

from rio_chain._journal_errors import (
    JournalCorrupt,
    JournalError,
    JournalFull,
    JournalReadOnly,
    JournalTooNew,
)
from rio_chain.journal._store import Row, RunRow, is_plan

APPLICATION = 0x52696F43  # "RioC"; SQLite keeps it in the head of the file
MODE = 0o600
BUSY = 30.0
"""Seconds to wait for the writer of another process."""

STEPS = (
    """
    CREATE TABLE runs (
        number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, fence INTEGER NOT NULL, owner TEXT NOT NULL,
        until REAL NOT NULL, state TEXT NOT NULL, title TEXT NOT NULL, plan TEXT NOT NULL, arguments BLOB, request,
        key BLOB NOT NULL, created REAL NOT NULL, updated REAL NOT NULL, outcome TEXT
    );
    CREATE TABLE records (
        run INTEGER NOT NULL, place TEXT NOT NULL, digest BLOB, value, more TEXT, PRIMARY KEY (run, place)
    ) WITHOUT ROWID
    """,
    "CREATE INDEX runs_by_time ON runs (updated)",
)
"""What makes each version of the file out of the one before it. A new file goes through all of them."""
VERSION = len(STEPS)

_KINDS: dict[int, type[JournalError]] = {
    sqlite3.SQLITE_FULL: JournalFull,
    sqlite3.SQLITE_READONLY: JournalReadOnly,
    sqlite3.SQLITE_CORRUPT: JournalCorrupt,
    sqlite3.SQLITE_NOTADB: JournalCorrupt,
}
_COLUMNS = tuple(one.name for one in attrs.fields(RunRow))
_SELECT = f"SELECT {', '.join(_COLUMNS)} FROM runs"  # noqa: S608 - names of our own
_PUT = (
    f"INSERT INTO runs ({', '.join(_COLUMNS)}) VALUES ({', '.join('?' * len(_COLUMNS))}) "  # noqa: S608
    f"ON CONFLICT (id) DO UPDATE SET {', '.join(f'{name} = excluded.{name}' for name in _COLUMNS[2:])}"
)
_RECORD, _MORE = "INSERT OR REPLACE INTO records VALUES (?, ?, ?, ?, ?)", ", (?, ?, ?, ?, ?)"
AT_ONCE = 64, 16, 4, 1
"""How many records one statement may write. SQLite releases the interpreter for each statement, and getting it back may
take longer than the writing. There are few statements, so that each is compiled once.
"""


class SqliteStore:
    """As ``Store``.

    Args:
        path: the file.
        synchronous: ``"normal"`` or ``"full"``, as in SQLite.
    """

    def __init__(self, path: Path, synchronous: str) -> None:
        self.path = path
        self._synchronous = synchronous
        self._db: sqlite3.Connection | None = None
        self._pid = os.getpid()

    # --- opening ------------------------------------------------------------------------------------------------

    def _opened(self) -> sqlite3.Connection:
        """The connection. It is opened when it is first used, and nothing is changed in a file of another kind."""
        if self._db is None:
            self._create()
            db = sqlite3.connect(self.path, timeout=BUSY, isolation_level=None, check_same_thread=False)
            try:
                self._check(db)
            except BaseException:
                db.close()
                raise
            self._db = db
        return self._db

    def _create(self) -> None:
        """Make an empty file that only its owner can read. SQLite gives its other files the same mode."""
        try:
            os.close(os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_RDWR, MODE))
        except FileExistsError:
            if not stat.S_IMODE(self.path.stat().st_mode) & 0o222:  # also for root, which could write it
                raise JournalReadOnly(f"the journal {self.path} is read-only: its mode allows no writing") from None

    def _check(self, db: sqlite3.Connection) -> None:
        [application], [version], [tables] = (
            db.execute(query).fetchone()
            for query in ("PRAGMA application_id", "PRAGMA user_version", "SELECT count(*) FROM sqlite_master")
        )
        if application != APPLICATION and (tables or version):
            raise JournalCorrupt(f"{self.path} is an SQLite file, and not a journal of rio_chain")
        if version > VERSION:
            raise JournalTooNew(str(self.path), version, VERSION)
        if db.execute("PRAGMA journal_mode = WAL").fetchone()[0] != "wal":
            raise JournalError(f"the journal {self.path} needs a file system where SQLite's write-ahead log works")
        db.execute(f"PRAGMA synchronous = {self._synchronous}")
        if version < VERSION:
            self._migrate(db)

    def _migrate(self, db: sqlite3.Connection) -> None:
        """Bring the file to the newest version, in one transaction. Another process may have done so meanwhile."""
        db.execute("BEGIN IMMEDIATE")
        try:
            [version] = db.execute("PRAGMA user_version").fetchone()
            for step in STEPS[version:]:
                for statement in step.split(";"):
                    db.execute(statement)
            db.execute(f"PRAGMA application_id = {APPLICATION}")
            db.execute(f"PRAGMA user_version = {max(version, VERSION)}")
            db.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                db.execute("ROLLBACK")
            raise

    def close(self) -> None:
        """As ``Store.close``."""
        db, self._db = self._db, None
        if db is not None:
            with contextlib.suppress(sqlite3.Error):
                db.close()

    def __del__(self) -> None:
        if getattr(self, "_pid", None) == os.getpid():  # else it is the connection of the parent
            self.close()

    def abandon(self) -> Any:
        """As ``Store.abandon``."""
        db, self._db, self._pid = self._db, None, os.getpid()
        return db

    # --- transactions -------------------------------------------------------------------------------------------

    def begin(self, *, write: bool = True) -> None:
        """As ``Store.begin``."""
        try:
            self._opened().execute("BEGIN IMMEDIATE" if write else "BEGIN")
        except (sqlite3.Error, OSError) as error:
            raise self.error_for(error) from None

    def now(self) -> float:
        """As ``Store.now``: the clock of this machine."""
        return time.time()

    def commit(self) -> None:
        """As ``Store.commit``."""
        self._do("COMMIT")

    def rollback(self) -> None:
        """As ``Store.rollback``."""
        if self._db is not None:
            with contextlib.suppress(sqlite3.Error):  # SQLite may have done so itself, as on a full disk
                self._db.execute("ROLLBACK")

    def error_for(self, error: Exception) -> JournalError:
        """An error of SQLite or of the system as one of ours."""
        code = getattr(error, "sqlite_errorcode", 0) or 0
        kind = _KINDS.get(code & 0xFF, JournalError)
        if isinstance(error, OSError):
            kind = {28: JournalFull, 30: JournalReadOnly}.get(error.errno or 0, JournalError)
        name = getattr(error, "sqlite_errorname", None)
        return kind(f"the journal {self.path}: {error}{f' ({name})' if name else ''}")

    def _do(self, query: str, values: Any = ()) -> sqlite3.Cursor:
        try:
            return self._opened().execute(query, values)
        except sqlite3.Error as error:
            raise self.error_for(error) from None

    def _all(self, query: str, values: Any = ()) -> list[Any]:
        try:
            return self._opened().execute(query, values).fetchall()
        except sqlite3.Error as error:
            raise self.error_for(error) from None

    def _many(self, query: str, values: Iterable[Any]) -> None:
        try:
            self._opened().executemany(query, values)
        except (sqlite3.Error, OverflowError) as error:
            raise self.error_for(error) from None

    # --- runs ---------------------------------------------------------------------------------------------------

    def run(self, run_id: str) -> RunRow | None:
        """As ``Store.run``."""
        found = self._all(f"{_SELECT} WHERE id = ?", (run_id,))
        return self._row(found[0]) if found else None

    def runs(self) -> list[tuple[RunRow, int]]:
        """As ``Store.runs``."""
        counts: dict[int, int] = dict(self._all("SELECT run, count(*) FROM records GROUP BY run"))
        rows = [self._row(found) for found in self._all(f"{_SELECT} ORDER BY number")]
        return [(row, counts.get(row.number, 0)) for row in rows]

    def _row(self, found: tuple[Any, ...]) -> RunRow:
        """SQLite may hold a text in a column of numbers."""
        row = RunRow(*found)
        numbers = row.fence, row.until, row.created, row.updated
        if not all(type(one) in (int, float) for one in numbers) or not is_plan(row.plan):
            raise JournalCorrupt(f"the journal {self.path}: what it has of run {row.id!r} is damaged")
        return row

    def lease(self, number: int) -> tuple[int, float]:
        """As ``Store.lease``."""
        found = self._all("SELECT fence, until FROM runs WHERE number = ?", (number,))
        return found[0] if found else (-1, 0.0)

    def renew(self, number: int, until: float) -> None:
        """As ``Store.renew``."""
        self._do("UPDATE runs SET until = ? WHERE number = ?", (until, number))

    def put_run(self, row: RunRow) -> int:
        """As ``Store.put_run``."""
        values = attrs.astuple(row)
        self._do(_PUT, (values[0], values[1] or None, *values[2:]))
        [[number]] = self._all("SELECT number FROM runs WHERE id = ?", (row.id,))
        return int(number)

    def drop_runs(self, numbers: Iterable[int]) -> None:
        """As ``Store.drop_runs``."""
        each = [(number,) for number in numbers]
        self._many("DELETE FROM records WHERE run = ?", each)
        self._many("DELETE FROM runs WHERE number = ?", each)

    # --- records ------------------------------------------------------------------------------------------------

    def records(self, number: int) -> list[Row]:
        """As ``Store.records``."""
        return [
            Row(*row) for row in self._all("SELECT place, digest, value, more FROM records WHERE run = ?", (number,))
        ]

    def put_records(self, number: int, rows: Iterable[Row]) -> None:
        """As ``Store.put_records``."""
        left = list(rows)
        while left:
            size = next(size for size in AT_ONCE if size <= len(left))
            now, left = left[:size], left[size:]
            self._do(_RECORD + _MORE * (size - 1), [value for row in now for value in (number, *row)])

    def drop_records(self, number: int, places: Iterable[str]) -> None:
        """As ``Store.drop_records``."""
        self._many("DELETE FROM records WHERE run = ? AND place = ?", [(number, place) for place in places])
