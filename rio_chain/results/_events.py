"""Event: what ``request.stream()`` and observers report of a run while it goes on."""

from __future__ import annotations

from typing import Any, Literal, get_args

from attrs import frozen
from returns.result import Failure

from rio_chain._core.units import escape_nonprintable
from rio_chain.results._outcome import Outcome
from rio_chain.results._task_record import Status

StreamKind = Literal["started", "attempt_failed", "hedge_started", "finished", "value", "ended"]
"""What ``stream()`` gives."""
Kind = Literal[
    "started",
    "attempt_failed",
    "hedge_started",
    "finished",
    "value",
    "ended",
    "request_queued",
    "request_rejected",
    "request_started",
    "request_ended",
    "attempt_started",
    "attempt_ended",
    "hedge_won",
    "hedge_wasted",
    "hedge_denied",
    "retry_gave_up",
    "breaker_changed",
    "limit_waited",
    "limit_refused",
    "cache_hit",
    "cache_miss",
    "flight_joined",
    "batch_joined",
    "batch_sent",
    "budget_denied",
    "call_abandoned",
    "call_returned",
]
STREAMED: frozenset[str] = frozenset(get_args(StreamKind))


class ErrorName(str):
    """The name of the class of an error, in place of that error."""

    __slots__ = ()


def error_name(error: object) -> str:
    """The name of the class of what an event has as its error. That of a text is ``str``, as it may be a secret."""
    return error if isinstance(error, ErrorName) else type(error).__name__


@frozen(eq=False, repr=False)  # errors are the users', and may be neither comparable nor hashable
class Event:
    """One thing that has happened in a run. Times are milliseconds.

    | kind | meaning |
    | --- | --- |
    | `started` | a call of the task begins; each retry and each replica is a call of its own |
    | `attempt_failed` | an attempt has failed: one for each of `Response.errors` |
    | `hedge_started` | a call of `.replica` beside the first begins |
    | `finished` | the task's turn is over; a wider retry gives it another one, which starts and finishes again |
    | `value` | with ``values=True``: a branch of a fan-out, or an item of an ``each``, has its value |
    | `ended` | the run is over; the last event |

    Observers (``rio_chain.add_observer``) get these as well, but `request_ended` in place of `ended`, and

    | kind | reported |
    | --- | --- |
    | `request_queued` | a request waits for a slot of its balancer |
    | `request_rejected` | a balancer has refused a request; `reason` is `full`, `closed` or `saturated` |
    | `request_started` | the run begins, in the context in which it goes on |
    | `request_ended` | it is over, or will never begin; `status`, `error`, `elapsed` |
    | `attempt_started` | a function is about to be called, in the context in which it runs |
    | `attempt_ended` | it has returned, in the same context; `status`, `error`, `elapsed` |
    | `hedge_won`, `hedge_wasted` | the race of a `.replica` is over: how that ended for a call beside the first |
    | `hedge_denied` | a budget did not allow a call beside the first |
    | `retry_gave_up` | no further attempt is made; `reason` is `exhausted`, `no_time`, `not_retried` or `budget` |
    | `breaker_changed` | `reason` is its new state, `open`, `half_open` or `closed` |
    | `limit_waited` | a call waited for a `.limit`, and was let in after `elapsed` |
    | `limit_refused` | a `.limit` refused a call |
    | `cache_hit`, `cache_miss` | a `.cache` had an answer, or none |
    | `flight_joined` | a call waits for the same call of another run |
    | `batch_joined` | a call waits for the call that a `.batch` makes for it and others |
    | `batch_sent` | that call is made, for `size` keys, as a call of the run that waited first |
    | `budget_denied` | a `.budget` did not allow a retry or a hedge |
    | `call_abandoned` | a sync function runs on, and nobody waits for it any more |
    | `call_returned` | that function has returned, after `elapsed` |

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
        status: of ``finished``, as ``Response.status``; of ``request_ended`` and ``attempt_ended``. An attempt is
            ``abandoned`` where its function returned when nobody waited for it any more.
        error: of ``attempt_failed``, and of ``finished``, ``request_ended`` and ``attempt_ended`` without success. A
            ``SystemExit`` of a body is one, too. Observers get the name of its class, unless they were added with
            ``errors=True``.
        outcome: of ``ended``.
        branch: of ``value``: the key of the branch, or its number as a text; of one within another ``outer/inner``.
            Of an item that is in no fan-out it is empty.
        value: of ``value``; and of ``finished`` with success, when the stream was asked for values.
        run: a number that all events of one run have in common, also those of Requests that its functions return. A
            Request that a body runs itself has a number of its own. 0: it belongs to no run.
        chain: the name the chain of the run was given, or its title with ``...`` in place of each constant. It is that
            of the run in a Request that a function returned as well.
        elapsed: milliseconds that it took, of what has ended; None otherwise.
        reason: see the kinds.
        policy: which policy it is about: the name it was given, else that of its call, as ``limit``.
        beside: of the ``attempt_started`` of a hedge, or of a call of a ``race`` beside the first: the task of the
            first call. That is the same task, or the same at another place; of a race, that with which it begins.
        size: of ``batch_sent``: the number of keys in the call.
        runs: of ``batch_sent``: the numbers of the observed runs that wait for it, each once.

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
    run: int = 0
    chain: str = ""
    elapsed: float | None = None
    reason: str | None = None
    policy: str | None = None
    beside: str | None = None
    size: int | None = None
    runs: tuple[int, ...] = ()

    def __repr__(self) -> str:
        item = "" if self.item is None else f"[{self.item}]"
        path = "/".join((*self.within, self.task or ""))
        path = path if self.branch is None else "/".join((*self.within, self.branch))
        path = path or (self.chain if self.kind.startswith("request_") else self.policy or "")
        whose = f" {escape_nonprintable(path)}{item}" if path and self.kind != "ended" else ""
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
        if self.reason is not None:
            return f": {self.reason}{calls}"
        kind = "" if error is None else escape_nonprintable(error_name(error))
        how = kind if status is None else f"{status} ({kind})" if kind else status
        return (f": {how}" if how else "") + calls
