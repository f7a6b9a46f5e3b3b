"""A sync function that holds the loop is named, once, where it begins; on threads there is no loop to hold."""

from __future__ import annotations

import threading
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from rio_chain import Request, Task
from rio_chain.engine import _classify_error, _interpreter, _warn_blocked_loop

LOOPS = ("asyncio", "trio")
Warned = list[warnings.WarningMessage]


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_interpreter, "BLOCKED_AFTER", 0.005)
    monkeypatch.setattr(_classify_error, "BLOCKED_AFTER", 0.005)
    monkeypatch.setattr(_warn_blocked_loop, "_warned", set())


@pytest.fixture
def warned() -> Iterator[Warned]:
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        yield seen


def blocks(x: Any) -> Any:
    time.sleep(0.012)
    return x


def quick(x: Any) -> Any:
    return x


def fails(x: Any) -> Any:
    time.sleep(0.012)
    raise OSError(x)


@pytest.mark.parametrize("executor", LOOPS)
@pytest.mark.parametrize(
    ("request_", "what"),
    [
        (Task(blocks).inline()(1), "task 'blocks'"),
        (Task(blocks).inline().named("slow one")(1), "task 'slow one'"),
        (Task(blocks).inline().timeout(5)(1), "task 'blocks'"),
        (Task(blocks).inline().retry(2, backoff=None)(1), "task 'blocks'"),
        (Task(fails).inline().retry(2, backoff=None)(1), "task 'fails'"),
        ((Task(quick).inline() >> blocks)(1), "bridge 'blocks'"),
    ],
)
def test_it_is_named_once(executor: str, request_: Request[Any], what: str, warned: Warned) -> None:
    for _ in range(2):
        request_.run(executor=executor)
    (one,) = warned
    assert one.category is RuntimeWarning
    assert str(one.message).startswith(f"{what} blocked the event loop for ")
    assert one.filename == __file__
    function = fails if "fails" in what else blocks
    assert one.lineno == function.__code__.co_firstlineno


@pytest.mark.parametrize("executor", LOOPS)
@pytest.mark.parametrize(
    "request_",
    [
        Task(blocks)(1),  # on a thread
        Task(quick).inline()(1),
        (Task(quick).inline() >> quick)(1),
        Task(lambda x: Task(blocks)(x + 0)).inline()(1),  # what it gives is run elsewhere
        (Task(quick).inline() >> (lambda x: Task(blocks)(x + 0)))(1),
    ],
)
def test_a_function_that_does_not_hold_the_loop_is_not_named(
    executor: str, request_: Request[Any], warned: Warned
) -> None:
    request_.run(executor=executor).unwrap()
    assert not warned


@pytest.mark.parametrize("chain", [Task(blocks).inline(), Task(quick) >> blocks])
def test_threads_have_no_loop_to_hold(chain: Callable[[int], Request[Any]], warned: Warned) -> None:
    assert chain(1).run(executor="thread").unwrap() == 1
    assert not warned


def test_each_function_is_named_for_itself(warned: Warned) -> None:
    chain = (
        Task(blocks).inline()
        >> (lambda x: blocks(x + 0))
        >> Task(blocks).inline().named("other")
        >> (lambda x: blocks(x + 0))
    )
    chain(1).run(executor="asyncio").unwrap()
    assert len(warned) == 4


def test_what_is_remembered_is_bounded(warned: Warned, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_warn_blocked_loop, "MAX_WARNINGS", 2)
    for i in range(4):
        Task(blocks).inline().named(f"name {i}")(1).run(executor="asyncio")
    assert len(warned) == 2


def test_an_object_whose_code_is_not_known_is_named(warned: Warned) -> None:
    Task(time.sleep).inline()(0.012).run(executor="asyncio")
    assert [str(one.message).split(" blocked")[0] for one in warned] == ["task 'sleep'"]


def test_a_warning_that_is_an_error_is_reported_beside_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    errors: list[threading.ExceptHookArgs] = []
    monkeypatch.setattr(threading, "excepthook", errors.append)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert Task(blocks).inline()(1).run(executor="asyncio").unwrap() == 1
    (error,) = errors
    assert error.exc_type is RuntimeWarning
    assert "task 'blocks' blocked the event loop" in str(error.exc_value)
