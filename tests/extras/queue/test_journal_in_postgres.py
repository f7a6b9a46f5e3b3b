"""A journal in PostgreSQL: what is true of one in a file, and what the database adds."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from refusals import refused

from rio_chain import (
    ArgumentsChanged,
    Journal,
    JournalError,
    JournalReadOnly,
    JournalTooNew,
    LeaseLost,
    PlanChanged,
    RunInUse,
    Task,
    each,
)
from rio_chain.journal import Pickle
from rio_chain.journal._postgres_store import PostgresStore, packed, unpacked
from rio_chain.journal._store import Row, RunRow


@pytest.fixture
def journal(dsn: str) -> Iterator[Journal]:
    with Journal(dsn) as journal:
        yield journal


def change(dsn: str, query: Any, *values: object) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(query, values)


def pages(calls: list[int], broken: list[int]) -> Any:
    def fetch(n: int) -> tuple[int, str]:
        calls.append(n)
        if n in broken:
            raise ConnectionError(n)
        return n, f"page {n} \0 \ud800"

    return Task(list) >> each(Task(fetch), limit=1)


@pytest.mark.parametrize("serializer", [None, Pickle()])
@pytest.mark.parametrize("synchronous", ["normal", "full"])
def test_a_known_run_goes_on_where_it_was(dsn: str, serializer: Any, synchronous: Any) -> None:
    calls: list[int] = []

    def run(broken: list[int]) -> Any:
        with Journal(dsn, serializer=serializer, synchronous=synchronous) as journal:
            return pages(calls, broken)(range(6)).run(journal=journal, run_id="one")

    assert not run([3]).ok
    assert run([]).ok
    outcome = run([])
    assert [value for _, value in outcome.unwrap()] == [f"page {n} \0 \ud800" for n in range(6)]
    assert sorted(calls) == [0, 1, 2, 3, 3, 4, 5]
    assert outcome[0].recalled


@pytest.mark.parametrize("executor", ["asyncio", "trio", "thread"])
def test_it_works_on_every_executor(journal: Journal, executor: Any) -> None:
    from rio_chain import Balancer  # noqa: PLC0415 - one test

    with Balancer(executor, workers=4) as balancer:
        tickets = [balancer.post(Task(len)("x" * n), journal=journal, run_id=f"run-{n}") for n in range(20)]
        assert [ticket.wait().unwrap() for ticket in tickets] == list(range(20))
    found = {(run.id, run.status, run.records) for run in journal.runs()}
    assert found == {(f"run-{n}", "succeeded", 1) for n in range(20)}


def test_an_id_of_another_chain_or_arguments_is_refused(journal: Journal) -> None:
    Task(len)("four").run(journal=journal, run_id="one")
    with pytest.raises(ArgumentsChanged):
        Task(len)("five!").run(journal=journal, run_id="one")
    with pytest.raises(PlanChanged):
        Task(str)("four").run(journal=journal, run_id="one")


def test_a_run_is_in_one_place_at_a_time(dsn: str, journal: Journal) -> None:
    began, ends = threading.Event(), threading.Event()

    def wait(n: int) -> int:
        began.set()
        assert ends.wait(20)
        return n

    thread = threading.Thread(target=lambda: Task(wait)(1).run(journal=journal, run_id="one"))
    thread.start()
    assert began.wait(20)
    try:
        with Journal(dsn) as other, pytest.raises(RunInUse):
            Task(wait)(1).run(journal=other, run_id="one")
        assert [run.status for run in journal.runs()] == ["running"]
    finally:
        ends.set()
        thread.join(20)
    status = journal.status("one")
    assert status is not None
    assert status.status == "succeeded"


def test_a_run_whose_lease_was_taken_writes_nothing_more(dsn: str) -> None:
    def steal(n: int) -> int:
        change(dsn, "UPDATE rio_chain_journal_runs SET fence = fence + 1")
        return n

    with Journal(dsn) as journal:
        outcome = (Task(steal) >> Task(str))(1).run(journal=journal, run_id="one")
        assert isinstance(outcome.error, LeaseLost)
        assert [run.records for run in journal.runs()] == [0]


def test_leases_are_given_by_the_clock_of_the_database(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: 4e9)
    with Journal(dsn) as journal:
        assert Task(len)("four").run(journal=journal, run_id="one").ok
        [info] = journal.runs()
    assert info.created.year < 2090


def test_two_that_begin_one_run_at_once_have_one_lease(dsn: str) -> None:
    row = RunRow("one", key=b"k")
    stores = [PostgresStore(dsn, "normal") for _ in range(8)]
    taken: list[int] = []

    def take(store: PostgresStore) -> None:
        store.begin()
        known = store.run("one")
        if known is None or known.until < store.now():
            row.until = store.now() + 60
            taken.append(store.put_run(row))
        store.commit()
        store.close()

    threads = [threading.Thread(target=take, args=(store,)) for store in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(taken) == 1


def test_a_process_that_is_stopped_in_a_transaction_keeps_no_lock(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from rio_chain.journal import _postgres_store  # noqa: PLC0415 - one test

    monkeypatch.setattr(
        _postgres_store,
        "SETTINGS",
        ("SET idle_in_transaction_session_timeout = '100ms'", *_postgres_store.SETTINGS[1:]),
    )
    stopped, other = PostgresStore(dsn, "normal"), PostgresStore(dsn, "normal")
    stopped.begin()
    number = stopped.put_run(RunRow("one", key=b"k"))
    stopped.commit()
    stopped.begin()
    assert stopped.lease(number) == (0, 0.0)
    other.begin()
    other.renew(number, 5.0)  # it waits for the server to end the other transaction
    other.commit()
    with pytest.raises(JournalError):
        stopped.put_records(number, [Row("a", None, "1", None)])
    stopped.rollback()
    stopped.begin()
    assert stopped.records(number) == []
    assert stopped.lease(number) == (0, 5.0)
    stopped.rollback()
    for store in (stopped, other):
        store.close()


def test_records_come_back_as_they_were(dsn: str) -> None:
    store = PostgresStore(dsn, "normal")
    rows = [Row("a", b"d", "\0\ud800", None), Row("b", None, b"\0\xff", "{}"), Row("c", None, None, "{}")]
    store.begin()
    number = store.put_run(RunRow("one", key=b"k", request=b"r"))
    store.put_records(number, [Row("a", None, "old", None), *rows])
    store.put_records(number, [])
    store.commit()
    store.begin(write=False)
    assert sorted(store.records(number)) == rows
    found = store.run("one")
    assert found is not None
    assert (found.request, found.key) == (b"r", b"k")
    store.rollback()
    store.begin()
    store.drop_records(number, ["a", "b"])
    assert [row.place for row in store.records(number)] == ["c"]
    store.drop_runs([number])
    assert store.runs() == []
    assert store.lease(number) == (-1, 0.0)
    store.commit()
    store.close()


def test_what_a_serializer_gives_is_packed() -> None:
    for data in (None, "", "b", b"", b"t", "\ud800"):
        assert unpacked(packed(data)) == data


def test_a_dropped_connection_is_opened_again(dsn: str, journal: Journal) -> None:
    Task(len)("four").run(journal=journal, run_id="one")
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    assert Task(len)("four").run(journal=journal, run_id="two").ok


def test_tables_of_a_newer_version_are_left_alone(dsn: str, journal: Journal) -> None:
    Task(len)("four").run(journal=journal, run_id="one")
    change(dsn, "INSERT INTO rio_chain_journal_version VALUES (99)")
    with Journal(dsn) as other, pytest.raises(JournalTooNew, match="version 99"):
        other.runs()


def test_a_user_that_may_not_write_is_reported(dsn: str, journal: Journal) -> None:
    Task(len)("four").run(journal=journal, run_id="one")
    change(dsn, "DROP ROLE IF EXISTS reader")
    change(dsn, "CREATE ROLE reader LOGIN")
    change(dsn, "GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader")
    with Journal(dsn.replace("user=test", "user=reader")) as other:
        assert [run.id for run in other.runs()] == ["one"]
        with pytest.raises(JournalReadOnly):
            Task(len)("four").run(journal=other, run_id="two")


def test_a_database_that_does_not_answer_is_reported_without_its_password() -> None:
    with Journal("postgresql://user:secret@127.0.0.1:1/x") as journal:
        with pytest.raises(JournalError) as caught:
            journal.runs()
        assert "secret" not in f"{caught.value} {journal!r} {journal.path}"


def test_bad_addresses_are_refused() -> None:
    make: Any = Journal
    for write, text in [
        (lambda: make("postgresql://user:secret@host/x?nonsense=1"), "`path` is not an address that libpq can read"),
        (lambda: make("mysql://host/x"), "or the address of a database"),
    ]:
        refused(write, text)


def test_what_has_ended_is_forgotten(dsn: str, journal: Journal) -> None:
    Task(len)("four").run(journal=journal, run_id="one")
    assert journal.forget(60_000) == 0
    assert journal.forget(0) == 1
    assert journal.runs() == []


def test_a_run_that_the_journal_could_not_write_is_not_over(dsn: str) -> None:
    def breaks(n: int) -> int:
        change(dsn, "ALTER TABLE rio_chain_journal_records RENAME TO away")
        return n

    with Journal(dsn, failures=True) as journal:
        outcome = (Task(breaks) >> Task(str))(1).run(journal=journal, run_id="one")
        assert type(outcome.error) is JournalError
        change(dsn, "ALTER TABLE away RENAME TO rio_chain_journal_records")
        assert [run.status for run in journal.runs()] == ["interrupted"]


def test_a_post_on_a_loop_waits_for_its_records(journal: Journal) -> None:
    async def main() -> Any:
        return (await (Task(len) >> Task(str))("four").arun(journal=journal, run_id="one")).unwrap()

    assert asyncio.run(main()) == "4"
    assert [run.records for run in journal.runs()] == [2]
