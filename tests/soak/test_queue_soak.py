"""The long form of tests/extras/queue/test_fleet.py. It takes minutes: `RIO_SOAK=1 pytest tests/soak -s`."""

from __future__ import annotations

import os
import sys
import time
from typing import Any

import pytest

if not os.environ.get("RIO_SOAK"):
    pytest.skip("takes minutes: RIO_SOAK=1 runs it", allow_module_level=True)

from extras.queue.conftest import dsn, queue, server, workers
from extras.queue.jobs_of_tests import note
from extras.queue.kill_loop import count, kill_loop, longest_take_over
from extras.queue.ticking import numbers

from rio_chain.contrib.procrastinate import DurableQueue

LEASE = 7_000
"""Not the time between two kills: runs that a kill has left would begin again just before the next one."""
__all__ = ["dsn", "queue", "server", "workers"]


@pytest.mark.timeout(1_200)
def test_a_thousand_runs_while_a_worker_is_killed_every_five_seconds(queue: DurableQueue, workers: Any) -> None:
    took = kill_loop(queue, workers, posts=1_000, ms=500, every=5, lease=LEASE)
    late, dead = longest_take_over(LEASE), count("status = 'dead'")
    kills, taken_over, twice = len(workers.processes) - 3, count("deaths > 0"), count("deaths > 1")
    sys.stderr.write(
        f"\n1000 runs in {took:.0f} s: {kills} kills, "
        f"{taken_over} runs taken over, {twice} of them twice, {dead} dead letters, "
        f"the slowest take-over {late:.1f} s after the lease\n"
    )
    assert late < 5
    assert dead == 0


@pytest.mark.timeout(200)
def test_three_processes_serve_a_schedule_for_a_minute_while_the_database_is_away_for_five_seconds(
    queue: DurableQueue, workers: Any, server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JOBS_EVERY", "1000")
    posted = queue.post(note("posted", 0), delay=25_000)
    for _ in range(3):
        workers.start(lease=LEASE)
    time.sleep(20)
    server.stop("immediate")
    time.sleep(5)
    server.start()
    time.sleep(40)
    for process in workers.processes:
        process.terminate()
    assert [process.wait(20) for process in workers.processes] == [0, 0, 0], workers.logs()
    seen = numbers(1)
    assert len(seen) >= 60
    assert seen == list(range(seen[0], seen[0] + len(seen))), "none twice, and none left out"
    assert posted.wait(1_000).unwrap() == "posted"
    sys.stderr.write(f"\n{len(seen)} ticks, each posted once\n")
