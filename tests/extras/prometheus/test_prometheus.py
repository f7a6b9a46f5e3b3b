"""The metrics that Prometheus scrapes."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from rio_chain import Balancer, Failure, QueueFull, Task, add_observer, current_attempt, each
from rio_chain.contrib.prometheus import PrometheusObserver
from rio_chain.testing import sleep

pytest.importorskip("prometheus_client", reason="needs rio-chain[prometheus]")

from prometheus_client import CollectorRegistry, start_http_server


class Scraped:
    """A registry behind an HTTP server."""

    def __init__(self, registry: CollectorRegistry, port: int) -> None:
        self.registry = registry
        self._port = port

    def text(self) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/metrics", timeout=5) as answer:
            assert answer.status == 200
            return answer.read().decode()

    def samples(self) -> dict[str, float]:
        """By the name of a series, without the times at which it was created."""
        lines = [line for line in self.text().splitlines() if not line.startswith("#") and "_created" not in line]
        return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


@pytest.fixture
def scraped() -> Iterator[Scraped]:
    registry = CollectorRegistry()
    server, thread = start_http_server(0, "127.0.0.1", registry)
    yield Scraped(registry, server.server_port)
    server.shutdown()
    server.server_close()
    thread.join()


async def fetch(number: int) -> int:
    attempt = current_attempt()
    if attempt.replica:
        return number
    if attempt == 1:
        raise OSError(f"user {number} is not known")
    await sleep(5_000)
    return number


@pytest.mark.parametrize("executor", ["asyncio", "trio", "thread"])
def test_metrics_are_scraped_over_http(scraped: Scraped, executor: str) -> None:
    page = Task(fetch).retry(1, backoff=None).replica(2, after=30).named("page")
    with Balancer(executor, observers=[PrometheusObserver(scraped.registry)]) as balancer:
        for number in range(3):
            balancer.run(page(number)).unwrap()
    samples = scraped.samples()
    for status in ("failed", "cancelled", "succeeded"):
        series = f'{{chain="page",status="{status}",task="fetch"}}'
        assert samples[f"rio_chain_attempt_duration_seconds_count{series}"] == 3
    assert samples['rio_chain_request_duration_seconds_count{chain="page",status="succeeded"}'] == 3
    assert samples['rio_chain_request_duration_seconds_bucket{chain="page",le="10.0",status="succeeded"}'] == 3
    assert samples['rio_chain_request_duration_seconds_bucket{chain="page",le="0.025",status="succeeded"}'] == 0
    assert samples['rio_chain_hedge_total{chain="page",status="started",task="fetch"}'] == 3
    assert "is not known" not in scraped.text()


def test_labels_are_the_same_for_all_items_and_runs(scraped: Scraped) -> None:
    def price(number: int) -> int:
        if number % 2:
            raise KeyError(number)
        return number

    with add_observer(PrometheusObserver(scraped.registry)):
        for _ in range(3):
            each(Task(price).inline(), on_error="drop").named("prices")(range(20)).run().unwrap()
    attempts = {name: value for name, value in scraped.samples().items() if "attempt_duration_seconds_count" in name}
    assert attempts == {
        'rio_chain_attempt_duration_seconds_count{chain="prices",status="failed",task="price"}': 30,
        'rio_chain_attempt_duration_seconds_count{chain="prices",status="succeeded",task="price"}': 30,
    }
    names = set(re.findall(r"(\w+)=", scraped.text()))
    assert names == {"chain", "task", "status", "le"}


def test_names_that_a_program_makes_up_do_not_fill_the_memory(scraped: Scraped) -> None:
    with add_observer(PrometheusObserver(scraped.registry)):
        for number in range(1_050):
            Task(abs).inline().named(f"user {number}")(1).run().unwrap()
    attempts = {name: value for name, value in scraped.samples().items() if "attempt_duration_seconds_count" in name}
    assert len(attempts) == 1_000 - 5  # one for each of the 6 statuses is kept for `other`
    assert attempts['rio_chain_attempt_duration_seconds_count{chain="other",status="succeeded",task="other"}'] == 50 + 6


def test_a_request_that_is_refused_is_counted(scraped: Scraped) -> None:
    gate = threading.Event()
    with Balancer("thread", workers=1, buffer=1, observers=[PrometheusObserver(scraped.registry)]) as balancer:
        chain = Task(gate.wait).named("page")
        tickets = [balancer.post(chain(5)), balancer.post(chain(5))]
        with pytest.raises(QueueFull):
            balancer.post(chain(5))
        gate.set()
        for ticket in tickets:
            ticket.wait()
    assert scraped.samples()['rio_chain_request_rejected_total{chain="page",status="full"}'] == 1


def test_a_second_observer_on_the_same_registry_is_refused() -> None:
    registry = CollectorRegistry()
    PrometheusObserver(registry)
    with pytest.raises(ValueError, match="Duplicated"):
        PrometheusObserver(registry)


WORKER = """
import sys
from rio_chain import Task, add_observer
from rio_chain.contrib.prometheus import PrometheusObserver

add_observer(PrometheusObserver())
for _ in range(int(sys.argv[1])):
    Task(abs).named("page")(1).run().unwrap()
"""


def test_processes_of_one_server_are_summed(tmp_path: Path) -> None:
    """As under gunicorn: each worker writes files. The one that is scraped adds them up, also those of dead ones."""
    from prometheus_client import generate_latest, multiprocess  # noqa: PLC0415 - needs the extra

    for calls in ("2", "3"):
        subprocess.run(
            [sys.executable, "-c", WORKER, calls],
            env={"PROMETHEUS_MULTIPROC_DIR": str(tmp_path), "PYTHONPATH": ":".join(sys.path)},
            check=True,
            timeout=30,
        )
    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry, path=str(tmp_path))
    text = generate_latest(registry).decode()
    assert 'rio_chain_request_duration_seconds_count{chain="page",status="succeeded"} 5.0' in text


def test_a_failing_run_is_timed_with_its_status(scraped: Scraped) -> None:
    def fails(_: int) -> int:
        raise OSError

    with add_observer(PrometheusObserver(scraped.registry)):
        assert isinstance(Task(fails).named("page")(1).run().result, Failure)
    assert scraped.samples()['rio_chain_request_duration_seconds_count{chain="page",status="failed"}'] == 1
