"""The parts of the journal: values as text, digests, places, the list of runs, and what is posted again."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta, tzinfo
from datetime import time as time_of_day
from decimal import Decimal
from enum import IntEnum
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from returns.result import Failure, Success

from rio_chain import (
    ArgumentsChanged,
    Balancer,
    ChainDefinitionError,
    DeadlineExceeded,
    Journal,
    JournalError,
    NotStorable,
    RecalledError,
    Request,
    RunInUse,
    Task,
    TaskTimedOut,
    TicketCancelled,
    UsageError,
    add_observer,
    each,
    fan_out,
)
from rio_chain.engine._journal_labels import labels_of
from rio_chain.engine._journal_places import is_after, top_label
from rio_chain.journal import JSON, Pickle
from rio_chain.journal._codec import Unstorable, digest_of
from rio_chain.journal._owner import is_dead, this_process

# --- values -----------------------------------------------------------------------------------------------------------

scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(), st.binary(), st.dates(), st.times(),
    st.datetimes(), st.timedeltas(), st.decimals(allow_nan=False), st.uuids(),
)  # fmt: skip
keys = st.one_of(st.text(), st.integers(), st.tuples(st.integers(), st.text()))
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner), st.lists(inner).map(tuple), st.dictionaries(keys, inner), inner.map(Success), st.sets(keys),
        st.frozensets(keys), st.binary().map(bytearray),
    ),
    max_leaves=12,
)  # fmt: skip


def same(one: Any, other: Any) -> bool:
    """Equal, and of the same types: 1, 1.0 and True are not the same."""
    if type(one) is not type(other):
        return False
    if isinstance(one, Success):
        return same(one.unwrap(), other.unwrap())
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


@given(values)
def test_a_value_comes_back_with_its_types(value: Any) -> None:
    assert same(JSON().loads(JSON().dumps(value)), value)


@given(values)
def test_a_digest_is_that_of_the_value_and_not_of_the_object(value: Any) -> None:
    again = JSON().loads(JSON().dumps(value))
    assert digest_of((value,), JSON()) == digest_of((again,), JSON()) is not None


@given(values, values)
def test_other_values_have_other_digests(one: Any, other: Any) -> None:
    if JSON().dumps(one) != JSON().dumps(other) and one != other:
        assert digest_of((one,), JSON()) != digest_of((other,), JSON())


def test_the_order_of_a_dict_is_kept_and_does_not_change_its_digest() -> None:
    one, other = {"a": 1, "b": 2}, {"b": 2, "a": 1}
    assert list(JSON().loads(JSON().dumps(other))) == ["b", "a"]
    assert digest_of((one,), JSON()) == digest_of((other,), JSON())


class Colour(IntEnum):
    RED = 1


class Point(NamedTuple):
    x: int


class Word(str):
    __slots__ = ()


@pytest.mark.parametrize("value", [Colour.RED, Point(1), Word("a"), object(), len, OSError("x"), {1: object()}, 1j])
def test_a_type_that_would_not_come_back_is_refused(value: object) -> None:
    with pytest.raises(Unstorable, match="JSON has no type for"):
        JSON().dumps(value)


def test_a_value_that_contains_itself_is_refused() -> None:
    value: list[Any] = []
    value.append(value)
    with pytest.raises(Unstorable, match="contains itself"):
        JSON().dumps(value)


@pytest.mark.parametrize(
    "value", [b"\0", date(2026, 1, 2), datetime(2026, 1, 2, tzinfo=UTC), time_of_day(3), timedelta(1), Decimal("1.0")]
)
def test_known_types_are_written_with_a_key_of_their_own(value: object) -> None:
    assert JSON().dumps(value).startswith('{"$')
    assert JSON().loads(JSON().dumps({"$x": UUID(int=1)})) == {"$x": UUID(int=1)}


BERLIN = ZoneInfo("Europe/Berlin")


@pytest.mark.parametrize(
    "value",
    [
        datetime(2026, 10, 25, 2, 30, tzinfo=BERLIN, fold=1),
        datetime(2026, 7, 1, tzinfo=BERLIN),
        datetime(2026, 10, 25, 2, 30, fold=1),  # noqa: DTZ001
        time_of_day(3, tzinfo=BERLIN),
    ],
)
def test_the_zone_and_the_fold_of_a_time_come_back(value: Any) -> None:
    again = JSON().loads(JSON().dumps(value))
    assert (again, again.tzinfo, again.fold) == (value, value.tzinfo, value.fold)


def test_a_zone_without_a_name_is_refused() -> None:
    class Zone(tzinfo):
        pass

    with pytest.raises(Unstorable, match="time zone"):
        JSON().dumps(datetime(2026, 7, 1, tzinfo=Zone()))  # type: ignore[abstract]


def test_an_error_is_a_part_of_a_digest() -> None:
    one, same_one, other = (Failure(OSError(text)) for text in ("a", "a", "b"))
    assert digest_of((one,), JSON()) == digest_of((same_one,), JSON()) != digest_of((other,), JSON())


def test_what_cannot_be_serialized_has_no_digest() -> None:
    assert digest_of((object(),), JSON()) is None
    assert digest_of((10**5000,), JSON()) is None  # Python refuses to write it
    assert digest_of((Point(1),), Pickle()) is None  # equal objects may have other pickles


class Own:
    """Writes Points."""

    def dumps(self, value: Any) -> str:
        return f"{value.x}"

    def loads(self, data: str) -> Point:
        return Point(int(data))


def test_a_serializer_of_your_own(tmp_path: Path) -> None:
    calls: list[int] = []

    def move(point: Point) -> Point:
        calls.append(point.x)
        return Point(point.x + 1)

    def fail(point: Point) -> Point:
        raise OSError(point.x)

    chain = Task(move) >> Task(move) >> Task(fail)
    for serializer in (Own(), Pickle()):
        calls.clear()
        with Journal(tmp_path / f"{type(serializer).__name__}.db", serializer=serializer) as journal:
            for _ in range(2):
                outcome = chain(Point(1)).run(journal=journal, run_id="one")
                assert str(outcome.error) == "3"
        assert calls == [1, 2]


def test_a_serializer_that_raises_ends_the_run(tmp_path: Path) -> None:
    class Broken(Own):
        def dumps(self, value: Any) -> str:
            raise RuntimeError("no power")

    with Journal(tmp_path / "runs.db", serializer=Broken()) as journal:
        outcome = Task(len)("four").run(journal=journal, run_id="one")
    assert isinstance(outcome.error, NotStorable)
    assert (outcome.error.name, outcome.error.reason) == ("len", "no power")


@pytest.mark.parametrize("ended", [True, False])
def test_what_another_serializer_has_written_is_reported(tmp_path: Path, ended: bool) -> None:
    chain: Any = Task(a) if ended else (Task(a).retry(2) | "a fallback does not see it") >> Task(fails)
    with Journal(tmp_path / "runs.db", serializer=Pickle()) as journal:
        chain(Point(1)).run(journal=journal, run_id="one")
    with Journal(tmp_path / "runs.db") as journal:
        if ended:
            with pytest.raises(JournalError, match="can't be read; was it written by another serializer"):
                chain(Point(1)).run(journal=journal, run_id="one")
        else:
            outcome = chain(Point(1)).run(journal=journal, run_id="one")
            assert "the answer of `a` of run 'one' can't be read" in str(outcome.error)


# --- places -----------------------------------------------------------------------------------------------------------


def a(x: Any) -> Any:
    return x


def b(x: Any) -> Any:
    return x


def c(x: Any) -> Any:
    return x


def test_a_label_depends_on_what_is_before_and_not_on_policies_or_names() -> None:
    plain = labels_of((Task(a) >> Task(b)).plan()).tasks
    assert labels_of((Task(a).named("x").timeout(1).retry(2) >> Task(b)).retry(1).plan()).tasks == plain
    assert labels_of((Task(a) >> Task(b) >> Task(c)).plan()).tasks[:2] == plain
    assert labels_of((Task(a) >> c >> Task(b)).plan()).tasks[1] != plain[1]
    assert labels_of((Task(c) >> Task(b)).plan()).tasks[1] != plain[1]
    assert labels_of((Task(a) >> each(Task(b), limit=1)).plan()).tasks[1] != plain[1]


def test_one_function_at_two_places_has_two_labels() -> None:
    labels = labels_of((Task(a) >> fan_out(Task(b), Task(b)) >> Task(a)).plan()).tasks
    assert len(set(labels)) == 4


def test_what_depends_on_a_part_comes_after_it() -> None:
    first = Task(a)
    plan = (first >> fan_out(Task(b), Task(c)) >> Task(str).using(other=first) >> each(Task(len), limit=1)).plan()
    labels = labels_of(plan)
    of_a, of_b, of_c, of_str, of_len = labels.tasks
    assert [is_after(one, of_b, [labels]) for one in (of_a, of_c, of_str, f"[2]{of_len}")] == [False, False, True, True]
    assert is_after(f"[2]{of_len}", of_a, [labels])
    assert not is_after(f"[2]{of_len}", f"[1]{of_len}", [labels])
    assert is_after(f"[2](1){of_len}>abc", of_str, [labels])
    assert top_label(f"[2](1){of_len}>abc") == of_len


# --- runs -------------------------------------------------------------------------------------------------------------


def fails(x: object) -> object:
    raise TaskTimedOut("x", 5)


def test_the_runs_of_a_journal(journal: Journal) -> None:
    assert journal.runs() == []
    assert journal.status("one") is None
    before = datetime.now(UTC)
    (Task(a) >> Task(b))(1).run(journal=journal, run_id="one")
    (Task(a) >> Task(fails))(1).run(journal=journal, run_id="two")
    one, two = journal.runs()
    assert (one.id, one.status, one.chain, one.records) == ("one", "succeeded", "a >> b", 2)
    assert (two.id, two.status, two.chain, two.records) == ("two", "failed", "a >> fails", 1)
    assert before <= one.created <= one.updated <= two.created <= datetime.now(UTC)
    assert journal.status("two") == two


def test_runs_that_ended_are_forgotten(journal: Journal) -> None:
    for run_id in ("one", "two"):
        Task(a)(1).run(journal=journal, run_id=run_id)
    assert journal.forget(older_than=60_000) == 0
    assert journal.forget(older_than=timedelta(0)) == 2
    assert journal.runs() == []
    assert not Task(a)(1).run(journal=journal, run_id="one").only.recalled
    with pytest.raises(ChainDefinitionError, match="older_than"):
        journal.forget(older_than=-1)


module_chain = Task(a) >> Task(b) >> Task(c)


def numbers() -> Iterator[int]:
    yield 1


cannot_run = Task(numbers)  # a generator without its `each`, of which `resume` makes nothing


def interrupt(journal: Journal, chain: Any, run_id: str, value: object = 1) -> None:
    """Leave a run as a killed process does."""
    session = journal.session(chain(value), run_id)
    begun = session.begin(_Unbegun(chain(value).plan))  # type: ignore[arg-type]
    begun.finish()
    assert begun.error is None
    row = journal._writer.call(lambda transaction: transaction.store.run(run_id))
    row.until = 1.0
    journal._writer.call(lambda transaction: transaction.store.put_run(row))
    journal._writer.ended(session)


class _Unbegun:
    """As a ``Run`` that has no strand."""

    root = None

    def __init__(self, plan: Any) -> None:
        self.plan = plan


def test_interrupted_runs_are_posted_again(journal: Journal) -> None:
    inside = Task(c) >> Task(a)
    interrupt(journal, module_chain, "of the module")
    interrupt(journal, inside, "given", {"x": 2})
    Task(a)(1).run(journal=journal, run_id="ended")
    with Balancer("thread", workers=2) as balancer:
        tickets = journal.resume(balancer, inside)
        assert {run_id: ticket.wait().unwrap() for run_id, ticket in tickets.items()} == {
            "of the module": 1,
            "given": {"x": 2},
        }
        assert journal.resume(balancer, inside) == {}
    assert {run.status for run in journal.runs()} == {"succeeded"}


def test_resume_refuses_what_it_cannot_make_again_and_posts_nothing(journal: Journal) -> None:
    interrupt(journal, module_chain, "one")
    interrupt(journal, Task(c) >> Task(a), "two")
    with Balancer("thread", workers=2) as balancer:
        with pytest.raises(
            Exception, match=r"run 'two' was begun with the chain c >> a.*journal.resume\(balancer, page"
        ):
            journal.resume(balancer)
        interrupt(journal, Task(c) >> Task(b), "three", object())
        with pytest.raises(UsageError, match="arguments of run 'three' could not be stored"):
            journal.resume(balancer, Task(c) >> Task(a), Task(c) >> Task(b))
        assert balancer.stats().succeeded == 0


@pytest.mark.parametrize("given", [(None,), (7, Task(a)), *((..., bad) for bad in (7, "a", None, Task(a)(1)))])
def test_resume_refuses_wrong_arguments_also_if_there_is_nothing_to_resume(journal: Journal, given: Any) -> None:
    with Balancer("thread") as balancer, pytest.raises(ChainDefinitionError, match=r"journal\.resume\(balancer, page"):
        journal.resume(*(balancer if one is ... else one for one in given))


def test_a_run_whose_lease_has_not_ended_is_not_posted(journal: Journal) -> None:
    def inside(x: int) -> int:
        with Balancer("thread") as balancer:
            assert journal.resume(balancer) == {}
            status = journal.status("one")
            assert status is not None
            assert status.status == "running"
        return x

    assert Task(inside)(1).run(journal=journal, run_id="one", executor="thread").unwrap() == 1


# --- the Outcome that comes back ------------------------------------------------------------------------------------


def test_an_outcome_comes_back_whole(journal: Journal) -> None:
    left = [OSError("busy")]

    def flaky(x: int) -> int:
        if left:
            raise left.pop()
        return x

    def route(x: int) -> Request[int]:
        return (Task(a).named("inner") >> Task(flaky))(x)

    def some(x: int) -> int:
        if x == 1:
            raise TaskTimedOut("backend", 7)
        return x

    chain = Task(route).retry(1, backoff=None) >> (lambda x: [0, 1, x]) >> each(Task(some), limit=2, on_error="drop")
    first, again = (chain(5).run(journal=journal, run_id="one", executor="thread") for _ in range(2))
    assert again.result == first.result == Success([0, 5])
    assert again.elapsed == pytest.approx(first.elapsed, abs=50)
    for one, other in zip(first, again, strict=True):
        assert (one.name, one.status, one.attempts, one.counts) == (
            other.name,
            other.status,
            other.attempts,
            other.counts,
        )
        assert one.elapsed == pytest.approx(other.elapsed)
        assert [(span.attempt, span.status) for span in one.spans] == [(s.attempt, s.status) for s in other.spans]
    nested = again["route"].nested
    assert nested is not None
    assert [(r.name, r.status, r.recalled) for r in nested] == [
        ("inner", "succeeded", True),
        ("flaky", "succeeded", True),
    ]
    assert again["route"].errors[0] == RecalledError("OSError", "busy") or "busy" in str(again["route"].errors[0])
    timed_out = again["some"].items[1].error
    assert isinstance(timed_out, TaskTimedOut)
    assert (timed_out.name, timed_out.ms) == ("backend", 7)
    assert again.to_dict()["tasks"][1]["counts"] == {"succeeded": 2, "timed_out": 1}


def test_a_task_that_returns_its_own_request_comes_back(journal: Journal) -> None:
    def count(n: int) -> Any:
        return Task(count)(n - 1) if n else 0

    for _ in range(2):
        outcome = Task(count)(30).run(journal=journal, run_id="one")
        assert outcome.unwrap() == 0
        deep = 0
        while outcome.only.nested is not None:
            outcome, deep = outcome.only.nested, deep + 1
        assert deep == 30


def test_a_last_value_that_cannot_be_stored_is_made_again(journal: Journal) -> None:
    calls: list[object] = []

    def noted(x: int) -> int:
        calls.append(x)
        return x

    for _ in range(2):
        outcome = (Task(noted) >> Point)(3).run(journal=journal, run_id="one")
        assert outcome.unwrap() == Point(3)
    assert calls == [3]
    assert outcome.only.recalled


def test_observers_see_what_is_recalled_as_finished(journal: Journal) -> None:
    kinds: list[tuple[str, str | None]] = []
    chain = Task(a) >> Task(fails)
    chain(1).run(journal=journal, run_id="one", executor="thread")
    with add_observer(lambda event: kinds.append((event.kind, event.task))):
        chain(1).run(journal=journal, run_id="one", executor="thread")
    assert [kind for kind, task in kinds if task == "a"] == ["finished"]
    assert ("attempt_started", "fails") in kinds
    assert kinds[-1] == ("request_ended", None)


# --- leases -----------------------------------------------------------------------------------------------------------


def test_the_owner_of_a_lease_is_named_and_its_death_noticed() -> None:
    me = this_process()
    assert not is_dead(me)
    assert is_dead(me.replace(f"process {me.split()[1]} ", "process 4194304 "))
    assert not is_dead("process 4194304 on another host [12345 another system]")  # it can't be known
    assert not is_dead("")


def test_two_journals_of_one_file_exclude_each_other(tmp_path: Path) -> None:
    with Journal(tmp_path / "runs.db") as one, Journal(tmp_path / "runs.db") as other:

        def inside(x: int) -> int:
            with pytest.raises(RunInUse, match="process") as caught:
                Task(inside)(x).run(journal=other, run_id="one")
            assert caught.value.until > time.time()
            return x

        assert Task(inside)(1).run(journal=one, run_id="one", executor="thread").unwrap() == 1
        assert Task(inside)(1).run(journal=other, run_id="one").only.recalled


@pytest.fixture
def locked(journal: Journal) -> Iterator[sqlite3.Connection]:
    """The journal while another process writes."""
    assert journal.runs() == []
    with contextlib.closing(sqlite3.connect(journal.path, isolation_level=None, check_same_thread=False)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield other


@pytest.mark.parametrize("executor", ["asyncio", "trio", "thread"])
def test_a_run_that_waits_for_its_lease_can_be_stopped(
    journal: Journal, locked: sqlite3.Connection, executor: Any
) -> None:
    with Balancer(executor, workers=2) as balancer:
        late = balancer.post(Task(a)(1), journal=journal, run_id="late", deadline=20).wait()
        ticket = balancer.post(Task(a)(1), journal=journal, run_id="left")
        time.sleep(0.02)
        ticket.cancel()
        assert isinstance(late.error, DeadlineExceeded)
        assert isinstance(ticket.wait().error, TicketCancelled)
        locked.execute("ROLLBACK")
        for run_id in ("late", "left"):  # their leases were given back, and the executor works
            assert balancer.run(Task(a)(1), journal=journal, run_id=run_id).unwrap() == 1


@pytest.mark.parametrize("executor", ["asyncio", "trio", "thread"])
def test_a_run_that_waits_for_its_last_write_can_be_stopped(
    journal: Journal, locked: sqlite3.Connection, executor: Any
) -> None:
    locked.execute("ROLLBACK")
    reached = threading.Event()

    def lock(value: int) -> int:
        locked.execute("BEGIN IMMEDIATE")
        reached.set()
        return value

    with Balancer(executor, workers=2) as balancer:
        ticket = balancer.post((Task(a) >> lock)(1), journal=journal, run_id="one")
        assert reached.wait(10)
        time.sleep(0.02)
        ticket.cancel()
        assert isinstance(ticket.wait().error, TicketCancelled)
        locked.execute("ROLLBACK")
        assert balancer.run((Task(a) >> lock)(1), journal=journal, run_id="one").only.recalled


@pytest.mark.parametrize("executor", ["asyncio", "trio", "thread"])
def test_a_map_with_one_key_for_all_raises_one_error_and_reports_no_other(
    journal: Journal, executor: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    with Balancer(executor, workers=3) as balancer:
        with pytest.raises((RunInUse, ArgumentsChanged)):
            list(balancer.map(Task(a), [1, 2, 3, 4], journal=journal, key=lambda _: "one"))
        assert balancer.run(Task(a)(2)).unwrap() == 2
    assert capfd.readouterr().err == ""


def test_a_lease_of_a_thousand_years(tmp_path: Path) -> None:
    with Journal(tmp_path / "runs.db", lease=3e13) as journal:
        assert Task(time.sleep)(0.01).run(journal=journal, run_id="one").ok


# --- wrong calls ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"run_id": "one"}, r'`run_id` needs the journal.*Journal\("runs.db"\)'),
        ({"journal": "runs.db", "run_id": "one"}, r"`journal` must be a Journal.*got \'runs.db\'"),
        ({"journal": True}, r"`journal` needs the id of the run|must be a Journal"),
    ],
)
def test_one_argument_without_the_other_is_refused(given: dict[str, Any], text: str) -> None:
    with pytest.raises(ChainDefinitionError, match=text):
        Task(a)(1).run(**given)
    with Balancer("thread") as balancer, pytest.raises(ChainDefinitionError, match=text):
        balancer.post(Task(a)(1), **given)


@pytest.mark.parametrize("run_id", [None, "", 7, b"one", "\0", "\ud800", "two\nlines"])
def test_a_run_id_is_a_text(journal: Journal, run_id: Any) -> None:
    with pytest.raises(ChainDefinitionError, match=r"run_id|id of the run"):
        Task(a)(1).run(journal=journal, run_id=run_id)


def test_a_map_needs_both_arguments(journal: Journal) -> None:
    with Balancer("thread") as balancer:
        with pytest.raises(ChainDefinitionError, match="key=str"):
            balancer.map(Task(a), [1], journal=journal)
        with pytest.raises(ChainDefinitionError, match="key=str"):
            balancer.map(Task(a), [1], key=str)
        with pytest.raises(ChainDefinitionError, match="`key` must give the run_id"):
            list(balancer.map(Task(a), [1], journal=journal, key=lambda _: None))  # type: ignore[arg-type,return-value]
        assert [one.unwrap() for one in balancer.map(Task(a), [1, 2], journal=journal, key=lambda x: x)] == [1, 2]


def test_a_posted_run_raises_the_error_of_the_journal_where_it_is_waited_for(tmp_path: Path) -> None:
    with Journal(tmp_path / "missing" / "runs.db") as journal, Balancer("thread") as balancer:
        ticket = balancer.post(Task(a)(1), journal=journal, run_id="one")
        with pytest.raises(JournalError, match="No such file"):
            ticket.wait()
        assert balancer.run(Task(a)(2)).unwrap() == 2  # its slot is free again
