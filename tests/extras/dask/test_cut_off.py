"""A worker on another host whose network is cut. The host is a network namespace, which only root can make."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import pytest
from attrs import frozen
from extras.dask.bodies import pauses, plus, process
from extras.dask.processes import address_of, end, started

from rio_chain import Balancer, DaskExecutor, Task, each

IP = shutil.which("ip")
HERE, THERE = "10.213.77.1", "10.213.77.2"
FOUND_LOST = 12
"""Seconds after which Dask takes a connection without an answer for lost: the least that it can, instead of 30."""


def ip(*args: str) -> None:
    subprocess.run([str(IP), *args], check=True, capture_output=True)


@frozen
class Hosts:
    """Two hosts with a worker each; the scheduler is on the first."""

    address: str
    link: str

    def cut(self) -> None:
        ip("link", "set", self.link, "down")

    def heal(self) -> None:
        ip("link", "set", self.link, "up")


@pytest.fixture
def hosts(distributed: Any) -> Iterator[Hosts]:
    if IP is None or os.geteuid() != 0:
        pytest.skip("needs the command ip, and root")
    other = f"rio{os.getpid()}"
    link, end_there = f"{other}a", f"{other}b"
    try:
        ip("netns", "add", other)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"needs network namespaces: {error.stderr.decode().strip()}")
    try:
        ip("link", "add", link, "type", "veth", "peer", "name", end_there)
        ip("link", "set", end_there, "netns", other)
        ip("addr", "add", f"{HERE}/30", "dev", link)
        ip("link", "set", link, "up")
        ip("-n", other, "addr", "add", f"{THERE}/30", "dev", end_there)
        ip("-n", other, "link", "set", end_there, "up")
        ip("-n", other, "link", "set", "lo", "up")
        env = {"DASK_DISTRIBUTED__COMM__TIMEOUTS__TCP": f"{FOUND_LOST}s"}
        scheduler = started("scheduler", "--host", HERE, "--port", "0", env=env)
        address = address_of(scheduler)
        options = "--nworkers", "1", "--nthreads", "4"
        here = started("worker", address, "--host", HERE, *options, env=env)
        there = started("worker", address, "--host", THERE, *options, before=(str(IP), "netns", "exec", other), env=env)
        try:
            yield Hosts(address, link)
        finally:
            ip("link", "set", link, "up")
            end(here, there, scheduler)
    finally:
        ip("netns", "del", other)  # and the link with it


def test_a_worker_that_is_cut_off_and_healed(hosts: Hosts) -> None:
    with Balancer(DaskExecutor(hosts.address), workers=20) as balancer:
        many = each(Task(process), limit=8)
        until = time.monotonic() + 20
        while len(set(balancer.run(many(range(50))).unwrap())) < 2 and time.monotonic() < until:
            time.sleep(0.1)
        # shorter than a connection holds: the answers come late, and nothing is run again
        tickets = [balancer.post(Task(pauses)(n)) for n in range(8)]
        time.sleep(0.3)
        hosts.cut()
        time.sleep(1.5)
        hosts.heal()
        outcomes = [ticket.wait(timeout=30_000) for ticket in tickets]
        assert [outcome.unwrap() for outcome in outcomes] == list(range(8))
        assert {outcome.only.repeats for outcome in outcomes} == {0}
        # longer: the pieces of the lost worker run again on the other one
        tickets = [balancer.post(Task(pauses)(n)) for n in range(8)]
        time.sleep(0.3)
        hosts.cut()
        began = time.monotonic()
        outcomes = [ticket.wait(timeout=60_000) for ticket in tickets]
        assert time.monotonic() - began < 60
        assert [outcome.unwrap() for outcome in outcomes] == list(range(8))
        assert {outcome.only.attempts for outcome in outcomes} == {1}
        assert 1 <= sum(outcome.only.repeats for outcome in outcomes) < 8
        hosts.heal()
        assert balancer.run(each(Task(plus))(range(20))).unwrap() == list(range(1, 21))
