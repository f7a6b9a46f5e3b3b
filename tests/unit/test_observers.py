"""Observers: what is refused, how they are removed, what they may see, and the line in the log."""

from __future__ import annotations

import asyncio
import functools
import inspect
import logging
import threading
from contextlib import suppress
from contextvars import copy_context
from functools import partial
from typing import Any, NoReturn

import pytest

from rio_chain import Balancer, Breaker, ChainDefinitionError, Event, Failure, Task, add_observer, simulate
from rio_chain.observers import Observer, Remover, log_failures, unobserved
from rio_chain.results._observers import OBSERVERS
from rio_chain.results._task_record import TaskRecord
from rio_chain.testing import LatencyModel


async def later(_: Event) -> None: ...


class Later:
    async def __call__(self, _: Event) -> None: ...


def fail(_: object) -> None:
    raise OSError("secret")


@pytest.mark.parametrize(
    "fn",
    [
        later,
        Later(),
        functools.partial(later),
        functools.partial(Later()),
        functools.partial(functools.partial(Later())),
    ],
    ids=["function", "object", "partial", "partial of an object", "partial of that"],
)
def test_a_coroutine_function_is_refused_with_the_right_code(fn: Any) -> None:
    for add in (add_observer, Observer, lambda fn: Balancer(observers=[fn])):
        with pytest.raises(ChainDefinitionError, match=r"write `def \w+\(event\): ...` in place of `async def`"):
            add(fn)
    assert not OBSERVERS


def test_a_partial_of_a_generator_function_is_refused() -> None:
    class Generates:
        def __call__(self, event: Event) -> Any:
            yield event

    with pytest.raises(ChainDefinitionError, match="generator function"):
        add_observer(functools.partial(Generates()))


@pytest.mark.parametrize(
    ("given", "text"), [(7, "got 7"), (lambda: 0, "just one argument"), (Task(len), "got a Chain")]
)
def test_what_is_no_function_of_one_event_is_refused(given: Any, text: str) -> None:
    with pytest.raises(ChainDefinitionError, match=text):
        add_observer(given)


def test_observers_of_a_balancer_are_a_list() -> None:
    wrong: Any = print
    with pytest.raises(ChainDefinitionError, match=r"as in Balancer\(observers=\[fn\]\)"):
        Balancer(observers=wrong)


def test_errors_and_values_are_flags() -> None:
    wrong: Any = 1
    with pytest.raises(ChainDefinitionError, match="errors"):
        add_observer(print, errors=wrong)


def test_a_removed_observer_hears_of_no_later_run_and_of_one_that_goes_on_to_its_end() -> None:
    seen: list[str] = []
    remove = add_observer(lambda event: seen.append(event.kind))

    def body(_: object) -> None:
        remove()

    with Balancer("thread") as balancer:
        balancer.run(Task(body)(1))
        kinds = ["request_started", "started", "attempt_started", "attempt_ended", "finished", "request_ended"]
        assert seen == kinds
        remove()
        balancer.run(Task(abs)(1))
    assert seen == kinds
    assert not OBSERVERS


def test_an_observer_that_is_added_keeps_what_it_may_see() -> None:
    seen: list[Event] = []
    with add_observer(Observer(seen.append, errors=True)):
        Task(fail).or_else(1)(1).run(executor="thread")
    assert {type(event.error) for event in seen if event.kind == "attempt_ended"} == {OSError}
    both = Observer(Observer(seen.append, values=True), errors=True)
    assert (both.fn, both.errors, both.values) == (seen.append, True, True)


def test_a_text_that_is_an_error_is_not_shown(caplog: pytest.LogCaptureFixture) -> None:
    seen: list[Event] = []

    def refuse(_: object) -> Failure[str]:
        return Failure("secret")

    with (
        add_observer(seen.append),
        add_observer(log_failures(), errors=True),
        add_observer(log_failures()),
        caplog.at_level(logging.DEBUG),
    ):
        Task(refuse)(1).run(executor="thread")
        Task(fail)(1).run(executor="thread")
    assert [event.error for event in seen if event.kind == "attempt_ended"] == ["str", "OSError"]
    lines = [record.getMessage().partition(" after ")[0] for record in caplog.records]
    assert lines == ["refuse failed (str)"] * 2 + ["fail failed (OSError)"] * 2
    assert "secret" not in caplog.text


def test_a_function_that_is_added_twice_is_called_once_until_it_is_removed_twice() -> None:
    seen: list[str] = []

    def observe(event: Event) -> None:
        seen.append(event.kind)

    with add_observer(observe) as first:
        assert isinstance(first, Remover)
        second = add_observer(observe)
        Task(abs).inline()(1).run()
        assert seen.count("request_started") == 1
        second()
        second()
        Task(abs).inline()(1).run()
        assert seen.count("request_started") == 2
    assert "removed" in repr(first)
    Task(abs).inline()(1).run()
    assert seen.count("request_started") == 2


def test_what_a_task_or_thread_of_an_observer_runs_is_not_observed() -> None:
    """A thread has no copy of the context by itself."""
    kinds: list[str] = []
    tasks: set[asyncio.Task[Any]] = set()
    threads: list[threading.Thread] = []
    request = Task(abs).inline()(-1)

    def run() -> None:
        with unobserved():
            request.run(executor="thread")

    def starts(event: Event) -> None:
        kinds.append(event.kind)
        if event.kind == "request_started" and len(kinds) < 50:
            tasks.add(asyncio.ensure_future(request.arun()))
            for target in (run, partial(copy_context().run, request.run)):
                threads.append(threading.Thread(target=target))
                threads[-1].start()

    async def main() -> None:
        with add_observer(starts):
            await request
            await asyncio.gather(*tasks)
            for thread in threads:
                await asyncio.to_thread(thread.join)

    asyncio.run(main())
    assert (len(tasks), len(threads), kinds.count("request_started")) == (1, 2, 1)


def test_an_observer_that_returns_a_coroutine_is_reported_once(monkeypatch: pytest.MonkeyPatch) -> None:
    reported: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", reported.append)
    made: list[Any] = []

    @functools.wraps(later)
    def wrapper(event: Event) -> Any:
        made.append(later(event))
        return made[-1]

    with Balancer("thread", observers=[wrapper]) as balancer:
        assert balancer.run(Task(abs)(-1)).unwrap() == 1
    assert len(made) == 6
    assert {inspect.getcoroutinestate(coroutine) for coroutine in made} == {"CORO_CLOSED"}
    assert [args.exc_type for args in reported] == [ChainDefinitionError]
    assert "`later` returned a coroutine" in str(reported[0].exc_value)


def test_what_an_observer_starts_and_returns_goes_on() -> None:
    tasks: list[asyncio.Task[Any]] = []

    def starts(event: Event) -> object:
        if event.kind == "request_ended":
            tasks.append(asyncio.ensure_future(later(event)))
            return tasks[-1]
        return None

    async def main() -> None:
        with add_observer(starts):
            await Task(abs).inline()(1)
            await tasks[0]

    asyncio.run(main())
    assert not tasks[0].cancelled()


@pytest.mark.parametrize("kind", [SystemExit, GeneratorExit, ZeroDivisionError])
def test_pythons_own_hook_shows_what_an_observer_raises(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], kind: type[BaseException]
) -> None:
    """By itself that hook ignores a SystemExit."""
    monkeypatch.setattr(threading, "excepthook", threading.__excepthook__)

    def broken(_: Event) -> None:
        raise kind("words")

    with add_observer(broken):
        assert Task(abs).inline()(-1).run(executor="thread").unwrap() == 1
    shown = capsys.readouterr().err
    assert shown.count("Traceback") == 1
    assert f"{kind.__name__}: words" in shown


@pytest.mark.parametrize("deadline", [None, 5_000])
@pytest.mark.parametrize("executor", ["asyncio", "trio", "thread"])
def test_an_observer_cannot_close_the_balancer_whose_request_waits(executor: str, deadline: int | None) -> None:
    """On the plain thread that posts it or cancels it, where nothing of the balancer runs."""
    leave, refused = threading.Event(), list[str]()

    def closes(event: Event) -> None:
        if event.kind == "request_queued" or (event.kind == "request_ended" and event.status == "cancelled"):
            try:
                balancer.close(grace=10)
            except Exception as error:  # noqa: BLE001
                refused.append(str(error))

    with Balancer(executor, workers=1, observers=[closes]) as balancer:
        first = balancer.post(Task(leave.wait)(5))
        second = balancer.post(Task(abs)(-2), deadline=deadline)
        balancer.post(Task(abs)(-3)).cancel()
        leave.set()
        assert (first.wait().unwrap(), second.wait().unwrap()) == (True, 2)
    assert len(refused) == 3
    assert all("call it outside" in text or "aclose" in text for text in refused)


def test_what_an_observer_raises_is_reported_once(monkeypatch: pytest.MonkeyPatch) -> None:
    reported: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", reported.append)
    calls: list[Event] = []

    def broken(event: Event) -> None:
        calls.append(event)
        raise ZeroDivisionError

    with Balancer("thread", observers=[broken]) as balancer:
        assert balancer.run(Task(abs)(-1)).unwrap() == 1
    assert [args.exc_type for args in reported] == [ZeroDivisionError]
    assert len(calls) > 3


@pytest.mark.parametrize("kind", ["request_started", "attempt_started", "attempt_ended", "request_ended"])
@pytest.mark.parametrize("executor", ["asyncio", "trio", "thread", "await"])
def test_ctrl_c_in_one_observer_is_raised_when_the_others_were_called(kind: str, executor: str) -> None:
    before: list[str] = []
    after: list[str] = []

    def interrupted(event: Event) -> None:
        if event.kind == kind:
            raise KeyboardInterrupt

    async def body(number: int) -> int:
        return number

    request = Task(body)(1)
    with (
        add_observer(lambda event: before.append(event.kind)),
        add_observer(interrupted),
        add_observer(lambda event: after.append(event.kind)),
        suppress(KeyboardInterrupt),
    ):
        if executor == "await":
            with pytest.raises(KeyboardInterrupt):
                asyncio.run(request.arun())
        else:
            request.run(executor=executor)
    assert before == after
    began = kind != "request_started"
    assert before[0] == "request_started"
    assert [before.count(one) for one in ("attempt_started", "attempt_ended")] == [began, began]
    assert before.count("request_ended") == 1
    assert kind in before


def test_an_observer_does_not_observe_what_it_runs_itself() -> None:
    seen: list[str] = []
    breaker = Breaker()

    def runs(event: Event) -> None:
        seen.append(event.kind)
        breaker.open()
        breaker.close()
        assert Task(abs).inline()(-1).run().unwrap() == 1

    with add_observer(runs):
        Task(abs).inline()(1).run(executor="thread")
    assert seen == ["request_started", "started", "attempt_started", "attempt_ended", "finished", "request_ended"]


def test_simulated_runs_are_not_observed() -> None:
    seen: list[Event] = []
    with add_observer(seen.append):
        simulate(Task(abs), backends={"abs": LatencyModel.constant(10)}, requests=20)
    assert not seen


def test_one_line_is_logged_for_a_run_that_fails(caplog: pytest.LogCaptureFixture) -> None:
    with Balancer("thread", observers=[log_failures()]) as balancer, caplog.at_level(logging.DEBUG):
        balancer.run(Task(abs)(1))
        balancer.run(Task(fail).named("page").retry(1, backoff=None)("argument"))
    with pytest.raises(Exception, match="closed"):
        balancer.run(Task(abs)(1))
    first, second = caplog.records
    assert (first.name, first.levelname) == ("rio_chain", "WARNING")
    assert first.getMessage().startswith("page failed (OSError) after ")
    assert "secret" not in caplog.text
    assert "argument" not in caplog.text
    assert second.getMessage() == "abs was refused: closed"


def test_nothing_is_logged_by_default(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        Task(fail)(1).run(executor="thread")
    assert not [record for record in caplog.records if record.name.startswith("rio_chain")]


def test_the_logger_and_the_level_can_be_chosen(caplog: pytest.LogCaptureFixture) -> None:
    observer = log_failures(logging.getLogger("shop"), level=logging.ERROR)
    with Balancer("thread", observers=[observer]) as balancer:
        balancer.run(Task(fail)(1))
    (record,) = caplog.records
    assert (record.name, record.levelname) == ("shop", "ERROR")


def test_the_plain_copy_of_a_record_has_all_its_fields() -> None:
    copies: list[Any] = []

    def fails(_: object) -> NoReturn:
        raise OSError

    with add_observer(bool):
        copies += Task(fails).or_else(1)(1).run()._log
    [copied] = copies
    assert type(copied) is TaskRecord
    assert all(hasattr(copied, name) for name in TaskRecord.__slots__)
    assert copied.fallbacks == 1
