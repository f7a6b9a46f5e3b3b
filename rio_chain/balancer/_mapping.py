"""Many inputs through one balancer, a bounded number of them at a time."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from rio_chain._core import hooks
from rio_chain._core.units import flag
from rio_chain.executors._blocking_wait import SLICE, BlockingHost, once, wait_until_done
from rio_chain.executors._running_loop import runtime_here, waiter_here
from rio_chain.executors._ticket import Ticket

if TYPE_CHECKING:
    from rio_chain.results._outcome import Outcome

In = TypeVar("In")
Out = TypeVar("Out")
Post = Callable[[In], Ticket[Out]]


Meanwhile = Callable[[], None]
"""Called again and again while one waits; it shows how far things are."""


class _Window(Generic[In, Out]):
    """The inputs that are under way, in their order, and those of them that were answered, in theirs."""

    def __init__(self, post: Post[In, Out], inputs: Iterable[In], *, as_completed: bool) -> None:
        self._post = post
        self._source = iter(inputs)
        self._as_completed = as_completed
        self.pending: deque[Ticket[Out]] = deque()
        self._ready = deque[Ticket[Out]](maxlen=None if as_completed else 0)  # in order, nobody asks for it
        self._wake: list[Callable[[], None]] = []

    def more(self, number: int) -> None:
        """Post so many inputs, or those that are left."""
        for value in islice(self._source, number):
            ticket = self._post(value)
            self.pending.append(ticket)
            ticket.add_waker(once(partial(self._arrived, ticket)))

    def _arrived(self, ticket: Ticket[Out]) -> None:
        self._ready.append(ticket)
        with contextlib.suppress(IndexError):  # nobody waits, or another thread has taken the call
            self._wake.pop()()

    @property
    def waits(self) -> bool:
        """Whether the next one to hand out is not known before one more is answered."""
        return self._as_completed and not self._ready

    def on_arrival(self, waker: Callable[[], None]) -> None:
        """Call this once when one is answered; at once when one is."""
        self._wake[:] = [waker]
        if self._ready:  # it came in between
            with contextlib.suppress(IndexError):
                self._wake.pop()()

    def next(self) -> Ticket[Out]:
        """The one to hand out next."""
        return self._ready.popleft() if self._as_completed else self.pending[0]

    def cancel(self) -> None:
        """Cancel all that is under way. The last one first: a slot that becomes free must not go to one of the rest."""
        for ticket in reversed(self.pending):
            ticket.cancel("the loop over it was left")


def outcomes(
    host: BlockingHost, post: Post[In, Out], inputs: Iterable[In], window: int, *, as_completed: bool, progress: bool
) -> Iterator[Outcome[Out]]:
    """The Outcomes, for a thread that may block; and how many there are, shown."""
    if not flag(progress, "progress"):
        return outcomes_in_thread(host, post, inputs, window, as_completed=as_completed)
    shown = hooks.facade.progress(inputs)
    give = partial(outcomes_in_thread, host, shown.posting(post), inputs, window, as_completed=as_completed)
    return shown.shown(lambda look: give(look=look))


def async_outcomes(
    post: Post[In, Out], inputs: Iterable[In], window: int, *, as_completed: bool, progress: bool
) -> AsyncIterator[Outcome[Out]]:
    """The same for a task."""
    if not flag(progress, "progress"):
        return AsyncOutcomes(post, inputs, window, as_completed=as_completed)
    shown = hooks.facade.progress(inputs)
    give = partial(AsyncOutcomes[Out], shown.posting(post), inputs, window, as_completed=as_completed)
    return shown.ashown(lambda look: give(look=look))


def outcomes_in_thread(
    host: BlockingHost,
    post: Post[In, Out],
    inputs: Iterable[In],
    window: int,
    *,
    as_completed: bool,
    look: Meanwhile | None = None,
) -> Iterator[Outcome[Out]]:
    """The Outcomes, for a thread that may block."""
    several = _Window(post, inputs, as_completed=as_completed)
    try:
        several.more(window)
        while several.pending:
            if several.waits:
                wait_until_done(host, several.on_arrival, meanwhile=look)
            ticket = several.next()
            if look is not None:
                wait_until_done(host, ticket.add_waker, meanwhile=look)
            outcome = ticket.wait()
            several.pending.remove(ticket)
            if look is not None:
                look()  # where nobody ever has to wait, too
            yield outcome
            several.more(1)
    except GeneratorExit:
        several.cancel()
        raise
    except BaseException as error:
        several.cancel()
        if not isinstance(error, Exception):  # Ctrl-C, most likely; a second one does not wait
            for ticket in several.pending:
                wait_until_done(host, ticket.add_waker)
        raise


class AsyncOutcomes(AsyncIterator["Outcome[Out]"]):
    """The Outcomes, for a task.

    No async generator: a loop that is left early tells an iterator nothing but that it is dropped, and trio warns of a
    generator that is. ``aclose`` waits for the clean-up of what is under way, and so does a cancelled ``anext``.
    """

    def __init__(
        self,
        post: Post[In, Out],
        inputs: Iterable[In],
        window: int,
        *,
        as_completed: bool,
        look: Meanwhile | None = None,
    ) -> None:
        # the tickets know the window and not this, which ends when the loop drops it
        self._window = _Window(post, inputs, as_completed=as_completed)
        self._room = window
        self._look = look
        self._waits = self._over = False

    async def __anext__(self) -> Outcome[Out]:
        if self._waits:
            raise RuntimeError("another task waits for the next Outcome already")
        self._waits = True
        try:
            return await self._next()
        except BaseException as error:
            if isinstance(error, (Exception, GeneratorExit)):
                self._leave()
            else:
                await self.aclose()
            raise
        finally:
            self._waits = False

    async def _next(self) -> Outcome[Out]:
        window, look = self._window, self._look
        if not self._over:
            window.more(self._room)
            self._room = 1
        if self._over or not window.pending:
            raise StopAsyncIteration
        while window.waits:  # a thread may be late to wake us for one that we have taken already
            waiter = waiter_here()
            window.on_arrival(waiter.wake)
            await (waiter.wait() if look is None else _until_look(waiter.wait, look))
        ticket = window.next()
        if look is not None:
            await _looking(ticket, look)
        outcome = await ticket
        window.pending.remove(ticket)
        if look is not None:
            look()  # where nobody ever has to wait, too
        return outcome

    def _leave(self) -> None:
        self._over = True
        self._window.cancel()

    async def aclose(self) -> None:
        """Cancel what is under way, and wait until it has ended, whatever interrupts this."""
        self._leave()
        for ticket in self._window.pending:
            await ticket.ended()
        self._window.pending.clear()

    def __del__(self) -> None:
        if hasattr(self, "_window"):  # else there were no inputs
            self._leave()


async def _looking(ticket: Ticket[Any], look: Meanwhile) -> None:
    """Meanwhile again and again until it is answered."""
    waiter = waiter_here()
    ticket.add_waker(waiter.wake)
    while not ticket.done:
        await _until_look(waiter.wait, look)


async def _until_look(wait: Callable[[], Awaitable[None]], look: Meanwhile) -> None:
    """Wait, but no longer than until the next look."""
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
