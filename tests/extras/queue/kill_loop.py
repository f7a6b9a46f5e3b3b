"""Posts many runs, kills workers meanwhile, and looks at what has become of each run."""

from __future__ import annotations

import signal
import time
from collections import Counter
from typing import Any

import psycopg
from extras.queue.jobs_of_tests import WHERE, note, notes

from rio_chain.contrib.procrastinate import DurableQueue


def kill_loop(queue: DurableQueue, workers: Any, *, posts: int, ms: float, every: float, lease: float) -> float:
    """Three workers, of which one is killed every ``every`` seconds and replaced. Returns the seconds that it took.

    Each run ends once. It may begin more often than once only by the number of its dead workers.
    """
    began = time.monotonic()
    tickets = [
        queue.post(note(f"run-{number}", ms), run_id=f"run-{number}", priority=number % 7) for number in range(posts)
    ]
    alive = [workers.start("--workers", "4", lease=lease) for _ in range(3)]
    last = time.monotonic()
    while (open_ones := count("status IN ('queued', 'running')")) and time.monotonic() - began < 60 + posts:
        if time.monotonic() - last > every:
            victim = alive.pop(0)
            victim.send_signal(signal.SIGKILL)
            victim.wait()
            alive.append(workers.start("--workers", "4", lease=lease))
            last = time.monotonic()
        time.sleep(0.05)
    assert open_ones == 0, workers.logs()
    took = time.monotonic() - began
    outcomes = [ticket.wait(0) for ticket in tickets]
    assert {outcome.status for outcome in outcomes} <= {"succeeded", "dead"}
    begins = Counter(name for name, _ in notes("begins"))
    kills = len(workers.processes) - 3
    assert sum(outcome.deaths for outcome in outcomes) <= 4 * kills, "no death of a worker that lives"
    for number, outcome in enumerate(outcomes):
        name = f"run-{number}"
        if outcome.status == "succeeded":
            assert outcome.unwrap() == name
            assert begins[name] <= outcome.deaths + 1
    check_order([number for number, outcome in enumerate(outcomes) if outcome.deaths == 0])
    return took


def check_order(numbers: list[int]) -> None:
    """Before a run begins, all of a higher priority have been taken. So few of them begin later.

    Those are in the hands of the three workers, four each, or of two dead workers, whose lease is not over yet.
    """
    names = {f"run-{number}": number % 7 for number in numbers}
    begun = [names[name] for name, _ in notes("begins") if name in names]
    for place, priority in enumerate(begun):
        assert sum(later > priority for later in begun[place:]) <= 5 * 4, begun


def kept() -> list[tuple[Any, ...]]:
    """All that the queue and its journal have written about runs."""
    tables = ("rio_chain_runs", "rio_chain_journal_runs", "rio_chain_journal_records")
    with psycopg.connect(WHERE[0], autocommit=True) as connection:
        return [row for table in tables for row in connection.execute(f"SELECT * FROM {table} ORDER BY 1, 2")]  # noqa: S608


def count(where: str) -> int:
    with psycopg.connect(WHERE[0], autocommit=True) as connection:
        found = connection.execute(f"SELECT count(*) FROM rio_chain_runs WHERE {where}").fetchone()  # noqa: S608
        assert found is not None
        return int(found[0])


def longest_take_over(lease: float) -> float:
    """Seconds by which the slowest take-over was later than the lease, at most: from one begin of a run to the next."""
    with psycopg.connect(WHERE[0], autocommit=True) as connection:
        found = connection.execute(
            "SELECT max(extract(epoch FROM b.at - a.at)) FROM notes a JOIN notes b ON b.name = a.name AND b.id > a.id "
            "AND b.what = 'begins' AND a.what = 'begins' AND NOT EXISTS "
            "(SELECT 1 FROM notes c WHERE c.name = a.name AND c.what = 'begins' AND c.id > a.id AND c.id < b.id)"
        ).fetchone()
    return (0.0 if found is None or found[0] is None else float(found[0])) - lease / 1000
