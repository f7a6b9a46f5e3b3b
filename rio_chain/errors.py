"""Every public exception and failure value.

Whose fault decides the channel:

* a chain written wrongly, a balancer used wrongly, full or closed: the call *raises* one of the first group;
* a task, a bridge or a backend that fails: the run ends with a ``Failure`` that *holds* the user's own exception
  or one of the second group.

Every one of them is a ``RioError``, survives pickling, and keeps what it knows in plain attributes. Numbers are
milliseconds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rio_chain._renamed import names_today

__all__ = [
    "Abandoned",
    "BalancerClosed",
    "BridgeFailed",
    "CallbackFailed",
    "ChainDefinitionError",
    "CircuitOpen",
    "DeadlineExceeded",
    "DeadlineHeaderError",
    "LaneMessageTooLarge",
    "LimitExceeded",
    "NotAccepted",
    "NotEnoughSuccesses",
    "NotPicklable",
    "ProcessDied",
    "QueueFull",
    "RioError",
    "Saturated",
    "Skipped",
    "TaskTimedOut",
    "TicketCancelled",
    "UnknownTask",
    "Unstable",
    "UsageError",
]


class RioError(Exception):
    """The root of everything that rio_chain raises or reports as its own."""


LONGEST = 1_000
"""Characters of an error in a text of ours."""


def describe_error(error: object, how: Callable[[object], str] = repr, most: int = LONGEST) -> str:
    """An error as text, for a text of ours, cut to so many characters; one that can't be shown still has a type."""
    try:
        text = str(how(error))
    except Exception:  # noqa: BLE001 - it must not hide what we are about to say
        return f"<{type(error).__name__}>"
    return text if len(text) <= most else text[: most - 3] + "..."


# --- raised -----------------------------------------------------------------------------------------------------


class ChainDefinitionError(RioError, TypeError, ValueError):
    """Something was written wrongly: an argument, a chain, a call. Raised where it was written, before anything runs.

    It is a ``TypeError`` and a ``ValueError`` as well, so that code which guards a call the ordinary way sees it.
    """


class Unstable(ChainDefinitionError):
    """More requests would come than the workers can serve: the line would grow for as long as one simulates.

    Attributes:
        per_second: how many requests would come.
        service: milliseconds that one takes, without a wait.
        workers: how many run at once.
        capacity: how many can be served in a second.
    """

    def __init__(self, per_second: float, service: float, workers: int) -> None:
        super().__init__(per_second, service, workers)
        self.per_second, self.service, self.workers = per_second, service, workers
        self.capacity = workers * 1000 / service

    def __str__(self) -> str:
        needed = int(self.per_second * self.service / 1000) + 1
        return (
            f"{self.per_second:g} requests a second are more than {self.workers} workers can serve: one takes "
            f"{self.service:.3g} ms without a wait, so these serve {self.capacity:.3g} a second, and the line grows "
            f"without end; write workers={needed} or more, a lower rate, or what bounds the line: buffer=, "
            "queue_timeout= or deadline="
        )


class UsageError(RioError, RuntimeError):
    """A right call in a wrong place, such as a blocking ``run`` on the loop that would have to do the work."""


class QueueFull(RioError):
    """``post`` found the balancer's buffer full. Nothing was accepted."""


class Saturated(RioError):
    """``max_abandoned`` abandoned calls are still running; no new work is taken until one of them returns."""


class BalancerClosed(RioError, RuntimeError):
    """The balancer was closed, or the loop it lived on has ended; the text says which. Nothing was accepted."""


class DeadlineHeaderError(RioError, ValueError):
    """A header that ``Deadline.from_headers`` reads can't be read, or was sent more than once. The client is at fault.

    Attributes:
        name: of the header, in lower case.
        rule: what it must be.
        value: what came, as a short text.
    """

    def __init__(self, name: str, rule: str, value: str) -> None:
        super().__init__(name, rule, value)
        self.name, self.rule, self.value = name, rule, value

    def __str__(self) -> str:
        return f"`{self.name}` {self.rule}; got {self.value}"


class UnknownTask(RioError, IndexError):
    """An Outcome was asked for a task that it does not have, or has more than once."""


# --- held by a Failure ------------------------------------------------------------------------------------------


class TaskTimedOut(RioError, TimeoutError):
    """A ``.timeout(ms)`` passed before what stands to its left had answered."""

    def __init__(self, name: str, ms: float) -> None:
        super().__init__(name, ms)
        self.name = name
        self.ms = ms

    def __str__(self) -> str:
        return f"{self.name} did not answer within {self.ms:g} ms"


class DeadlineExceeded(RioError, TimeoutError):
    """The deadline of the run passed: while it waited in the queue, before it began, or while it ran."""

    def __init__(self, where: str = "while running") -> None:
        super().__init__(where)
        self.where = where

    def __str__(self) -> str:
        return f"the deadline passed {self.where}"


class Abandoned(RioError, TimeoutError):
    """Nothing limited the run, and it had no answer when the default ``abandon_after`` was over."""

    def __init__(self, ms: float) -> None:
        super().__init__(ms)
        self.ms = ms

    def __str__(self) -> str:
        return f"no answer within {self.ms:g} ms (abandon_after); set a .timeout(ms) that fits the work"


class BridgeFailed(RioError):
    """A bridge raised, or returned a ``Failure``. ``error`` holds that; ``before`` and ``after`` name its edge."""

    def __init__(self, bridge: str, before: str, after: str, error: Any) -> None:
        super().__init__(bridge, before, after, error)
        self.bridge = bridge
        self.before = before
        self.after = after
        self.error = error

    def __str__(self) -> str:
        return f"bridge {self.bridge} between {self.before} and {self.after} failed: {describe_error(self.error)}"


class CallbackFailed(RioError):
    """A predicate, score or hook of a policy raised. ``error`` is what it raised."""

    def __init__(self, role: str, callback: str, error: Any) -> None:
        super().__init__(role, callback, error)
        self.role = role
        self.callback = callback
        self.error = error

    def __str__(self) -> str:
        return f"the {self.role} callable {self.callback} failed: {describe_error(self.error)}"


class Skipped(RioError):
    """A task that did not run. ``cause`` is the error that stopped the run before it; None: its turn never came."""

    def __init__(self, cause: Any = None) -> None:
        super().__init__(cause)
        self.cause = cause

    def __str__(self) -> str:
        return "not needed" if self.cause is None else f"not run because of {describe_error(self.cause)}"


class CircuitOpen(RioError):
    """A breaker refused the call without making it. ``retry_after``: seconds until it may let one in, if known."""

    retry_after: float | None = None


class LimitExceeded(RioError):
    """A limit refused the call without making it. ``retry_after``: seconds until it may let one in, if known."""

    retry_after: float | None = None


class NotAccepted(RioError):
    """``accept=`` said no to a value. ``value`` is that value: still open where this is the failure of the whole."""

    def __init__(self, name: str, value: Any) -> None:
        super().__init__(name, value)
        self.name = name
        self.value = value

    def __str__(self) -> str:
        return f"the answer of {self.name} was not accepted"

    def __repr__(self) -> str:
        return f"NotAccepted({self.name!r}, ...)"  # the value may be large or secret


class NotEnoughSuccesses(RioError):
    """Of the items of an ``each`` or ``expand`` fewer than ``at_least(n)`` succeeded.

    ``least`` is ``n``; ``succeeded`` how many did; ``errors`` those of the items that failed, at most 1,000 of them,
    the first 10 and the last 10 as they are.
    """

    def __init__(self, least: int, succeeded: int, errors: tuple[Any, ...] = ()) -> None:
        super().__init__(least, succeeded, errors)
        self.least = least
        self.succeeded = succeeded
        self.errors = errors

    def __str__(self) -> str:
        first = f"; the first error: {describe_error(self.errors[0])}" if self.errors else ""
        return f"{self.succeeded} items succeeded, and at least {self.least} had to{first}"


class ProcessDied(RioError):
    """The process of a lane ended before its call had answered; a new one takes its place.

    ``exitcode`` is what it left: a negative number is the signal that killed it. None: it could not be started.
    ``reason`` is why the lane has killed it itself; None: it has not.
    """

    def __init__(self, name: str, lane: str, exitcode: int | None = None, reason: str | None = None) -> None:
        super().__init__(*(name, lane, exitcode), *(() if reason is None else (reason,)))
        self.name = name
        self.lane = lane
        self.exitcode = exitcode
        self.reason = reason

    def __str__(self) -> str:
        if self.reason is not None:
            return f"the process of lane {self.lane!r} was killed in {self.name}: {self.reason}"
        if self.exitcode is None:
            return f"{self.name} was not called: the process of lane {self.lane!r} could not be started"
        how = f"signal {-self.exitcode}" if self.exitcode < 0 else f"exit code {self.exitcode}"
        return f"the process of lane {self.lane!r} died in {self.name} ({how})"


class NotPicklable(RioError, TypeError):
    """What goes to or comes from the process of a lane must be pickled, and that was not possible.

    ``what`` is "function", "argument" or "answer"; ``reason`` is what pickle says.
    """

    def __init__(self, name: str, what: str, reason: str) -> None:
        super().__init__(name, what, reason)
        self.name = name
        self.what = what
        self.reason = reason

    def __str__(self) -> str:
        return f"the {self.what} of {self.name} can't go from one process to another: {self.reason}"


class LaneMessageTooLarge(RioError):
    """What goes to or comes from the process of a lane is larger than ``Balancer(lane_bytes=...)`` allows.

    ``what`` is "function", "argument", "answer" or "error"; ``most`` is the number of bytes that it may have, pickled.
    """

    def __init__(self, name: str, what: str, most: int) -> None:
        super().__init__(name, what, most)
        self.name = name
        self.what = what
        self.most = most

    def __str__(self) -> str:
        return (
            f"the {self.what} of {self.name} takes more than {self.most:,} bytes, the most that a lane carries; hand "
            "over less, such as the name of a file, or write Balancer(lane_bytes=...) with a larger number"
        )


class WorkerLost(RioError):
    """A part of a chain that ran on a Dask cluster has no answer: its worker, or the scheduler, was lost.

    ``reason`` says what is known of it, and what to do.
    """

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(name, reason)
        self.name = name
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.name} has no answer: {self.reason}"


class MessageTooLarge(RioError):
    """What goes to or comes from a Dask worker is larger than ``DaskExecutor(message_bytes=...)`` allows.

    ``what`` is "argument" or "answer"; ``most`` is the number of bytes that it may have, pickled. A "chain" that takes
    more than 16 MiB closes over large data, and is refused.
    """

    def __init__(self, name: str, what: str, most: int) -> None:
        super().__init__(name, what, most)
        self.name = name
        self.what = what
        self.most = most

    def __str__(self) -> str:
        if self.what == "chain":
            return (
                f"the chain {self.name} takes more than {self.most:,} bytes, and travels with each piece: a function "
                "of it closes over large data; hand that over as an argument"
            )
        return (
            f"the {self.what} of {self.name} takes more than {self.most:,} bytes; hand over where it is stored, such "
            "as a path, or write DaskExecutor(message_bytes=...)"
        )


class TicketCancelled(RioError):
    """The request was cancelled by its ticket, or by a balancer that closed before it could finish."""

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
    DeadlineExceeded,
    Abandoned,
    TicketCancelled,
    Skipped,
    ChainDefinitionError,
    DeadlineHeaderError,
    UsageError,
)
"""Failures that another attempt can't mend, or that speak of the run and not of the backend."""

if not TYPE_CHECKING:
    __getattr__ = names_today(__name__, {"TooFew": "NotEnoughSuccesses"})
