"""Connections to the database of a durable queue, its transactions, and its tables."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any, TypeVar, cast
from urllib.parse import quote, urlencode

import psycopg
from procrastinate import App, PsycopgConnector, SyncPsycopgConnector
from procrastinate.schema import SchemaManager
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq import Conninfo
from psycopg.rows import namedtuple_row

from rio_chain._core.forks import keep_alive
from rio_chain.errors import ChainDefinitionError, UsageError

T = TypeVar("T")
VERSION = 1
LOCK = 7_246_201
"""The advisory lock of whoever makes the tables."""
TABLES = """
CREATE TABLE IF NOT EXISTS rio_chain_runs (
    run_id text PRIMARY KEY,
    queue text NOT NULL,
    chain text NOT NULL,
    arguments text NOT NULL,
    priority integer NOT NULL,
    schedule text,
    lock text,
    status text NOT NULL DEFAULT 'queued',
    job_id bigint,
    fence bigint NOT NULL DEFAULT 0,
    deaths integer NOT NULL DEFAULT 0,
    cancel text,
    outcome text,
    posted_at timestamptz NOT NULL DEFAULT now(),
    began_at timestamptz,
    ended_at timestamptz
);
CREATE INDEX IF NOT EXISTS rio_chain_runs_running ON rio_chain_runs (queue) WHERE status = 'running';
CREATE INDEX IF NOT EXISTS rio_chain_runs_job ON rio_chain_runs (job_id) WHERE status IN ('queued', 'running');
CREATE INDEX IF NOT EXISTS rio_chain_runs_dead ON rio_chain_runs (queue, posted_at) WHERE status = 'dead';
CREATE INDEX IF NOT EXISTS rio_chain_runs_schedule ON rio_chain_runs (schedule)
    WHERE schedule IS NOT NULL AND status IN ('queued', 'running');
CREATE INDEX IF NOT EXISTS rio_chain_runs_ended ON rio_chain_runs (ended_at);
CREATE TABLE IF NOT EXISTS rio_chain_schedules (
    name text PRIMARY KEY,
    last_tick double precision NOT NULL
);
CREATE SEQUENCE IF NOT EXISTS rio_chain_put_back INCREMENT -1 MAXVALUE -1 START -1;
CREATE TABLE IF NOT EXISTS rio_chain_queue_version (version integer PRIMARY KEY);
"""


def _close_all(idle: list[psycopg.Connection[Any]], pid: int) -> None:
    if pid == os.getpid():
        while idle:
            idle.pop().close()


def address_of(app: object) -> str | None:
    """The database of an App of procrastinate, as an address; None if it is none that psycopg can connect to."""
    connector: Any = app.connector if isinstance(app, App) else None
    if not isinstance(connector, (PsycopgConnector, SyncPsycopgConnector)):
        return None
    given: dict[str, Any] = vars(connector)["_pool_args"]  # they have no other name
    conninfo: Any = given.get("conninfo") or ""
    options: Any = given.get("kwargs") or {}
    if not isinstance(conninfo, str) or not isinstance(options, dict):  # functions, which may change
        return None
    known = {one.keyword.decode() for one in Conninfo.get_defaults()}
    own = {name: value for name, value in cast("dict[str, Any]", options).items() if name in known}
    try:
        found = conninfo_to_dict(conninfo, **own)
    except psycopg.ProgrammingError:
        return None
    return "postgresql:///?" + urlencode(found, quote_via=quote)


class Connections:
    """Idle connections to a database. From any thread; a forked child has its own."""

    def __init__(self, dsn: str) -> None:
        try:
            given: dict[str, Any] = dict(conninfo_to_dict(dsn))
        except psycopg.ProgrammingError:  # its text is not shown, as the address may hold a password
            raise ChainDefinitionError(
                '`dsn` is not an address that libpq can read; write "postgresql://user@host/name"'
            ) from None
        self.dsn = make_conninfo("", **{"connect_timeout": 10, "tcp_user_timeout": 15_000, **given})
        self._idle: list[psycopg.Connection[Any]] = []
        self._pid = os.getpid()
        weakref.finalize(self, _close_all, self._idle, self._pid)

    def _take(self) -> psycopg.Connection[Any] | None:
        if self._pid != os.getpid():  # the connections are the parent's
            keep_alive(self._idle)  # closing them would end those of the parent
            self._idle, self._pid = [], os.getpid()
            weakref.finalize(self, _close_all, self._idle, self._pid)
        while True:
            try:
                connection = self._idle.pop()
            except IndexError:
                return None
            if not connection.closed:
                return connection

    @contextmanager
    def _connection(self, connection: psycopg.Connection[Any] | None) -> Generator[psycopg.Connection[Any]]:
        if connection is None:
            connection = psycopg.connect(self.dsn, autocommit=True, row_factory=namedtuple_row)
        try:
            yield connection
        except BaseException:
            connection.close()
            raise
        self._idle.append(connection)

    def transaction(self, act: Callable[[psycopg.Connection[Any]], T]) -> T:
        """Do ``act`` in one transaction. If the server has dropped an idle connection, once more on a new one.

        So ``act`` may have been committed before: each of them gives the same when it is repeated.
        """
        kept = self._take()
        if kept is not None:
            try:
                with self._connection(kept) as connection, connection.transaction():
                    return act(connection)
            except psycopg.OperationalError:
                pass
        with self._connection(None) as connection, connection.transaction():
            return act(connection)

    def close(self) -> None:
        """Close the idle connections. It may be used again."""
        _close_all(self._idle, self._pid)

    def create(self) -> None:
        """Make the tables, also those of procrastinate, where they are missing. Several processes may do so."""

        def make(connection: psycopg.Connection[Any]) -> None:
            connection.execute("SELECT pg_advisory_xact_lock(%s)", (LOCK,))
            found = connection.execute("SELECT to_regclass('procrastinate_jobs')").fetchone()
            if found is None or found[0] is None:
                connection.execute(SchemaManager.get_schema().encode())
            connection.execute(TABLES)
            newer = connection.execute("SELECT max(version) FROM rio_chain_queue_version").fetchone()
            if newer is not None and (newer[0] or 0) > VERSION:
                raise UsageError(
                    f"the tables of the queue have the version {newer[0]}, and this rio_chain knows versions up to "
                    f"{VERSION}; use a newer rio_chain"
                )
            connection.execute("INSERT INTO rio_chain_queue_version VALUES (%s) ON CONFLICT DO NOTHING", (VERSION,))

        self.transaction(make)
