"""A cluster of separate processes, as the guide starts it; and a scheduler that is killed."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from typing import Any

import pytest
import trio
from attrs import frozen
from extras.dask.bodies import long, plus, process, twice
from extras.dask.processes import address_of, end, started

from rio_chain import Balancer, DaskExecutor, Task, WorkerLost, each, fan_out


@frozen
class Processes:
    """A scheduler and a worker, and where they are."""

    scheduler: subprocess.Popen[str]
    worker: subprocess.Popen[str]
    address: str


@pytest.fixture
def processes(distributed: Any) -> Iterator[Processes]:
    scheduler = started("scheduler", "--host", "127.0.0.1", "--port", "0")
    address = address_of(scheduler)
    worker = started("worker", address, "--nworkers", "1", "--nthreads", "4")
    try:
        yield Processes(scheduler, worker, address)
    finally:
        end(worker, scheduler)


def test_a_killed_scheduler_makes_failures_that_say_so(processes: Processes) -> None:
    with Balancer(DaskExecutor(processes.address)) as balancer:
        chain = Task(plus) >> fan_out(a=Task(twice), b=Task(process).named("where"))
        assert balancer.run(chain(1), deadline=50_000).unwrap()["a"] == 4
        tickets = [balancer.post(Task(long).named("long")(n)) for n in range(3)]
        balancer.run(Task(plus)(1)).unwrap()
        began = time.monotonic()
        processes.scheduler.kill()
        outcomes = [ticket.wait(timeout=60_000) for ticket in tickets]
        assert time.monotonic() - began < 60
        assert {type(outcome.error) for outcome in outcomes} == {WorkerLost}
        assert isinstance(balancer.run(Task(plus)(1)).error, WorkerLost)


def test_from_a_trio_loop(address: str) -> None:
    async def main() -> list[int]:
        async with Balancer(DaskExecutor(address)) as balancer:
            with trio.move_on_after(0.2) as scope:
                await balancer.arun(Task(long)(1))
            assert scope.cancelled_caught
            return (await balancer.arun(each(Task(plus))([1, 2]))).unwrap()

    assert trio.run(main) == [2, 3]


def test_a_map_shows_its_progress(balancer: Balancer, capsys: pytest.CaptureFixture[str]) -> None:
    assert [outcome.unwrap() for outcome in balancer.map(Task(plus), range(20), progress=True)] == list(range(1, 21))
    assert "20" in capsys.readouterr().err
