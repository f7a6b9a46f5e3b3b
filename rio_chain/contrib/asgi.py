"""ASGI: requests of a web application whose client may leave. It needs no framework and imports none.

``handle`` runs a request until it is done or its client has left. ``respond_to`` gives the HTTP status for an Outcome
or an error. ``lifespan`` opens and closes a balancer with the application. All of it works on asyncio and trio, in
FastAPI, Starlette and plain ASGI applications, on uvicorn, hypercorn and other servers.
"""

from __future__ import annotations

import inspect
import logging
import math
from collections.abc import Callable, Hashable, Sequence
from functools import partial
from typing import Any, TypeVar

from rio_chain._core.deadline import Deadline, Headers, seconds_sent
from rio_chain._core.signatures import arity
from rio_chain._core.units import Duration, number, seconds, short_repr
from rio_chain.balancer import Balancer
from rio_chain.balancer._posted_request import OnFull
from rio_chain.chain._never_run import DEV_MODE, handed_over
from rio_chain.chain._request import Request
from rio_chain.contrib._client_watch import Receive, watch_of
from rio_chain.contrib._lifespan import Lifespan, lifespan, liveness, readiness
from rio_chain.contrib._statuses import Reply, respond_to
from rio_chain.engine._runtime_protocol import STOPPED
from rio_chain.errors import ChainDefinitionError, ClientGone, DeadlineHeaderError
from rio_chain.executors import runtime_here
from rio_chain.policies._checks import callback
from rio_chain.results._outcome import Outcome

__all__ = ["ClientGone", "Lifespan", "Reply", "handle", "lifespan", "liveness", "readiness", "respond_to"]

Out = TypeVar("Out")
_log = logging.getLogger("rio_chain")


async def handle(
    receive: Receive,
    balancer: Balancer,
    request: Request[Out],
    *,
    deadline: Deadline | Duration | None = None,
    cap: Duration = 30_000,
    headers: Headers | None = None,
    deadline_header: str | Sequence[str] | None = None,
    priority: Callable[[], float] | None = None,
    queue_timeout: Duration | None = None,
    on_full: OnFull = "reject",
    tenant: Hashable = None,
) -> Outcome[Out]:
    """Run a request in a balancer, as ``balancer.arun`` does, until it is done or the client has left.

    Call it when the body of the HTTP request has been read, also where that is empty: ``await request.body()``. Several
    calls with the same ``receive`` may run at once, and one after the other.

    Nothing of the HTTP request is trusted. A deadline is read from the headers that you name, and only shortens the
    time that you give. The priority comes from a function of yours.

    Args:
        receive: of the HTTP request, as ``request.receive`` in FastAPI and Starlette.
        balancer: that runs it.
        request: a chain called with its arguments.
        deadline: the most that waiting and running may take together: milliseconds, a ``timedelta`` or a ``Deadline``.
            Default: ``cap``.
        cap: the most that any deadline gives, in milliseconds or as a ``timedelta``. Default 30000.
        headers: of the HTTP request. They are read for ``deadline_header`` alone.
        deadline_header: the name of a header, or names, that may shorten the deadline: milliseconds, or for
            ``grpc-timeout`` as gRPC writes it. Default: no header.
        priority: a plain function without arguments that gives the priority; higher goes first. It is called once,
            here. A number is refused, so that no header becomes one by accident. Default: 0.
        queue_timeout: as for ``arun``.
        on_full: as for ``arun``, but ``"reject"`` by default, so that an application refuses what it can't serve soon.
        tenant: whose request it is, as your authentication says, if the balancer has ``fair``. Default None.

    Raises:
        ClientGone: the client has left. The request has been cancelled.
        DeadlineHeaderError: the header can't be read or was sent more than once. It is logged once, as a warning.
        UsageError: the body has not been read, or this is a WebSocket. The request has been cancelled.
        QueueFull: ``buffer`` requests wait already.
        BalancerClosed: it is closed.
        Saturated: ``max_abandoned`` abandoned calls still run.
        ChainDefinitionError: an argument is none of those above.

    Example:
        >>> from rio_chain import Balancer, Task
        >>> from rio_chain.contrib.asgi import handle, respond_to
        >>> balancer = Balancer(workers=50, buffer=200)
        >>> async def show(request):  # an endpoint of Starlette
        ...     await request.body()
        ...     outcome = await handle(request.receive, balancer, Task(len)("four"), deadline=1_000)
        ...     status, headers, detail = respond_to(outcome)
    """
    if DEV_MODE:
        handed_over(request)
    _check_parties(receive, balancer)
    rt = runtime_here()
    limit = _limited(rt.now, deadline, cap, headers, deadline_header)
    urgency = 0 if priority is None else _urgency(priority)
    watch = watch_of(receive)
    if watch.gone:
        raise ClientGone(_GONE)

    run = partial(balancer.arun, request, queue_timeout=queue_timeout, on_full=on_full, tenant=tenant)
    watch.enter(receive)
    try:
        _, outcome = await rt.race(
            [partial(watch.left, rt, receive), partial(run, priority=urgency, deadline=limit)], _decided
        )
    finally:
        watch.leave()
    if outcome is STOPPED:
        raise ClientGone(_GONE)
    return outcome  # type: ignore[no-any-return]  # a race gives values of any type


_GONE = "the client has left, so its request was cancelled"
_PRIORITY = "a plain function without arguments that gives a number, as in priority=lambda: 5 if user.paid else 0"


def _check_parties(receive: object, balancer: object) -> None:
    if not callable(receive):
        raise ChainDefinitionError(
            f"`receive` must be the `receive` of an ASGI request, as in handle(request.receive, ...); "
            f"got {short_repr(receive)}"
        )
    if not isinstance(balancer, Balancer):
        raise ChainDefinitionError(f"`balancer` must be a Balancer; got {short_repr(balancer)}")


def _decided(_: object) -> bool:
    return True


def _urgency(priority: Callable[[], float]) -> float:
    """What the function gives. The function is only checked if that is no number, as the check takes longer."""
    try:
        got: Any = priority() if callable(priority) else None
    except TypeError:
        if arity(priority).takes(0):
            raise
        raise ChainDefinitionError(f"`priority` must be {_PRIORITY}; got {short_repr(priority)}") from None
    if type(got) in (int, float):
        return got  # type: ignore[no-any-return]  # a checker does not see that it is one of these
    if inspect.iscoroutine(got):
        got.close()
    callback(priority, "priority", _PRIORITY, one=False)
    return number(got, "priority")


def _limited(
    now: Callable[[], float],
    deadline: Deadline | Duration | None,
    cap: Duration,
    headers: Headers | None,
    deadline_header: str | Sequence[str] | None,
) -> Deadline:
    """The earliest of the cap, the deadline of the application, and that of the client."""
    came = now()
    at = came + seconds(cap, "cap")
    if isinstance(deadline, Deadline):
        at = min(at, deadline.on(now))
    elif deadline is not None:
        at = min(at, came + seconds(deadline, "deadline", zero=True))
    if deadline_header is not None:
        at = min(at, came + _sent(headers, deadline_header))
    return Deadline(at, now)


def _sent(headers: Headers | None, deadline_header: str | Sequence[str]) -> float:
    """The seconds that the client gives; ``inf``: it sent none of the headers."""
    if headers is None:
        raise ChainDefinitionError("`deadline_header` needs the headers too; write `headers=request.headers`")
    names: Any = (deadline_header,) if isinstance(deadline_header, str) else deadline_header
    if type(names) not in (tuple, list):
        raise ChainDefinitionError(f"`deadline_header` must be the name of a header, or names; got {short_repr(names)}")
    try:
        sent = seconds_sent(headers, names)
    except DeadlineHeaderError as error:
        _log.warning("a request was refused: %s", error)
        raise
    return math.inf if sent is None else sent
