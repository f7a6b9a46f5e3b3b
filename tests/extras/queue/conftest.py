"""A database with the tables for each test, on one server for all of them."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import postgres
import pytest

from rio_chain.contrib.procrastinate import DurableQueue

ROOT = Path(__file__).parents[3]
JOBS = Path(__file__).with_name("jobs.py")

pytest.importorskip("procrastinate", reason="needs rio-chain[queue]")
psycopg: Any = pytest.importorskip("psycopg", reason="needs rio-chain[queue]")


@pytest.fixture(scope="session")
def server() -> Iterator[postgres.Cluster]:
    if postgres.programs() is None or (not os.getuid() and postgres.user() is None):
        pytest.skip("needs PostgreSQL: `apt-get install postgresql`")
    with postgres.cluster() as cluster:
        with psycopg.connect(cluster.dsn(), autocommit=True) as connection:
            connection.execute("CREATE DATABASE made")
        with DurableQueue(cluster.dsn("made")) as queue:
            queue.create()
        yield cluster


@pytest.fixture
def dsn(server: postgres.Cluster) -> str:
    name = f"test_{uuid4().hex[:12]}"
    with psycopg.connect(server.dsn(), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE made")
    return server.dsn(name)


class Workers:
    """Worker processes, as the command starts them."""

    def __init__(self, dsn: str, folder: Path) -> None:
        self._dsn, self._folder = dsn, folder
        self.processes: list[subprocess.Popen[str]] = []

    def start(self, *options: str, lease: float = 2_000) -> subprocess.Popen[str]:
        log = (self._folder / f"worker-{len(self.processes)}.log").open("w")
        process = subprocess.Popen(
            [sys.executable, "-m", "rio_chain", "work", f"{JOBS}:queue", *options],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "JOBS_DSN": self._dsn, "JOBS_LEASE": str(lease), "PYTHONPATH": str(ROOT)},
        )
        log.close()
        self.processes.append(process)
        return process

    def logs(self) -> str:
        return "".join(file.read_text() for file in sorted(self._folder.glob("worker-*.log")))


@pytest.fixture
def workers(dsn: str, tmp_path: Path) -> Iterator[Workers]:
    made = Workers(dsn, tmp_path)
    yield made
    for process in made.processes:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGCONT)
        process.kill()
        process.wait()


@pytest.fixture
def queue(dsn: str) -> Iterator[DurableQueue]:
    from extras.queue.jobs_of_tests import made_queue  # noqa: PLC0415 - needs the extra

    with made_queue(dsn, lease=1_000) as queue:
        yield queue
