"""The soak finds what is planted: a ticket that is lost, an answer that comes twice, and whatever is left behind."""

from __future__ import annotations

import io
import os
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from benchmarks.soak.__main__ import soak
from benchmarks.soak.chains import Made
from benchmarks.soak.gauge import Sample, grows, verdict
from benchmarks.soak.homes import Home, WorkersHome, home
from benchmarks.soak.ledger import Final, Ledger, allowed
from benchmarks.soak.rounds import Soak
from rio_chain import DeadlineExceeded, Outcome, Request, Task, TaskTimedOut, Ticket, TicketCancelled
from rio_chain.engine._current_run import Run
from rio_chain.executors._blocking_wait import BackgroundHost

FEW = 150
"""Requests."""


def soaked(executor: str = "thread", make: Callable[[str], Home] = home, **options: Any) -> tuple[int, str]:
    """A short one: its status, and what it says."""
    said = io.StringIO()
    given = {"rounds": 1, "warm": 0, "seconds": 0.0, "least": FEW, "patience": 10.0} | options
    status = Soak((executor,), seed=1, out=said, home=make, **given).run()
    return status, said.getvalue()


class Planted:
    """A home whose balancer is not as it should be: its ``post`` is changed."""

    def __init__(self, executor: str, post: Callable[[Any, Request[Any]], Any]) -> None:
        self.real = home(executor)
        self.executor = executor
        self.balancer: Any = self.real.balancer
        honest = self.balancer.post
        vars(self.balancer)["post"] = lambda request, **terms: post(honest(request, **terms), request)

    def call(self, main: Callable[[], Any]) -> Any:
        return self.real.call(main)

    def tasks(self) -> dict[object, tuple[str, object]]:
        return self.real.tasks()

    def close(self) -> None:
        self.real.close()


def planted(post: Callable[[Any, Request[Any]], Any]) -> Callable[[str], Home]:
    return lambda executor: Planted(executor, post)


@pytest.mark.parametrize("executor", ["asyncio", "trio", "thread"])
def test_all_is_as_promised(executor: str) -> None:
    status, said = soaked(executor)
    assert status == 0, said
    assert "round   1: " in said
    assert ", 0 findings\n" in said
    assert "flat over 1 rounds" in said


# --- what is planted --------------------------------------------------------------------------------------------


def test_a_ticket_that_is_lost_is_reported_with_its_chain_and_all_threads() -> None:
    lost: list[Ticket[Any]] = []

    def post(ticket: Ticket[Any], request: Request[Any]) -> Ticket[Any]:
        if lost:
            return ticket
        lost.append(Ticket(request, BackgroundHost()))
        return lost[0]

    homes: list[Home] = []

    def make(executor: str) -> Home:
        homes.append(Planted(executor, post))
        return homes[0]

    status, said = soaked(make=make, patience=0.4)
    homes[0].close()  # what hangs is left as it is, to be looked at
    assert status == 2
    assert "hangs: a request is not answered" in said
    assert "<Ticket of " in said
    assert ": open>" in said
    assert "task " in said, "its plan"


class Twice:
    """A ticket that tells twice that it was answered."""

    def __init__(self, ticket: Ticket[Any]) -> None:
        self.ticket = ticket

    def __getattr__(self, name: str) -> Any:
        return getattr(self.ticket, name)

    def on_done(self, waker: Callable[[], None]) -> None:
        self.ticket.on_done(waker)
        self.ticket.on_done(waker)


def test_an_answer_that_comes_twice() -> None:
    status, said = soaked(make=planted(lambda ticket, _: Twice(ticket)))
    assert status == 1
    assert "a ticket called its callback twice" in said


class Others(Twice):
    """A ticket with the answer of another request."""

    on_done = property(lambda self: self.ticket.on_done)

    def wait(self, timeout: float | None = None) -> Outcome[Any]:
        del timeout
        return Task(int).inline()(-1).run()


def test_the_answer_of_another_request() -> None:
    status, said = soaked(make=planted(lambda ticket, _: Others(ticket)))
    assert status == 1
    assert "an answer of another request" in said
    assert "an answer has changed" in said


@pytest.fixture
def at_the_end() -> Iterator[list[Callable[[], object]]]:
    """What is to be done then."""
    todo: list[Callable[[], object]] = []
    yield todo
    for do in todo:
        do()


def test_a_thread_a_descriptor_and_a_warning(at_the_end: list[Callable[[], object]]) -> None:
    def post(ticket: Ticket[Any], _: Request[Any]) -> Ticket[Any]:
        if not at_the_end:
            thread = threading.Thread(target=over.wait, name="left-behind", daemon=True)
            thread.start()
            read, write = os.pipe()
            at_the_end.extend([over.set, thread.join, lambda: os.close(read), lambda: os.close(write)])
            warnings.warn("planted", RuntimeWarning, stacklevel=1)
        return ticket

    over = threading.Event()
    status, said = soaked(make=planted(post), patience=0.5)
    assert status == 1
    assert "thread left-behind in " in said
    assert "descriptor " in said
    assert "pipe:[" in said
    assert "warned\n    RuntimeWarning('planted')" in said


class Keeping(WorkersHome):
    """A home that keeps a thousand runs more after each round."""

    def __init__(self, executor: str) -> None:
        super().__init__(executor)
        self.kept: list[Run] = []

    def tasks(self) -> dict[object, tuple[str, object]]:
        self.kept += [Run(Task(len).plan()) for _ in range(1000)]
        return {}


def test_objects_that_are_kept() -> None:
    status, said = soaked(make=Keeping, rounds=3, least=20)
    assert status == 1
    assert "not flat: rio_chain.engine._current_run.Run grows: " in said


# --- parts ------------------------------------------------------------------------------------------------------


def test_only_what_grows_all_the_way_grows() -> None:
    assert grows([100, 110, 120, 131, 140], 5)
    assert not grows([100, 110, 120, 131, 140], 50), "it may, by so much"
    assert not grows([100, 150, 90, 160, 108], 5), "not by accident"
    assert not grows([100, 140, 140, 100, 90], 5)
    assert grows([100, 110], 5)


def test_the_verdict_names_what_grows() -> None:
    samples = [Sample(3 + i, 9, 20, 5 + i, 1000, {"rio_chain.x.Y": 500 * i}, 50.0 + 9 * i) for i in range(4)]
    assert verdict(samples) == [
        "threads: 3 at first, 6 in the end",
        "tasks: 5 at first, 8 in the end",
        "RSS grows: 50.0 MiB at first, 77.0 MiB in the end",
        "rio_chain.x.Y grows: 0 at first, 1500 in the end",
    ]
    assert verdict(samples[:1]) == []


def test_an_error_must_be_of_the_requests_own_making() -> None:
    ledger = Ledger()
    entry = ledger.ask(Made(Task(len).timeout(100), frozenset({"timeout"})), "post")
    assert allowed(entry, TaskTimedOut("len", 100))
    assert not allowed(entry, TicketCancelled())
    assert not allowed(entry, DeadlineExceeded())
    assert not allowed(entry, RuntimeError("woken without an answer"))
    entry.cancelled = entry.timed = True
    assert allowed(entry, TicketCancelled())
    assert allowed(entry, DeadlineExceeded())
    ledger.raised(entry, Final())
    assert list(ledger.findings) == ["raised what is not of its making: Final"]
    ledger.raised(entry, Final())
    assert "answered twice" in ledger.findings


# --- the command line -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "error"),
    [
        ([], "the following arguments are required: --minutes"),
        (["--minutes", "soon"], "must be a number of minutes above 0, such as 10 or 0.5; got 'soon'"),
        (["--minutes", "0"], "must be a number of minutes above 0, such as 10 or 0.5; got '0'"),
        (["--minutes", "inf"], "must be a number of minutes above 0, such as 10 or 0.5; got 'inf'"),
        (["--minutes", "1", "--executor", "dask"], "invalid choice: 'dask'"),
        (["--minutes", "1", "--seed", "x"], "invalid int value: 'x'"),
    ],
)
def test_a_bad_command_line_is_refused(args: list[str], error: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        soak(args)
    assert raised.value.code == 2
    assert error in capsys.readouterr().err


def test_what_the_command_line_asks_for() -> None:
    long = soak(["--minutes", "30", "--seed", "7"])
    assert (long.executors, long.seed, long.rounds, long.seconds) == (("asyncio", "trio", "thread"), 7, 30, 60)
    short = soak(["--minutes", "0.5", "--executor", "trio"])
    assert (short.executors, short.rounds, short.seconds) == (("trio",), 10, 3)
