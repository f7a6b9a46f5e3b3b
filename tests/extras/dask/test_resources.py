"""A task with resources runs where they are."""

from __future__ import annotations

import time
from typing import Any

from extras.dask.bodies import Pausing, plus, process

from rio_chain import Balancer, DaskExecutor, Task, WorkerLost, each


def test_it_runs_where_its_resources_are_and_no_more_at_once(distributed: Any) -> None:
    made = distributed.LocalCluster(
        n_workers=2, threads_per_worker=4, dashboard_address="127.0.0.1:0", resources={"gpu": 1}
    )
    with made, Balancer(DaskExecutor(made.scheduler_address)) as balancer:
        task = Task(Pausing(0.05)).named("train").resources(gpu=1)
        began = time.monotonic()
        spans = balancer.run(each(task, limit=8)(range(6))).unwrap()
        assert time.monotonic() - began >= 6 * 0.05 / 2
        at_once = [sum(start <= began < end for start, end in spans) for began, _ in spans]
        assert max(at_once) <= 2
        assert balancer.run((Task(plus) >> Task(process).resources(gpu=1))(1)).ok


def test_where_no_worker_has_them_it_fails_at_once(balancer: Balancer) -> None:
    error = balancer.run(Task(plus).named("train").resources(gpu=2)(1), deadline=20_000).error
    assert isinstance(error, WorkerLost)
    assert str(error) == "`train` has no answer: no worker has gpu=2; start one with `dask worker --resources`"
