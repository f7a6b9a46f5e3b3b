"""What one run gives: an Outcome, with one Response per task. Both are made from the run's log when somebody looks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from attrs import frozen
from returns.primitives.exceptions import UnwrapFailedError
from returns.result import Failure, Success

from rio_chain._core import hooks
from rio_chain._core.notebook_repr import Renderable
from rio_chain._core.tracebacks import as_kept
from rio_chain._core.units import escape_nonprintable, milliseconds, short_repr
from rio_chain.errors import UnknownTask, describe_error
from rio_chain.policies._wrong_loop_errors import ADVICE, is_advised
from rio_chain.results._attempts_note import note_attempts
from rio_chain.results._task_record import (
    CallRecord,
    GaveUp,
    ItemRecord,
    ItemTotals,
    Log,
    Status,
    TaskRecord,
    by_status_order,
    full_record,
)

if TYPE_CHECKING:
    from rio_chain.chain._plan import Plan
    from rio_chain.inspect.pictures._svg_string import Svg

Out = TypeVar("Out", covariant=True)
Other = TypeVar("Other")


@frozen
class Span:
    """One call of a task: when it ran, in milliseconds since the run began, and how it ended.

    The gap between two spans is a backoff; spans that overlap are calls made at once.

    Attributes:
        began: when it began.
        ended: when it ended, or was no longer waited for.
        attempt: which call it is, counted from 1, among those of the same replica.
        replica: which of the calls made at once, counted from 0.
        status: as that of a Response.
        error: what it failed with, as in ``Response.errors``; None when it succeeded.
    """

    began: float
    ended: float
    attempt: int
    replica: int
    status: Status
    error: Any = None

    @property
    def elapsed(self) -> float:
        """Milliseconds."""
        return self.ended - self.began


class Response:
    """One task's record of one run. Times are milliseconds.

    Attributes:
        name: the task's name in the plan.
        status: ``succeeded``, ``failed``, ``timed_out``, ``abandoned``, ``skipped`` or ``cancelled``.
        result: ``Success(value)`` or ``Failure(error)`` of the last round.
        attempts: calls made in the whole run; 0 when it was skipped.
        elapsed: from the start of its first call to the end of its last, waits between them included.
        errors: the errors of all its attempts, in order: the first 10 and the last 10 as they are, those between as
            ``ErrorSummary``. Of a task in an ``each`` or ``expand`` at most 10,000.
        winner: which of the calls made at once gave the answer, counted from 0; None when none did.
        started: how many replicas were started in the last round; 0 without ``.replica``.
        wasted: how many of them were started in vain.
        denied: how many retries and replicas a budget did not allow, in the whole run.
        gave_up: why a task that failed was not called again by the ``.retry`` around it: ``"exhausted"``, no retry was
            left; ``"no_time"``, the wait before it did not fit into a limit; ``"not_retried"``, the error is none of
            those that it retries; ``"budget"``, the budget denied it. None: there is no retry around it, the task did
            not fail, or something else ended it.
        counts: of a task in an ``each`` or ``expand``: how many of its items ended with which status; else empty.
        index: of one of its ``items``: which one, counted from 0; else None.
    """

    __slots__ = ("_found", "_start", "index", "name")

    def __init__(self, name: str, found: Any, cause: Any, index: int | None = None, start: float = 0.0) -> None:
        self.name = name
        self.index = index
        self._start = start  # of the run, on its clock
        if type(found) is not tuple:
            found = TaskRecord() if found is None else found
            if found.status is None:
                found.skip(cause)
        # as in the log; what it means is read when it is asked
        self._found: tuple[float, float, Any] | TaskRecord = found

    @property
    def _entry(self) -> TaskRecord:
        found = self._found
        return full_record(found) if type(found) is tuple else cast("TaskRecord", found)

    @property
    def status(self) -> Status:
        """How it ended."""
        found = self._found
        return "succeeded" if type(found) is tuple else cast("Status", cast("TaskRecord", found).status)

    @property
    def attempts(self) -> int:
        """Calls made in the whole run."""
        found = self._found
        return 1 if type(found) is tuple else cast("TaskRecord", found).calls

    @property
    def errors(self) -> tuple[Any, ...]:
        """The errors of all attempts, in order; many of them as ``ErrorSummary``."""
        return tuple(self._entry.errors)

    @property
    def started(self) -> int:
        """How many replicas were started in the last round."""
        return self._entry.started

    @property
    def wasted(self) -> int:
        """How many of them in vain."""
        return self._entry.wasted

    @property
    def denied(self) -> int:
        """How many retries and replicas a budget did not allow."""
        return self._entry.denied

    @property
    def gave_up(self) -> GaveUp | None:
        """Why the retry around it made no further attempt."""
        return self._entry.gave_up

    @property
    def error(self) -> Any:
        """What it failed with, or why it was skipped; None when it succeeded."""
        return None if self.status == "succeeded" else self._entry.value

    @property
    def counts(self) -> Mapping[str, int]:
        """How many items ended with which status."""
        entry = self._entry
        return by_status_order(entry.counts) if isinstance(entry, ItemTotals) else {}

    @property
    def _items(self) -> list[ItemRecord]:
        entry = self._entry
        return entry.items if isinstance(entry, ItemTotals) else []

    @property
    def items(self) -> tuple[Response, ...]:
        """Of a task in an ``each`` or ``expand``: one Response for each item, by ``index``; else none.

        There is one for each of the first 1,000 items that ended, and for up to 10,000 failures after them. Where
        these have items in turn, those of the first ones are kept, about 10,000 in all; all are in ``counts``.
        """
        items = sorted(self._items, key=_number)
        return tuple(Response(self.name, item.found, None, item.number, self._start) for item in items)

    @property
    def spans(self) -> tuple[Span, ...]:
        """One Span for each of its calls, by when they began: the first 100. Where there are ``items``, theirs.

        Example:
            >>> from rio_chain import Task
            >>> [span] = Task(len)("four").run().only.spans
            >>> span.attempt, span.replica, span.status
            (1, 0, 'succeeded')
        """
        if self.counts:
            return ()
        made: Counter[int] = Counter()
        spans: list[Span] = []
        for call_record in sorted(self._entry.call_records, key=_begins):
            replica = call_record.replica or 0
            made[replica] += 1
            times = self._ms(call_record.began), self._ms(call_record.ended)
            spans.append(Span(*times, made[replica], replica, call_record.status or "cancelled", call_record.error))
        return tuple(spans)

    def _ms(self, at: float) -> float:
        """An instant of the run's clock as users see it."""
        return milliseconds(at - self._start)

    @property
    def result(self) -> Success[Any] | Failure[Any]:
        """``Success(value)`` or ``Failure(error)``. Where there are ``items``, the value is the tuple of theirs."""
        if self._items and self.status == "succeeded":
            return Success(tuple(item.result.unwrap() for item in self.items if item.status == "succeeded"))
        value = self._entry.value
        return Success(value) if self.status == "succeeded" else Failure(value)

    @property
    def began(self) -> float:
        """When its first call began, in milliseconds since the run did; 0 when there was none."""
        return self._ms(self._entry.began) if self.attempts else 0.0

    @property
    def elapsed(self) -> float:
        """Milliseconds."""
        entry = self._entry
        return milliseconds(entry.ended - entry.began)

    @property
    def winner(self) -> int | None:
        """Which of the calls made at once answered."""
        return self._entry.winner if self.status == "succeeded" else None

    def __repr__(self) -> str:
        tries = f", {self.attempts} attempts" if self.attempts > 1 else ""
        items = f" ({', '.join(f'{n} {status}' for status, n in self.counts.items())})" if self.counts else ""
        item = f"[{self.index}]" if self.index is not None else ""
        return f"<Response {self.name}{item}: {self.status}{items}{tries}, {self.elapsed:.1f} ms>"


def _several(counts: Mapping[str, int]) -> str:
    """How the items of a task have ended, where there are some."""
    return f"  of {sum(counts.values())} items {', '.join(f'{n} {how}' for how, n in counts.items())}" if counts else ""


def _number(item: ItemRecord) -> int:
    return item.number


def _begins(call_record: CallRecord) -> float:
    return call_record.began


class Failed:
    """How a run, or a part of one, that failed ends: what stands in the place of its value."""

    __slots__ = ("error",)

    def __init__(self, error: Any) -> None:
        self.error = error


class Outcome(Renderable, Generic[Out]):
    """What one run gave: ``.result``, and one ``Response`` per task in plan order, also of those that did not run.

    ``outcome[0]``, ``outcome["name"]``, ``outcome.only``, ``len(outcome)`` and iteration give Responses.
    Times are milliseconds.

    Example:
        >>> from rio_chain import Task
        >>> outcome = Task(len).named("size")("four").run()
        >>> outcome.unwrap(), outcome["size"].attempts
        (4, 1)
        >>> outcome.ok, outcome.value, outcome.error
        (True, 4, None)
    """

    __slots__ = ("_got", "_log", "_times", "plan")

    def __init__(self, plan: Plan, log: Log, got: Any, times: tuple[float, float, float]) -> None:
        self.plan = plan
        self._log = log
        self._got = got  # the value, or Failed
        self._times = times  # posted, began, ended

    @property
    def _failed(self) -> bool:
        return type(self._got) is Failed

    @property
    def _value(self) -> Any:
        """What it gave, or the error that ended it."""
        got = self._got
        return got.error if type(got) is Failed else got

    @property
    def result(self) -> Success[Out] | Failure[Any]:
        """``Success(value)``, or the ``Failure`` that ended the run. A ``match`` of these two covers all cases."""
        got = self._got
        return Failure(got.error) if type(got) is Failed else Success(got)

    @property
    def ok(self) -> bool:
        """Whether the run succeeded."""
        return not self._failed

    @property
    def value(self) -> Out:
        """The value; after a failure it raises what ``unwrap()`` raises."""
        return self.unwrap()

    @property
    def error(self) -> Any:
        """The error that ended the run; None when it succeeded."""
        return self._value if self._failed else None

    def unwrap(self) -> Out:
        """The value; a run that failed raises its error (``UnwrapFailedError`` where that is not an exception).

        The error is the very one that your function raised. After several attempts it has a note, "3 attempts: ...".
        """
        if not self._failed:
            return self._got  # type: ignore[no-any-return]  # a run gives values of any type
        if not isinstance(self._value, BaseException):
            raise UnwrapFailedError(self.result)
        note_attempts(self._value, self)
        try:
            raise as_kept(self._value)
        finally:
            del self  # the traceback of the error keeps this frame

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
        got = self._got
        cause = got.error if type(got) is Failed else None
        return Response(self.plan.tasks[index].name, self._log[index], cause, None, self._times[1])

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
        name = name if name in names else escape_nonprintable(name)  # names are kept as printable ASCII
        if name in names:
            return names.index(name)
        twins = [n for n in names if n.rpartition("#")[0] == name]
        if twins:
            raise UnknownTask(
                f"{short_repr(name)} stands in the chain {len(twins)} times; ask for one of {', '.join(twins)}"
            )
        raise UnknownTask(f"no task is named {short_repr(name)}; this run has {', '.join(names)}")

    def __getitem__(self, key: int | str) -> Response:
        return self._response(self._index(key) if isinstance(key, str) else key)

    def __len__(self) -> int:
        return len(self.plan.tasks)

    def __iter__(self) -> Iterator[Response]:
        return map(self._response, range(len(self)))

    def _ipython_key_completions_(self) -> list[str]:
        """What a notebook offers behind ``outcome["``."""
        return self._names()

    def summary(self) -> str:
        """A table: one line per task with its status, attempts and time, and what came out."""
        width = max(len("task"), *(len(name) for name in self._names()), 4)
        lines = [f"{'task':{width}}  {'status':9}  attempts  {'elapsed':>10}"]
        lines += [
            f"{r.name:{width}}  {r.status:9}  {r.attempts:8}  {r.elapsed:7.1f} ms{_several(r.counts)}"
            for r in self.responses
        ]
        lines.append(f"{'failed' if self._failed else 'succeeded'} in {self.elapsed:.1f} ms: {self._short()}")
        lines += [ADVICE] if self._failed and is_advised(self._value) else []
        return "\n".join(lines)

    def timeline(self) -> Svg:
        """A picture of where the time went: a row for each task, and in it a bar for each call.

        Calls made at once stand below each other, a backoff is the dotted line between two bars, and what it waited
        before it began stands left of 0. The *critical path* is marked: had one of its tasks been faster, the run
        would have been over earlier. Of a chain for many items there is one bar for all of them. It has a row for each
        of 60 tasks at most, those that took longest.

        Example:
            >>> from rio_chain import Task
            >>> str(Task(len)("four").run().timeline())[:4]
            '<svg'
        """
        return hooks.facade.timeline(self)

    def _short(self) -> str:
        if self._failed and isinstance(self._value, Exception):
            return escape_nonprintable(f"{type(self._value).__name__}: {describe_error(self._value, str)}")
        return short_repr(self._value)

    def __repr__(self) -> str:
        kind = "failed" if self._failed else "succeeded"
        # values may be large or secret
        error = f" ({escape_nonprintable(type(self._value).__name__)})" if self._failed else ""
        return f"<Outcome {kind}{error} in {self.elapsed:.1f} ms, {len(self)} tasks>"
