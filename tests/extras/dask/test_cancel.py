"""What is cancelled hears of it on its worker."""

from __future__ import annotations

import time
from pathlib import Path

from extras.dask.bodies import Blocking, Noted, plus

from rio_chain import Balancer, Task, race


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def wait_for_lines(path: Path, count: int) -> list[str]:
    until = time.monotonic() + 20
    while len(lines(path)) < count and time.monotonic() < until:
        time.sleep(0.01)
    return lines(path)


def test_the_async_body_of_a_cancelled_ticket_sees_it_within_a_second(balancer: Balancer, tmp_path: Path) -> None:
    path = tmp_path / "body"
    ticket = balancer.post(Task(Noted(path, 60)).named("body")(1))
    wait_for_lines(path, 1)
    cancelled = time.time()
    ticket.cancel()
    outcome = ticket.wait(timeout=10_000)
    assert outcome.only.status == "cancelled"
    assert outcome.only.attempts == 1
    _, told = wait_for_lines(path, 2)
    assert float(told.split()[1]) - cancelled < 1


def test_a_limit_of_the_client_reaches_bodies_of_several_pieces(balancer: Balancer, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    chain = (Task(Noted(first, 60)).named("a") & Task(Noted(second, 60)).named("b")).timeout(2_000)
    outcome = balancer.run(chain(1))
    assert [one.status for one in outcome] == ["timed_out", "timed_out"]
    assert [one.attempts for one in outcome] == [1, 1]
    assert len(wait_for_lines(first, 2)) == len(wait_for_lines(second, 2)) == 2


def test_the_losers_of_a_race_are_stopped(balancer: Balancer, tmp_path: Path) -> None:
    path = tmp_path / "loser"
    slow, quick = Task(Noted(path, 60)).named("slow"), Task(Noted(tmp_path / "quick", 1)).named("quick")
    outcome = balancer.run(race(slow, quick)(1))
    assert outcome.unwrap() == 1
    assert outcome["slow"].status == "cancelled"
    assert wait_for_lines(path, 2)[1].startswith("cancelled")


def test_a_blocking_body_is_abandoned(balancer: Balancer, tmp_path: Path) -> None:
    path = tmp_path / "blocking"
    began = time.monotonic()
    outcome = balancer.run(Task(Blocking(path, 2)).named("blocking").timeout(1_000)(1))
    assert time.monotonic() - began < 2
    assert outcome.only.status == "timed_out"
    assert wait_for_lines(path, 2) == ["began 1", "returned"]


def test_what_waits_in_the_queue_of_dask_never_begins(balancer: Balancer, tmp_path: Path) -> None:
    """More pieces than the workers have threads, and all are cancelled."""
    path = tmp_path / "many"
    tickets = [balancer.post(Task(Noted(path, 60))(n)) for n in range(20)]
    wait_for_lines(path, 16)
    for ticket in tickets:
        ticket.cancel()
    for ticket in tickets:
        assert not ticket.wait(timeout=10_000).ok
    began = [line for line in wait_for_lines(path, 32) if line.startswith("began")]
    assert 16 <= len(began) < 20  # a slot may be free before the last one is cancelled
    assert balancer.run(Task(plus)(1)).unwrap() == 2
