"""What can't work says what to do, and nothing hangs."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from extras.dask import bodies
from extras.dask.bodies import fails, plus, raises_odd, unpicklable

from rio_chain import (
    Balancer,
    ChainDefinitionError,
    DaskExecutor,
    Journal,
    MessageTooLarge,
    NotPicklable,
    Task,
    UsageError,
    each,
)


def test_a_function_that_cannot_be_pickled_is_named_at_post(balancer: Balancer) -> None:
    lock = threading.Lock()
    chain = Task(plus) >> Task(lambda value: (lock, value)).named("holds")
    with pytest.raises(NotPicklable, match=r"the function of `holds` can't be pickled for another process: .*lock"):
        balancer.post(chain(1))


def test_a_run_with_a_journal_is_refused(balancer: Balancer, tmp_path: Path) -> None:
    text = r"a run with a journal can't run on a cluster; run it with executor='asyncio', 'trio' or 'thread'"
    request = Task(plus)(1)
    with Journal(tmp_path / "runs.db") as journal:
        with pytest.raises(UsageError, match=text):
            balancer.run(request, journal=journal, run_id="one")
        with pytest.raises(UsageError, match=text):
            balancer.post(request, journal=journal, run_id="one")
        with pytest.raises(UsageError, match=text):
            balancer.map(Task(plus), [1, 2], journal=journal, key=str)
        assert journal.runs() == []
    assert balancer.run(request).ok


def test_a_policy_that_cannot_be_pickled_is_named(balancer: Balancer) -> None:
    lock = threading.Lock()
    chain = Task(plus).named("kept").retry(1, accept=lambda value: value and lock)
    with pytest.raises(NotPicklable, match=r"\.retry\(1.*can't be pickled"):
        balancer.run(chain(1))


def test_a_value_that_cannot_be_pickled_is_a_failure_that_names_its_task(balancer: Balancer) -> None:
    outcome = balancer.run((Task(unpicklable).named("locks"))(1))
    assert isinstance(outcome.error, NotPicklable)
    assert str(outcome.error).startswith("the answer of `locks` can't be pickled for another process")
    assert outcome["locks"].attempts == 1
    outcome = balancer.run(Task(plus).named("adds")(threading.Lock()))
    assert str(outcome.error).startswith("the argument of `adds` can't be pickled")


def test_lambdas_and_closures_travel(balancer: Balancer) -> None:
    factor = 3
    assert balancer.run((Task(lambda value: value * factor).named("times") >> (lambda value: value + 1))(2)).value == 7


def test_an_error_keeps_its_class_text_and_traceback(balancer: Balancer) -> None:
    error = balancer.run(Task(fails)(7)).error
    assert type(error) is ValueError
    assert str(error) == "no 7"
    (note,) = error.__notes__
    assert note.startswith("on a Dask worker:\nTraceback")
    assert "in fails" in note


def test_an_error_that_pickle_cannot_make_again_keeps_its_class_and_text(balancer: Balancer) -> None:
    error = balancer.run(Task(raises_odd)(0)).error
    assert isinstance(error, bodies.Odd)
    assert str(error) == "1 and 2"


def test_a_system_exit_of_a_body_ends_its_run_and_not_the_worker(balancer: Balancer) -> None:
    with pytest.raises(SystemExit):
        balancer.run(Task(bodies.exits)(0))
    assert balancer.run(Task(plus)(1)).unwrap() == 2


def test_too_large_an_answer_says_so(address: str) -> None:
    with Balancer(DaskExecutor(address, message_bytes=100_000)) as balancer:
        outcome = balancer.run(Task(bodies.big).named("big")(200_000))
        assert isinstance(outcome.error, MessageTooLarge)
        assert str(outcome.error).startswith("the answer of `big` takes more than 100,000 bytes, the most of a message")
        outcome = balancer.run(Task(len).named("long")(bytes(200_000)))
        assert str(outcome.error).startswith("the argument of `long` takes more")


def test_a_chain_that_closes_over_large_data_is_refused(balancer: Balancer) -> None:
    data = bytes(20_000_000)
    with pytest.raises(
        MessageTooLarge, match="the chain `holds` takes more than 16,777,216 bytes, and it is sent with each"
    ):
        balancer.post(Task(lambda n: data[n]).named("holds")(1))


@pytest.mark.parametrize(
    ("chain", "text"),
    [
        (Task(plus).lane("cpu").named("in_lane"), "task in_lane: the workers of Dask are processes already"),
        (Task(lambda n: (yield n)).named("gives") >> each(Task(plus)), "task gives: a generator can't leave"),
    ],
)
def test_what_is_refused_is_refused_at_post_by_its_name(balancer: Balancer, chain: Any, text: str) -> None:
    assert not chain.supports("dask")
    for call in (balancer.post, balancer.run):
        with pytest.raises(ChainDefinitionError, match="this chain can't run on Dask") as caught:
            call(chain(1))
        assert text in str(caught.value)


@pytest.mark.usefixtures("distributed")
def test_an_address_where_nobody_answers_is_refused_within_its_time() -> None:
    began = time.monotonic()
    with pytest.raises(UsageError, match=r"no Dask scheduler answers at tcp://127\.0\.0\.1:9 within 1 s"):
        Balancer(DaskExecutor("tcp://127.0.0.1:9", connect_timeout=1_000)).__enter__()
    assert time.monotonic() - began < 10


@pytest.mark.usefixtures("distributed")
def test_an_address_where_something_else_listens_is_refused_within_its_time() -> None:
    """It takes the connection and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"tcp://127.0.0.1:{server.getsockname()[1]}"
        began = time.monotonic()
        with pytest.raises(UsageError, match=r"no Dask scheduler answers at tcp://.* within 1 s"):
            Balancer(DaskExecutor(address, connect_timeout=1_000)).__enter__()
        assert time.monotonic() - began < 10


@pytest.mark.usefixtures("distributed")
@pytest.mark.parametrize("address", ["", 7, b"tcp://x"])
def test_an_address_that_is_none_is_refused(address: Any) -> None:
    with pytest.raises(ChainDefinitionError, match="`address` must be that of a scheduler"):
        DaskExecutor(address)


def test_workers_of_another_version_are_refused(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from rio_chain.executors.dask import _cluster  # noqa: PLC0415 - needs the extra

    monkeypatch.setattr(_cluster, "versions", lambda: "rio-chain 99, Python 3.99")
    with pytest.raises(UsageError, match=r"the workers can't run rio_chain: .*the client has rio-chain 99"):
        Balancer(DaskExecutor(address)).__enter__()


@pytest.fixture
def without_distributed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rio_chain.executors.dask._executor.find_spec", lambda _: None)


@pytest.mark.usefixtures("without_distributed")
@pytest.mark.parametrize("made", [DaskExecutor, lambda: Balancer("dask").__enter__()])
def test_without_dask_the_extra_is_named(made: Callable[[], object]) -> None:
    with pytest.raises(ImportError, match=r"needs Dask: `pip install 'rio-chain\[dask\]'`"):
        made()
