"""A durable queue with real workers: what is posted ends exactly once, whatever happens to its workers."""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from typing import Any

import pytest
import trio
from extras.queue import jobs_of_tests
from extras.queue.jobs_of_tests import deadly, fails, naps, note, notes, odd, sizes, slow, steps
from procrastinate import App, PsycopgConnector, SyncPsycopgConnector
from procrastinate.testing import InMemoryConnector
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from refusals import refused
from waiting import eventually

from rio_chain import Balancer, ChainDefinitionError, Journal, Task, TicketCancelled, UsageError
from rio_chain.contrib import _queue_store
from rio_chain.contrib._queue_store import SWEEPS
from rio_chain.contrib.procrastinate import DeadRun, DurableQueue, RunFailed, RunIdTaken, UnknownRun

LONG = 30_000
"""Milliseconds after which a test has failed long ago."""


def test_a_post_is_answered_by_another_process(queue: DurableQueue, workers: Any) -> None:
    ticket = queue.post(note("a", 0), run_id="order-7")
    assert ticket.status() == "queued"
    assert ticket.outcome() is None
    process = workers.start()
    outcome = ticket.wait(LONG)
    assert (outcome.unwrap(), outcome.status, outcome.deaths) == ("a", "succeeded", 0)
    assert notes("ends") == [("a", process.pid)]
    assert DurableQueue(jobs_of_tests.WHERE[0]).ticket("order-7").wait(0) == outcome


def test_a_known_id_is_not_run_again(queue: DurableQueue, workers: Any) -> None:
    workers.start()
    outcomes = [queue.post(note("a", 0), run_id="one").wait(LONG) for _ in range(3)]
    assert outcomes[0] == outcomes[1] == outcomes[2]
    assert len(notes("begins")) == 1


def test_a_known_id_with_another_chain_or_arguments_is_refused(queue: DurableQueue) -> None:
    queue.post(note("a", 0), run_id="one", priority=3)
    with pytest.raises(RunIdTaken, match="'one' was posted with other arguments; use another run_id"):
        queue.post(note("b", 0), run_id="one")
    with pytest.raises(RunIdTaken, match="'one' was posted with another chain"):
        queue.post(slow("a"), run_id="one")
    assert queue.post(note("a", 0), run_id="one", priority=9).status() == "queued"


def test_two_that_post_one_id_at_once_post_one_run(queue: DurableQueue) -> None:
    refusals: list[object] = []

    def post(name: str) -> None:
        try:
            queue.post(note(name, 0), run_id="one")
        except RunIdTaken as error:
            refusals.append(error)

    threads = [threading.Thread(target=post, args=(name,)) for name in "abab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(refusals) == 2


def test_the_higher_priority_goes_first(queue: DurableQueue, workers: Any) -> None:
    tickets = [queue.post(note(str(priority), 0), priority=priority) for priority in (0, 5, -(2**31), 2**31 - 1, 4)]
    workers.start("--workers", "1")
    for ticket in tickets:
        ticket.wait(LONG)
    assert [name for name, _ in notes("begins")] == ["2147483647", "5", "4", "0", "-2147483648"]


def test_a_delayed_run_waits(queue: DurableQueue, workers: Any) -> None:
    workers.start()
    later, now = queue.post(note("later", 0), delay=1_500), queue.post(note("now", 0))
    assert now.wait(LONG).ok
    outcome = later.wait(LONG)
    assert outcome.queued is not None
    assert outcome.queued >= 1_500


def test_failures_come_back_as_text(queue: DurableQueue, workers: Any) -> None:
    workers.start()
    outcome = queue.post(fails("no such user")).wait(LONG)
    assert outcome.status == "failed"
    assert isinstance(outcome.error, RunFailed)
    assert str(outcome.error) == "LookupError: no such user"
    with pytest.raises(RunFailed):
        outcome.unwrap()
    odd_one = queue.post(odd()).wait(LONG).error
    assert (
        str(odd_one) == "rio_chain.NotStorable: the answer of 'odd' can't be stored as JSON, which has no place for {1}"
    )


def test_a_cancel_reaches_a_running_chain_within_two_seconds(queue: DurableQueue, workers: Any) -> None:
    workers.start()
    ticket = queue.post(slow("a"))
    eventually(lambda: notes("begins"))
    began = time.monotonic()
    ticket.cancel("the user left")
    outcome = ticket.wait(LONG)
    assert time.monotonic() - began < 2
    assert outcome.status == "cancelled"
    assert isinstance(outcome.error, TicketCancelled)
    assert outcome.error.reason == "the user left"
    assert [name for name, _ in notes("cancelled")] == ["a"]


def test_a_waiting_run_that_is_cancelled_never_runs(queue: DurableQueue, workers: Any) -> None:
    ticket = queue.post(note("a", 0))
    ticket.cancel()
    assert ticket.wait(0).status == "cancelled"
    ticket.cancel("again")
    workers.start()
    assert queue.post(note("b", 0)).wait(LONG).ok
    assert [name for name, _ in notes("begins")] == ["b"]
    error = ticket.wait(0).error
    assert isinstance(error, TicketCancelled)
    assert error.reason == "its ticket was cancelled"


def test_a_killed_workers_run_is_taken_over(queue: DurableQueue, workers: Any) -> None:
    first = workers.start()
    ticket = queue.post(note("a", 1_500))
    eventually(lambda: notes("begins"))
    second = workers.start()
    first.kill()
    killed = time.monotonic()
    outcome = ticket.wait(LONG)
    assert time.monotonic() - killed < 2 + 5 + 1.5, "the lease, five seconds, and the run itself"
    assert outcome.unwrap() == "a"
    assert outcome.deaths == 1
    assert notes("begins") == [("a", first.pid), ("a", second.pid)]
    assert notes("ends") == [("a", second.pid)]


def test_a_run_that_is_taken_over_goes_on_where_it_was(queue: DurableQueue, workers: Any) -> None:
    first = workers.start()
    ticket = queue.post(steps("a"), run_id="steps")
    eventually(lambda: notes("begins"))
    assert ticket.whole_outcome() is None
    first.kill()
    second = workers.start()
    assert ticket.wait(LONG).unwrap() == "a", workers.logs()
    assert notes("first") == [("a", first.pid)]
    assert notes("begins") == [("a", first.pid), ("a", second.pid)]
    outcome = ticket.whole_outcome()
    assert outcome is not None
    assert [(response.name, response.recalled) for response in outcome] == [
        ("first_step", True),
        ("wait_until_free", True),
    ]
    assert outcome.unwrap() == "a"


def test_a_run_that_is_put_back_goes_on_where_it_was(queue: DurableQueue, workers: Any) -> None:
    first = workers.start("--grace", "0")
    ticket = queue.post(steps("a"))
    eventually(lambda: notes("begins"))
    first.send_signal(signal.SIGTERM)
    assert first.wait(20) == 0, workers.logs()
    workers.start()
    assert ticket.wait(LONG).deaths == 0
    assert [name for name, _ in notes("first")] == ["a"]


def test_an_answer_between_two_tasks_that_cannot_be_stored_fails(queue: DurableQueue, workers: Any) -> None:
    workers.start()
    error = queue.post(sizes()).wait(LONG).error
    assert isinstance(error, RunFailed)
    assert error.kind == "rio_chain.NotStorable"
    assert "the answer of `make_size` can't be stored" in error.text


def test_a_run_that_is_in_use_elsewhere_is_put_back(queue: DurableQueue, workers: Any, dsn: str) -> None:
    with Journal(dsn) as journal, Balancer("thread") as balancer:
        mine = balancer.post(steps("a"), journal=journal, run_id="steps")
        eventually(lambda: notes("begins"))
        ticket = queue.post(steps("a"), run_id="steps")
        workers.start()
        eventually(lambda: "is put back: run 'steps' is running in" in workers.logs())
        mine.cancel()
        mine.wait()
        assert ticket.wait(LONG).unwrap() == "a"
        assert ticket.wait(LONG).deaths == 0
    assert [name for name, _ in notes("first")] == ["a"]


def test_the_whole_outcome_of_a_run_that_failed(queue: DurableQueue, workers: Any, dsn: str) -> None:
    workers.start()
    ticket = queue.post(fails("no such user"), run_id="one")
    ticket.wait(LONG)
    outcome = ticket.whole_outcome()
    assert outcome is not None
    assert (outcome.only.status, str(outcome.error)) == ("failed", "LookupError: no such user")
    with DurableQueue(dsn) as other, pytest.raises(ChainDefinitionError, match="'fails', which is not registered here"):
        other.ticket("one").whole_outcome()
    with DurableQueue(dsn, journal=False) as other:
        assert other.ticket("one").whole_outcome() is None
    assert queue.forget(older_than=0) == 1
    queue.post(fails("another text"), run_id="one").wait(LONG)
    outcome = ticket.whole_outcome()
    assert outcome is not None
    assert str(outcome.error) == "LookupError: another text"


def test_a_worker_that_was_stopped_for_long_writes_nothing(queue: DurableQueue, workers: Any) -> None:
    first = workers.start()
    ticket = queue.post(note("a", 1_000))
    eventually(lambda: notes("begins"))
    first.send_signal(signal.SIGSTOP)
    second = workers.start()
    eventually(lambda: len(notes("begins")) >= 2)  # it was taken over after the lease
    first.send_signal(signal.SIGCONT)  # its run ends before that of the other worker
    eventually(lambda: ("a", first.pid) in notes("ends"))
    between = ticket.status()
    outcome = ticket.wait(LONG)
    assert outcome.deaths >= 1
    assert between == "running" or ("a", second.pid) in notes("ends")
    assert {pid for _, pid in notes("ends")} == {first.pid, second.pid}
    again = queue.post(note("b", 0))  # both still work, or begin again
    assert again.wait(LONG).ok


def test_one_process_sweeps_at_a_time(queue: DurableQueue, workers: Any) -> None:
    process = workers.start()
    ticket = queue.post(note("a", 20_000))
    eventually(lambda: notes("begins"))
    process.kill()
    process.wait()  # else it might give another sign of life
    with queue._store._connection(None) as connection:
        connection.execute("UPDATE procrastinate_workers SET last_heartbeat = 'yesterday'")
    with queue._store._connection(None) as connection, connection.transaction():
        connection.execute(SWEEPS, ("rio_chain",))
        assert queue.sweep() == 0
        assert ticket.status() == "running"
    assert queue.sweep() == 1
    assert ticket.status() == "queued"


def test_the_time_without_a_server_is_no_silence_of_a_worker(queue: DurableQueue, workers: Any, dsn: str) -> None:
    workers.start()
    ticket = queue.post(slow("a"))
    eventually(lambda: notes("begins"))
    workers.processes[0].kill()
    workers.processes[0].wait()
    with queue._store._connection(None) as connection:
        connection.execute("UPDATE procrastinate_workers SET last_heartbeat = '2000-01-01'")
    with DurableQueue(dsn, lease=1e9) as patient:  # the server has been running for less than that
        assert patient.sweep() == 0
    eventually(queue.sweep)
    assert ticket.status() == "queued"


def test_a_sweep_looks_again_when_it_has_locked_a_run(
    queue: DurableQueue, workers: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    workers.start(lease=20_000)
    ticket = queue.post(slow("a"))
    eventually(lambda: notes("begins"))
    monkeypatch.setattr(_queue_store, "ALL_LOST", "SELECT run_id, job_id FROM rio_chain_runs FOR UPDATE")
    with DurableQueue(jobs_of_tests.WHERE[0], lease=20_000) as patient:
        assert patient.sweep() == 0
    assert ticket.status() == "running"
    ticket.cancel()


def test_the_grace_of_a_worker_may_be_longer_than_its_lease(queue: DurableQueue, workers: Any) -> None:
    first = workers.start("--grace", "20000")
    ticket = queue.post(note("a", 5_000))
    eventually(lambda: notes("begins"))
    first.send_signal(signal.SIGTERM)
    workers.start()
    outcome = ticket.wait(LONG)
    assert (outcome.unwrap(), outcome.deaths) == ("a", 0)
    assert notes("begins") == notes("ends") == [("a", first.pid)]
    assert first.wait(20) == 0, workers.logs()


def test_a_run_that_is_put_back_is_the_next_of_its_priority(queue: DurableQueue, workers: Any) -> None:
    first = workers.start("--workers", "1")
    lost = queue.post(note("lost", 500), priority=1)
    eventually(lambda: notes("begins"))
    first.kill()
    tickets = [queue.post(note(f"later-{priority}", 0), priority=priority) for priority in (1, 1, 2)]
    eventually(queue.sweep)
    workers.start("--workers", "1")
    for ticket in (lost, *tickets):
        ticket.wait(LONG)
    assert [name for name, _ in notes("begins")] == ["lost", "later-2", "lost", "later-1", "later-1"]


def test_a_sweep_finds_a_run_whose_job_was_deleted(queue: DurableQueue) -> None:
    ticket = queue.post(note("a", 0))
    assert queue.sweep() == 0
    with queue._store._connection(None) as connection:
        connection.execute("DELETE FROM procrastinate_jobs")
    assert queue.sweep() == 1
    assert ticket.status() == "queued"
    assert queue.sweep() == 0


def test_a_run_that_kills_its_workers_is_a_dead_letter(queue: DurableQueue, workers: Any) -> None:
    ticket = queue.post(deadly("a"), run_id="poison")
    for deaths in range(1, 4):
        workers.start()
        eventually(lambda deaths=deaths: len(notes("begins")) == deaths)
    workers.start()
    outcome = ticket.wait(LONG)
    assert (outcome.status, outcome.deaths) == ("dead", 3)
    assert isinstance(outcome.error, DeadRun)
    assert (
        str(outcome.error) == "run 'poison' is a dead letter: 3 of its workers have died; `post_again` posts it again"
    )
    assert [one.run_id for one in queue.dead()] == ["poison"]
    assert queue.post_again("poison").status() in {"queued", "running"}
    eventually(lambda: len(notes("begins")) == 4)
    assert queue.dead() == []


def test_a_worker_that_is_told_to_stop_puts_back_what_does_not_end(queue: DurableQueue, workers: Any) -> None:
    first = workers.start("--grace", "0")
    ticket = queue.post(slow("a"))
    eventually(lambda: notes("begins"))
    first.send_signal(signal.SIGTERM)
    assert first.wait(20) == 0, workers.logs()
    assert ticket.status() == "queued"
    workers.start()
    eventually(lambda: len(notes("begins")) == 2)
    ticket.cancel()
    assert ticket.wait(LONG).deaths == 0


def test_the_database_may_go_away_for_a_while(queue: DurableQueue, workers: Any, server: Any) -> None:
    workers.start()
    tickets = [queue.post(naps(300)) for _ in range(20)]
    eventually(lambda: any(ticket.status() == "running" for ticket in tickets))
    server.stop("immediate")
    time.sleep(0.05)
    server.start()
    assert [ticket.wait(LONG).value_or(None) for ticket in tickets] == [300] * 20, workers.logs()


def test_tickets_and_posts_work_on_both_loops(queue: DurableQueue, workers: Any) -> None:
    workers.start()

    async def main() -> Any:
        ticket = await queue.apost(note("a", 0))
        return (await ticket).unwrap()

    assert asyncio.run(main()) == trio.run(main) == "a"


def test_work_ends_when_it_is_cancelled(queue: DurableQueue) -> None:
    async def main() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(queue.work)
            assert (await (await queue.apost(note("a", 0)))).ok
            nursery.cancel_scope.cancel()

    before = threading.active_count()
    trio.run(main)
    eventually(lambda: threading.active_count() <= before + 4)  # those of the shared pool stay


def test_a_worker_can_be_stopped_at_any_moment(queue: DurableQueue) -> None:
    for number in range(12):
        ends = threading.Thread(target=queue.run_worker, daemon=True)
        ends.start()
        eventually(lambda: queue._worker is not None)
        time.sleep(number / 1000)
        queue.stop()
        ends.join(20)
        assert not ends.is_alive(), number
        queue._worker = None


@pytest.mark.parametrize("kind", [PsycopgConnector, SyncPsycopgConnector])
def test_the_database_of_an_app_is_used(queue: DurableQueue, dsn: str, kind: Any) -> None:
    ticket = queue.post(note("a", 0), run_id="one")
    given = conninfo_to_dict(dsn)
    name = {"dbname": given.pop("dbname"), "application_name": "a b&c=%", "autocommit": True}
    for connector in (kind(conninfo=dsn), kind(conninfo=make_conninfo("", **given), kwargs=name)):
        with DurableQueue(App(connector=connector)) as other:
            assert other.ticket("one").status() == ticket.status() == "queued"
            other.create()
            other.register(note, name="note")
            assert other.post(note("a", 0), run_id="one").status() == "queued"


def test_what_has_ended_is_forgotten(queue: DurableQueue, workers: Any) -> None:
    workers.start()
    queue.post(note("a", 0), run_id="a").wait(LONG)
    waits = queue.post(note("b", 0), run_id="b", delay=1e9)
    assert queue.forget(older_than=60_000) == 0
    assert queue.forget(older_than=0) == 1
    with pytest.raises(UnknownRun, match="there is no run 'a' in this queue: it was never posted, or it was forgotten"):
        queue.ticket("a").status()
    assert waits.status() == "queued"


def test_tables_of_a_newer_version_are_left_alone(queue: DurableQueue) -> None:
    with queue._store._connection(None) as connection:
        connection.execute("INSERT INTO rio_chain_queue_version VALUES (99)")
    with pytest.raises(UsageError, match="the tables of the queue have the version 99"):
        queue.create()


def test_bad_input_is_refused(queue: DurableQueue) -> None:
    wrong: Any = queue
    make: Any = DurableQueue
    cycle: list[Any] = []
    cycle.append(cycle)
    for write, text in [
        (lambda: make("runs.db"), "`dsn` must be the address of a PostgreSQL database"),
        (lambda: make(7), "got 7"),
        (lambda: make(App(connector=InMemoryConnector())), "an App of procrastinate with a PsycopgConnector; got <"),
        (
            lambda: make(App(connector=PsycopgConnector(conninfo="x"))),
            "an App of procrastinate with a PsycopgConnector",
        ),
        (lambda: make("postgresql://user:secret@host/x?nonsense=1"), "`dsn` is not an address that libpq can read"),
        (lambda: wrong.every(0, note("a", 0), name="x"), "`when` must be"),
        (lambda: wrong.every(1_000, note("a", 0), name=""), "`name`"),
        (lambda: wrong.every(1_000, note("a", 0), name="x" * 101), "`name` may have up to 100 characters"),
        (lambda: wrong.every(1_000, Task(len)("x"), name="x"), "`request` must be a registered chain"),
        (lambda: wrong.every(1_000, 7, name="x"), "`request` must be a registered chain"),
        (lambda: wrong.every(1_000, note("a", 0), name="x", overlap="drop"), "`overlap` must be"),
        (lambda: wrong.every(1_000, note("a", 0), name="x", priority=1.5), "`priority` must be a whole number"),
        (lambda: make("postgresql:///x", lease=-1), "`lease` must be"),
        (lambda: make("postgresql:///x", journal="runs.db"), "`journal` must be"),
        (lambda: make("postgresql:///x", serializer=7), "`serializer` must be an object with the methods"),
        (lambda: make("postgresql:///x", deaths=0), "`deaths` must be a whole number, 1 or more; got 0"),
        (
            lambda: wrong.register(len),
            "`register` takes a chain; write register(Task(fn)); got <built-in function len>",
        ),
        (lambda: wrong.register(Task(len), name="note"), "another chain is registered as 'note'"),
        (lambda: wrong.post(note), "`request` must be a registered chain called with its arguments"),
        (lambda: wrong.post(Task(len)("x")), "queue.register(page), then queue.post(page(42))"),
        (lambda: wrong.post(note("a", 0), priority=2**31), "`priority` must be a whole number from -2147483648 to"),
        (lambda: wrong.post(note("a", 0), priority=1.5), "got 1.5"),
        (lambda: wrong.post(note("a", 0), delay=-1), "`delay` must be"),
        (lambda: wrong.post(note("a", 0), run_id=""), "`run_id` must be a printable text of 1 to 200 characters"),
        (lambda: wrong.post(note("a", 0), run_id="a\0"), "`run_id` must be"),
        (lambda: wrong.post(note((1, 2), 0)), "must be what JSON gives back as it is"),
        (lambda: wrong.post(note({1: 2}, 0)), "got the key 1 at [0]"),
        (lambda: wrong.post(note("a", float("nan"))), "got nan at [1]"),
        (lambda: wrong.post(note(2**20_000, 0)), "got an int of more than 10000 bits at [0]"),
        (lambda: wrong.post(note(cycle, 0)), "nested more than 200 deep"),
    ]:
        refused(write, text)
    with pytest.raises(UsageError, match="this queue has nothing to run"):
        make("postgresql:///x").run_worker()


def test_texts_of_all_kinds_come_back(queue: DurableQueue, workers: Any) -> None:
    workers.start("--executor", "thread")
    echo = queue.post(note("a", 0))
    assert echo.wait(LONG).ok
    for number, text in enumerate(["", "\u00e9\u2028\U0001f600", "nul \0 \ud800", "x" * 100_000]):
        ticket = queue.post(fails(text), run_id=f"text-{number}")
        error = ticket.wait(LONG).error
        assert isinstance(error, RunFailed)
        assert error.text[:50] == text[:50]
