"""Handles errors that nothing else handles, and steps that must not fail."""

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
    """Pass an error that nothing else handles to ``threading.excepthook``. Never raises.

    Python's own hook ignores ``SystemExit``, by which a thread ends itself. Here no thread ends, so it is shown.
    """
    with contextlib.suppress(BaseException):
        hook, thread = threading.excepthook, threading.current_thread()
        hook(threading.ExceptHookArgs((type(error), error, error.__traceback__, thread)))
        if type(error) is SystemExit and hook is threading.__excepthook__ and sys.stderr is not None:
            sys.stderr.write(f"Exception in thread {thread.name}:\n")
            traceback.print_exception(error)


def call_once(cell: list[Callable[[], object]]) -> None:
    """Take a user's callback out of its cell and call it. An error of the callback is reported and not raised.

    If the cell is empty it does nothing, so several threads may call this, and more than once.
    """
    try:
        callback = cell.pop()
    except IndexError:
        return
    try:
        callback()
    except BaseException as error:  # noqa: BLE001 - the other waiters of this event must still be woken
        report_unhandled(error)


def surely(act: Callable[[], T]) -> T:
    """Call ``act`` until it succeeds: again if an exception interrupts it or memory is short. A waiter depends on it.

    If an exception interrupted it, such as a time limit of a signal handler, that is raised after ``act`` has
    succeeded.
    """
    interruption: Exception | None = None
    for pause in _PAUSES:
        try:
            got = act()
            break
        except RecursionError:
            raise  # it would be raised again
        except MemoryError:
            time.sleep(pause)
        except Exception as error:  # noqa: BLE001 - raised after it has succeeded
            interruption = error
    else:
        got = act()
    if interruption is not None:
        raise interruption
    return got


def contained(call: Callable[[], object]) -> None:
    """Make a call for an event loop, which would end if the call raised. Errors are reported instead."""
    try:
        surely(call)
    except BaseException as error:  # noqa: BLE001 - nothing else handles it
        report_unhandled(error)
