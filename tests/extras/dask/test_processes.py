"""A cluster of separate processes, as the guide starts it; and a scheduler that is killed."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
from attrs import frozen
from extras.dask.bodies import long, plus, process, twice

from rio_chain import Balancer, DaskExecutor, Task, WorkerLost, each, fan_out

TESTS = Path(__file__).parents[2]


@frozen
class Processes:
    """A scheduler and a worker, and where they are."""

    scheduler: subprocess.Popen[str]
    worker: subprocess.Popen[str]
    address: str


def command(*args: str) -> subprocess.Popen[str]:
    code = "import sys; from dask.__main__ import main; sys.exit(main())"
    return subprocess.Popen([sys.executable, "-c", code, *args], stderr=subprocess.PIPE, text=True, cwd=TESTS)


@pytest.fixture
def processes() -> Iterator[Processes]:
    pytest.importorskip("distributed", reason="needs the extra dask")
    scheduler = command("scheduler", "--host", "127.0.0.1", "--port", "0", "--dashboard-address", "127.0.0.1:0")
    assert scheduler.stderr is not None
    lines = iter(scheduler.stderr.readline, "")
    address = next(found[0] for line in lines if (found := re.search(r"tcp://127\.0\.0\.1:\d+", line)))
    worker = command("worker", address, "--nworkers", "1", "--nthreads", "4", "--dashboard-address", "127.0.0.1:0")
    try:
        yield Processes(scheduler, worker, address)
    finally:
        for one in (worker, scheduler):
            one.send_signal(signal.SIGINT)
        for one in (worker, scheduler):
            try:
                one.wait(10)
            except subprocess.TimeoutExpired:
                one.kill()
                one.wait()
            assert one.stderr is not None
            one.stderr.close()


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
