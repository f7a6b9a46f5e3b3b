from __future__ import annotations

import asyncio
import gc
import inspect
import os
import subprocess
import sys
import textwrap
import traceback
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import pytest

from rio_chain import BridgeFailed, Task
from rio_chain._core.tracebacks import as_kept, drop_frames


class Value:
    pass


def divides(x: Any) -> Any:
    local = [x]
    return (
        len(local)
        / 0
    )  # fmt: skip


async def awaits(x: Any) -> Any:
    return divides(x)


class Group:
    def method(self, x: Any) -> Any:
        return [divides(y) for y in (x,)]


def chains(x: Any) -> Any:
    try:
        return divides(x)
    except ZeroDivisionError as error:
        raise OSError("because") from error


def handles(x: Any) -> Any:
    try:
        return divides(x)
    except ZeroDivisionError:
        raise LookupError("meanwhile")  # noqa: B904 - it is to be its context


def groups(x: Any) -> Any:
    errors: list[Exception] = []
    for fn in (divides, chains):
        try:
            fn(x)
        except Exception as error:  # noqa: BLE001
            errors.append(error)
    raise ExceptionGroup("both", errors)


def holds(x: Any) -> Any:
    try:
        return divides(x)
    except ZeroDivisionError as error:
        inner = error
    raise BridgeFailed("b", "a", "c", inner)


WAYS = [divides, lambda x: asyncio.run(awaits(x)), Group().method, chains, handles, groups, holds]


def raised(fn: Callable[[Any], Any], x: Any) -> BaseException:
    try:
        fn(x)
    except BaseException as error:  # noqa: BLE001
        return error
    raise AssertionError


def entries(error: BaseException) -> list[TracebackType]:
    found: list[TracebackType] = []
    entry = error.__traceback__
    while entry is not None:
        found.append(entry)
        entry = entry.tb_next
    return found


def names(error: BaseException) -> list[str]:
    return [entry.name for entry in traceback.extract_tb(error.__traceback__)]


@pytest.mark.parametrize("fn", WAYS)
def test_what_is_printed_stays_the_same(fn: Callable[[Any], Any]) -> None:
    error = raised(fn, 1)
    before = traceback.format_exception(error)
    drop_frames(error)
    assert traceback.format_exception(error) == before


@pytest.mark.parametrize("fn", WAYS)
def test_nothing_that_was_at_hand_is_kept(fn: Callable[[Any], Any]) -> None:
    gc.collect()
    gc.disable()
    try:
        value = Value()
        ref = weakref.ref(value)
        error = raised(fn, value)
        del value
        assert ref() is not None
        drop_frames(error)
        assert ref() is None
    finally:
        gc.enable()


def test_the_frames_know_their_code_and_nothing_else() -> None:
    error = raised(asyncio.run, awaits(1))
    drop_frames(error)
    for entry in entries(error):
        frame = entry.tb_frame
        assert frame.f_back is None
        assert frame.f_locals == {}
    last = entries(error)[-1]
    assert last.tb_frame.f_code.co_name == "divides"
    assert last.tb_frame.f_globals["__name__"] == __name__
    assert last.tb_lineno == inspect.getsourcelines(divides)[1] + 3


def test_an_error_that_was_never_raised_stays_as_it_is() -> None:
    error = OSError()
    drop_frames(error)
    drop_frames("no exception")
    assert error.__traceback__ is None


def test_causes_that_go_round_in_circles_are_looked_at_once() -> None:
    first, second = raised(divides, 1), raised(divides, 2)
    first.__cause__, second.__context__ = second, first
    drop_frames(first)
    assert all(entry.tb_frame.f_back is None for error in (first, second) for entry in entries(error))


def test_a_class_of_errors_that_is_frozen_or_lies_is_no_obstacle() -> None:
    @dataclass(frozen=True)
    class Frozen(Exception):
        value: object

    class Lies(Exception):
        @property
        def __traceback__(self) -> None:  # type: ignore[override]
            raise RuntimeError

        __cause__ = __context__ = __traceback__  # type: ignore[assignment]

    for kind in (Frozen, Lies):
        value = Value()
        ref = weakref.ref(value)

        def fails(_: Any, kind: type[Exception] = kind) -> Any:
            raise kind(1)

        error = raised(fails, value)
        del value
        drop_frames(error)
        assert ref() is None


def test_ours_are_left_out_where_a_function_of_the_user_was_called() -> None:
    error = Task(divides)(1).run().result.failure()
    assert names(error) == ["divides"]
    error = Task(chains)(1).run().result.failure()
    assert names(error) == ["chains"]
    assert error.__cause__ is not None
    assert names(error.__cause__) == ["chains", "divides"]


def test_where_all_are_ours_they_stay() -> None:
    error = Task(Task)(1).run().result.failure()  # type: ignore[arg-type]
    assert "__init__" in names(error)


# --- raised again ---------------------------------------------------------------------------------------------------


def test_an_error_that_is_raised_again_has_the_traceback_that_it_had() -> None:
    error = raised(divides, 1)
    drop_frames(error)
    kept = names(error)
    for _ in range(5):
        with pytest.raises(ZeroDivisionError):
            raise as_kept(error)
        assert names(error) == ["test_an_error_that_is_raised_again_has_the_traceback_that_it_had", *kept]


def test_an_error_that_had_no_traceback_has_none_again() -> None:
    error = OSError()
    drop_frames(error)
    with pytest.raises(OSError):  # noqa: PT011
        raise error
    assert as_kept(error).__traceback__ is None


def test_an_outcome_may_be_unwrapped_any_number_of_times() -> None:
    outcome = Task(divides)(1).run()
    for _ in range(20):
        with pytest.raises(ZeroDivisionError):
            outcome.unwrap()
    assert len(entries(outcome.result.failure())) == 3, "this function, `unwrap`, and where it was raised"


def test_one_error_that_a_function_raises_again_and_again_does_not_grow() -> None:
    error = OSError("shared")

    def fails(_: Any) -> None:
        raise error

    async def unwraps(x: int) -> Any:
        return (await Task(fails)(x)).unwrap()

    for _ in range(20):
        assert Task(fails)(1).run().result.failure() is error
        assert Task(unwraps)(1).run().result.failure() is error
    assert len(entries(error)) <= 3
    assert "fails" in names(error)


def test_places_are_not_remembered_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    known: dict[int, Any] = {}
    monkeypatch.setattr("rio_chain._core.tracebacks._known", known)
    monkeypatch.setattr("rio_chain._core.tracebacks._MOST", 5)
    for k in range(30):
        space: dict[str, Any] = {}
        exec(f"def fails(x):\n    raise OSError({k})", space)  # noqa: S102
        drop_frames(raised(space["fails"], 1))
        assert len(known) <= 5


def test_a_tracer_sees_kept_errors_of_long_functions() -> None:
    """With a debugger or coverage, Python 3.11 wrote beyond the end of an array. The debug allocator notices that."""
    code = """
        import sys
        from rio_chain._core.tracebacks import drop_frames

        def trace(*_):
            return trace

        sys.settrace(trace)
        for lines in range(1, 60):
            source = "def f():\\n" + "    x = len('a') + 1\\n" * lines + "    raise ValueError(1)\\n"
            found = {"__name__": "found"}
            exec(source, found)
            try:
                found["f"]()
            except ValueError as error:
                drop_frames(error)
    """
    ran = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        env={**os.environ, "PYTHONMALLOC": "debug"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
