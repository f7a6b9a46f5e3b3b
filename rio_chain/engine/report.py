"""Errors that nobody waits for."""

from __future__ import annotations

import contextlib
import threading


def report(error: BaseException) -> None:
    """Pass an error that nobody else will see to ``threading.excepthook``; never raises."""
    with contextlib.suppress(BaseException):
        args = (type(error), error, error.__traceback__, threading.current_thread())
        threading.excepthook(threading.ExceptHookArgs(args))
