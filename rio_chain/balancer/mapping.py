"""Many inputs through one balancer, a bounded number of them at a time."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

from rio_chain.balancer.serve import wait_for, wait_in_place
from rio_chain.balancer.ticket import Ticket
from rio_chain.balancer.waiting import SLICE, Waited, once, told

if TYPE_CHECKING:
    from rio_chain.outcome import Outcome

In = TypeVar("In")
Out = TypeVar("Out")
Post = Callable[[In], Ticket[Out]]


Look = Callable[[], None]
"""Called again and again while one waits; it shows how far things are."""


def in_threads(
    host: Waited,
    post: Post[In, Out],
    inputs: Iterable[In],
    window: int,
    *,
    as_completed: bool,
    look: Look | None = None,
) -> Iterator[Outcome[Out]]:
    """The Outcomes, for a thread that may block."""
    source = iter(inputs)
    pending: deque[Ticket[Out]] = deque()
    ready = deque[Ticket[Out]](maxlen=None if as_completed else 0)  # in order, nobody asks for it
    wake: list[Callable[[], None]] = []

    def arrived(ticket: Ticket[Out]) -> None:
        ready.append(ticket)
        with contextlib.suppress(IndexError):  # nobody waits, or another thread has taken the call
            wake.pop()()

    def on_arrival(waker: Callable[[], None]) -> None:
        wake.append(waker)
        if ready:  # it came in between
            with contextlib.suppress(IndexError):
                wake.pop()()

    def more(number: int) -> None:
        for value in islice(source, number):
            ticket = post(value)
            pending.append(ticket)
            ticket.add_waker(once(partial(arrived, ticket)))

    try:
        more(window)
        while pending:
            if as_completed and not ready:
                told(host, on_arrival, meanwhile=look)
            ticket = ready.popleft() if as_completed else pending[0]
            outcome = wait_for(ticket, look and partial(told, host, ticket.add_waker, meanwhile=look))
            pending.remove(ticket)
            if look is not None:
                look()  # where nobody ever has to wait, too
            yield outcome
            more(1)
    finally:
        for ticket in pending:
            ticket.cancel("the loop over it was left")


async def on_loops(
    post: Post[In, Out], inputs: Iterable[In], window: int, *, as_completed: bool, look: Look | None = None
) -> AsyncGenerator[Outcome[Out], None]:
    """The Outcomes, for a task."""
    from rio_chain.executors import waiter_here  # noqa: PLC0415 - which loop this is only executors know

    source = iter(inputs)
    pending: deque[Ticket[Out]] = deque()
    ready = deque[Ticket[Out]](maxlen=None if as_completed else 0)  # in order, nobody asks for it
    wake: list[Callable[[], None]] = []

    def arrived(ticket: Ticket[Out]) -> None:
        ready.append(ticket)
        if wake:
            wake[-1]()

    def more(number: int) -> None:
        for value in islice(source, number):
            ticket = post(value)
            pending.append(ticket)
            ticket.add_waker(once(partial(arrived, ticket)))

    try:
        more(window)
        while pending:
            while as_completed and not ready:  # a thread may be late to wake us for one that we have taken already
                waiter = waiter_here()
                wake[:] = [waiter.wake]
                if not ready:
                    await (waiter.wait() if look is None else _until_look(waiter.wait, look))
            ticket = ready.popleft() if as_completed else pending[0]
            outcome = await wait_in_place(ticket, look and partial(_looking, ticket, look))
            pending.remove(ticket)
            if look is not None:
                look()  # where nobody ever has to wait, too
            yield outcome
            more(1)
    finally:
        for ticket in pending:
            ticket.cancel("the loop over it was left")


async def _looking(ticket: Ticket[Any], look: Look) -> None:
    """Look again and again until it is answered."""
    from rio_chain.executors import waiter_here  # noqa: PLC0415 - which loop this is only executors know

    waiter = waiter_here()
    ticket.add_waker(waiter.wake)
    while not ticket.done:
        await _until_look(waiter.wait, look)


async def _until_look(wait: Callable[[], Awaitable[None]], look: Look) -> None:
    """Wait, but no longer than until the next look."""
    from rio_chain.executors import runtime_here  # noqa: PLC0415 - which loop this is only executors know

    rt = runtime_here()
    slot = rt.slot()
    try:
        slot.arm(rt.now() + SLICE)
        await wait()
    except BaseException as exc:
        if not slot.settle(exc):
            raise
    finally:
        slot.release()
    look()
