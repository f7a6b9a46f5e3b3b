"""Outcomes can be pickled, whatever chain, errors and shared objects they came from."""

from __future__ import annotations

import copy
import pickle
import threading
from pathlib import Path
from typing import Any

import pytest

from rio_chain import Breaker, Cache, Failure, Gate, Limit, Outcome, Permit, Skipped, Success, Task, each, settle
from rio_chain.policies import Call


class TwoArguments(Exception):
    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"{code}: {text}")
        self.code = code


class HoldsLock(Exception):
    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.lock = threading.Lock()
        self.answer = 42


class OfTheUser(Gate):
    def __init__(self) -> None:
        self.lock = threading.Lock()

    def enter(self, call: Call) -> Permit:
        return Permit()


def again(outcome: Outcome[Any], protocol: int = pickle.HIGHEST_PROTOCOL) -> Outcome[Any]:
    return pickle.loads(pickle.dumps(outcome, protocol))  # type: ignore[no-any-return]  # noqa: S301 - our own bytes


def raises(error: Exception) -> Task[[Any], Any]:
    def fails(_: Any) -> Any:
        raise error

    return Task(fails)


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_one_that_succeeded(protocol: int) -> None:
    outcome = (Task(len).retry(1) >> Task(str).named("text"))("four").run()
    found = again(outcome, protocol)
    assert found.value == "4"
    assert found.plan == outcome.plan
    assert (found.elapsed, found.queued) == (outcome.elapsed, outcome.queued)
    assert repr(found.responses) == repr(outcome.responses)
    assert found["text"].spans == outcome["text"].spans
    assert found.summary() == outcome.summary()
    assert str(found.timeline()) == str(outcome.timeline())


def test_of_a_chain_with_lambdas_and_shared_state() -> None:
    breaker, cache, limit = Breaker(), Cache(100), Limit(3)
    chain = (
        Task(lambda text: text.strip()).retry(2, on=lambda error: True).breaker(breaker).limit(OfTheUser())
        >> (lambda text: text.upper())
        >> Task(len).limit(limit).cache(cache).or_else(lambda error: 0)
    )
    outcome = chain(" four ").run()
    found = again(outcome)
    assert found.value == 4
    assert [response.status for response in found] == ["succeeded", "succeeded"]
    assert found.svg()
    assert found.plan.title == outcome.plan.title


@pytest.mark.parametrize("error", [TwoArguments(404, "gone"), HoldsLock("busy")])
def test_of_an_error_that_pickle_can_not_make_again(error: Exception) -> None:
    outcome = (raises(error) >> Task(len))("x").run()
    found = again(outcome)
    assert type(found.error) is type(error)
    assert str(found.error) == str(error)
    assert found["fails"].errors == (found.error,), "it is one object, as before"
    skipped = found["len"].error
    assert isinstance(skipped, Skipped)
    assert skipped.cause is found.error
    with pytest.raises(type(error)):
        found.unwrap()


def test_attributes_and_notes_of_an_error_come_along() -> None:
    outcome = raises(HoldsLock("busy")).retry(1, backoff=None)("x").run()
    with pytest.raises(HoldsLock):
        outcome.unwrap()
    found = again(outcome).error
    assert isinstance(found, HoldsLock)
    assert found.answer == 42
    assert [note for note in found.__notes__ if "attempts" in note] == [
        "2 attempts: HoldsLock: busy; HoldsLock: busy (task fails; no retry is left)"
    ]


def test_of_errors_of_classes_that_no_module_has() -> None:
    class Local(LookupError):
        pass

    outcome = raises(Local("here")).retry(1, on=Local, backoff=None)("x").run()
    found = again(outcome).error
    assert isinstance(found, LookupError)
    assert (type(found).__name__, str(found)) == ("Local", "here")


def test_of_items_and_results() -> None:
    outcome = each(Task(int), on_error="keep")(["1", "x"]).run()
    found = again(outcome)
    assert [type(result) for result in found.value] == [Success, Failure]
    assert found.only.counts == {"succeeded": 1, "failed": 1}
    assert [item.status for item in found.only.items] == ["succeeded", "failed"]
    both = again(settle(Task(len), raises(TwoArguments(1, "a")))("x").run())
    assert str(both.value[1].failure()) == "1: a"


def test_what_a_task_gave_and_can_not_be_pickled_is_left_out(tmp_path: Path) -> None:
    def opens(path: Path) -> Any:
        return (path / "file").open("w")

    def closes(file: Any) -> str:
        file.close()
        return "closed"

    found = again((Task(opens) >> Task(closes))(tmp_path).run())
    assert found.value == "closed"
    assert repr(found["opens"].result.unwrap()) == "<an object of TextIOWrapper, which could not be pickled>"


def test_a_value_that_can_not_be_pickled_is_refused() -> None:
    outcome = Task(threading.Lock)().run()
    with pytest.raises(TypeError, match="cannot pickle"):
        pickle.dumps(outcome)


def test_copies() -> None:
    outcome = Task(len)("four").run()
    assert copy.copy(outcome) is outcome
    assert copy.deepcopy(outcome).value == 4


def test_of_requests_that_tasks_returned() -> None:
    def route(text: str) -> Any:
        return Task(len)(text)

    found = again(Task(route)("four").run()).only.nested
    assert found is not None
    assert (found.value, found.only.name) == (4, "len")

    def down(number: int) -> Any:
        return Task(down)(number - 1) if number else "end"

    deep = Task(down).inline()(100).run()
    assert deep.only.nested is not None
    assert again(deep).value == "end"
    assert deep.to_dict()["tasks"][0]["nested"]["ok"]
    assert len(deep.summary().splitlines()) == 6
