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
    "retry_waits",
    "breaker_changed",
    "limit_waited",
    "limit_refused",
    "cache_hit",
    "cache_stale",
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
    """The name of the class of an event's error. For a text it is ``str``, as the text may be a secret."""
    return error if isinstance(error, ErrorName) else type(error).__name__


@frozen(eq=False, repr=False)  # errors are the users', and may be neither comparable nor hashable
class Event:
    """One thing that has happened in a run. Times are milliseconds.

    | kind | when |
    | --- | --- |
    | `started` | a call of the task begins; each retry and each replica is a call of its own |
    | `attempt_failed` | an attempt has failed: one for each of `Response.errors` |
    | `hedge_started` | a call of `.replica` beside the first begins |
    | `finished` | the task has ended; if a retry around several tasks repeats it, it starts and finishes again |
    | `value` | with ``values=True``: a branch of a fan-out, or an item of an ``each``, has its value |
    | `ended` | the run has ended; the last event |

    Observers (``rio_chain.add_observer``) get these events too, but `request_ended` in place of `ended`. They also get:

    | kind | when |
    | --- | --- |
    | `request_queued` | a request waits for a slot of its balancer |
    | `request_rejected` | a request was refused (`full`, `closed`, `saturated`), or a tick (`overlap`, `missed`) |
    | `request_started` | the run begins; reported in the context of the run |
    | `request_ended` | the run has ended, or will never begin; `status`, `error`, `elapsed` |
    | `attempt_started` | a function is about to be called; reported in the context in which it runs |
    | `attempt_ended` | the function has returned; reported in the same context; `status`, `error`, `elapsed` |
    | `hedge_won`, `hedge_wasted` | a `.replica` has its answer: whether it came from this call beside the first |
    | `hedge_denied` | a budget did not allow a call beside the first |
    | `retry_gave_up` | no other attempt: `reason` is `exhausted`, `no_time`, `not_retried`, `stopped` or `budget` |
    | `retry_waits` | an attempt has failed, and the retry waits for `delay` before the next one |
    | `breaker_changed` | `reason` is the new state of the breaker: `open`, `half_open` or `closed` |
    | `limit_waited` | a call got its place after it waited for a `.limit`; `elapsed` is the wait |
    | `limit_refused` | a `.limit` refused a call |
    | `cache_hit`, `cache_stale`, `cache_miss` | a `.cache` had an answer, had an old one, or had none |
    | `flight_joined` | a call waits for the same call of another run |
    | `batch_joined` | a call waits for the call that a `.batch` makes for it and others |
    | `batch_sent` | that call is made, for `size` keys, as a call of the run that waited first |
    | `budget_denied` | a `.budget` did not allow a retry or a hedge |
    | `call_abandoned` | a sync function still runs, and nothing waits for it any more |
    | `call_returned` | that function has returned, after `elapsed` |

    A task that succeeds finishes at once. A task that fails finishes when no retry around that task alone can repeat it
    any more. A task that never ran finishes right before the end, as `skipped`.

    Attributes:
        kind: one of the kinds above.
        task: the task's name in the plan. None for a ``value``, and when the run has ended.
        at: milliseconds since the run began.
        attempt: the number of the call of the task, from 1, as ``current_attempt()`` returns it in that call; 0 before
            any call. For ``finished``, the number of calls that were made.
        replica: the number of the replica, from 0. For ``finished``, the replica that has won.
        item: the index of the item of an ``each`` or ``expand``. None outside of these.
        within: for a task of a Request that a function returned, the names of the tasks that returned it, the outermost
            first; a task in an ``each`` is ``name[item]``. Else empty. ``task`` is then the name in that Request.
        status: for ``finished``, as ``Response.status``. Also for ``request_ended`` and ``attempt_ended``. An attempt
            is ``abandoned`` if its function returned when nothing waited for it any more.
        error: for ``attempt_failed``, the error. Also for ``finished``, ``request_ended`` and ``attempt_ended`` without
            success. This includes a ``SystemExit`` of a function. Observers get the name of the class of the error,
            unless they were added with ``errors=True``.
        outcome: for ``ended``, the Outcome of the run.
        branch: for ``value``, the key of the branch, or its number as a text. A branch within another one is
            ``outer/inner``. Empty for an item that is in no fan-out.
        value: for ``value``, the value. Also for ``finished`` with success, if the stream was asked for values.
        run: a number that all events of one run share, also those of Requests that its functions return. A Request
            that a function runs itself has a number of its own. 0 if the event belongs to no run.
        chain: the name of the chain of the run, or its title with ``...`` in place of each constant. In a Request that
            a function returned, it is still the chain of the run.
        elapsed: the milliseconds that the run, call or wait took, if it has ended. Else None.
        delay: for ``retry_waits``, the milliseconds until the next attempt. Else None.
        reason: see the kinds above.
        policy: the name of the policy, or the method that added it, such as ``limit``, if it has no name.
        beside: for the ``attempt_started`` of a hedge, or of a call of a ``race`` beside the first, the task with
            which the first call begins. Else None.
        size: for ``batch_sent``, the number of keys in the call.
        runs: for ``batch_sent``, the numbers of the observed runs that wait for it, each once.

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
    delay: float | None = None

    def __repr__(self) -> str:
        item = "" if self.item is None else f"[{self.item}]"
        path = "/".join((*self.within, self.task or ""))
        path = path if self.branch is None else "/".join((*self.within, self.branch))
        path = path or (self.chain if self.kind.startswith("request_") else self.policy or "")
        whose = f" {escape_nonprintable(path)}{item}" if path and self.kind != "ended" else ""
        run = f" of run {self.run}" if self.run else ""
        return f"<Event {self.kind}{whose}{self._what()}, at {self.at:.1f} ms{run}>"

    def _what(self) -> str:
        """Values are left out, and of errors only the class is shown: the rest may be large or secret."""
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
