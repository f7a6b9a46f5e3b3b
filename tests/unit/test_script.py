"""Script: what a step is, what is noted of a call, and what is refused."""

from __future__ import annotations

import copy
import pickle
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from returns.result import Failure

from rio_chain import Backoff, ChainDefinitionError, Task
from rio_chain.chain._functions import is_async
from rio_chain.testing import LatencyModel, Script, ScriptCall, ScriptEnded


def results(script: Script, calls: int) -> list[Any]:
    """What each of so many calls gives: its value, or the class of its error."""
    found: list[Any] = []
    for _ in range(calls):
        result = Task(script)(0).run().result
        found.append(type(result.failure()) if isinstance(result, Failure) else result.unwrap())
    return found


def test_the_steps_are_taken_in_order() -> None:
    script = Script().then_raises(OSError).then(5).then_raises(ValueError("x"))
    assert results(script, 3) == [OSError, 5, ValueError]
    assert script.left == 0


def test_delays_are_for_the_steps_that_follow_one_each() -> None:
    script = Script().then(1).delays(20, timedelta(milliseconds=30)).then_raises(OSError).then(5).then(6)
    assert repr(script) == "Script().then(1).then_raises(OSError, after=20).then(5, after=30).then(6)"


def test_a_step_with_its_own_time_leaves_the_delays_alone() -> None:
    script = Script().delays(20).then(1, after=7).then(2)
    assert repr(script) == "Script().then(1, after=7).then(2, after=20)"


def test_forever_repeats_the_last_step_and_always_is_a_step_that_does() -> None:
    assert results(Script().then(1).then(2).forever(), 4) == [1, 2, 2, 2]
    assert results(Script().then_raises(OSError).forever(), 2) == [OSError, OSError]
    assert results(Script().then(1).always(7), 3) == [1, 7, 7]


def test_delays_that_are_left_are_those_of_the_repeats_and_the_last_repeats() -> None:
    assert repr(Script().delays(1, 2, 3).always(5)) == "Script().then(5, after=1).then(5, after=2).delays(3).forever()"


def test_a_row_goes_on_with_a_model() -> None:
    script = Script().then(1).model(LatencyModel.constant(0).returning("m"))
    assert results(script, 3) == [1, "m", "m"]
    failing = Script().model(LatencyModel.constant(0).failing(1, KeyError))
    assert results(failing, 2) == [KeyError, KeyError]


def test_every_call_of_the_builder_gives_a_new_script_with_no_calls() -> None:
    first = Script().then(1)
    second = first.then(2)
    assert results(second, 2) == [1, 2]
    assert (first.calls, first.left) == ([], 1)
    assert results(first, 1) == [1]


def test_a_container_is_a_new_one_for_each_call() -> None:
    given = [1]
    script = Script().always(given)
    one, two = results(script, 2)
    assert one == two == [1]
    assert one is not two
    assert one is not given


def test_a_failure_fails_the_call_as_that_of_a_function_does() -> None:
    script = Script().then(Failure("no")).then("yes")
    outcome = Task(script).retry(1, backoff=None)(0).run()
    assert outcome.unwrap() == "yes"
    assert outcome.only.errors == ("no",)
    assert [call.status for call in script.calls] == ["failed", "succeeded"]


def test_a_class_of_errors_that_needs_arguments_is_raised_without_them() -> None:
    class Refused(Exception):
        def __init__(self, code: int, text: str) -> None:
            super().__init__(code, text)

    assert results(Script().then_raises(Refused), 1) == [Refused]


def test_an_error_that_is_raised_often_keeps_no_frames() -> None:
    error = OSError("again")
    results(Script().then_raises(error).forever(), 50)
    frames, entry = 0, error.__traceback__
    while entry is not None:
        frames, entry = frames + 1, entry.tb_next
    assert frames < 20


# --- what is noted ----------------------------------------------------------------------------------------------


def test_calls_can_be_compared() -> None:
    script = Script().delays(3_600_000, 30).then_raises(OSError).then(5)
    assert script.calls == []
    assert ScriptCall((42,), began=0, ended=20, task="a") == ScriptCall((42,), began=0, ended=20, task="b")
    assert ScriptCall((42,), began=0, ended=20) != ScriptCall((42,), began=0, ended=21)


def test_a_call_is_one_line() -> None:
    call = ScriptCall((42,), kwargs={"user": "a\n"}, began=0, ended=20.5, status="failed", error=OSError, task="f")
    assert str(call) == "f(42, user='a\\n')  0 -> 20.5 ms  failed: OSError"
    assert str(ScriptCall(began=3, status="running")) == "call()  3 ms  running"


def test_keywords_are_noted() -> None:
    script = Script().always(1)
    Task(script)(1, flag=True).run()
    assert [(call.args, call.kwargs) for call in script.calls] == [((1,), {"flag": True})]


def test_two_scripts_of_one_run_have_one_time() -> None:
    first, second = Script().then(1, after=10), Script().then(2)
    (Task(first).named("a") >> Task(second).named("b"))(0).run()
    ended = first.calls[0].ended
    assert ended is not None
    assert second.calls[0].began >= ended >= 10


def test_a_run_in_a_body_has_the_time_of_the_run_around_it() -> None:
    inner = Script().then("inner")

    async def body(x: int) -> Any:
        await Script().then(0, after=10)()
        return (await Task(inner)(x)).unwrap()

    assert Task(body)(1).run().unwrap() == "inner"
    assert inner.calls[0].began >= 10


def test_reset_begins_anew() -> None:
    script = Script(seed=5).then(1).model(LatencyModel.uniform(0, 1).failing(0.5, OSError))
    before = results(script, 12)
    script.reset()
    assert (script.calls, script.left) == ([], 1)
    assert results(script, 12) == before


def test_a_copy_has_the_steps_and_no_calls() -> None:
    script = Script().then(1).then(2)
    results(script, 1)
    for twin in (copy.copy(script), copy.deepcopy(script), pickle.loads(pickle.dumps(script))):  # noqa: S301
        assert repr(twin) == repr(script)
        assert twin.calls == []
        assert results(twin, 2) == [1, 2]


def test_many_threads_take_each_step_once() -> None:
    script = Script()
    for number in range(200):
        script = script.then(number)
    found: list[int] = []

    def work() -> None:
        for _ in range(50):
            found.append(Task(script)(0).run(executor="thread").unwrap())  # noqa: PERF401 - a list that threads share

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == list(range(200))
    assert len(script.calls) == 200


def test_it_is_an_async_function_that_takes_anything() -> None:
    script = Script().always(1)
    assert is_async(script)
    assert Task(script)().run().unwrap() == 1
    assert Task(script)(1, 2, 3, x=4).run().unwrap() == 1


def test_it_can_be_a_bridge_and_a_fallback() -> None:
    bridge, fallback = Script().always("b"), Script().always("f")
    assert (Task(len) >> bridge >> Task(len))("four").run().unwrap() == 1
    assert Task(len).or_else(fallback)(5).run().unwrap() == "f"
    assert isinstance(fallback.calls[0].args[0], TypeError)


# --- what is refused ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ms", [-1, float("nan"), float("inf"), True, "20", None])
def test_a_delay_that_is_none_is_refused(ms: Any) -> None:
    with pytest.raises(ChainDefinitionError, match="`delays` must be a finite number of milliseconds"):
        Script().delays(ms)


WRONG: list[tuple[Callable[[], object], str]] = [
    (lambda: Script().delays(), "`delays` needs at least one duration"),
    (lambda: Script().then(1, after=-1), "`after` must be a finite number of milliseconds"),
    (lambda: Script().then(OSError()), r"to raise OSError write .then_raises\(OSError\)"),
    (lambda: Script().then(OSError), r"to raise OSError write .then_raises\(OSError\)"),
    (lambda: Script().then_raises("no"), "`error` must be an Exception, its class, or a Failure; got 'no'"),  # type: ignore[arg-type]
    (lambda: Script().then_raises(KeyboardInterrupt), "`error` must be an Exception"),  # type: ignore[arg-type]
    (lambda: Script().forever(), "`forever` repeats the step before it"),
    (lambda: Script().always(1).then(2), r"Script\(\).then\(1\).forever\(\) never ends, so no step can follow"),
    (lambda: Script().always(1).forever(), "`forever` repeats the step before it"),
    (lambda: Script().model(LatencyModel.constant(1)).delays(1), "never ends, so no step can follow"),
    (lambda: Script().model(20), "`model` takes a LatencyModel"),  # type: ignore[arg-type]
    (lambda: Script().delays(1).model(LatencyModel.constant(1)), "`model` draws its own delays"),
    (lambda: Script(seed=1.5), "`seed` must be a whole number or a string"),  # type: ignore[arg-type]
    (lambda: Script(seed=True), "`seed` must be a whole number or a string"),
]


@pytest.mark.parametrize(("write", "text"), WRONG, ids=[text for _, text in WRONG])
def test_what_is_written_wrongly_is_refused_where_it_is_written(write: Callable[[], object], text: str) -> None:
    with pytest.raises(ChainDefinitionError, match=text):
        write()


def test_a_script_that_ends_says_how_many_steps_it_has_and_what_to_write() -> None:
    with pytest.raises(ScriptEnded, match=r"script of user has no step, .* call 1: write one more .then\(value\)"):
        Task(Script()).named("user")(1).run()
    with pytest.raises(ScriptEnded, match="delays that no step follows: 2"):
        Task(Script().delays(1, 2))(1).run()


def test_a_script_that_ends_is_no_exception_that_a_retry_could_hide() -> None:
    assert not issubclass(ScriptEnded, Exception)
    with pytest.raises(ScriptEnded):
        Task(Script().then_raises(OSError)).retry(3, backoff=Backoff(base=0)).or_else(1)(1).run()
