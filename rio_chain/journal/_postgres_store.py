"""The store in a PostgreSQL database. Leases are given by the clock of the database, so those of its users may differ.

A transaction that writes locks the runs that it touches, and not the others. So processes that write different runs do
not wait for each other.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable
from typing import Any, LiteralString, TypeVar

import attrs
import psycopg
from psycopg import errors
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from rio_chain._journal_errors import (
    JournalCorrupt,
    JournalError,
    JournalFull,
    JournalReadOnly,
    JournalTooNew,
)
from rio_chain.errors import ChainDefinitionError
from rio_chain.journal._store import Data, Row, RunRow, is_plan

T = TypeVar("T")
STEPS = (
    """
    CREATE TABLE rio_chain_journal_runs (
        number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, id text NOT NULL UNIQUE, fence bigint NOT NULL,
        owner text NOT NULL, until double precision NOT NULL, state text NOT NULL, title text NOT NULL,
        plan text NOT NULL, arguments bytea, request bytea, key bytea NOT NULL, created double precision NOT NULL,
        updated double precision NOT NULL, outcome text
    );
    CREATE TABLE rio_chain_journal_records (
        run bigint NOT NULL, place text NOT NULL, digest bytea, value bytea, more text, PRIMARY KEY (run, place)
    );
    CREATE TABLE rio_chain_journal_version (version integer PRIMARY KEY);
    """,
)
"""What makes each version of the tables out of the one before it. A new database goes through all of them."""
VERSION = len(STEPS)
LOCK = 7_246_202
"""The advisory lock of whoever makes the tables, and of a run that is being begun."""
CLOCK = "SELECT extract(epoch FROM clock_timestamp())::float8"
SETTINGS: tuple[LiteralString, ...] = (
    # a process that is stopped in the middle of a transaction does not keep its locks
    "SET idle_in_transaction_session_timeout = '5s'",
    "SET lock_timeout = '30s'",
    "SET default_transaction_isolation = 'read committed'",
)
_KINDS: tuple[tuple[type[psycopg.Error], type[JournalError]], ...] = (
    (errors.DiskFull, JournalFull),
    (errors.ReadOnlySqlTransaction, JournalReadOnly),
    (errors.InsufficientPrivilege, JournalReadOnly),
    (errors.DataCorrupted, JournalCorrupt),
    (errors.IndexCorrupted, JournalCorrupt),
)
_COLUMNS = tuple(one.name for one in attrs.fields(RunRow))
_SELECT = f"SELECT {', '.join(_COLUMNS)} FROM rio_chain_journal_runs"  # noqa: S608 - names of our own
_CHANGED = ", ".join(f"{name} = excluded.{name}" for name in _COLUMNS[2:])
_PUT = (
    f"INSERT INTO rio_chain_journal_runs (id, {', '.join(_COLUMNS[2:])}) "  # noqa: S608
    f"VALUES ({', '.join(['%s'] * (len(_COLUMNS) - 1))}) ON CONFLICT (id) DO UPDATE SET {_CHANGED} RETURNING number"
)
_PUT_RECORDS = (
    "INSERT INTO rio_chain_journal_records (run, place, digest, value, more) "
    "SELECT %s, * FROM unnest(%s::text[], %s::bytea[], %s::bytea[], %s::text[]) "
    "ON CONFLICT (run, place) DO UPDATE SET digest = excluded.digest, value = excluded.value, more = excluded.more"
)


def packed(data: Data) -> bytes | None:
    """What a serializer has given, as bytes. A text of PostgreSQL can't hold each text of Python."""
    if data is None:
        return None
    return b"t" + data.encode("utf-8", "surrogatepass") if isinstance(data, str) else b"b" + data


def unpacked(data: bytes | None) -> Data:
    """What ``packed`` was given."""
    if data is None:
        return None
    return data[1:].decode("utf-8", "surrogatepass") if data[:1] == b"t" else data[1:]


class PostgresStore:
    """As ``Store``.

    Args:
        dsn: the database, such as ``"postgresql://user@host/name"``.
        synchronous: ``"normal"``: a crash of the server may lose the last records, and no lease. ``"full"``: each
            commit waits for the disk.

    Raises:
        ChainDefinitionError: libpq can't read the address.
    """

    def __init__(self, dsn: str, synchronous: str) -> None:
        try:
            given: dict[str, Any] = dict(conninfo_to_dict(dsn))
        except psycopg.ProgrammingError:  # its text is not shown, as the address may hold a password
            raise ChainDefinitionError(
                '`path` is not an address that libpq can read; write Journal("postgresql://user@host/name")'
            ) from None
        self.shown = f"postgresql://{given.get('host') or ''}/{given.get('dbname') or ''}"
        self._dsn = make_conninfo("", **{"connect_timeout": 10, "tcp_user_timeout": 15_000, **given})
        self._settings = SETTINGS
        if synchronous == "normal":
            self._settings = (*SETTINGS, "SET synchronous_commit = off")
        self._db: psycopg.Connection[Any] | None = None
        self._pid = os.getpid()
        self._now = 0.0
        self._writes = False

    # --- opening ------------------------------------------------------------------------------------------------

    def _opened(self) -> psycopg.Connection[Any]:
        """The connection. The tables are made when it is first used."""
        if self._db is None:
            db = psycopg.connect(self._dsn, autocommit=True)
            try:
                for setting in self._settings:
                    db.execute(setting)
                self._check(db)
            except BaseException:
                db.close()
                raise
            self._db = db
        return self._db

    def _check(self, db: psycopg.Connection[Any]) -> None:
        found = _version(db)
        if found > VERSION:
            raise JournalTooNew(self.shown, found, VERSION)
        if found < VERSION:
            with db.transaction():  # another process may have done so meanwhile
                db.execute("SELECT pg_advisory_xact_lock(%s)", (LOCK,))
                for step in STEPS[_version(db) :]:
                    db.execute(step)
                db.execute("INSERT INTO rio_chain_journal_version VALUES (%s) ON CONFLICT DO NOTHING", (VERSION,))

    def close(self) -> None:
        """As ``Store.close``."""
        db, self._db = self._db, None
        if db is not None:
            with contextlib.suppress(psycopg.Error):
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
        """As ``Store.begin``. If the server has dropped the connection, it is opened again."""
        self._writes = write
        first: LiteralString = "BEGIN" if write else "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
        kept = self._db is not None
        try:
            self._now = self._begun(first)
        except psycopg.Error as error:
            self.close()
            if not kept or not isinstance(error, psycopg.OperationalError):
                raise self.error_for(error) from None
            self._do(lambda: self._set_now(first))

    def _set_now(self, first: LiteralString) -> None:
        self._now = self._begun(first)

    def _begun(self, first: LiteralString) -> float:
        """Begin, and ask for the time, in one round trip."""
        cursor = self._opened().execute(first + "; " + CLOCK)
        cursor.nextset()
        [now] = cursor.fetchone() or (0.0,)
        return float(now)

    def now(self) -> float:
        """As ``Store.now``."""
        return self._now

    def commit(self) -> None:
        """As ``Store.commit``."""
        self._run("COMMIT")

    def rollback(self) -> None:
        """As ``Store.rollback``."""
        db = self._db
        if db is not None:
            try:
                db.execute("ROLLBACK")
            except psycopg.Error:
                self.close()

    def error_for(self, error: Exception) -> JournalError:
        """An error of PostgreSQL as one of ours."""
        kind = next((ours for theirs, ours in _KINDS if isinstance(error, theirs)), JournalError)
        return kind(f"the journal {self.shown}: {str(error).strip() or type(error).__name__}")

    def _do(self, act: Callable[[], T]) -> T:
        try:
            return act()
        except (psycopg.Error, ValueError, OverflowError) as error:  # the last two: a value that has no place there
            raise self.error_for(error) from None

    def _run(self, query: Any, values: Any = None) -> psycopg.Cursor[Any]:
        return self._do(lambda: self._opened().execute(query, values))

    # --- runs ---------------------------------------------------------------------------------------------------

    def run(self, run_id: str) -> RunRow | None:
        """As ``Store.run``. In a transaction that writes, no other can take or make this run until its end."""
        if self._writes:
            self._run("SELECT pg_advisory_xact_lock(hashtextextended(%s, %s))", (run_id, LOCK))
        found = self._run(_SELECT + " WHERE id = %s" + (" FOR UPDATE" if self._writes else ""), (run_id,)).fetchone()
        return None if found is None else self._row(found)

    def runs(self) -> list[tuple[RunRow, int]]:
        """As ``Store.runs``. In a transaction that writes, no other can write until its end."""
        if self._writes:
            self._run("LOCK TABLE rio_chain_journal_runs IN EXCLUSIVE MODE")
        counts: dict[int, int] = dict(
            self._run("SELECT run, count(*) FROM rio_chain_journal_records GROUP BY run").fetchall()
        )
        rows = [self._row(found) for found in self._run(f"{_SELECT} ORDER BY number").fetchall()]
        return [(row, counts.get(row.number, 0)) for row in rows]

    def _row(self, found: tuple[Any, ...]) -> RunRow:
        row = RunRow(*found)
        row.request = unpacked(found[_COLUMNS.index("request")])
        if not is_plan(row.plan):
            raise JournalCorrupt(f"the journal {self.shown}: what it has of run {row.id!r} is damaged")
        return row

    def lease(self, number: int) -> tuple[int, float]:
        """As ``Store.lease``. No other transaction can change it until the end of this one."""
        query = "SELECT fence, until FROM rio_chain_journal_runs WHERE number = %s FOR UPDATE"
        found = self._run(query, (number,)).fetchone()
        return (-1, 0.0) if found is None else (found[0], found[1])

    def renew(self, number: int, until: float) -> None:
        """As ``Store.renew``."""
        self._run("UPDATE rio_chain_journal_runs SET until = %s WHERE number = %s", (until, number))

    def put_run(self, row: RunRow) -> int:
        """As ``Store.put_run``. Its commit waits for the disk: a lease that is lost could be given twice."""
        self._run("SET LOCAL synchronous_commit = on")
        given = {**attrs.asdict(row), "request": packed(row.request)}
        found = self._run(_PUT, [value for name, value in given.items() if name != "number"]).fetchone()
        return int(found[0]) if found is not None else 0

    def drop_runs(self, numbers: Iterable[int]) -> None:
        """As ``Store.drop_runs``."""
        gone = list(numbers)
        self._run("DELETE FROM rio_chain_journal_records WHERE run = ANY(%s::bigint[])", (gone,))
        self._run("DELETE FROM rio_chain_journal_runs WHERE number = ANY(%s::bigint[])", (gone,))

    # --- records ------------------------------------------------------------------------------------------------

    def records(self, number: int) -> list[Row]:
        """As ``Store.records``."""
        query = "SELECT place, digest, value, more FROM rio_chain_journal_records WHERE run = %s"
        found = self._run(query, (number,)).fetchall()
        return [Row(place, digest, unpacked(value), more) for place, digest, value, more in found]

    def put_records(self, number: int, rows: Iterable[Row]) -> None:
        """As ``Store.put_records``. Of two with one place the last one counts, as one statement writes a row once."""
        last = {row.place: row for row in rows}.values()
        if last:
            places, digests, values, more = zip(*last, strict=True)
            self._run(_PUT_RECORDS, (number, list(places), list(digests), [packed(one) for one in values], list(more)))

    def drop_records(self, number: int, places: Iterable[str]) -> None:
        """As ``Store.drop_records``."""
        query = "DELETE FROM rio_chain_journal_records WHERE run = %s AND place = ANY(%s::text[])"
        self._run(query, (number, list(places)))


def _version(db: psycopg.Connection[Any]) -> int:
    """The version of the tables; 0 if there are none."""
    found = db.execute(  # to_regclass would remember that there were none
        "SELECT EXISTS (SELECT FROM pg_class WHERE relname = 'rio_chain_journal_version' AND pg_table_is_visible(oid))"
    ).fetchone()
    if found is None or not found[0]:
        return 0
    newest = db.execute("SELECT max(version) FROM rio_chain_journal_version").fetchone()
    return 0 if newest is None or newest[0] is None else int(newest[0])
