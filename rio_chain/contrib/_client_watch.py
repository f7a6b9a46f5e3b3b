"""The one reader of each HTTP request's ``receive``, which all ``handle`` calls for that request share.

Some servers send the message of a disconnect to one reader only, and only once. So there is one reader at a time, and
what it has read is kept as long as the request's ``receive`` exists.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NoReturn, cast
from weakref import WeakKeyDictionary

from rio_chain._core.units import short_repr
from rio_chain.engine._runtime_protocol import Runtime, Waiter
from rio_chain.errors import UsageError

Receive = Callable[[], Awaitable[Any]]
"""The ``receive`` of ASGI."""

READ_FIRST = (
    "`handle` met a part of the request's body; read the body first, as in `await request.body()`, also where it is "
    "empty, and then call `handle`"
)


class ClientWatch:
    """Waits for the client of one request to leave. One of the calls that wait reads; the others wait for it.

    Attributes:
        gone: the client has left.
    """

    __slots__ = ("__weakref__", "_held", "_reading", "_refusal", "_users", "_waiters", "gone")

    def __init__(self) -> None:
        self.gone = False
        self._reading = False
        self._refusal: str | None = None  # why the calls that wait must stop: an unexpected message came
        self._waiters: list[Waiter] = []
        self._users = 0
        self._held: Receive | None = None

    def enter(self, receive: Receive) -> None:
        """One more uses it, so it is kept, and found by ``receive``: that may be a bound method made for the call."""
        if not self._users:
            self._held = receive
        self._users += 1

    def leave(self) -> None:
        """One that has entered uses it no more."""
        self._users -= 1
        if not self._users:
            self._held = self._refusal = None

    async def left(self, rt: Runtime, receive: Receive) -> None:
        """Wait until the client has left.

        Raises:
            UsageError: another message came.
        """
        while not self.gone:
            if self._refusal is not None:
                raise UsageError(self._refusal)
            if self._reading:
                await self._reader_has_stopped(rt)
                continue
            self._reading = True
            try:
                self._take(await receive())
            finally:
                self._reading = False
                for waiter in self._waiters:  # all have to stop, or one of them has to read
                    waiter.wake()

    async def _reader_has_stopped(self, rt: Runtime) -> None:
        waiter = rt.waiter()
        self._waiters.append(waiter)
        try:
            await waiter.wait()
        finally:
            self._waiters.remove(waiter)

    def _take(self, message: Any) -> None:
        kind = cast("Mapping[str, object]", message).get("type") if isinstance(message, Mapping) else None
        if kind == "http.disconnect":
            self.gone = True
        elif kind == "http.request":
            self._refuse(READ_FIRST)
        elif isinstance(kind, str) and kind.startswith("websocket."):
            self._refuse(
                "`handle` is for HTTP requests, and this is a WebSocket; there, write `await balancer.arun(...)`"
            )
        else:
            got = short_repr(cast("object", message))
            self._refuse(f"`receive` must give the messages of an HTTP request, as request.receive does; got {got}")

    def _refuse(self, why: str) -> NoReturn:
        self._refusal = why
        raise UsageError(why)


_watches: WeakKeyDictionary[Receive, ClientWatch] = WeakKeyDictionary()


def watch_of(receive: Receive) -> ClientWatch:
    """The watch of this request. Bound methods of one object that are equal are the same ``receive``."""
    try:
        found = _watches.get(receive)
        if found is None:
            found = _watches[receive] = ClientWatch()
    except TypeError:  # it can't be hashed or weakly referenced, so a second call could not find it
        return ClientWatch()
    return found
