"""What one run gives: an Outcome, with one Response per task. Both are made from the run's log when somebody looks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

from returns.primitives.exceptions import UnwrapFailedError
from returns.result import Failure, Result, Success

from rio_chain.errors import (
    Abandoned,
    BridgeFailed,
    DeadlineExceeded,
    Skipped,
    TaskTimedOut,
    TicketCancelled,
    UnknownTask,
    told,
)
from rio_chain.units import inert, milliseconds, shown

if TYPE_CHECKING:
    from rio_chain.plan import Plan

Out = TypeVar("Out", covariant=True)
Other = TypeVar("Other")

Status = Literal["succeeded", "failed", "timed_out", "abandoned", "skipped", "cancelled"]

_STATUS_OF: tuple[tuple[type[Exception], Status], ...] = (
    (TaskTimedOut, "timed_out"),
    (DeadlineExceeded, "timed_out"),
    (Abandoned, "abandoned"),
    (TicketCancelled, "cancelled"),
)


def _status_of(error: object) -> Status:
    """By identity: a user's class of errors may be neither hashable nor comparable."""
    for kind, status in _STATUS_OF:
        if type(error) is kind:
            return status
    return "failed"


class Entry:
    """The log of one task in one run. ``status`` None: its turn has not come; "running": no answer yet."""

    __slots__ = ("began", "calls", "denied", "ended", "errors", "started", "status", "value", "wasted", "winner")

    def __init__(self) -> None:
        self.calls = 0
        self.began = self.ended = 0.0
        self.errors: list[Any] = []
        self.status: Status | Literal["running"] | None = None
        self.value: Any = None  # the answer, or the error
        self.winner = 0
        self.started = self.denied = self.wasted = 0

    def succeeded(self, value: Any) -> None:
        """The call, or a policy in place of it, gave an answer."""
        self.status, self.value = "succeeded", value

    def failed(self, error: Any) -> None:
        """The call, or what was made of it, failed with ``error``."""
        self.errors.append(error)
        self.status, self.value = _status_of(error), error


Log = list[Any]
"""Per task, in plan order: None, or ``(began, ended, value)`` of one call that succeeded, or an ``Entry``."""


def entry_of(log: Log, index: int) -> Entry:
    """The task's Entry, made from the short form where need be."""
    found = log[index]
    if type(found) is Entry:
        return found
    entry = Entry()
    if found is not None:
        entry.calls, entry.status = 1, "succeeded"
        entry.began, entry.ended, entry.value = found
    log[index] = entry
    return entry


def note_call(log: Log, index: int, began: float, ended: float) -> Entry:
    """One more call of the task was made."""
    entry = entry_of(log, index)
    if not entry.calls:
        entry.began = began
    entry.calls += 1
    entry.ended = ended
    return entry


def new_round(log: Log, low: int, high: int) -> None:
    """Tasks ``low`` up to ``high`` get another turn: what they did counts, how it ended no longer does."""
    for index in range(low, high):
        if log[index] is not None:
            entry_of(log, index).status = None


def close(log: Log, low: int, high: int, error: Any, *, sibling: bool = False) -> None:
    """``error`` ended the turn of tasks ``low`` up to ``high``: say so at those that were running or had not begun.

    ``sibling``: the error is that of a branch beside them.
    """
    for index in range(low, high):
        found = log[index]
        if found is not None and (type(found) is not Entry or found.status not in (None, "running")):
            continue
        entry = entry_of(log, index)
        if entry.status is None:
            _skip(entry, error)
        elif sibling or _status_of(error) == "failed":
            entry.status, entry.value = "cancelled", Skipped(error)
        else:
            entry.failed(error)


def merge(log: Log, low: int, high: int, logs: list[tuple[int, Log]], winner: int | None) -> None:
    """Add what several calls made at once have logged, each in a log of its own; the winner says how it ended."""
    for index in range(low, high):
        ran = [(number, entry_of(own, index)) for number, own in logs if own[index] is not None]
        if not ran:
            continue
        total = entry_of(log, index)
        for _, entry in ran:
            if not total.calls:
                total.began = entry.began
            total.calls += entry.calls
            total.errors += entry.errors
            total.denied += entry.denied
        last = min(ran, key=lambda one: (one[0] != winner, one[1].status != "running", one[0]))[1]
        total.ended, total.status, total.value = last.ended, last.status, last.value


def _skip(entry: Entry, error: Any) -> None:
    entry.status = "skipped"
    entry.value = error if isinstance(error, BridgeFailed) else Skipped(error)


class Response:
    """One task's record of one run. Times are milliseconds.

    Attributes:
        name: the task's name in the plan.
        status: ``succeeded``, ``failed``, ``timed_out``, ``abandoned``, ``skipped`` or ``cancelled``.
        result: ``Success(value)`` or ``Failure(error)`` of the last round.
        attempts: calls made in the whole run; 0 when it was skipped.
        elapsed: from the start of its first call to the end of its last, waits between them included.
        errors: the errors of all its attempts, in order.
        winner: which of the calls made at once gave the answer, counted from 0; None when none did.
        started: how many replicas were started in the last round; 0 without ``.replica``.
        wasted: how many of them were started in vain.
        denied: how many retries and replicas a budget did not allow, in the whole run.
    """

    __slots__ = ("_found", "_winner", "attempts", "denied", "errors", "name", "started", "status", "wasted")

    def __init__(self, name: str, found: Any, cause: Any) -> None:
        self.name = name
        self.status: Status = "succeeded"
        self.attempts = 1
        self.errors: tuple[Any, ...] = ()
        self.started = self.wasted = self.denied = self._winner = 0
        if type(found) is not tuple:
            if found is None or found.status is None:
                found = found or Entry()
                _skip(found, cause)
            self.status = found.status
            self.attempts = found.calls
            self.errors = tuple(found.errors)
            self.started, self.wasted, self.denied = found.started, found.wasted, found.denied
            self._winner = found.winner
            found = found.began, found.ended, found.value
        self._found: tuple[float, float, Any] = found

    @property
    def result(self) -> Result[Any, Any]:
        """``Success(value)`` or ``Failure(error)``."""
        return Success(self._found[2]) if self.status == "succeeded" else Failure(self._found[2])

    @property
    def elapsed(self) -> float:
        """Milliseconds."""
        return milliseconds(self._found[1] - self._found[0])

    @property
    def winner(self) -> int | None:
        """Which of the calls made at once answered."""
        return self._winner if self.status == "succeeded" else None

    def __repr__(self) -> str:
        tries = f", {self.attempts} attempts" if self.attempts > 1 else ""
        return f"<Response {self.name}: {self.status}{tries}, {self.elapsed:.1f} ms>"


class Outcome(Generic[Out]):
    """What one run gave: ``.result``, and one ``Response`` per task in plan order, also of those that did not run.

    ``outcome[0]``, ``outcome["name"]``, ``outcome.only``, ``len(outcome)`` and iteration give Responses.
    Times are milliseconds.

    Example:
        >>> from rio_chain import Task
        >>> outcome = Task(len).named("size")("four").run()
        >>> outcome.unwrap(), outcome["size"].attempts
        (4, 1)
    """

    __slots__ = ("_failed", "_log", "_times", "_value", "plan")

    def __init__(self, plan: Plan, log: Log, value: Any, times: tuple[float, float, float], *, failed: bool) -> None:
        self.plan = plan
        self._log = log
        self._value = value
        self._failed = failed
        self._times = times  # posted, began, ended

    @property
    def result(self) -> Result[Out, Any]:
        """``Success(value)``, or the ``Failure`` that ended the run."""
        return Failure(self._value) if self._failed else Success(self._value)

    def unwrap(self) -> Out:
        """The value; a run that failed raises its error (``UnwrapFailedError`` where that is not an exception)."""
        if not self._failed:
            return self._value  # type: ignore[no-any-return]  # the log holds values of any type
        if isinstance(self._value, BaseException):
            raise self._value
        raise UnwrapFailedError(self.result)

    def value_or(self, default: Other) -> Out | Other:
        """The value, or ``default`` when the run failed."""
        return default if self._failed else self._value

    @property
    def elapsed(self) -> float:
        """Milliseconds from the start of the run to its end; the time in a balancer's queue is not in it."""
        return milliseconds(self._times[2] - self._times[1])

    @property
    def queued(self) -> float:
        """Milliseconds it waited in a balancer's queue before it began."""
        return milliseconds(self._times[1] - self._times[0])

    @property
    def responses(self) -> tuple[Response, ...]:
        """One Response per task, in plan order."""
        return tuple(self)

    def _response(self, index: int) -> Response:
        return Response(self.plan.tasks[index].name, self._log[index], self._value if self._failed else None)

    @property
    def only(self) -> Response:
        """The one Response of a run that has exactly one task."""
        if len(self) != 1:
            names = ", ".join(self._names())
            raise UnknownTask(f"`only` needs a chain of one task; this one has {len(self)}: {names}")
        return self._response(0)

    def _names(self) -> list[str]:
        return [task.name for task in self.plan.tasks]

    def _index(self, name: str) -> int:
        names = self._names()
        name = name if name in names else inert(name)  # names are kept as printable ASCII
        if name in names:
            return names.index(name)
        twins = [n for n in names if n.rpartition("#")[0] == name]
        if twins:
            raise UnknownTask(
                f"{shown(name)} stands in the chain {len(twins)} times; ask for one of {', '.join(twins)}"
            )
        raise UnknownTask(f"no task is named {shown(name)}; this run has {', '.join(names)}")

    def __getitem__(self, key: int | str) -> Response:
        return self._response(self._index(key) if isinstance(key, str) else key)

    def __len__(self) -> int:
        return len(self.plan.tasks)

    def __iter__(self) -> Iterator[Response]:
        return map(self._response, range(len(self)))

    def summary(self) -> str:
        """A table: one line per task with its status, attempts and time, and what came out."""
        width = max(len("task"), *(len(name) for name in self._names()), 4)
        lines = [f"{'task':{width}}  {'status':9}  attempts  {'elapsed':>10}"]
        lines += [f"{r.name:{width}}  {r.status:9}  {r.attempts:8}  {r.elapsed:7.1f} ms" for r in self.responses]
        lines.append(f"{'failed' if self._failed else 'succeeded'} in {self.elapsed:.1f} ms: {self._short()}")
        return "\n".join(lines)

    def _short(self) -> str:
        if self._failed and isinstance(self._value, Exception):
            return f"{type(self._value).__name__}: {inert(told(self._value, str))}"
        return shown(self._value)

    def __repr__(self) -> str:
        kind = "failed" if self._failed else "succeeded"
        error = f" ({type(self._value).__name__})" if self._failed else ""  # values may be large or secret
        return f"<Outcome {kind}{error} in {self.elapsed:.1f} ms, {len(self)} tasks>"
