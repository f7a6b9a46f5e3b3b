"""The one table of HTTP statuses, by error. ``contrib.asgi`` and ``contrib.wsgi`` share it."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final, NamedTuple, cast

from returns.result import Failure, Success

from rio_chain._core.units import count, escape_nonprintable, flag, short_repr
from rio_chain.errors import (
    Abandoned,
    BalancerClosed,
    BatchMismatch,
    ChainDefinitionError,
    CircuitOpen,
    ClientGone,
    DeadlineExceeded,
    DeadlineHeaderError,
    LimitExceeded,
    NotAccepted,
    NotEnoughSuccesses,
    QueueFull,
    RequestShed,
    RioError,
    Saturated,
    Skipped,
    TaskTimedOut,
    TicketCancelled,
    WorkerLost,
    describe_error,
)
from rio_chain.executors._cancellation_in_errors import first_error
from rio_chain.results._outcome import Outcome

CLIENT_CLOSED_REQUEST: Final = 499
"""What nginx logs for a client that has left. No client ever reads it."""
LONGEST_WAIT: Final = 3600.0
"""Seconds: a longer estimate counts as this one. With the random part it may be half as much more."""
SPREAD: Final = 2.0
"""Seconds over which clients that were refused at the same time come again, at least."""

BACKEND, UNKNOWN = (502, "A backend failed."), (500, "Internal server error.")
TOO_MANY = 429, "Too many requests; try again later."

TABLE: dict[type[BaseException], tuple[int, str]] = {
    ClientGone: (CLIENT_CLOSED_REQUEST, "The client has left."),
    DeadlineHeaderError: (400, "The header with the deadline can't be read."),
    TaskTimedOut: (504, "A backend did not answer in time."),
    DeadlineExceeded: (504, "There was no answer before the deadline."),
    Abandoned: (504, "There was no answer in time."),
    QueueFull: (503, "Too many requests wait already; try again later."),
    RequestShed: (503, "The service is overloaded; try again later."),
    Saturated: (503, "Too many calls hang; try again later."),
    BalancerClosed: (503, "The service is closing; try again later."),
    TicketCancelled: (503, "The request was cancelled; try again later."),
    CircuitOpen: (503, "A backend is not called for now; try again later."),
    LimitExceeded: (503, "Too many calls at once; try again later."),
    WorkerLost: (503, "A part of the service was lost; try again later."),
    NotAccepted: BACKEND,
    NotEnoughSuccesses: BACKEND,
    BatchMismatch: BACKEND,
    RioError: UNKNOWN,  # a bridge, a callback, a chain that is written wrongly: the application is at fault
    ConnectionError: BACKEND,
}
"""Status and detail by the class of an error, or the nearest class that it inherits from."""


class Reply(NamedTuple):
    """An answer to an HTTP request, for whatever framework sends it."""

    status: int
    headers: dict[str, str]
    detail: str


def respond_to(
    got: object, *, statuses: Mapping[type[BaseException], int] | None = None, expose: bool = False
) -> Reply:
    """The status, the headers and a text for what a request has given, or for the error that it raised.

    Give it the whole Outcome, not its error: the error of a function of yours that ended a run is that of a backend
    and gives 502. An error that comes alone may be any error of the application and gives 500, unless it is a
    ``ConnectionError``.

    ===================================================================  ======
    what                                                                 status
    ===================================================================  ======
    an Outcome that succeeded                                            200
    ``DeadlineHeaderError``                                              400
    ``LimitExceeded`` of a ``Limit`` with a ``key``                      429
    ``ClientGone``, which no client reads                                499
    ``CallbackFailed``, ``BridgeFailed``, all that is not in this table  500
    the error of a task that ended a run; ``NotAccepted``                502
    ``NotEnoughSuccesses``, ``BatchMismatch``; a ``ConnectionError``     502
    ``QueueFull``, ``Saturated``, ``BalancerClosed``, ``CircuitOpen``    503
    ``TicketCancelled``, ``WorkerLost``, other ``LimitExceeded``         503
    ``DeadlineExceeded``, ``TaskTimedOut``, ``Abandoned``                504
    ===================================================================  ======

    Replies with 429 and 503 have a ``Retry-After`` in whole seconds: the estimate of the queue, the limit or the
    breaker, plus some seconds drawn at random, so that clients don't all come back at once.

    Args:
        got: an Outcome, a ``Success`` or ``Failure``, or an exception. Of an ExceptionGroup, as from a TaskGroup, the
            first exception counts.
        statuses: statuses for errors of yours, as ``{OrderNotFound: 404}``. They come before the table, also for
            classes that inherit from these. Default: none.
        expose: whether the text has the error's own, which may hold what a client should not see. Default: one sentence
            that is the same for all errors of a class.

    Raises:
        ChainDefinitionError: ``statuses`` has what is no class of errors, or no status from 400 to 599.

    Example:
        >>> from rio_chain import Task, TaskTimedOut
        >>> from rio_chain.contrib.asgi import respond_to
        >>> respond_to(Task(len)("four").run())
        Reply(status=200, headers={}, detail='OK')
        >>> respond_to(TaskTimedOut("fetch_user", 100)).status
        504
    """
    own = _checked({} if statuses is None else statuses)
    expose = flag(expose, "expose")
    given: Any = got
    result: Any = given.result if isinstance(got, Outcome) else given
    if isinstance(result, Success):
        return Reply(200, {}, "OK")
    in_run = isinstance(result, Failure)
    error: object = cast("Any", result).failure() if in_run else given
    if not in_run and _is_group(error):
        error = first_error(cast("BaseExceptionGroup[BaseException]", error))
    while isinstance(error, Skipped) and error.cause is not None:
        error = error.cause
    status, detail = _found(error, own, BACKEND if in_run else UNKNOWN)
    if expose:
        detail = f"{type(error).__name__}: {escape_nonprintable(describe_error(error, str))}"
    refused = (QueueFull, RequestShed, Saturated, CircuitOpen, LimitExceeded)
    known = error.retry_after if isinstance(error, refused) else None
    return Reply(status, {"Retry-After": retry_after(known)} if status in (429, 503) else {}, detail)


def _is_group(error: object) -> bool:
    return isinstance(error, BaseExceptionGroup)


def retry_after(known: object = None) -> str:
    """The value of ``Retry-After``: at least ``known`` seconds, rounded up, and some more at random."""
    least = float(known) if isinstance(known, (int, float)) and math.isfinite(known) else 0.0
    least = min(max(least, 0.0), LONGEST_WAIT)
    more = random.random() * max(SPREAD, least / 2)  # noqa: S311 - it spreads clients, and hides nothing
    return str(max(1, math.ceil(least + more)))


def _found(error: object, own: Mapping[type[BaseException], int], other: tuple[int, str]) -> tuple[int, str]:
    for kind in type(error).__mro__:
        if kind in own:
            return own[kind], HTTPStatus(own[kind]).phrase if own[kind] in _KNOWN else "The request failed."
    for kind in type(error).__mro__:
        if kind in TABLE:
            return TOO_MANY if isinstance(error, LimitExceeded) and error.keyed else TABLE[kind]
    return other


_KNOWN = frozenset(status.value for status in HTTPStatus)


def _is_error(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseException)


def _checked(statuses: object) -> Mapping[type[BaseException], int]:
    if not isinstance(statuses, Mapping):
        given = short_repr(statuses)
        raise ChainDefinitionError(f"`statuses` must be a dict such as {{OrderNotFound: 404}}; got {given}")
    found = cast("Mapping[Any, int]", statuses)
    for kind, status in found.items():
        if not _is_error(kind):
            raise ChainDefinitionError(f"`statuses` must have classes of errors as its keys; got {short_repr(kind)}")
        if not 400 <= count(status, "statuses") <= 599:  # noqa: PLR2004 - those of errors
            raise ChainDefinitionError(f"`statuses` must have statuses from 400 to 599; got {short_repr(status)}")
    return found
