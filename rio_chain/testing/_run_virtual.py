"""Runs work in virtual time, on any executor."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from contextvars import copy_context
from functools import partial
from typing import Any, TypeVar, cast, overload

from rio_chain._core.awaited import awaited
from rio_chain._core.units import short_repr
from rio_chain.chain._functions import is_async
from rio_chain.chain._request import Request
from rio_chain.engine._runtime_protocol import kind_of
from rio_chain.errors import ChainDefinitionError, UsageError
from rio_chain.executors import SHARED_ABANDONED, SHARED_THREADS, checked_executor, running_library
from rio_chain.executors._blocking_wait import wait_until_done
from rio_chain.executors._run_ticket import LOST, TicketRun, wait_for
from rio_chain.executors._ticket import Ticket
from rio_chain.executors.virtual._autojump_thread import launch
from rio_chain.executors.virtual._executor import VirtualExecutor, end_spawned
from rio_chain.executors.virtual._executor import run as run_on
from rio_chain.results._outcome import Outcome

T = TypeVar("T")


@overload
def run_virtual(work: Request[T], executor: str | VirtualExecutor = ...) -> Outcome[T]: ...
@overload
def run_virtual(work: Callable[[], Coroutine[Any, Any, T]], executor: str | VirtualExecutor = ...) -> T: ...
def run_virtual(
    work: Request[Any] | Callable[[], Coroutine[Any, Any, Any]], executor: str | VirtualExecutor = "virtual"
) -> Any:
    """Run a request, or an async function such as a test, in virtual time: waits end at once, and the clock moves on.

    ``"virtual"`` is an executor made for that: without threads, and with the same result each time. The others are the
    real executors under a clock that jumps forward when nothing is left to do. On all of them a sync function takes no
    virtual time, however long it really takes. An async function sleeps with ``rio_chain.testing.sleep``; under asyncio
    and trio their own sleeps are virtual as well.

    Args:
        work: a request; or an async function without arguments, which may await requests and enter balancers.
        executor: ``"virtual"`` (default), ``"asyncio"``, ``"trio"``, a ``VirtualExecutor``, or ``"thread"``, which
            takes only a request.

    Returns:
        The Outcome of the request, or the result of the function.

    Raises:
        Deadlock: on the virtual executor, nothing can happen any more.
        ChainDefinitionError: an argument is not one of these.
        UsageError: it is called on a running loop.

    Example:
        >>> from rio_chain import Task
        >>> from rio_chain.testing import run_virtual, sleep
        >>> async def fetch(x: int) -> int:
        ...     await sleep(60_000)
        ...     return x
        >>> request = Task(fetch).timeout(90_000)(7)
        >>> [run_virtual(request, name).elapsed for name in ("virtual", "asyncio", "trio", "thread")]
        [60000.0, 60000.0, 60000.0, 60000.0]
    """
    chosen, given = checked_executor(executor), cast("Any", work)
    if kind_of(work) is not Request and not _is_async(given):
        raise ChainDefinitionError(
            "`run_virtual` takes a request, run_virtual(page(42)), or an async function without arguments and not "
            f"called, run_virtual(main); got {short_repr(work)}"
        )
    if running_library() is not None:
        raise UsageError("`run_virtual` would block the running loop; call it in plain code")
    if isinstance(chosen, str):
        return _RUN[chosen](given)
    if not isinstance(chosen, VirtualExecutor):
        raise ChainDefinitionError(f"`executor` must be a name or a VirtualExecutor; got {short_repr(executor)}")
    return run_on(chosen, _function(given))


Work = Request[Any] | Callable[[], Coroutine[Any, Any, Any]]


def _is_async(work: Any) -> bool:
    return callable(work) and is_async(work)


def _function(work: Work) -> Callable[[], Coroutine[Any, Any, Any]]:
    given: Any = work
    return partial(awaited, given) if kind_of(work) is Request else given


def _virtual(work: Work) -> Any:
    executor = VirtualExecutor()
    try:
        return run_on(executor, _function(work))
    finally:
        end_spawned(executor.loop)


def _asyncio(work: Work) -> Any:
    from rio_chain.executors._asyncio import run_autojump  # noqa: PLC0415 - executors are imported when first used

    return run_autojump(_function(work))


def _trio(work: Work) -> Any:
    from rio_chain.executors._trio import run_autojump  # noqa: PLC0415 - executors are imported when first used

    return run_autojump(_function(work))


def _thread(work: Work) -> Any:
    given: Any = work
    if kind_of(work) is not Request:
        raise ChainDefinitionError(
            'on threads `run_virtual` takes a request, such as run_virtual(page(42), "thread"); an async function '
            f"runs on a loop; got {short_repr(work)}"
        )
    host = launch(SHARED_THREADS, SHARED_ABANDONED)
    try:
        ticket = Ticket[Any](given, host)
        host.spawn(TicketRun(host, ticket, host.runtime.now(), None).serve, copy_context())
        return wait_for(ticket)
    finally:
        host.spawned.shut(LOST)
        wait_until_done(host, host.spawned.when_idle)
        host.close()


_RUN: dict[str, Callable[[Work], Any]] = {
    "asyncio": _asyncio,
    "thread": _thread,
    "trio": _trio,
    "virtual": _virtual,
}
