"""What a balancer leaves behind, and how it is used otherwise."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from typing import Any

import pytest
from extras.dask.bodies import fails_twice, plus, twice

from rio_chain import Balancer, DaskExecutor, Event, Task, each


def state(cluster: Any) -> tuple[Any, ...]:
    scheduler = cluster.scheduler
    plugins = [name for name in scheduler.worker_plugins if name.startswith("rio_chain")]
    topics = [name for name in scheduler._broker._topics if name.startswith("rio_chain")]
    clients = [name for name in scheduler.clients if "rio_chain" in name]
    tasks = [key for key in scheduler.tasks if str(key).startswith("rio_chain")]
    return sorted(plugins), sorted(topics), sorted(clients), sorted(tasks)


def test_closing_leaves_nothing_on_the_cluster(cluster: Any, address: str) -> None:
    before, threads = state(cluster), threading.active_count()
    for _ in range(2):
        with Balancer(DaskExecutor(address)) as balancer:
            balancer.run(each(Task(plus))(range(10))).unwrap()
            assert state(cluster) != before
        assert state(cluster) == before
    assert threading.active_count() <= threads + 2


def test_arun_and_amap_on_a_loop_of_the_users(address: str) -> None:
    async def main() -> list[int]:
        async with Balancer(DaskExecutor(address)) as balancer:
            found = [(await balancer.arun(Task(twice)(n))).unwrap() for n in range(3)]
            async for outcome in balancer.amap(Task(plus), [7, 8]):
                found.append(outcome.unwrap())  # noqa: PERF401 - it is a list of two kinds
            return found

    assert asyncio.run(main()) == [0, 2, 4, 8, 9]


def test_the_command_runs_a_chain_on_a_cluster(address: str) -> None:
    """The workers import its module, which is where they can find it, too."""
    command = [sys.executable, "-m", "rio_chain", "run", "extras.dask.bodies:added", "--input", "4", "--json"]
    ran = subprocess.run(
        [*command, "--executor", "dask", "--address", address],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout)["value"] == 10


def test_map_in_order(balancer: Balancer) -> None:
    assert [outcome.unwrap() for outcome in balancer.map(Task(plus), range(50))] == list(range(1, 51))


def test_a_stream_has_the_events_of_the_workers(balancer: Balancer) -> None:
    chain = Task(plus).named("a") >> (Task(fails_twice).named("b").retry(2, backoff=None) & Task(plus).named("c"))
    events = list(balancer.stream(chain(1)))
    told = [(event.kind, event.task, event.attempt) for event in events if event.task in ("a", "b")]
    assert told == [
        ("started", "a", 1),
        ("finished", "a", 1),
        ("started", "b", 1),
        ("attempt_failed", "b", 1),
        ("started", "b", 2),
        ("attempt_failed", "b", 2),
        ("started", "b", 3),
        ("finished", "b", 3),
    ]
    assert events[-1].kind == "ended"
    assert [event.at for event in events if event.task == "b"] == sorted(e.at for e in events if e.task == "b")


def test_observers_hear_of_calls_on_the_workers(address: str) -> None:
    seen: list[Event] = []
    with Balancer(DaskExecutor(address), observers=[seen.append]) as balancer:
        balancer.run(each(Task(plus).named("item"))([1, 2])).unwrap()
    kinds = [event.kind for event in seen]
    assert kinds[0] == "request_started"
    assert kinds[-1] == "request_ended"
    assert kinds.count("attempt_started") == kinds.count("attempt_ended") == 2
    assert {event.item for event in seen if event.kind == "started"} == {0, 1}
    assert len({event.run for event in seen}) == 1


@pytest.mark.usefixtures("distributed")
def test_by_its_name_it_starts_workers_of_its_own_and_ends_them(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    code = """
        import os
        from rio_chain import Balancer, Task

        def where(_):
            return os.getpid()

        if __name__ == "__main__":
            with Balancer("dask", workers=2) as balancer:
                worker = balancer.run(Task(where)(0)).unwrap()
                assert worker != os.getpid()
            try:
                os.kill(worker, 0)
            except ProcessLookupError:
                print("gone")
    """
    script.write_text(textwrap.dedent(code))
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=50, check=False)
    assert done.stdout.strip() == "gone", done.stderr
