"""Outcome and Response: made from the log of a run when somebody looks."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from returns.primitives.exceptions import UnwrapFailedError
from returns.result import Failure, Success

import rio_chain
from rio_chain import (
    BridgeFailed,
    ChainDefinitionError,
    Outcome,
    Skipped,
    Task,
    TaskTimedOut,
    UnknownTask,
    each,
    fan_out,
    settle,
)


def ok(x: Any) -> Any:
    return x


def bad(x: Any) -> Any:
    raise ValueError(x)


class Flaky:
    """Fails so many times, then answers."""

    def __init__(self, failures: int) -> None:
        self.failures = failures
        self.calls = 0

    def __call__(self, x: Any) -> Any:
        self.calls += 1
        if self.calls <= self.failures:
            raise ValueError(self.calls)
        return x


async def forever(_: Any) -> None:
    import asyncio  # noqa: PLC0415 - only here

    await asyncio.sleep(30)


def statuses(outcome: Outcome[Any]) -> list[str]:
    return [response.status for response in outcome]


def test_one_that_succeeded() -> None:
    outcome = (Task(ok).named("first") >> Task(ok).named("second"))(7).run()
    assert outcome.result == Success(7)
    assert (outcome.unwrap(), outcome.value_or(0)) == (7, 7)
    assert len(outcome) == 2
    assert [response.name for response in outcome] == ["first", "second"]
    for response in outcome.responses:
        assert (response.status, response.result, response.attempts) == ("succeeded", Success(7), 1)
        assert (response.errors, response.winner) == ((), 0)
        assert 0 <= response.elapsed <= outcome.elapsed
    assert outcome.queued >= 0


def test_one_that_failed() -> None:
    outcome = (Task(ok) >> Task(bad) >> Task(ok).named("last"))(7).run()
    error = outcome.result.failure()
    assert (type(error), error.args) == (ValueError, (7,))
    assert statuses(outcome) == ["succeeded", "failed", "skipped"]
    assert outcome["bad"].errors == (error,)
    assert outcome["bad"].result == Failure(error)
    assert outcome["bad"].winner is None
    skipped = outcome["last"].result.failure()
    assert (type(skipped), skipped.cause) == (Skipped, error)
    assert (outcome["last"].attempts, outcome["last"].elapsed, outcome["last"].errors) == (0, 0, ())
    with pytest.raises(ValueError, match="7") as caught:
        outcome.unwrap()
    assert caught.value is error
    assert outcome.value_or("default") == "default"


def test_value_and_error_are_attributes() -> None:
    good, failed = Task(ok)(7).run(), Task(bad)(7).run()
    assert (good.ok, good.value, good.error) == (True, 7, None)
    assert not failed.ok
    assert failed.error is failed.result.failure()
    with pytest.raises(ValueError, match="7") as caught:
        _ = failed.value
    assert caught.value is failed.error
    sold_out: Outcome[Any] = Task(lambda: Failure("sold out"))().run()
    assert (sold_out.ok, sold_out.error) == (False, "sold out")
    with pytest.raises(UnwrapFailedError):
        _ = sold_out.value


def test_success_and_failure_are_those_of_returns() -> None:
    assert (rio_chain.Success, rio_chain.Failure) == (Success, Failure)


def test_an_error_value_that_is_no_exception() -> None:
    outcome: Outcome[Any] = Task(lambda: Failure("sold out")).named("f")().run()
    assert outcome.result == Failure("sold out")
    with pytest.raises(UnwrapFailedError):
        outcome.unwrap()
    assert outcome.only.errors == ("sold out",)


def test_third_of_four_timing_out() -> None:
    chain = Task(ok) >> Task(ok) >> Task(forever).timeout(5) >> Task(ok)
    outcome = chain(1).run()
    assert statuses(outcome) == ["succeeded", "succeeded", "timed_out", "skipped"]
    assert isinstance(outcome.result.failure(), TaskTimedOut)


def test_the_error_of_a_bridge_is_in_the_tasks_after_it() -> None:
    outcome = (Task(ok) >> bad >> Task(ok) >> Task(ok))(1).run()
    assert statuses(outcome) == ["succeeded", "skipped", "skipped"]
    error = outcome.result.failure()
    assert isinstance(error, BridgeFailed)
    assert [response.result for response in outcome][1:] == [Failure(error)] * 2


@pytest.mark.parametrize(("failures", "status"), [(0, "succeeded"), (2, "succeeded"), (3, "failed")])
def test_attempts_are_counted_and_all_errors_kept(failures: int, status: str) -> None:
    outcome = Task(Flaky(failures)).named("f").retry(2, backoff=None)(7).run()
    response = outcome.only
    assert (response.status, response.attempts) == (status, min(failures + 1, 3))
    assert [error.args for error in response.errors] == [(n + 1,) for n in range(min(failures, 3))]


def test_a_chain_that_is_retried_counts_the_calls_of_all_rounds() -> None:
    outcome = (Task(ok).named("a") >> Task(Flaky(2)).named("b")).retry(5, backoff=None)(7).run()
    assert [(r.name, r.status, r.attempts, len(r.errors)) for r in outcome] == [
        ("a", "succeeded", 3, 0),
        ("b", "succeeded", 3, 2),
    ]


def test_it_is_asked_by_place_or_by_name() -> None:
    outcome = (Task(ok) >> Task(ok) >> Task(bad).named("x"))(1).run()
    assert outcome[0].name == "ok#1"
    assert outcome[-1].name == outcome["x"].name == "x"
    assert outcome["ok#2"].name == outcome[1].name
    with pytest.raises(UnknownTask, match=r"^'ok' is in the chain 2 times; ask for one of ok#1, ok#2$"):
        outcome["ok"]
    with pytest.raises(UnknownTask, match=r"^no task is named 'nope'; this run has ok#1, ok#2, x$"):
        outcome["nope"]
    for index in (3, -4, 10**30):
        with pytest.raises(UnknownTask, match=rf"^no task has the index {index}; this run has 3, from 0: ok#1,"):
            outcome[index]
    with pytest.raises(UnknownTask, match=r"^`only` needs a chain of one task; this one has 3: ok#1, ok#2, x$"):
        outcome.only  # noqa: B018 - it raises


def test_looking_twice_gives_the_same() -> None:
    outcome = (Task(bad) >> Task(ok))(1).run()
    assert repr(outcome.responses) == repr(outcome.responses)
    assert outcome["ok"].result.failure().cause is outcome["ok"].result.failure().cause


def masked(text: str) -> str:
    """The text with every time as 0.0."""
    import re  # noqa: PLC0415 - only here

    return re.sub(r" *\d+\.\d ms", " 0.0 ms", text)


def test_it_shows_how_it_went_and_no_values() -> None:
    good, failed = Task(ok)("secret").run(), Task(bad)("secret").run()
    assert masked(repr(good)) == "<Outcome succeeded in 0.0 ms, 1 tasks>"
    assert masked(repr(failed)) == "<Outcome failed (ValueError) in 0.0 ms, 1 tasks>"
    assert masked(repr(good.only)) == "<Response ok: succeeded, 0.0 ms>"
    again = Task(Flaky(1)).named("f").retry(1, backoff=None)(1).run()
    assert masked(repr(again.only)) == "<Response f: succeeded, 2 attempts, 0.0 ms>"


def test_the_summary_is_a_table() -> None:
    outcome = (Task(ok).named("fetch_user") >> Task(bad).retry(1, backoff=None) >> Task(ok))("x\x1b[2J\ny").run()
    assert masked(outcome.summary()).splitlines() == [
        "task        status     attempts     elapsed",
        "fetch_user  succeeded         1 0.0 ms",
        "bad         failed            2 0.0 ms",
        "ok          skipped           0 0.0 ms",
        r"failed in 0.0 ms: ValueError: x\x1b[2J\ny",
    ]
    assert masked(Task(ok)(1).run().summary()).endswith("succeeded in 0.0 ms: 1")
    assert fan_out(user=Task(ok), a=Task(ok))(1).run().summary().endswith(": {'user': 1, 'a': 1}")


@pytest.mark.parametrize("join", [lambda: Task(bad) & Task(ok), lambda: settle(Task(bad), Task(ok))])
def test_a_branch_has_its_response_too(join: Callable[[], Any]) -> None:
    outcome = join()(1).run()
    assert [response.name for response in outcome] == ["bad", "ok"]
    assert outcome[0].status == "failed"
    assert outcome[1].status in ("succeeded", "cancelled", "skipped")


def test_as_data() -> None:
    chain = Task(ok).named("first") >> Task(bad).retry(1, backoff=None) >> Task(ok).named("last")
    data = chain("secret").run().to_dict()
    assert json.loads(json.dumps(data)) == data
    assert (data["version"], data["chain"], data["ok"]) == (1, "first >> bad >> last", False)
    assert data["error"] == {"type": "ValueError", "text": "secret"}
    assert "value" not in data
    first, failed, last = data["tasks"]
    assert (first["name"], first["status"], first["error"], first["errors"]) == ("first", "succeeded", None, [])
    assert "value" not in first
    assert (failed["attempts"], failed["gave_up"], failed["errors"]) == (2, "exhausted", [data["error"]] * 2)
    assert [(span["attempt"], span["replica"], span["status"]) for span in failed["spans"]] == [
        (1, 0, "failed"),
        (2, 0, "failed"),
    ]
    assert (last["status"], last["attempts"], last["error"]["type"]) == ("skipped", 0, "rio_chain.errors.Skipped")


def test_as_data_with_values() -> None:
    data = Task(ok)(7).run().to_dict(values=True)
    assert (data["value"], data["tasks"][0]["value"]) == (7, 7)
    failed = Task(bad)(7).run().to_dict(values=True)
    assert "value" not in failed
    assert "value" not in failed["tasks"][0]
    with pytest.raises(ChainDefinitionError, match="`values`"):
        Task(ok)(7).run().to_dict(values=1)  # type: ignore[arg-type]


def test_items_as_data() -> None:
    data = each(Task(int), on_error="keep")(["1", "x"]).run().to_dict(values=True)
    [task] = data["tasks"]
    assert task["counts"] == {"succeeded": 1, "failed": 1}
    assert [(item["index"], item["status"], item.get("value")) for item in task["items"]] == [
        (0, "succeeded", 1),
        (1, "failed", None),
    ]
    assert task["items"][1]["error"]["type"] == "ValueError"
