"""Which ticks of the schedules of a queue were posted."""

from __future__ import annotations

import psycopg
from extras.queue.jobs_of_tests import WHERE


def ticks() -> list[str]:
    """The ids of their runs."""
    with psycopg.connect(WHERE[0], autocommit=True) as connection:
        query = "SELECT run_id FROM rio_chain_runs WHERE schedule IS NOT NULL ORDER BY run_id"
        return [run_id for (run_id,) in connection.execute(query).fetchall()]


def numbers(step: float) -> list[int]:
    """The ticks in order, each as the number of steps of so many seconds since 1970."""
    with psycopg.connect(WHERE[0], autocommit=True) as connection:
        query = "SELECT extract(epoch FROM split_part(run_id, '@', 2)::timestamptz) FROM rio_chain_runs"
        found = connection.execute(f"{query} WHERE schedule IS NOT NULL").fetchall()
        return sorted(round(float(at) / step) for (at,) in found)
