"""``balancer.stream(request)``: the events of a request that a balancer runs."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any, TypeVar

from rio_chain.balancer._nested_requests import check_not_nested
from rio_chain.balancer._posted_request import RequestOptions, request_options
from rio_chain.chain._never_run import handed_over
from rio_chain.errors import BalancerClosed, QueueFull, Saturated, UsageError
from rio_chain.executors import warn_if_a_loop_runs
from rio_chain.executors._stream import AsyncEventIterator, EventBuffer, EventIterator, Stream, events_of
from rio_chain.executors._ticket import Ticket

if TYPE_CHECKING:
    from collections.abc import Hashable

    from rio_chain.balancer._lifetime import Lifetime
    from rio_chain.chain._request import Request
    from rio_chain.executors._base import Host

Out = TypeVar("Out", covariant=True)


class BalancerStream(Stream[Out]):
    """As ``Stream``. The request is posted when the iteration begins."""

    def __init__(
        self,
        lifetime: Callable[[], Lifetime],
        request: Request[Out],
        options: tuple[Any, ...],
        tenant: Hashable,
        *,
        values: bool,
    ) -> None:
        super().__init__(request, None, None, values=values)
        self._lifetime = lifetime
        self._options = options
        self._tenant = tenant
        self._made(time.monotonic)  # checks the options now; a deadline counts from the start of the iteration

    def _made(self, now: Callable[[], float]) -> RequestOptions:
        options = request_options(now, *self._options)
        lifetime = self._lifetime()
        if self._tenant is not None or lifetime.managed:
            options = lifetime.manage(self._request, options, self._tenant)
        return options

    def __iter__(self) -> EventIterator:
        """As ``Stream.__iter__``; raises what ``arun`` does."""
        with self._noting_refusal():
            return super().__iter__()

    def __aiter__(self) -> AsyncEventIterator:
        """As ``Stream.__aiter__``; raises what ``arun`` does."""
        with self._noting_refusal():
            return super().__aiter__()

    @contextlib.contextmanager
    def _noting_refusal(self) -> Generator[None]:
        """Keep the reason why it did not begin, for ``outcome``. It is a new error, as the one raised holds frames."""
        try:
            yield
        except (QueueFull, Saturated, BalancerClosed) as error:
            self._refusal = type(error)(*error.args)
            raise

    def _plain_host(self) -> Host:
        self._once()
        handed_over(self._request)
        check_not_nested(self._lifetime().admission, "stream")
        host = self._lifetime().host(self._request, here=False)
        if host.on_loop_thread():
            raise UsageError("`for` would block the loop that runs the request; write `async for`")
        warn_if_a_loop_runs("async for event in balancer.stream(...)")
        return host

    def _async_host(self) -> Host:
        self._once()
        handed_over(self._request)
        check_not_nested(self._lifetime().admission, "stream")
        host = self._lifetime().host(self._request, here=True)
        host.check_await()
        return host

    def _begin(self, host: Host) -> tuple[Ticket[Out], EventBuffer]:
        buffers: list[EventBuffer] = []

        def observe(ticket: Ticket[Any]) -> None:
            buffers.append(events_of(ticket, values=self._values))

        ticket = self._lifetime().post(host, self._request, self._made(host.runtime.now), observe=observe)
        self._host, self._ticket = host, ticket
        return ticket, buffers[0]
