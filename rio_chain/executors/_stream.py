"""Stream: a run whose events are read while it goes on; the result of ``request.stream()``."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextvars import copy_context
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

from rio_chain._core.deadline import Deadline, deadline_of
from rio_chain._core.units import Duration, flag
from rio_chain.engine._new_run import stream_events
from rio_chain.engine._prepare import check_lanes
from rio_chain.errors import UsageError
from rio_chain.executors._blocking_run import shared_host, warn_if_a_loop_runs
from rio_chain.executors._blocking_wait import BlockingHost, wait_until_done
from rio_chain.executors._by_name import checked_executor, default_name
from rio_chain.executors._run_ticket import TicketRun
from rio_chain.executors._running_loop import host_here, waiter_here
from rio_chain.executors._ticket import Ticket
from rio_chain.results._events import Event

if TYPE_CHECKING:
    from rio_chain.chain._request import Request
    from rio_chain.executors._base import Executor, Host
    from rio_chain.results._outcome import Outcome

Out = TypeVar("Out", covariant=True)

LEFT = "its events are not read any more"


class EventBuffer:
    """A buffer for events that were not read yet. It has no bound, so a run never waits for the code that reads.

    As in a ``Ticket`` there are no locks. The run stores an event and then wakes the reader. The reader adds its waker
    and then checks for an event.
    """

    def __init__(self) -> None:
        self._events: deque[Event | None] = deque()
        self._wakers: list[Callable[[], None]] = []

    def put(self, event: Event | None) -> None:
        """Add an event, or None if no more will come. From any thread."""
        self._events.append(event)
        with contextlib.suppress(IndexError):  # there is no waker, or another thread has taken it
            self._wakers.pop()()

    def empty(self) -> bool:
        """Whether there is nothing to read now."""
        return not self._events

    def on_put(self, waker: Callable[[], None]) -> bool:
        """Call ``waker`` once when there is something to read. Returns False if there is something already."""
        self._wakers.append(waker)
        return self.empty()

    def next(self) -> Event | None:
        """The oldest event."""
        return self._events.popleft()


class Stream(Generic[Out]):
    """The events of one run, to be read once: ``for event in stream``, or ``async for event in stream``.

    The run begins when you start to iterate. Leaving the ``for`` early cancels the run: a plain ``for`` then waits for
    the clean-up, and ``async for`` does not. Inside a ``with`` or ``async with``, both wait.

    The run never waits for the code that reads. Events that you have not read are kept, however many there are.

    Example:
        >>> from rio_chain import Task
        >>> with Task(len).named("size")("four").stream() as events:
        ...     [event.task for event in events if event.kind == "finished"]
        ['size']
        >>> events.outcome.unwrap()
        4
    """

    def __init__(
        self,
        request: Request[Out],
        executor: str | Executor | None,
        deadline: Deadline | Duration | None,
        *,
        values: bool = False,
    ) -> None:
        self._request = request
        self._values = flag(values, "values")
        self._executor = None if executor is None else checked_executor(executor)
        deadline_of(deadline, time.monotonic)  # checks it now; the time counts from the beginning of the run
        self._deadline = deadline
        self._host: Host | None = None
        self._ticket: Ticket[Out] | None = None  # None: the run has not begun
        self._refusal: Exception | None = None  # why it did not begin, if a balancer refused it

    @property
    def outcome(self) -> Outcome[Out]:
        """The Outcome of the run, when the run has ended. A BaseException of the user's code is raised, as by ``run``.

        Raises:
            UsageError: the run has not ended, or has not begun.
            QueueFull, Saturated, BalancerClosed: the balancer refused the request, so it never began.
        """
        if self._ticket is None:
            if self._refusal is not None:
                raise type(self._refusal)(*self._refusal.args)
            raise UsageError("the run has not begun; read its events, as in `for event in events`")
        if not self._ticket.done:
            raise UsageError("the run has not ended; read its events to the end, or ask after the `with` block")
        return self._ticket.wait()

    # --- beginning ----------------------------------------------------------------------------------------------

    def __iter__(self) -> EventIterator:
        """Begin the run on the host of blocking runs."""
        host = self._plain_host()
        return EventIterator(host, *self._begin(host))

    def __aiter__(self) -> AsyncEventIterator:
        """Begin the run on the running loop; with ``executor=`` on the host of blocking runs."""
        return AsyncEventIterator(*self._begin(self._async_host()))

    def _plain_host(self) -> Host:
        self._once()
        host = shared_host(self._executor or default_name())
        if host.on_loop_thread():
            raise UsageError("`for` would block the loop that runs the request; write `async for`")
        warn_if_a_loop_runs("async for event in page(42).stream()")
        return host

    def _async_host(self) -> Host:
        self._once()
        return host_here() if self._executor is None else shared_host(self._executor)

    def _once(self) -> None:
        if self._ticket is not None:
            raise UsageError("a stream is one run and can be read only once; call `.stream()` again for another run")

    def _begin(self, host: Host) -> tuple[Ticket[Out], EventBuffer]:
        now = host.runtime.now
        check_lanes(self._request, host.runtime.lanes)
        ticket = Ticket(self._request, host)
        buffer = events_of(ticket, values=self._values)
        limit = deadline_of(self._deadline, now)
        self._host, self._ticket = host, ticket
        host.spawn(TicketRun(host, ticket, now(), limit).serve, copy_context())
        return ticket, buffer

    # --- leaving a block ----------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        if self._ticket is None or self._host is None or self._ticket.done or self._host.forked():
            return
        self._ticket.cancel(LEFT)
        if self._host.on_loop_thread():
            raise UsageError("leaving `with` would block the loop that cleans up; write `async with`")
        wait_until_done(self._host, self._ticket.add_waker)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        if self._ticket is None or self._ticket.done or self._ticket.host.forked():
            return
        self._ticket.cancel(LEFT)
        waiter = self._ticket.host.waiter()
        self._ticket.add_waker(waiter.wake)
        try:
            await waiter.wait()
        except BaseException:
            await waiter.wait_shielded()
            raise

    def __repr__(self) -> str:
        state = "not begun" if self._ticket is None else "over" if self._ticket.done else "running"
        return f"<Stream of {self._request.plan.title}: {state}>"


def events_of(ticket: Ticket[Any], *, values: bool = False) -> EventBuffer:
    """The events of a run that has not begun yet, as they come. The last one is None."""
    buffer = EventBuffer()
    ticket.run, close = stream_events(ticket.run, buffer.put, values=values)
    ticket.add_waker(partial(_over, close, buffer))
    return buffer


def _over(close: Callable[[], None], buffer: EventBuffer) -> None:
    close()
    buffer.put(None)


class _Reader:
    """The common part of both iterators. It ends when the loop drops it: no other object keeps it."""

    def __init__(self, ticket: Ticket[Any], buffer: EventBuffer) -> None:
        self._ticket = ticket
        self._buffer = buffer
        self._ended = False  # whether all events were read

    def _next(self) -> Event | None:
        """The next event. None if there are no more."""
        if self._ended:
            return None
        event = self._buffer.next()
        if event is None:
            self._ended = True
            outcome = self._ticket.wait()  # it is answered; a BaseException of the user's code is raised
            event = Event("ended", None, outcome.elapsed, outcome=outcome)
        return event


class EventIterator(_Reader, Iterator[Event]):
    """The iterator of ``for``."""

    def __init__(self, host: BlockingHost, ticket: Ticket[Any], buffer: EventBuffer) -> None:
        super().__init__(ticket, buffer)
        self._host = host
        self._thread = threading.get_ident()

    def __next__(self) -> Event:
        while not self._ended and self._buffer.empty():
            self._host.check_process()
            gate = threading.Lock()
            gate.acquire()
            if not self._buffer.on_put(gate.release):
                break
            try:
                self._host.block(gate)
            except BaseException:  # Ctrl-C; a second one ends the wait
                self._ticket.cancel(LEFT)
                wait_until_done(self._host, self._ticket.add_waker)
                raise
        event = self._next()
        if event is None:
            raise StopIteration
        return event

    def __del__(self) -> None:
        if self._ticket.done or self._host.forked():
            return
        self._ticket.cancel(LEFT)
        # the loop was left; but the collector may run on any thread, even on one that has to do the clean-up
        if threading.get_ident() == self._thread and not sys.is_finalizing():
            wait_until_done(self._host, self._ticket.add_waker)


class AsyncEventIterator(_Reader, AsyncIterator[Event]):
    """The iterator of ``async for``. It is not an async generator, because a loop would have to close that."""

    async def __anext__(self) -> Event:
        while not self._ended:
            if self._buffer.empty():
                self._ticket.host.check_process()
            waiter = waiter_here()
            if not self._buffer.on_put(waiter.wake):
                waiter.wake()  # there is one already; on trio the wait is still a checkpoint
            try:
                await waiter.wait()
            except BaseException:
                self._ticket.cancel(LEFT)
                await self._ticket.ended()
                raise
            if not self._buffer.empty():
                break
        event = self._next()
        if event is None:
            raise StopAsyncIteration
        return event

    def __del__(self) -> None:
        if not self._ticket.done:
            self._ticket.cancel(LEFT)
