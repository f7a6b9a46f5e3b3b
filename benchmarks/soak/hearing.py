"""What no caller gets: excepthooks, warnings and logs. In a soak all of it is a finding."""

from __future__ import annotations

import contextlib
import logging
import sys
import threading
import traceback
import warnings
from collections.abc import Iterator
from typing import Any

from benchmarks.soak.ledger import BASE, Ledger

SWITCH = 0.0005
"""Seconds: threads take turns ten times as often as they would, so that more orders of things are seen."""


@contextlib.contextmanager
def switching() -> Iterator[None]:
    """Threads take turns more often."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH)
    yield
    sys.setswitchinterval(before)


class _Log(logging.Handler):
    def __init__(self, ledger: Ledger) -> None:
        super().__init__(logging.WARNING)
        self.ledger = ledger

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        self.ledger.found("logged", f"{record.name}: {record.getMessage()!r} {error!r}")


@contextlib.contextmanager
def told_to(ledger: Ledger) -> Iterator[None]:
    """Errors that nobody waits for, warnings and logs are findings."""

    def excepthook(args: Any) -> None:
        if args.exc_type not in BASE:  # these may be those of requests that were left
            where = "".join(traceback.format_exception(args.exc_value))
            ledger.found("threading.excepthook was called", f"{args.thread}: {where}")

    def unraisable(args: Any) -> None:
        ledger.found("sys.unraisablehook was called", f"{args.exc_value!r} of {args.object!r}")

    before, log = (threading.excepthook, sys.unraisablehook), _Log(ledger)
    threading.excepthook, sys.unraisablehook = excepthook, unraisable
    logging.getLogger().addHandler(log)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.showwarning = lambda message, *_, **__: ledger.found("warned", repr(message))
            yield
    finally:
        threading.excepthook, sys.unraisablehook = before
        logging.getLogger().removeHandler(log)
