"""``balancer.stream(request)``: the events of a request that waits for its turn and runs in a balancer."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from rio_chain.balancer._posted_request import RequestOptions, request_options
from rio_chain.errors import UsageError
from rio_chain.executors import warn_if_a_loop_runs
from rio_chain.executors._stream import EventBuffer, Stream, events_of
from rio_chain.executors._ticket import Ticket

if TYPE_CHECKING:
    from rio_chain.balancer._lifetime import Lifetime
    from rio_chain.chain._request import Request
    from rio_chain.executors._base import Host

Out = TypeVar("Out", covariant=True)


class BalancerStream(Stream[Out]):
    """As ``Stream``. The request is posted when the loop over it begins."""

    def __init__(
        self, lifetime: Callable[[], Lifetime], request: Request[Out], options: tuple[Any, ...], *, values: bool
    ) -> None:
        super().__init__(request, None, None, values=values)
        self._lifetime = lifetime
        self._options = options
        self._made(time.monotonic)  # to refuse them here; a deadline counts from the beginning of the loop

    def _made(self, now: Callable[[], float]) -> RequestOptions:
        return request_options(now, *self._options)

    def _plain_host(self) -> Host:
        self._once()
        host = self._lifetime().host(self._request, here=False)
        if host.on_loop_thread():
            raise UsageError("`for` would block the loop that has to run it; write `async for`")
        warn_if_a_loop_runs("async for event in balancer.stream(...)")
        return host

    def _async_host(self) -> Host:
        self._once()
        host = self._lifetime().host(self._request, here=True)
        host.check_await()
        return host

    def _begin(self, host: Host) -> tuple[Ticket[Out], EventBuffer]:
        buffers: list[EventBuffer] = []

        def observe(ticket: Ticket[Any]) -> None:
            buffers.append(events_of(ticket, values=self._values))

        ticket = self._lifetime().post(host, self._request, self._made(host.runtime.now), observe)
        self._host, self._ticket = host, ticket
        return ticket, buffers[0]
