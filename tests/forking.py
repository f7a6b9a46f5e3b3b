"""Work in a forked child of the test's own process, which has a few seconds for it."""

from __future__ import annotations

import os
import signal
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

PATIENCE = 20
"""Seconds. A child that hangs is killed by then."""

forks = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork"),
    pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning"),  # of Python 3.12 and later
]
"""Marks of a module with such tests."""


def in_child(work: Callable[[], object]) -> None:
    """Do it in a child. What it raises there is the failure of the test here."""
    out, into = os.pipe()
    child = os.fork()
    if not child:
        end_of_child(work, into)
    os.close(into)
    with os.fdopen(out, encoding="utf-8") as pipe:
        said = pipe.read()
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert (code, said) == (0, ""), f"the child hung (signal {-code})" if code == -signal.SIGALRM else said


def begin_child() -> None:
    """Be killed when it takes too long. The alarm of pytest's own time limit is not inherited."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(PATIENCE)


def end_of_child(work: Callable[[], object], into: int) -> None:
    """Do it and end this process."""
    code = 1
    try:
        begin_child()
        work()
        code = 0
    except BaseException:  # noqa: BLE001 - the parent reports it
        os.write(into, traceback.format_exc().encode())
    finally:
        os._exit(code)


@contextmanager
def elsewhere(work: Callable[[Callable[[], None]], object]) -> Iterator[None]:
    """Meanwhile another thread is in the middle of ``work``, where that calls what it is given."""
    inside, go_on = threading.Event(), threading.Event()
    errors: list[BaseException] = []

    def pause() -> None:
        inside.set()
        go_on.wait(60)

    def main() -> None:
        try:
            work(pause)
        except BaseException as error:  # noqa: BLE001 - it is raised below
            errors.append(error)
        inside.set()

    thread = threading.Thread(target=main)
    thread.start()
    inside.wait(60)
    try:
        yield
    finally:
        go_on.set()
        thread.join(60)
    assert not errors, errors


def holding(lock: Any) -> Callable[[Callable[[], None]], None]:
    """Work that pauses while it holds a lock."""

    def work(pause: Callable[[], None]) -> None:
        with lock:
            pause()

    return work


# --- what is forked in the middle of ---------


def same(x: Any) -> Any:
    return x


async def asame(x: Any) -> Any:
    return x


def answer(chain: Any, executor: str, value: Any = 1) -> Any:
    return chain(value).run(executor=executor, deadline=10_000).result


class Fails(Exception):
    pass


def fails(_: Any) -> None:
    raise Fails


def paused(chain: Callable[[Any], Any], executor: str) -> Callable[[Callable[[], None]], object]:
    """Work that pauses in the function of a chain."""
    return lambda pause: chain(lambda _: pause())(1).run(executor=executor, deadline=3_600_000).unwrap()
