"""Workers and schedulers that die."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from extras.dask.bodies import DiesOnce, dies, long, pauses, plus, process

from rio_chain import Balancer, DaskExecutor, DeadlineExceeded, Task, WorkerLost, each


@pytest.fixture
def own_cluster(distributed: Any) -> Iterator[Any]:
    with distributed.LocalCluster(n_workers=2, threads_per_worker=4, dashboard_address="127.0.0.1:0") as made:
        yield made


def test_a_worker_killed_in_the_middle_of_1000_requests(own_cluster: Any, tmp_path: Path) -> None:
    """Each is answered; calls that were made again are counted apart from attempts."""
    path = tmp_path / "calls"
    chain = Task(DiesOnce(path, at=500)).named("work")
    began = time.monotonic()
    with Balancer(DaskExecutor(own_cluster.scheduler_address), workers=20, buffer=1_000) as balancer:
        tickets = [balancer.post(chain(n)) for n in range(1_000)]
        outcomes = [ticket.wait(timeout=60_000) for ticket in tickets]
    assert time.monotonic() - began < 60
    assert [outcome.unwrap() for outcome in outcomes] == list(range(1, 1_001))
    assert {outcome.only.attempts for outcome in outcomes} == {1}
    assert outcomes[500].only.repeats == 1
    again = len(path.read_text()) - 1_000  # Dask also repeats what was lost after its answer had come
    assert 1 <= again < 100
    assert sum(outcome.only.repeats for outcome in outcomes) < 100


def test_a_body_that_kills_its_worker_each_time_fails_and_says_why(own_cluster: Any) -> None:
    with Balancer(DaskExecutor(own_cluster.scheduler_address)) as balancer:
        outcome = balancer.run(Task(dies).named("dies")(1), deadline=50_000)
        assert isinstance(outcome.error, WorkerLost)
        assert "`dies` has no answer: each worker that ran it died" in str(outcome.error)
        assert outcome["dies"].repeats == 3


def test_a_scheduler_that_ends_makes_failures_that_say_so(own_cluster: Any) -> None:
    with Balancer(DaskExecutor(own_cluster.scheduler_address)) as balancer:
        tickets = [balancer.post(Task(long).named("long")(n)) for n in range(3)]
        balancer.run(Task(plus)(1)).unwrap()
        began = time.monotonic()
        own_cluster.close()
        outcomes = [ticket.wait(timeout=60_000) for ticket in tickets]
        assert time.monotonic() - began < 60
        assert {type(outcome.error) for outcome in outcomes} == {WorkerLost}
        assert "look whether the scheduler and the workers still run" in str(outcomes[0].error)
        late = balancer.run(Task(plus)(1))
        assert "the Dask scheduler is lost" in str(late.error)


def test_a_worker_that_hangs_and_comes_back(own_cluster: Any) -> None:
    """Its process is stopped, as if it were cut off: what runs there ends with its limits, and later it works on."""
    with Balancer(DaskExecutor(own_cluster.scheduler_address), workers=20) as balancer:
        pids = set(balancer.run(each(Task(process), limit=8)(range(50))).unwrap())
        assert len(pids) == 2
        tickets = [balancer.post(Task(pauses)(n), deadline=4_000) for n in range(8)]
        time.sleep(0.5)
        os.kill(stopped := min(pids), signal.SIGSTOP)
        try:
            began = time.monotonic()
            outcomes = [ticket.wait(timeout=20_000) for ticket in tickets]
            assert time.monotonic() - began < 10
        finally:
            os.kill(stopped, signal.SIGCONT)
        ended = {type(outcome.error) for outcome in outcomes}
        assert ended == {type(None), DeadlineExceeded}
        assert set(balancer.run(each(Task(process), limit=8)(range(50)), deadline=30_000).unwrap()) == pids
