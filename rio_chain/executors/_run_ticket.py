"""Answering tickets: the strand that runs a posted request, and the thread that waits for it."""

from __future__ import annotations

import contextlib
from functools import partial
from typing import TYPE_CHECKING, Any

from attrs import define, field

from rio_chain._core.deadline import Deadline
from rio_chain._core.unhandled_errors import surely
from rio_chain.engine._run import ABANDON_AFTER, UNFINISHED, begin, finish, outcome_of_unbegun
from rio_chain.errors import TicketCancelled
from rio_chain.executors._ticket import Ticket

if TYPE_CHECKING:
    from collections.abc import Callable

    from rio_chain.executors._base import Host
    from rio_chain.results._outcome import Outcome

LOST = "the loop it ran on has ended"


@define(eq=False)  # not frozen, which costs each post as much as all its checks
class TicketRun:
    """A ticket's request on its way: it is run once, and answered whatever happens."""

    host: Host
    ticket: Ticket[Any]
    posted: float
    """When it was handed over, in seconds of the host's clock."""
    deadline: Deadline | None
    abandon_after: float = ABANDON_AFTER
    begun: bool = field(default=False, init=False)
    """It runs, has run, or never will: a strand that was started twice, or for nothing, does nothing."""

    async def serve(self) -> None:
        """Run it in the strand that calls, and answer it."""
        if self.begun:
            return
        self.begun = True
        host, ticket = self.host, self.ticket
        rt, run = host.runtime, ticket.run
        outcome: Outcome[Any] | None = None
        error: BaseException | None = None
        try:
            began = rt.now()
            got: Any = UNFINISHED
            try:
                got = await begin(rt, ticket.request, run, began, self.deadline, self.abandon_after)
            finally:
                finished = finish(run, got, (self.posted, began, rt.now()))
                self.left(began, finished)
            outcome = finished
        except host.cancelled as exc:
            if host.cancelling():
                outcome = self.unbegun(TicketCancelled(LOST))
                raise
            error = exc  # the body's own
        except BaseException as exc:  # noqa: BLE001 - it belongs to those who wait for the ticket
            error = exc
        finally:
            try:
                self._answer(outcome, error)
            except MemoryError:
                surely(partial(self._answer, outcome, error))
            # the error's traceback keeps this frame, which must not keep the ticket that keeps the error
            del self, ticket, outcome, error

    def _answer(self, outcome: Outcome[Any] | None, error: BaseException | None) -> None:
        if outcome is not None:
            self.ticket.resolve(outcome)
        elif error is not None:
            self.ticket.fail(error)
        self.answered()

    def left(self, began: float, outcome: Outcome[Any] | None) -> None:
        """Its run, which began then, is over; the answer comes next. None: an exception goes on."""

    def answered(self) -> None:
        """It has its answer."""

    def unbegun(self, error: Exception) -> Outcome[Any]:
        """The Outcome, if it will not run, or not on."""
        return outcome_of_unbegun(self.ticket.request, self.ticket.run, error, self.posted, self.host.runtime.now())


def wait_for(ticket: Ticket[Any], meanwhile: Callable[[], object] | None = None) -> Outcome[Any]:
    """Block until the ticket is answered. Ctrl-C cancels it and waits for its clean-up; a second one does not.

    ``meanwhile`` is called at once, and may do something else until it is answered.
    """
    try:
        if meanwhile is not None:
            meanwhile()
        return ticket.wait()
    except BaseException:
        if not ticket.done:
            ticket.cancel("the call that waited for it was interrupted")
            with contextlib.suppress(BaseException):  # a second Ctrl-C, or the body's own last words
                ticket.wait()
        del ticket  # the traceback keeps this frame
        raise


async def wait_in_place(ticket: Ticket[Any]) -> Outcome[Any]:
    """Await the ticket; a cancellation of this wait cancels the request, and goes on when that has ended."""
    try:
        return await ticket
    except BaseException:
        if not ticket.done:
            ticket.cancel("the task that awaited it was cancelled")
            await ticket.ended()
        del ticket  # the traceback keeps this frame
        raise
