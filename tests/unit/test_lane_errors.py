"""Errors that cross from a lane: their class, their text and their traceback, whatever pickle makes of them."""

from __future__ import annotations

import os
import pickle
from typing import Any, NoReturn

import pytest
from conformance import lane_errors
from conformance.lane_errors import MAKERS, DiskFull, Frozen, Hostile, Locked, Needs, Slotted, Stop, Two, fail, give

from rio_chain import Balancer, Task
from rio_chain._core import pickling
from rio_chain.executors.lanes import _error_transfer
from rio_chain.executors.lanes._error_transfer import pack_error, unpack_error

MOST = 1 << 20
CLASSES = {
    "two": Two,
    "wrapped": lane_errors.Wrapped,
    "frozen": Frozen,
    "locked": Locked,
    "needs": Needs,
    "slotted": Slotted,
    "disk": DiskFull,
    "unkind": lane_errors.Unkind,
    "hostile": Hostile,
    "local": ValueError,
    "unicode": UnicodeDecodeError,
    "group": ExceptionGroup,
    "stop": Stop,
    "plain": ValueError,
}


def text(error: BaseException) -> str:
    return _error_transfer.text_of(error)


def crossed(error: BaseException, most: int = MOST) -> Any:
    try:
        throw(error)
    except BaseException as raised:  # noqa: BLE001
        return unpack_error(pack_error(raised, most), "cpu")


def throw(error: BaseException) -> NoReturn:
    raise error


@pytest.fixture
def balancer(with_a_lane: Balancer) -> Balancer:
    return with_a_lane


@pytest.mark.parametrize("which", MAKERS)
def test_it_keeps_its_class_its_text_and_its_traceback(which: str) -> None:
    error = MAKERS[which]()
    got = crossed(error)
    assert isinstance(got, CLASSES[which])
    assert isinstance(got, Exception) == isinstance(error, Exception)
    assert type(got).__name__ == type(error).__name__
    assert text(got) == text(error)
    note = got.__notes__[0]
    assert note.startswith("in a process of lane 'cpu':\n")
    assert "Traceback (most recent call last)" in note
    assert "raise error" in note
    assert (got.__traceback__, got.__cause__, got.__context__) == (None, None, None)


@pytest.mark.parametrize("which", MAKERS)
def test_it_does_so_twice(which: str) -> None:
    once = crossed(MAKERS[which]())
    twice = crossed(once)
    assert isinstance(twice, CLASSES[which])
    assert text(twice) == text(once)


@pytest.mark.parametrize("which", ["two", "frozen", "locked", "slotted", "disk"])
def test_where_its_class_is_known_it_is_of_that_class(which: str) -> None:
    assert type(crossed(MAKERS[which]())) is CLASSES[which]


def test_it_keeps_its_attributes() -> None:
    assert crossed(Two(507, "full")).code == 507
    assert crossed(Slotted(3)).code == 3
    assert crossed(Frozen(7)) == Frozen(7)
    disk = crossed(DiskFull("sda"))
    assert (disk.errno, disk.strerror, disk.filename, disk.args) == (28, "no space", "sda", (28, "no space"))
    lost = crossed(lane_errors.unicode())
    assert (lost.encoding, lost.object, lost.start, lost.end, lost.reason) == ("ascii", b"\xff", 0, 1, "not here")
    locked = crossed(Locked())
    assert locked.code == 423
    assert not hasattr(locked, "lock")
    assert locked.__notes__[1] == (
        "its attribute 'lock' is missing, because it can't be pickled: TypeError: cannot pickle '_thread.lock' object"
    )


def test_a_group_keeps_what_is_in_it() -> None:
    got = crossed(lane_errors.group())
    assert text(got) == "several (2 sub-exceptions)"
    first, inner = got.exceptions
    assert (type(first), text(first), first.code) == (Two, "507 the disk is full", 507)
    assert [type(leaf) for leaf in inner.exceptions] == [Frozen, ValueError]
    matched, rest = got.split(Two)
    assert matched.exceptions == (first,)
    assert rest.exceptions[0].exceptions[0] == Frozen(7)


def test_one_of_a_class_that_is_not_here_is_one_of_its_bases() -> None:
    got = crossed(lane_errors.local())
    assert isinstance(got, ValueError)
    assert repr(got) == "Local('507 of a class that only the process has')"


def test_a_note_of_its_own_is_kept() -> None:
    error = Two(1, "x")
    error.add_note("mine")
    assert crossed(error).__notes__[0] == "mine"


def test_without_cloudpickle_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(pickling.importlib, "import_module", missing)
    got = crossed(lane_errors.local())
    assert (isinstance(got, ValueError), type(got).__name__) == (True, "Local")
    assert text(got) == "507 of a class that only the process has"
    again = pickle.loads(pickle.dumps(got))  # noqa: S301 - our own
    assert (isinstance(again, ValueError), again.args, again.__notes__) == (True, got.args, got.__notes__)


def test_what_can_be_unpickled_there_alone_is_named_by_its_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    data = pack_error(Two(507, "full"), MOST)
    whole = pack_error(Slotted(1), MOST)
    monkeypatch.delattr(lane_errors, "Two")
    monkeypatch.delattr(lane_errors, "Slotted")
    for packed, words in ((data, "507 full"), (whole, "slot 1")):
        got = unpack_error(packed, "cpu")
        assert isinstance(got, Exception)
        assert (type(got).__module__, text(got)) == ("conformance.lane_errors", words)


def test_one_that_is_too_large_keeps_its_class_and_the_beginning_of_its_text() -> None:
    error = Two(507, "x" * 2 * MOST)
    got = crossed(error)
    assert isinstance(got, Two)
    assert text(got) == text(error)[:10_000]
    assert isinstance(crossed(error, 1), Two)
    assert crossed(Frozen(7), 1) == Frozen(7)
    with pytest.raises(pickling.TooLarge):
        pack_error(ExceptionGroup("many", [Two(1, "x" * 10_000) for _ in range(100)]), 1)


@pytest.mark.parametrize("which", sorted(MAKERS.keys() - {"stop"}))
def test_retry_decides_as_where_it_was_raised(balancer: Balancer, which: str) -> None:
    cls: Any = CLASSES[which]
    task = Task(fail).lane("cpu")
    outcome = balancer.run(task.retry(2, on=cls, backoff=None)(which))
    assert outcome.only.attempts == 3
    assert {text(error) for error in outcome.only.errors} == {text(MAKERS[which]())}
    assert "in fail" in outcome.result.failure().__notes__[0]
    assert balancer.run(task.retry(2, on={cls: None})(which)).only.attempts == 3
    assert balancer.run(task.retry(2, on=KeyError, backoff=None)(which)).only.attempts == 1


def test_a_predicate_sees_its_attributes(balancer: Balancer) -> None:
    chain = Task(fail).lane("cpu").retry(2, on=lambda error: error.code == 507, backoff=None)
    assert balancer.run(chain("two")).only.attempts == 3
    assert balancer.run(chain("frozen")).only.attempts == 1


@pytest.mark.parametrize("which", sorted(MAKERS))
def test_one_that_was_returned_crosses_as_well(balancer: Balancer, which: str) -> None:
    pid = balancer.run(Task(os.getpid).lane("cpu")()).unwrap()
    error: Any = balancer.run(Task(give).lane("cpu")(which)).result.failure()
    assert isinstance(error, CLASSES[which])
    assert text(error) == text(MAKERS[which]())
    assert balancer.run(Task(os.getpid).lane("cpu")()).unwrap() == pid


def test_a_base_exception_is_raised_as_itself(balancer: Balancer) -> None:
    with pytest.raises(Stop, match="at once"):
        balancer.run(Task(fail).lane("cpu")("stop"))
