"""Errors that nobody waits for."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable


def report(error: BaseException) -> None:
    """Pass an error that nobody else will see to ``threading.excepthook``; never raises."""
    with contextlib.suppress(BaseException):
        args = (type(error), error, error.__traceback__, threading.current_thread())
        threading.excepthook(threading.ExceptHookArgs(args))


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
        report(error)
