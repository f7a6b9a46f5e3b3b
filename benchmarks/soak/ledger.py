"""Who asked, who was answered, and what must not have happened."""

from __future__ import annotations

import itertools
import threading
import time
import traceback
from collections import Counter
from typing import TYPE_CHECKING, Any

from returns.result import Failure

from rio_chain import (
    Abandoned,
    BridgeFailed,
    CallbackFailed,
    CircuitOpen,
    DeadlineExceeded,
    LimitExceeded,
    NotAccepted,
    NotEnoughSuccesses,
    Outcome,
    QueueFull,
    Saturated,
    TaskTimedOut,
    TicketCancelled,
)

if TYPE_CHECKING:
    from benchmarks.soak.chains import Made

MODULO = 64
"""Requests whose numbers are equal modulo this may share answers, where a cache or a flight says so."""
CHILD = 2**40
"""A piece of work that came of another has this much more; a multiple of ``MODULO``."""
MOST = 3
"""So many findings of each kind are kept, with their texts."""
STATUSES = frozenset({"succeeded", "failed", "timed_out", "abandoned", "skipped", "cancelled"})


class Fault(Exception):
    """What bodies and bridges raise."""


class Final(BaseException):
    """What no ``except Exception`` catches."""


BASE = (SystemExit, Final)
REFUSALS = (QueueFull, Saturated)
ERRORS = (Exception, *BASE)
"""What a request may raise, rightly or not; a cancellation is none of it."""
DECLINED = "declined"
"""The error value of a Failure that a body returns."""
NEEDS: dict[type[Exception], str] = {
    TaskTimedOut: "timeout",
    Abandoned: "hang",
    CircuitOpen: "breaker",
    NotAccepted: "accept",
    CallbackFailed: "callback",
    NotEnoughSuccesses: "items",
}
"""Errors that come only of chains which have this."""


class Entry:
    """One request on its way."""

    __slots__ = ("answers", "began", "cancelled", "made", "number", "ticket", "timed", "way")

    def __init__(self, number: int, made: Made, way: str) -> None:
        self.number = number
        self.made = made
        self.way = way
        self.began = time.monotonic()
        self.timed = False  # it has a deadline, or may wait only so long in the queue
        self.cancelled = False  # somebody has cancelled it, or is about to
        self.ticket: Any = None
        self.answers = itertools.count(1)  # of its ticket


class Ledger:
    """Counts, from any thread. ``open`` are the requests that were not answered yet, by their numbers."""

    def __init__(self) -> None:
        self.open: dict[int, Entry] = {}
        self.counts: Counter[str] = Counter()
        self.findings: dict[str, list[str]] = {}
        self.asked = 0
        self._numbers = itertools.count(MODULO)
        self._left: list[int] = []
        self._lock = threading.Lock()

    # --- the way of a request -----------------------------------------------------------------------------------

    def ask(self, made: Made, way: str) -> Entry:
        """A request is about to be handed in."""
        entry = Entry(next(self._numbers), made, way)
        with self._lock:
            self.asked += 1
            self.open[entry.number] = entry
        return entry

    def refused(self, entry: Entry, error: Exception) -> None:
        """It was not accepted: the queue was full, or too many calls are abandoned."""
        self._close(entry, "queue full" if isinstance(error, QueueFull) else "saturated")

    def interrupted(self, entry: Entry) -> None:
        """The task that waited for it was cancelled, and it has ended."""
        self._close(entry, "interrupted")

    def left(self, entry: Entry) -> None:
        """Nobody waits for it any more, so nobody can tell when it ends: at the end of the round at the latest."""
        with self._lock:
            self._left.append(entry.number)

    def answered(self, entry: Entry, outcome: Outcome[Any]) -> None:
        """It got its Outcome."""
        self.check(entry, outcome)
        self._close(entry, _kind(outcome))

    def check(self, entry: Entry, outcome: Outcome[Any]) -> None:
        """Look whether it may have this Outcome."""
        if isinstance(outcome.result, Failure):
            error = outcome.result.failure()
            if not allowed(entry, error):
                self.found(
                    f"an error not of its making: {type(error).__name__}", f"{self.name(entry)}: {error!r}, {outcome!r}"
                )
        elif not consistent(entry, outcome.unwrap()):
            self.found("an answer of another request", f"{self.name(entry)} got {outcome.unwrap()!r}")
        statuses = {response.status for response in outcome}
        if not statuses <= STATUSES:
            self.found("a status that is none", f"{self.name(entry)} ended with {statuses}: {outcome!r}")

    def raised(self, entry: Entry, error: BaseException) -> None:
        """It was answered by an error that is no Exception."""
        self.check_raised(entry, error)
        self._close(entry, "raised")

    def check_raised(self, entry: Entry, error: BaseException) -> None:
        """Look whether it may raise this error. No Exception of a body is raised, and none of ours but refusals."""
        if isinstance(error, REFUSALS):
            return
        if type(error) not in BASE or "base" not in entry.made.kinds:
            where = "".join(traceback.format_exception(error))
            self.found(f"raised what is not of its making: {type(error).__name__}", f"{self.name(entry)}: {where}")

    def drained(self) -> None:
        """Nothing runs any more, so what was left has ended."""
        with self._lock:
            for number in self._left:
                self.open.pop(number, None)
                self.counts["mapped"] += 1
            self._left.clear()

    def _close(self, entry: Entry, kind: str) -> None:
        with self._lock:
            known = self.open.pop(entry.number, None)
            self.counts[kind] += 1
        if known is None:
            self.found("answered twice", self.name(entry))

    # --- what must not happen -----------------------------------------------------------------------------------

    def found(self, kind: str, what: str = "") -> None:
        """Something that must not happen did."""
        with self._lock:
            self.counts["findings"] += 1
            places = self.findings.setdefault(kind, [])
            if len(places) < MOST:
                places.append(what)

    def name(self, entry: Entry) -> str:
        """A request as text."""
        return f"request {entry.number} ({entry.way}) of {entry.made.chain!r}"

    def unanswered(self) -> list[Entry]:
        """Those who wait, the oldest first."""
        with self._lock:
            gone = set(self._left)
            return [entry for entry in self.open.values() if entry.number not in gone]


def _kind(outcome: Outcome[Any]) -> str:
    if not isinstance(outcome.result, Failure):
        return "succeeded"
    error = outcome.result.failure()
    if isinstance(error, TicketCancelled):
        return "cancelled"
    return "timed out" if isinstance(error, (TaskTimedOut, DeadlineExceeded, Abandoned)) else "failed"


def allowed(entry: Entry, error: object) -> bool:
    """Whether this request may fail with this error."""
    if isinstance(error, (BridgeFailed, CallbackFailed)) and isinstance(error.error, LimitExceeded):
        return True  # on threads these calls may be refused as any other
    if isinstance(error, BridgeFailed):
        return isinstance(error.error, Fault)
    if isinstance(error, DeadlineExceeded):
        return entry.timed
    if isinstance(error, TicketCancelled):
        return entry.cancelled
    if isinstance(error, Exception) and type(error) in NEEDS:
        return not entry.made.kinds.isdisjoint({NEEDS[type(error)], "shared"})  # who follows gets the leader's error
    return error == DECLINED or isinstance(error, (Fault, LimitExceeded))


def consistent(entry: Entry, value: object) -> bool:
    """Whether the value came of this request. None: of a fallback that is the same for all."""
    if value is None:
        return True
    if not isinstance(value, int):
        return False
    shared = "shared" in entry.made.kinds
    return (value - entry.number) % MODULO == 0 if shared else value == entry.number
