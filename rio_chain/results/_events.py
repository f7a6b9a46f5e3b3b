"""Event: what ``request.stream()`` tells of a run while it goes on."""

from __future__ import annotations

from typing import Any, Literal

from attrs import frozen
from returns.result import Failure

from rio_chain._core.units import escape_nonprintable
from rio_chain.results._outcome import Outcome
from rio_chain.results._task_record import Status

Kind = Literal["started", "attempt_failed", "hedge_started", "finished", "value", "ended"]


@frozen(eq=False, repr=False)  # errors are the users', and may be neither comparable nor hashable
class Event:
    """One thing that has happened in a run. Times are milliseconds.

    | kind | told |
    | --- | --- |
    | `started` | a call of the task begins; each retry and each replica is a call of its own |
    | `attempt_failed` | an attempt has failed: one for each of `Response.errors` |
    | `hedge_started` | a call of `.replica` beside the first begins |
    | `finished` | the task's turn is over; a wider retry gives it another one, which starts and finishes again |
    | `value` | with ``values=True``: a branch of a fan-out, or an item of an ``each``, has its value |
    | `ended` | the run is over; the last event |

    A success finishes at once. A failure finishes when nothing around the task alone can retry it any more; a task
    that never ran finishes right before the end, as `skipped`.

    Attributes:
        kind: which of these.
        task: the task's name in the plan; None of a ``value``, and when the run has ended.
        at: milliseconds since the run began.
        attempt: which call of the task, 1 for the first, as ``current_attempt()`` tells it there; 0 before any call.
            Of ``finished``: how many calls were made.
        replica: which of the calls made at once, 0 for the first. Of ``finished``: the one that has won.
        item: the index of the item of an ``each`` or ``expand`` that it belongs to; None outside of these.
        within: of a task of a Request that a function returned: the names of the tasks that returned it, the outermost
            first, one in an ``each`` as ``name[item]``; else empty. ``task`` is then its name in that Request.
        status: of ``finished``, as ``Response.status``.
        error: of ``attempt_failed``, and of ``finished`` without success.
        outcome: of ``ended``.
        branch: of ``value``: the key of the branch, or its number as a text; of one within another ``outer/inner``.
            Of an item that is in no fan-out it is empty.
        value: of ``value``; and of ``finished`` with success, when the stream was asked for values.

    Example:
        >>> from rio_chain import Task
        >>> [event.kind for event in Task(len)("four").stream()]
        ['started', 'finished', 'ended']
    """

    kind: Kind
    task: str | None
    at: float
    attempt: int = 0
    replica: int = 0
    item: int | None = None
    status: Status | None = None
    error: Any = None
    outcome: Outcome[Any] | None = None
    within: tuple[str, ...] = ()
    branch: str | None = None
    value: Any = None

    def __repr__(self) -> str:
        item = "" if self.item is None else f"[{self.item}]"
        path = "/".join((*self.within, self.task or ""))
        path = path if self.branch is None else "/".join((*self.within, self.branch))
        whose = "" if self.kind == "ended" else f" {escape_nonprintable(path)}{item}"
        return f"<Event {self.kind}{whose}{self._what()}, at {self.at:.1f} ms>"

    def _what(self) -> str:
        """No values, and of errors no more than what they are: the rest may be large or secret."""
        status, error, calls = self.status, self.error, ""
        if self.outcome is not None:
            failed = isinstance(self.outcome.result, Failure)
            status, error = ("failed", self.outcome.result.failure()) if failed else ("succeeded", None)
        if self.kind == "finished":
            calls = f", {self.attempt} attempts" if self.attempt > 1 else ""
        elif self.attempt:
            calls = f", attempt {self.attempt}" + (f" of replica {self.replica}" if self.replica else "")
        kind = "" if error is None else escape_nonprintable(type(error).__name__)
        told = kind if status is None else f"{status} ({kind})" if kind else status
        return (f": {told}" if told else "") + calls
