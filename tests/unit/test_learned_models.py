"""Models are learned from real runs without bias, and come back from a file as they were; a file imports nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest
from returns.result import Failure
from virtual_loops import on_trio

from rio_chain import Backoff, ChainDefinitionError, Outcome, Request, Task, TaskTimedOut, each
from rio_chain.simulation._learned_models import KEPT, distribution
from rio_chain.testing import LatencyModel, Script


class Refused(Exception):
    """One that Python does not bring."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(code, text)


def run(*requests: Request[Any]) -> list[Outcome[Any]]:
    """Their Outcomes, in virtual time."""

    async def main() -> list[Outcome[Any]]:
        return [await request for request in requests]

    return on_trio(main)


def samples(model: LatencyModel) -> list[float]:
    """The latencies of an empirical model, in milliseconds."""
    found: Any = model.latency
    return [round(one * 1000, 6) for one in found.samples]


# --- learning ---------------------------------------------------------------------------------------------------


def test_retries_are_learned_call_by_call_and_without_the_waits_between() -> None:
    script = Script().then_raises(OSError, after=3).then("a", after=20).then("b", after=30)
    chain = Task(script).named("user").retry(2, backoff=Backoff(base=100, jitter="none"))
    learned = LatencyModel.from_outcomes(run(chain(1), chain(2)))
    assert list(learned) == ["user"]
    assert samples(learned["user"]) == [20, 30]
    [fault] = learned["user"].faults
    assert (fault.rate, fault.error, fault.after) == (pytest.approx(1 / 3), OSError, pytest.approx(0.003))


def test_tasks_that_were_not_called_are_not_learned() -> None:
    chain = Task(Script().then_raises(OSError, after=1)).named("a") >> Task(len).named("b")
    learned = LatencyModel.from_outcomes(run(chain(1)))
    assert list(learned) == ["a"]
    assert learned["a"].faults[0].rate == 1


def test_items_are_learned_one_by_one() -> None:
    script = Script().delays(1, 2, 3).then("a").then("b").then("c")
    learned = LatencyModel.from_outcomes(run(each(Task(script).named("page"), limit=1)([1, 2, 3])))
    assert samples(learned["page"]) == [1, 2, 3]


def test_what_a_limit_cut_off_stalls_for_longer_than_that() -> None:
    script = Script().delays(10, 500, 500, 20).then(1).then(2).then(3).then(4)
    chain = Task(script).named("user").timeout(100).or_else(0)
    learned = LatencyModel.from_outcomes(run(*(chain(i) for i in range(4))))["user"]
    assert learned.faults == ()
    [stall] = learned.stalls
    assert (stall.rate, stall.delay) == (pytest.approx(0.5), pytest.approx(0.101))
    again = run(*(chain.with_backends({"user": LatencyModel.constant(0).stalling(1, 101)})(0) for _ in range(2)))
    assert all(isinstance(outcome["user"].errors[0], TaskTimedOut) for outcome in again)


def test_error_values_are_learned_by_the_class_of_the_value() -> None:
    learned = LatencyModel.from_outcomes(run(Task(Script().then(Failure(404))).named("user")(1)))
    assert learned["user"].faults[0].error == Failure("builtins.int")


def test_a_learned_error_holds_nothing_of_the_run_that_it_came_from() -> None:
    learned = LatencyModel.from_outcomes(run(Task(Script().then_raises(Refused(1, "secret"))).named("user")(1)))
    assert learned["user"].faults[0].error is Refused
    outcome = Task(len).named("user").with_backends(learned)("x").run()
    assert isinstance(outcome.result.failure(), Refused)
    assert outcome.result.failure().args == ()


def test_calls_that_were_cut_off_do_not_bias_what_is_learned() -> None:
    """The losers of a race and the victims of a limit were slow ones: to leave them out would learn a quick backend."""
    random = Random(4)
    answered: list[float] = []
    cut_off: list[float] = []
    for _ in range(20_000):
        took, limit = random.expovariate(1 / 20), min(60.0, random.expovariate(1 / 60))
        (answered if took <= limit else cut_off).append(min(took, limit))
    found, beyond = distribution(answered, cut_off)
    naive = sorted(answered)
    share = [found[int(len(found) * q / (1 - beyond))] for q in (0.25, 0.5, 0.75)]
    assert share == [pytest.approx(want, rel=0.04) for want in (5.754, 13.863, 27.726)]
    assert naive[len(naive) // 2] < 0.9 * 13.863
    assert beyond == pytest.approx(0.0498, rel=0.15)


def test_more_latencies_than_a_model_keeps_become_quantiles() -> None:
    found, beyond = distribution([float(one) for one in range(4 * KEPT)], [])
    assert (len(found), beyond) == (KEPT, 0)
    assert found[KEPT // 2] == pytest.approx(2 * KEPT, rel=0.001)


@pytest.mark.parametrize("given", [5, [5], None])
def test_what_is_no_list_of_outcomes_is_refused(given: Any) -> None:
    with pytest.raises(ChainDefinitionError, match="`from_outcomes` takes a list of Outcomes; got"):
        LatencyModel.from_outcomes(given)


def test_one_outcome_is_no_list() -> None:
    with pytest.raises(ChainDefinitionError, match="takes a list of Outcomes; got <Outcome"):
        LatencyModel.from_outcomes(Task(len)("x").run())  # type: ignore[arg-type]


# --- as a file --------------------------------------------------------------------------------------------------

MODELS = {
    "constant": LatencyModel.constant(0.1).returning({"id": [1, None]}),
    "uniform": LatencyModel.uniform(10, 30).stalling(0.01, 5000),
    "exponential": LatencyModel.exponential(20.3).failing(1 / 3, OSError).failing(0.1, Refused, after=2),
    "lognormal": LatencyModel.lognormal(20, p99=150.7).failing(0.1, Failure("no")).failing(0.1, TaskTimedOut),
    "empirical": LatencyModel.empirical([1.1, 2.2, 3.3]).outage(100, 200, error=ConnectionError, after=3),
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "models.json"
    LatencyModel.save(MODELS, path)
    return path


def test_models_come_back_as_they_were(path: Path) -> None:
    assert LatencyModel.load(path, errors=[Refused]) == MODELS


def test_an_error_that_was_made_is_made_again(path: Path) -> None:
    LatencyModel.save({"a": LatencyModel.constant(1).failing(0.5, Refused(503, "busy"))}, path)
    error: Any = LatencyModel.load(path, errors=[Refused])["a"].faults[0].error
    assert (type(error), error.args) == (Refused, (503, "busy"))


def test_a_class_of_errors_must_be_given_as_nothing_is_imported(path: Path) -> None:
    with pytest.raises(ChainDefinitionError, match=r"Refused', which must be given: load\(path, errors=\[...\]\)"):
        LatencyModel.load(path)


def changed(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))


CHANGES: list[tuple[Callable[[dict[str, Any]], object], str]] = [
    (lambda d: d.update(version=2), "its version is 2, and this rio_chain reads version 1"),
    (lambda d: d.update(format="x"), "its format is not 'rio_chain.LatencyModel'"),
    (lambda d: d.update(more=1), "it has unknown keys: 'more'"),
    (lambda d: d.pop("models"), "'models' is missing"),
    (lambda d: d.update(models=[]), r"it has \[\] where an object must be"),
    (lambda d: d["models"]["uniform"].update(hedge=1), "unknown keys: 'hedge'"),
    (lambda d: d["models"]["uniform"]["latency"].update(p99_ms=1), "unknown keys: 'p99_ms'"),
    (lambda d: d["models"]["uniform"]["latency"].update(kind="cauchy"), "there is no latency of the kind 'cauchy'"),
    (lambda d: d["models"]["uniform"]["latency"].pop("low_ms"), "'low_ms' is missing"),
    (lambda d: d["models"]["uniform"]["latency"].update(low_ms=-1), "`low` must be a finite number"),
    (lambda d: d["models"]["uniform"]["latency"].update(low_ms=float("nan")), "`low` must be a finite number"),
    (lambda d: d["models"]["uniform"]["stalls"][0].update(rate=3), "`rate` must be a share"),
    (lambda d: d["models"]["exponential"]["faults"][0]["error"].update({"class": "os.system"}), "'os.system'"),
    (lambda d: d["models"]["exponential"]["faults"][0]["error"].update({"class": "builtins.SystemExit"}), "SystemExit"),
    (lambda d: d["models"]["exponential"]["faults"][0]["error"].update({"class": ["a"]}), "unhashable"),
    (lambda d: d["models"].update(uniform=5), "it has 5 where an object must be"),
]


@pytest.mark.parametrize(("change", "text"), CHANGES, ids=[text for _, text in CHANGES])
def test_a_file_that_says_something_else_is_refused(
    path: Path, change: Callable[[dict[str, Any]], object], text: str
) -> None:
    changed(path, change)
    with pytest.raises(ChainDefinitionError, match=f"holds no models that can be read: .*{text}"):
        LatencyModel.load(path, errors=[Refused])


@pytest.mark.parametrize("text", [b"", b"[]", b"\xff\xfe", b"[" * 100_000, b'{"a": '])
def test_a_file_that_is_something_else_is_refused(path: Path, text: bytes) -> None:
    path.write_bytes(text)
    with pytest.raises(ChainDefinitionError, match="holds no models that can be read"):
        LatencyModel.load(path)


def test_a_file_that_is_not_there_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        LatencyModel.load(tmp_path / "none.json")


@pytest.mark.parametrize(
    ("models", "text"),
    [
        ([1], "`save` takes a dict of names and models"),
        ({"a": 1}, "`save` takes names and models; got 'a': 1"),
        ({1: LatencyModel.constant(1)}, "`save` takes names and models; got 1"),
        ({"a": LatencyModel.constant(1).returning(object())}, "`save` can't write the value of 'a' as JSON"),
        ({"a": LatencyModel.constant(1).returning((1, 2))}, "`save` can't write the value of 'a' as JSON"),
        ({"a": LatencyModel.constant(1).returning(float("nan"))}, "`save` can't write the value of 'a' as JSON"),
        ({"a": LatencyModel.constant(1).failing(0.1, Failure(object()))}, "can't write the value of a Failure"),
        ({"a": LatencyModel.constant(1).failing(0.1, OSError(object()))}, "can't write what OSError.* was made with"),
    ],
)
def test_what_a_file_can_not_hold_is_refused_and_nothing_is_written(tmp_path: Path, models: Any, text: str) -> None:
    with pytest.raises(ChainDefinitionError, match=text):
        LatencyModel.save(models, tmp_path / "models.json")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("errors", [[5], [KeyboardInterrupt], [OSError()]])
def test_classes_of_errors_are_classes(path: Path, errors: Any) -> None:
    with pytest.raises(ChainDefinitionError, match="`errors` takes classes of exceptions; got"):
        LatencyModel.load(path, errors=errors)


def test_an_inline_function_has_no_model() -> None:
    outcomes = run((Task(abs).inline() >> Task(str))(-5))
    assert list(LatencyModel.from_outcomes(outcomes)) == ["str"]
