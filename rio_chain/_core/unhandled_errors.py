"""What is done with an error that nobody else handles, and with a step that must not fail."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
import traceback
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
_PAUSES = 0.0, 0.001, 0.01
"""Seconds between the attempts of ``surely``."""


def report_unhandled(error: BaseException) -> None:
    """Hand ``threading.excepthook`` an error that has nowhere else to go; never raises.

    Python's own hook ignores ``SystemExit``, by which a thread ends itself. Here no thread ends, so it is shown.
    """
    with contextlib.suppress(BaseException):
        hook, thread = threading.excepthook, threading.current_thread()
        hook(threading.ExceptHookArgs((type(error), error, error.__traceback__, thread)))
        if type(error) is SystemExit and hook is threading.__excepthook__ and sys.stderr is not None:
            print(f"Exception in thread {thread.name}:", file=sys.stderr)  # noqa: T201
            traceback.print_exception(error)


def call_once(cell: list[Callable[[], object]]) -> None:
    """Take a user's callback out of its cell and call it. An error that it raises is reported, and goes no further.

    An empty cell does nothing, so this may be called again, and by several threads at once.
    """
    try:
        callback = cell.pop()
    except IndexError:
        return
    try:
        callback()
    except BaseException as error:  # noqa: BLE001 - others wait for the same event, on a loop that must go on
        report_unhandled(error)


def surely(act: Callable[[], T]) -> T:
    """Do it, again where that is interrupted or the system has no memory: somebody waits for it and for nothing else.

    What interrupted it, such as the time limit that a signal handler raises, is raised when it is done.
    """
    interruption: Exception | None = None
    for pause in _PAUSES:
        try:
            got = act()
            break
        except RecursionError:
            raise  # it would come again
        except MemoryError:
            time.sleep(pause)
        except Exception as error:  # noqa: BLE001 - raised when it is done
            interruption = error
    else:
        got = act()
    if interruption is not None:
        raise interruption
    return got


def contained(call: Callable[[], object]) -> None:
    """Make a call that a loop makes, and that would end the whole loop if it raised."""
    try:
        surely(call)
    except BaseException as error:  # noqa: BLE001 - it has nowhere else to go
        report_unhandled(error)
