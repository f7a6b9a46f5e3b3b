"""Every public exception and failure value.

The channel of an error depends on whose fault it is:

* A chain that is written wrongly, or a balancer that is used wrongly, full or closed: the call *raises* an error of the
  first group.
* A task, a bridge or a backend that fails: the run ends with a ``Failure``. It *holds* the exception of the user's
  code, or an error of the second group.

Each of them is a ``RioError``, can be pickled, and keeps its data in plain attributes. Numbers are milliseconds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rio_chain._process_errors import LaneMessageTooLarge, MessageTooLarge, NotPicklable, ProcessDied, WorkerLost
from rio_chain._renamed import names_today
from rio_chain._rio_error import RioError

__all__ = [
    "Abandoned", "BalancerClosed", "BatchMismatch", "BridgeFailed", "CallbackFailed", "ChainDefinitionError",
    "CircuitOpen", "ClientGone", "DeadlineExceeded", "DeadlineHeaderError", "LaneMessageTooLarge", "LimitExceeded",
    "MessageTooLarge", "NotAccepted", "NotEnoughSuccesses", "NotPicklable", "ProcessDied", "QueueFull", "RioError",
    "Saturated", "Skipped", "TaskTimedOut", "TicketCancelled", "UnknownTask", "Unstable", "UsageError", "WorkerLost",
]  # fmt: skip


LONGEST = 1_000
"""The most characters of an error that a text of ours contains."""


def describe_error(error: object, how: Callable[[object], str] = repr, most: int = LONGEST) -> str:
    """An error as text of at most ``most`` characters. If ``how`` raises, the text is the type of the error."""
    try:
        text = str(how(error))
    except Exception:  # noqa: BLE001 - it must not hide the message that this text is part of
        return f"<{type(error).__name__}>"
    return text if len(text) <= most else text[: most - 3] + "..."


# --- raised -----------------------------------------------------------------------------------------------------


class ChainDefinitionError(RioError, TypeError, ValueError):
    """An argument, a chain or a call is written wrongly. The call that has the mistake raises it, before anything runs.

    It is also a ``TypeError`` and a ``ValueError``, so ``except`` clauses for these catch it.
    """


class Unstable(ChainDefinitionError):
    """The simulated requests arrive faster than the workers can serve them, so the queue would grow without end.

    Attributes:
        per_second: how many requests arrive in a second.
        service: the milliseconds that one request takes, without any wait.
        workers: how many requests run at once.
        capacity: how many requests the workers can serve in a second.
    """

    def __init__(self, per_second: float, service: float, workers: int) -> None:
        super().__init__(per_second, service, workers)
        self.per_second, self.service, self.workers = per_second, service, workers
        self.capacity = workers * 1000 / service

    def __str__(self) -> str:
        needed = int(self.per_second * self.service / 1000) + 1
        return (
            f"{self.workers} workers serve at most {self.capacity:.3g} requests a second (one takes "
            f"{self.service:.3g} ms), and {self.per_second:g} arrive: the queue grows without end. Write "
            f"workers={needed} or more, a lower rate, or a bound of the queue: buffer=, queue_timeout= or deadline="
        )


class UsageError(RioError, RuntimeError):
    """A correct call in the wrong place, such as a blocking ``run`` on an event loop."""


class QueueFull(RioError):
    """The balancer's buffer is full, so it did not accept the request.

    ``retry_after`` estimates the seconds until the requests that wait now have a slot. None if none has ended yet.
    """

    retry_after: float | None = None


class RequestShed(RioError):
    """A balancer with ``shed=`` or ``shed_late=`` has dropped the request while it waited. It was not begun.

    Another request was worth more and the buffer was full, or the time that the deadline left was too short for it.
    ``retry_after`` is as in ``QueueFull``. It is never retried.
    """

    retry_after: float | None = None


class Saturated(RioError):
    """``max_abandoned`` abandoned calls still run. The balancer accepts no requests until one of them returns.

    ``retry_after`` is as in ``QueueFull``.
    """

    retry_after: float | None = None


class BalancerClosed(RioError, RuntimeError):
    """The balancer was closed, or its event loop has ended; the text says which. The request was not accepted."""


class ClientGone(RioError):
    """The client of a web application has disconnected, so its request was cancelled. Nobody reads the response."""


class DeadlineHeaderError(RioError, ValueError):
    """A header that ``Deadline.from_headers`` reads is malformed, or was sent more than once. Answer 400.

    Attributes:
        name: the name of the header, in lower case.
        rule: what the value must be.
        value: what the client sent, as a short text.
    """

    def __init__(self, name: str, rule: str, value: str) -> None:
        super().__init__(name, rule, value)
        self.name, self.rule, self.value = name, rule, value

    def __str__(self) -> str:
        return f"`{self.name}` {self.rule}; got {self.value}"


class UnknownTask(RioError, IndexError):
    """An Outcome has no task of this name or index, or has several tasks of this name."""


# --- held by a Failure ------------------------------------------------------------------------------------------


class TaskTimedOut(RioError, TimeoutError):
    """The chain to the left of a ``.timeout(ms)`` did not answer within its time."""

    def __init__(self, name: str, ms: float) -> None:
        super().__init__(name, ms)
        self.name = name
        self.ms = ms

    def __str__(self) -> str:
        return f"`{self.name}` did not answer within {self.ms:g} ms"


class DeadlineExceeded(RioError, TimeoutError):
    """The deadline of the run passed. ``where`` is when: in the queue, before the run began, or while it ran."""

    def __init__(self, where: str = "while running") -> None:
        super().__init__(where)
        self.where = where

    def __str__(self) -> str:
        return f"the deadline passed {self.where}"


class Abandoned(RioError, TimeoutError):
    """The run had no deadline and no timeout around it, and did not end within the default ``abandon_after``."""

    def __init__(self, ms: float) -> None:
        super().__init__(ms)
        self.ms = ms

    def __str__(self) -> str:
        return f"no answer within {self.ms:g} ms (abandon_after); set a .timeout(ms) that fits the work"


class BridgeFailed(RioError):
    """A bridge raised or returned a ``Failure``; ``error`` holds that. ``before`` and ``after`` name its neighbours."""

    def __init__(self, bridge: str, before: str, after: str, error: Any) -> None:
        super().__init__(bridge, before, after, error)
        self.bridge = bridge
        self.before = before
        self.after = after
        self.error = error

    def __str__(self) -> str:
        return f"bridge `{self.bridge}` between `{self.before}` and `{self.after}` failed: {describe_error(self.error)}"


class CallbackFailed(RioError):
    """A function that you gave to a policy, such as a predicate or a score, raised. ``error`` is what it raised."""

    def __init__(self, role: str, callback: str, error: Any) -> None:
        super().__init__(role, callback, error)
        self.role = role
        self.callback = callback
        self.error = error

    def __str__(self) -> str:
        return f"the `{self.role}` callable `{self.callback}` failed: {describe_error(self.error)}"


class Skipped(RioError):
    """A task did not run. ``cause`` is the error that ended the run before it; None means that it was not needed."""

    def __init__(self, cause: Any = None) -> None:
        super().__init__(cause)
        self.cause = cause

    def __str__(self) -> str:
        return "not needed" if self.cause is None else f"not run because of {describe_error(self.cause)}"


class CircuitOpen(RioError):
    """A breaker refused the call, which was not made.

    ``retry_after`` is the number of seconds until the breaker may allow a call, or None if that is unknown.
    """

    retry_after: float | None = None


class LimitExceeded(RioError):
    """A limit refused the call, which was not made.

    ``retry_after`` is the number of seconds until the limit may allow a call, or None if that is unknown. ``keyed``
    says whether it is a ``Limit`` with a ``key``. Then calls with other keys may still have room.
    """

    retry_after: float | None = None
    keyed: bool = False


class NotAccepted(RioError):
    """``accept=`` refused a value.

    ``value`` is that value. If the run ends with this error, the value is still open: close it if it has a ``close``.
    """

    def __init__(self, name: str, value: Any) -> None:
        super().__init__(name, value)
        self.name = name
        self.value = value

    def __str__(self) -> str:
        return f"the answer of `{self.name}` was not accepted"

    def __repr__(self) -> str:
        return f"NotAccepted({self.name!r}, ...)"  # the value may be large or secret


class NotEnoughSuccesses(RioError):
    """Fewer items of an ``each`` or ``expand`` succeeded than ``at_least(n)`` requires.

    ``least`` is ``n``. ``succeeded`` is the number of items that succeeded. ``errors`` has the errors of the items that
    failed, at most 1,000 of them; the first 10 and the last 10 are unchanged.
    """

    def __init__(self, least: int, succeeded: int, errors: tuple[Any, ...] = ()) -> None:
        super().__init__(least, succeeded, errors)
        self.least = least
        self.succeeded = succeeded
        self.errors = errors

    def __str__(self) -> str:
        first = f"; the first error: {describe_error(self.errors[0])}" if self.errors else ""
        return f"{self.succeeded} items succeeded, fewer than the {self.least} required{first}"


class BatchMismatch(RioError):
    """A function in a ``.batch`` did not return one value for each key.

    ``task`` is the name of the function, and ``keys`` is the number of keys that it got. ``values`` is the number of
    values that it returned, or None if it returned neither a list nor a dict. ``answer`` is the name of the type that
    it returned, or of a value in it that was not awaited. If ``missing`` is true, it returned a dict without the key
    of this call; the other calls have their values.
    """

    def __init__(self, task: str, keys: int, values: int | None, answer: str, missing: bool = False) -> None:  # noqa: FBT001, FBT002 - `args` make it again
        super().__init__(task, keys, values, answer, missing)
        self.task = task
        self.keys = keys
        self.values = values
        self.answer = answer
        self.missing = missing

    def __str__(self) -> str:
        keys = f"{self.keys} key{'s' * (self.keys != 1)}"
        if self.missing:
            return (
                f"`{self.task}` returned no value for this key: its dict has {self.values} values for {keys}; it must "
                "have each key that was asked for, with None or a Failure if there is no value"
            )
        if self.values is None:
            return (
                f"`{self.task}` returned a value of type {self.answer} for {keys}; a function in a batch must return a "
                "list with one value for each key, in their order, or a dict by key"
            )
        if self.answer not in {"list", "dict"}:
            return (
                f"`{self.task}` returned a value of type {self.answer} for a key, which was not awaited; it must "
                "await all of them, as in `await asyncio.gather(...)`, and return the values"
            )
        return (
            f"`{self.task}` returned {self.values} values for {keys}; it must return one for each key, in their order, "
            "or a dict by key"
        )


class TicketCancelled(RioError):
    """The request was cancelled: by its ticket, or by a balancer that closed before the request could finish."""

    def __init__(self, reason: str = "its ticket was cancelled") -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return f"cancelled: {self.reason}"


NEVER_RETRIED = (
    CircuitOpen,
    LimitExceeded,
    BridgeFailed,
    CallbackFailed,
    NotPicklable,
    LaneMessageTooLarge,
    MessageTooLarge,
    DeadlineExceeded,
    Abandoned,
    TicketCancelled,
    RequestShed,
    Skipped,
    ChainDefinitionError,
    DeadlineHeaderError,
    UsageError,
)
"""Errors that another attempt can't avoid, or that are about the run and not about the backend."""

if not TYPE_CHECKING:
    __getattr__ = names_today(__name__, {"TooFew": "NotEnoughSuccesses"})
