"""The schedules of a durable queue: each tick is posted once, by whichever process comes first.

The row of a schedule has the instant up to which its ticks are decided. A process locks the row, decides about the
ticks since then, posts those that start, and stores the new instant, all in one transaction. So no tick is decided
twice, and none is lost with a process.
"""

from __future__ import annotations

import logging
import math
import random
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, tzinfo
from functools import partial
from typing import TYPE_CHECKING, Any

from attrs import frozen

from rio_chain.schedule._decisions import Missed, Overlap, ScheduleState
from rio_chain.schedule._ticks import Ticks

if TYPE_CHECKING:
    import psycopg

    from rio_chain.contrib._queue_store import QueueStore

log = logging.getLogger("rio_chain.queue")
LONGEST = 5.0
"""Seconds between two looks at the clock of the database."""
AGAIN = 1.0
"""Seconds until a schedule is asked again that could not post."""


@frozen
class QueueSchedule:
    """A schedule, as ``every`` was given it. ``posting`` gives the chain, the arguments and the priority for a tick."""

    name: str
    ticks: Ticks
    zone: tzinfo
    overlap: Overlap
    missed: Missed
    jitter: float
    posting: Callable[[datetime], tuple[str, str, int]]


def tick_all(store: QueueStore, schedules: Iterable[QueueSchedule]) -> float:
    """Post the ticks that have come. Returns the seconds until it should be called again."""
    pause = LONGEST
    for schedule in list(schedules):
        try:
            pause = min(pause, store.transaction(partial(_tick, store, schedule)))
        except Exception as error:  # noqa: BLE001 - the others go on; this one is asked again
            log.warning("schedule %r is asked again: %s: %s", schedule.name, type(error).__name__, error)
            pause = min(pause, AGAIN)
    return pause


def _tick(store: QueueStore, schedule: QueueSchedule, connection: psycopg.Connection[Any]) -> float:
    name = f"{store.queue}/{schedule.name}"
    connection.execute(
        "INSERT INTO rio_chain_schedules VALUES (%s, extract(epoch FROM clock_timestamp())) ON CONFLICT DO NOTHING",
        (name,),
    )
    last = connection.execute(
        "SELECT last_tick FROM rio_chain_schedules WHERE name = %s FOR UPDATE", (name,)
    ).fetchone()
    clock = connection.execute("SELECT extract(epoch FROM clock_timestamp())::float8").fetchone()  # we have the lock
    since, now = (math.nan if row is None else float(row[0]) for row in (last, clock))
    upcoming = schedule.ticks.after(since)
    if upcoming > now:
        return upcoming - now
    state = ScheduleState(schedule.ticks, upcoming, "parallel", schedule.missed)
    for number, tick in enumerate(starts := state.advance(now).starts):
        if number == 0 and len(starts) == 1 and schedule.overlap == "skip" and _open(connection, name):
            break  # ticks that are made up wait for each other instead
        _post(store, schedule, connection, name, tick, now)
    connection.execute("UPDATE rio_chain_schedules SET last_tick = %s WHERE name = %s", (now, name))
    return state.next - now


def _open(connection: psycopg.Connection[Any], name: str) -> bool:
    """Whether a run of the schedule waits or runs."""
    query = "SELECT 1 FROM rio_chain_runs WHERE schedule = %s AND status IN ('queued', 'running') LIMIT 1"
    return connection.execute(query, (name,)).fetchone() is not None


def _post(  # noqa: PLR0917 - one tick
    store: QueueStore, schedule: QueueSchedule, connection: psycopg.Connection[Any], name: str, tick: float, now: float
) -> None:
    room = min(schedule.jitter, schedule.ticks.after(tick) - tick)
    delay = max(0.0, tick + random.random() * room - now) if room else 0.0  # noqa: S311 - spreads the load, no secret
    chain, arguments, priority = schedule.posting(datetime.fromtimestamp(tick, schedule.zone))
    run_id = f"{schedule.name}@{datetime.fromtimestamp(tick, UTC).isoformat()}"
    lock = None if schedule.overlap == "parallel" else name
    store.post_in(connection, run_id, chain, arguments, priority, delay, schedule=name, lock=lock)
