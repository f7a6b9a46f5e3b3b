"""The tables of a durable queue: what is posted, which worker may write, and how each run has ended. All of it blocks.

procrastinate delivers jobs to workers and knows which workers live. It does not check who ends a job: a worker that was
stopped for long and goes on ends the job of the worker that took over. So a run has a row of its own here, with the
number of its lease (``fence``), and each delivery is a job of its own. What a worker writes counts only while the fence
is its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, LiteralString, NamedTuple

import psycopg

from rio_chain.contrib._queue_connections import Connections
from rio_chain.contrib._queue_errors import RunIdTaken, UnknownRun
from rio_chain.contrib._queue_json import cancelled_text

TASK = "rio_chain.run"
# A worker of this job is dead: it was silent for the lease, or its row is gone. The time in which the server was away
# is no silence.
DEAD_WORKER = """
NOT EXISTS (SELECT 1 FROM procrastinate_workers w WHERE w.id = j.worker_id
            AND greatest(w.last_heartbeat, pg_postmaster_start_time()) >= now() - make_interval(secs => %(lease)s))
"""
# Runs that are delivered to a worker. There are few of them, and an index leads to each part.
DELIVERED = """
SELECT run_id FROM rio_chain_runs WHERE queue = %(queue)s AND status = 'running'
UNION SELECT r.run_id FROM procrastinate_jobs j JOIN rio_chain_runs r ON r.job_id = j.id AND r.status = 'queued'
       WHERE j.status = 'doing' AND r.queue = %(queue)s
"""
ALL_OPEN = f"{DELIVERED} UNION SELECT run_id FROM rio_chain_runs WHERE queue = %(queue)s AND status = 'queued'"  # noqa: S608 - constants


def _lost(candidates: LiteralString) -> LiteralString:
    return f"""
SELECT r.run_id, r.job_id, r.status, r.deaths, r.cancel
  FROM rio_chain_runs r LEFT JOIN procrastinate_jobs j ON j.id = r.job_id
 WHERE r.run_id IN ({candidates}) AND r.status IN ('queued', 'running')
   AND (j.id IS NULL OR j.status NOT IN ('todo', 'doing') OR (j.status = 'doing' AND {DEAD_WORKER}))
"""  # noqa: S608 - all parts are constants


LOCK_SOME = " ORDER BY r.run_id LIMIT 500 FOR UPDATE OF r SKIP LOCKED"
LOST, ALL_LOST = _lost(DELIVERED) + LOCK_SOME, _lost(ALL_OPEN) + LOCK_SOME
# A run that was put back while the statement before ran has its new row there, beside no job.
STILL_LOST = _lost("SELECT unnest(%(locked)s::text[])") + " ORDER BY r.run_id"
LEFT_OVER = f"""
UPDATE procrastinate_jobs j SET status = 'failed'
 WHERE j.status = 'doing' AND j.task_name = %(task)s AND j.queue_name = %(queue)s AND {DEAD_WORKER}
   AND NOT EXISTS (SELECT 1 FROM rio_chain_runs r WHERE r.job_id = j.id AND r.status IN ('queued', 'running'))
"""  # noqa: S608 - both parts are constants


JOURNAL = "rio_chain_journal_runs"
FORGET_RECORDS = """
DELETE FROM rio_chain_journal_records
 WHERE run IN (SELECT number FROM rio_chain_journal_runs WHERE id = ANY(%s))
"""
FORGET_RECORDED = "DELETE FROM rio_chain_journal_runs WHERE id = ANY(%s)"
SWEEPS = "SELECT pg_try_advisory_xact_lock(hashtextextended('sweep ' || %s, 7246201))"


class RunRow(NamedTuple):
    """What is known of a run."""

    run_id: str
    chain: str
    arguments: str
    priority: int
    status: str
    deaths: int
    outcome: str | None
    posted_at: datetime
    began_at: datetime | None
    ended_at: datetime | None


COLUMNS = (
    "SELECT run_id, chain, arguments, priority, status, deaths, outcome, posted_at, began_at, ended_at "
    "FROM rio_chain_runs"
)


class Begun(NamedTuple):
    """A run that a worker has begun."""

    run_id: str
    chain: str
    arguments: str
    fence: int


class Swept(NamedTuple):
    """What a sweep has done."""

    put_back: int
    dead: int


class QueueStore(Connections):
    """The tables of one queue.

    Args:
        dsn: the database.
        queue: the name of the queue.
        lease: seconds after which a silent worker counts as dead.
        deaths: so many dead workers make a run a dead letter.
    """

    def __init__(self, dsn: str, queue: str, lease: float, deaths: int) -> None:
        super().__init__(dsn)
        self.queue, self.lease, self.deaths = queue, lease, deaths

    # --- posting ------------------------------------------------------------------------------------------------

    def post(self, run_id: str, chain: str, arguments: str, priority: int, delay: float) -> bool:
        """Post a run. Returns False if it is known already, with the same chain and arguments.

        Raises:
            RunIdTaken: it is known with another chain or other arguments.
        """
        return self.transaction(lambda c: self.post_in(c, run_id, chain, arguments, priority, delay))

    def post_in(  # noqa: PLR0917 - as ``post``
        self,
        connection: psycopg.Connection[Any],
        run_id: str,
        chain: str,
        arguments: str,
        priority: int,
        delay: float,
        *,
        schedule: str | None = None,
        lock: str | None = None,
    ) -> bool:
        """As ``post``, in a transaction that is open."""
        made = connection.execute(
            "INSERT INTO rio_chain_runs (run_id, queue, chain, arguments, priority, schedule, lock) "
            "VALUES (%s, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING",
            (run_id, self.queue, chain, arguments, priority, schedule, lock),
        )
        if made.rowcount:
            self._deliver(connection, run_id, delay)
            return True
        found = self._row(connection, run_id)
        if found.chain != chain:
            raise RunIdTaken(run_id, "chain")
        if found.arguments != arguments:
            raise RunIdTaken(run_id, "arguments")
        return False

    def _deliver(
        self, connection: psycopg.Connection[Any], run_id: str, delay: float = 0.0, *, first: bool = False
    ) -> None:
        """Make a job of procrastinate that delivers the run to a worker.

        ``first``: before all others of its priority. Among these, procrastinate takes the lowest number first.
        """
        connection.execute(
            "WITH job AS (INSERT INTO procrastinate_jobs "
            "(id, queue_name, task_name, priority, lock, args, scheduled_at) "
            "SELECT CASE WHEN %(first)s THEN nextval('rio_chain_put_back') "
            "ELSE nextval(pg_get_serial_sequence('procrastinate_jobs', 'id')) END, "
            "queue, %(task)s, priority, lock, jsonb_build_object('run_id', run_id), "
            "CASE WHEN %(delay)s > 0 THEN now() + make_interval(secs => %(delay)s) END "
            "FROM rio_chain_runs WHERE run_id = %(run)s RETURNING id) "
            "UPDATE rio_chain_runs SET status = 'queued', job_id = job.id FROM job WHERE run_id = %(run)s",
            {"task": TASK, "run": run_id, "delay": delay, "first": first},
        )

    # --- what a run is doing ------------------------------------------------------------------------------------

    def _row(self, connection: psycopg.Connection[Any], run_id: str) -> RunRow:
        found = connection.execute(COLUMNS + " WHERE run_id = %s", (run_id,)).fetchone()
        if found is None:
            raise UnknownRun(run_id)
        return RunRow(*found)

    def row(self, run_id: str) -> RunRow:
        """What is known of a run.

        Raises:
            UnknownRun: nothing is.
        """
        return self.transaction(lambda c: self._row(c, run_id))

    def dead(self) -> list[RunRow]:
        """The dead letters, the oldest first."""
        query = COLUMNS + " WHERE queue = %s AND status = 'dead' ORDER BY posted_at, run_id"
        return self.transaction(lambda c: [RunRow(*row) for row in c.execute(query, (self.queue,)).fetchall()])

    def post_again(self, run_id: str) -> bool:
        """Post a dead letter again. Returns False if it is none."""

        def again(connection: psycopg.Connection[Any]) -> bool:
            found = connection.execute(
                "UPDATE rio_chain_runs SET deaths = 0, cancel = NULL, began_at = NULL, ended_at = NULL "
                "WHERE run_id = %s AND status = 'dead'",
                (run_id,),
            )
            if not found.rowcount:
                self._row(connection, run_id)  # raises if there is none
                return False
            self._deliver(connection, run_id)
            return True

        return self.transaction(again)

    def cancel(self, run_id: str, reason: str) -> None:
        """Cancel a run: one that waits at once, and a running one in its worker."""

        def cancel(connection: psycopg.Connection[Any]) -> None:
            waits = connection.execute(
                "UPDATE rio_chain_runs SET status = 'cancelled', outcome = %s, ended_at = now() "
                "WHERE run_id = %s AND status = 'queued' RETURNING job_id",
                (cancelled_text(reason), run_id),
            ).fetchone()
            if waits is not None:
                connection.execute(
                    "UPDATE procrastinate_jobs SET status = 'cancelled' WHERE id = %s AND status = 'todo'", (waits[0],)
                )
                return
            runs = connection.execute(
                "UPDATE rio_chain_runs SET cancel = %s WHERE run_id = %s AND status = 'running' RETURNING job_id",
                (reason, run_id),
            ).fetchone()
            if runs is None:
                self._row(connection, run_id)  # raises if there is none
                return
            connection.execute(  # procrastinate notifies the worker
                "UPDATE procrastinate_jobs SET abort_requested = true WHERE id = %s AND status = 'doing'", (runs[0],)
            )

        self.transaction(cancel)

    def forget(self, older_than: float) -> int:
        """Delete runs that have ended so many seconds ago. Returns how many."""

        def forget(connection: psycopg.Connection[Any]) -> int:
            connection.execute(  # procrastinate deletes only the jobs that succeeded
                "DELETE FROM procrastinate_jobs j WHERE task_name = %s AND queue_name = %s "
                "AND status NOT IN ('todo', 'doing') AND NOT EXISTS "
                "(SELECT 1 FROM rio_chain_runs r WHERE r.job_id = j.id AND r.status IN ('queued', 'running'))",
                (TASK, self.queue),
            )
            gone = connection.execute(
                "DELETE FROM rio_chain_runs WHERE queue = %s AND status IN ('succeeded', 'failed', 'cancelled') "
                "AND ended_at < now() - make_interval(secs => %s) RETURNING run_id",
                (self.queue, older_than),
            ).fetchall()
            if connection.execute("SELECT 1 FROM pg_class WHERE oid = to_regclass(%s)", (JOURNAL,)).fetchone():
                for forget_some in FORGET_RECORDS, FORGET_RECORDED:
                    connection.execute(forget_some, ([run_id for (run_id,) in gone],))
            return len(gone)

        return self.transaction(forget)

    # --- for workers --------------------------------------------------------------------------------------------

    def begin(self, run_id: str, job_id: int) -> Begun | None:
        """Begin a run that this job delivers. None: it has ended, was cancelled, or another job delivers it now."""
        query = (
            "UPDATE rio_chain_runs SET status = 'running', fence = fence + 1, began_at = now() "
            "WHERE run_id = %s AND job_id = %s AND status IN ('queued', 'running') "
            "RETURNING run_id, chain, arguments, fence"
        )
        found = self.transaction(lambda c: c.execute(query, (run_id, job_id)).fetchone())
        return None if found is None else Begun(*found)

    def end(self, begun: Begun, status: str, outcome: str) -> bool:
        """Write how a run has ended. Returns False, and writes nothing, if its lease was lost."""

        def end(connection: psycopg.Connection[Any]) -> bool:
            done = connection.execute(
                "UPDATE rio_chain_runs SET status = %s, outcome = %s, ended_at = now() "
                "WHERE run_id = %s AND fence = %s AND status = 'running'",
                (status, outcome, begun.run_id, begun.fence),
            )
            if done.rowcount:
                return True
            again = connection.execute(  # a repeated call finds what it has written
                "SELECT 1 FROM rio_chain_runs WHERE run_id = %s AND fence = %s AND status = %s AND outcome = %s",
                (begun.run_id, begun.fence, status, outcome),
            )
            return again.fetchone() is not None

        return self.transaction(end)

    def cancel_reason(self, begun: Begun) -> str:
        """Why a run is cancelled."""
        query = "SELECT cancel FROM rio_chain_runs WHERE run_id = %s AND fence = %s"
        found = self.transaction(lambda c: c.execute(query, (begun.run_id, begun.fence)).fetchone())
        return "it was cancelled" if found is None or found[0] is None else str(found[0])

    def put_back(self, begun: Begun, delay: float = 0.0) -> None:
        """Post a run again that its worker can't finish. That is no death. Nothing happens if its lease was lost."""

        def put_back(connection: psycopg.Connection[Any]) -> None:
            found = connection.execute(
                "SELECT 1 FROM rio_chain_runs WHERE run_id = %s AND fence = %s AND status = 'running' FOR UPDATE",
                (begun.run_id, begun.fence),
            ).fetchone()
            if found is not None:
                self._deliver(connection, begun.run_id, delay, first=True)

        self.transaction(put_back)

    def give_sign(self, worker_id: int) -> None:
        """A sign of life of a worker of procrastinate."""
        query = "UPDATE procrastinate_workers SET last_heartbeat = now() WHERE id = %s"
        self.transaction(lambda c: c.execute(query, (worker_id,)))

    def lost(self, fences: Mapping[str, int]) -> list[str]:
        """Those of these runs whose lease was lost."""
        query = "SELECT run_id, fence FROM rio_chain_runs WHERE run_id = ANY(%s) AND status = 'running'"
        kept = self.transaction(lambda c: dict(c.execute(query, (list(fences),)).fetchall()))
        return [run_id for run_id, fence in fences.items() if kept.get(run_id) != fence]

    def sweep(self, *, full: bool = False) -> Swept:
        """Put back the runs whose workers have died; with ``full`` also those that wait and have no job.

        One process sweeps at a time. Else a second one could still see the job of a worker that has died, beside the
        row of a run that was put back, and count the death of a worker that lives.
        """
        given = {"queue": self.queue, "lease": self.lease, "task": TASK}
        lost = ALL_LOST if full else LOST

        def sweep(connection: psycopg.Connection[Any]) -> Swept:
            put_back = dead = 0
            if connection.execute(SWEEPS, (self.queue,)).fetchone() != (True,):
                return Swept(0, 0)
            locked = [run_id for run_id, *_ in connection.execute(lost, given).fetchall()]
            found = connection.execute(STILL_LOST, {**given, "locked": locked}).fetchall() if locked else []
            for run_id, job_id, status, deaths, cancel in found:
                died = deaths + (status == "running")
                if cancel is not None:
                    self._close(connection, run_id, "cancelled", died, cancelled_text(cancel))
                elif died >= self.deaths:
                    dead += 1
                    self._close(connection, run_id, "dead", died, None)
                else:
                    put_back += 1
                    connection.execute("UPDATE rio_chain_runs SET deaths = %s WHERE run_id = %s", (died, run_id))
                    self._deliver(connection, run_id, first=True)
                connection.execute(
                    "UPDATE procrastinate_jobs SET status = 'failed' WHERE id = %s AND status = 'doing'", (job_id,)
                )
            connection.execute(LEFT_OVER, given)
            return Swept(put_back, dead)

        return self.transaction(sweep)

    def _close(
        self, connection: psycopg.Connection[Any], run_id: str, status: str, deaths: int, outcome: str | None
    ) -> None:
        connection.execute(
            "UPDATE rio_chain_runs SET status = %s, deaths = %s, outcome = %s, ended_at = now() WHERE run_id = %s",
            (status, deaths, outcome, run_id),
        )
