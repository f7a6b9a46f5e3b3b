"""Several workers on one queue: none of them is needed, and each tick is posted once."""

from __future__ import annotations

import signal
import time
from collections import Counter
from typing import Any

import psycopg
import pytest
from extras.queue.jobs_of_tests import WHERE, note, notes
from extras.queue.kill_loop import count, kept, kill_loop
from extras.queue.ticking import numbers, ticks
from waiting import eventually

from rio_chain.contrib._queue_schedules import tick_all
from rio_chain.contrib.procrastinate import DurableQueue


@pytest.mark.timeout(120)
def test_all_runs_end_while_workers_are_killed(queue: DurableQueue, workers: Any) -> None:
    kill_loop(queue, workers, posts=60, ms=150, every=1.5, lease=1_000)
    assert count("status = 'succeeded'") >= 58, "three deaths of one run are possible, and rare"


def test_two_workers_that_start_at_one_moment_repeat_nothing(queue: DurableQueue, workers: Any) -> None:
    tickets = [queue.post(note(f"run-{number}", 1)) for number in range(60)]
    for _ in range(2):
        workers.start("--workers", "4")
    assert [ticket.wait(30_000).deaths for ticket in tickets] == [0] * 60, workers.logs()
    assert Counter(name for name, _ in notes("begins")) == {f"run-{number}": 1 for number in range(60)}


def test_a_worker_that_is_stopped_for_twice_its_lease_writes_nothing(queue: DurableQueue, workers: Any) -> None:
    lease = 600
    first = workers.start("--workers", "4", lease=lease)
    tickets = [queue.post(note(f"run-{number}", 300)) for number in range(4)]
    eventually(lambda: len(notes("begins")) == 4)
    first.send_signal(signal.SIGSTOP)
    stopped = time.monotonic()
    workers.start("--workers", "4", lease=lease)
    outcomes = [ticket.wait(30_000) for ticket in tickets]
    assert [outcome.deaths for outcome in outcomes] == [1] * 4, workers.logs()
    eventually(lambda: time.monotonic() - stopped > 2 * lease / 1000)
    before = kept()
    first.send_signal(signal.SIGCONT)
    eventually(lambda: [pid for _, pid in notes("ends")].count(first.pid) == 4)
    first.terminate()  # it has tried to write by the time it has ended
    assert first.wait(20) == 0
    assert kept() == before


def test_three_processes_post_each_tick_once(
    queue: DurableQueue, workers: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JOBS_EVERY", "200")
    for _ in range(3):
        workers.start()
    eventually(lambda: len(ticks()) >= 15)
    for process in workers.processes:
        process.terminate()
    for process in workers.processes:
        assert process.wait(20) == 0, workers.logs()
    seen = numbers(0.2)
    assert seen == list(range(seen[0], seen[0] + len(seen))), "none twice, and none left out"


def set_last_tick(at: float) -> None:
    """As if no process had worked since then."""
    with psycopg.connect(WHERE[0], autocommit=True) as connection:
        connection.execute("UPDATE rio_chain_schedules SET last_tick = %s", (at,))


def tick_some(queue: DurableQueue) -> None:
    for _ in range(5):
        tick_all(queue._store, queue._schedules)
        time.sleep(0.05)


@pytest.mark.parametrize(("missed", "expected"), [("skip", 1), ("run once", 1), ("all", 6)])
def test_ticks_that_no_process_saw(queue: DurableQueue, missed: Any, expected: int) -> None:
    queue.every(1_000_000, note("tick", 0), name="s", missed=missed, overlap="parallel")
    tick_all(queue._store, queue._schedules)
    assert ticks() == []
    now = time.time()
    set_last_tick(now - now % 1_000 - 5_500)
    tick_all(queue._store, queue._schedules)
    in_time = now % 1_000 <= 60  # else the last tick was missed as well
    decided = ticks()
    assert len(decided) == (0 if missed == "skip" and not in_time else expected)
    tick_all(queue._store, queue._schedules)
    assert ticks() == decided, "each tick is decided once"


def test_a_tick_is_left_out_while_a_run_of_the_schedule_is_open(queue: DurableQueue) -> None:
    queue.every(50, note("tick", 0), name="s")
    queue.every(50, note("tock", 0), name="p", overlap="parallel")
    tick_some(queue)
    names = [run_id.partition("@")[0] for run_id in ticks()]
    assert names.count("s") == 1
    assert names.count("p") >= 2


def test_queued_ticks_run_one_after_the_other(queue: DurableQueue) -> None:
    queue.every(50, note("tick", 0), name="s", overlap="queue")
    tick_some(queue)
    assert len(ticks()) >= 2
    with psycopg.connect(WHERE[0], autocommit=True) as connection:
        locks = connection.execute("SELECT DISTINCT lock FROM procrastinate_jobs WHERE status = 'todo'").fetchall()
        first = connection.execute("SELECT id FROM procrastinate_fetch_job_v2(NULL, NULL)").fetchone()
        second = connection.execute("SELECT id FROM procrastinate_fetch_job_v2(NULL, NULL)").fetchone()
    assert locks == [("rio_chain/s",)]
    assert first is not None
    assert first[0] is not None
    assert second == (None,), "the next one waits until this has ended"


def test_a_function_that_fails_stops_no_other_schedule(queue: DurableQueue) -> None:
    def breaks(_: object) -> Any:
        raise LookupError

    queue.every(1_000, breaks, name="bad")
    queue.every(1_000, lambda tick: note(f"{tick:%Y}", 0), name="good")
    tick_all(queue._store, queue._schedules)
    set_last_tick(time.time() - 1)
    assert tick_all(queue._store, queue._schedules) <= 1
    assert [run_id.partition("@")[0] for run_id in ticks()] == ["good"]
