"""The life of a balancer in a web application: it opens at start-up, stops being ready, drains and closes."""

from __future__ import annotations

import signal
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from types import FrameType
from typing import Any
from weakref import WeakSet

from rio_chain._core.units import Duration, seconds, short_repr
from rio_chain.balancer import Balancer
from rio_chain.contrib._statuses import Reply, retry_after
from rio_chain.errors import ChainDefinitionError, UsageError, describe_error

State = Mapping[str, Any] | None
"""What a lifespan of Starlette may yield."""
Around = Callable[[Any], AbstractAsyncContextManager[Any]]
"""A lifespan of FastAPI or Starlette."""

_stopping: WeakSet[Balancer] = WeakSet()
"""Those whose application has begun to stop."""


class Lifespan:
    """What ``lifespan`` gives. Hand it to an application, or call ``serve`` in one that is plain ASGI."""

    __slots__ = ("_around", "_balancer", "_grace", "_signals")

    def __init__(self, balancer: Balancer, around: Around | None, grace: Duration, signals: tuple[int, ...]) -> None:
        self._balancer = balancer
        self._around = around
        self._grace = grace
        self._signals = signals

    def __call__(self, app: object = None) -> AbstractAsyncContextManager[Any]:
        """A block in which the balancer is open, as FastAPI and Starlette want it."""
        return self._open(app)

    def retire(self) -> None:
        """From now on ``readiness`` gives 503; requests are still served. For a hook that runs before the SIGTERM.

        You can call it from any thread and any signal handler. The next start of the application undoes it.
        """
        _stopping.add(self._balancer)

    @asynccontextmanager
    async def _open(self, app: object) -> AsyncGenerator[Any]:
        if self._around is None:
            async with self._balancer_open():
                yield None
        else:
            async with self._around(app) as state, self._balancer_open():
                yield state

    @asynccontextmanager
    async def _balancer_open(self) -> AsyncGenerator[None]:
        balancer = self._balancer
        _stopping.discard(balancer)
        async with balancer:
            with _at_signals(self._signals, self.retire):
                try:
                    yield
                finally:
                    self.retire()
            await balancer.aclose(self._grace)

    async def serve(
        self, scope: Mapping[str, Any], receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[object]]
    ) -> None:
        """Answer the messages of a scope of type ``lifespan``, in an application that is plain ASGI.

        Example:
            >>> from rio_chain import Balancer
            >>> from rio_chain.contrib.asgi import lifespan
            >>> life = lifespan(Balancer(workers=50))
            >>> async def app(scope, receive, send):
            ...     if scope["type"] == "lifespan":
            ...         return await life.serve(scope, receive, send)

        Raises:
            UsageError: the scope is of another type.
        """
        if scope.get("type") != "lifespan":
            raise UsageError(f"`serve` is for scopes of type 'lifespan'; got {short_repr(scope.get('type'))}")
        started = False
        try:
            await receive()
            async with self._open(scope.get("app")) as state:
                if state is not None and "state" in scope:
                    scope["state"].update(state)
                await send({"type": "lifespan.startup.complete"})
                started = True
                await receive()
        except Exception as error:
            event = "lifespan.shutdown.failed" if started else "lifespan.startup.failed"
            await send({"type": event, "message": f"{type(error).__name__}: {describe_error(error, str)}"})
            raise
        await send({"type": "lifespan.shutdown.complete"})


def lifespan(
    balancer: Balancer,
    around: Around | None = None,
    *,
    grace: Duration = 30_000,
    signals: Iterable[int] = (signal.SIGTERM,),
) -> Lifespan:
    """Open a balancer when an application starts, and close it when that stops.

    When the process receives one of the signals, ``readiness`` gives 503 at once, and the balancer still serves
    requests. The server waits for its requests and then shuts the application down. Then the balancer closes within
    ``grace``, and after it ``around`` ends.

    Args:
        balancer: opened and closed.
        around: a lifespan of your own, as you would give it to FastAPI or Starlette, for what the chains need, such as
            clients. It begins before the balancer opens and ends after it has closed. For several balancers give
            another ``lifespan(...)``. Default: none.
        grace: as for ``balancer.aclose``: milliseconds, or a ``timedelta``. Default 30000.
        signals: those after which the application is not ready. The handler that is installed already, usually the
            server's, is called too. Without one, or outside of the main thread, nothing is installed. Default: SIGTERM.

    Raises:
        ChainDefinitionError: an argument is none of those above.

    Example:
        >>> from rio_chain import Balancer
        >>> from rio_chain.contrib.asgi import lifespan
        >>> balancer = Balancer(workers=50)
        >>> life = lifespan(balancer)  # FastAPI(lifespan=life)
    """
    _check_balancer(balancer)
    if around is not None and not callable(around):
        raise ChainDefinitionError(
            f"`around` must be a lifespan, a function that takes the application and gives an async context manager; "
            f"got {short_repr(around)}"
        )
    seconds(grace, "grace", zero=True)
    wanted: Any = signals
    try:
        numbers = tuple(signal.Signals(number) for number in wanted)
    except (TypeError, ValueError):
        raise ChainDefinitionError(
            f"`signals` must be signals, as in signals=[signal.SIGTERM]; got {short_repr(wanted)}"
        ) from None
    return Lifespan(balancer, around, grace, numbers)


def readiness(balancer: Balancer) -> Reply:
    """Whether new requests should be sent here: 200, or 503 with the reason as its text.

    It is 503 when the application has begun to stop, and when ``balancer.health()`` is not ready.

    Example:
        >>> from rio_chain import Balancer
        >>> from rio_chain.contrib.asgi import readiness
        >>> readiness(Balancer(workers=2))
        Reply(status=200, headers={}, detail='ready')
    """
    _check_balancer(balancer)
    health = balancer.health()
    reason = "the application is stopping" if balancer in _stopping else health.reason
    return Reply(503, {"Retry-After": retry_after()}, f"not ready: {reason}") if reason else Reply(200, {}, "ready")


def liveness(balancer: Balancer) -> Reply:
    """Whether this process can go on: 200, or 503 if only a new one helps. A backend that fails does not change it.

    Example:
        >>> from rio_chain import Balancer
        >>> from rio_chain.contrib.asgi import liveness
        >>> liveness(Balancer(workers=2)).status
        200
    """
    _check_balancer(balancer)
    health = balancer.health()
    return Reply(200, {}, "live") if health.live else Reply(503, {}, f"not live: {health.reason}")


def _check_balancer(balancer: object) -> None:
    if not isinstance(balancer, Balancer):
        raise ChainDefinitionError(f"`balancer` must be a Balancer; got {short_repr(balancer)}")


@contextmanager
def _at_signals(signals: Iterable[int], call: Callable[[], object]) -> Generator[None]:
    """While the block runs, each of these signals calls this and then what it called before."""
    before: dict[int, Any] = {}

    def handler(number: int, frame: FrameType | None) -> None:
        call()
        before[number](number, frame)

    if threading.current_thread() is threading.main_thread():
        for number in signals:
            found = signal.getsignal(number)
            if callable(found):
                before[number] = found
                signal.signal(number, handler)
    try:
        yield
    finally:
        for number, found in before.items():
            if signal.getsignal(number) is handler:
                signal.signal(number, found)
