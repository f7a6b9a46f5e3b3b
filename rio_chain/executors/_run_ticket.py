"""Runs the request of a ticket, and waits for tickets."""

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
    """The request of a ticket. It runs once, and is answered whatever happens."""

    host: Host
    ticket: Ticket[Any]
    posted: float
    """When it was posted, in seconds of the host's clock."""
    deadline: Deadline | None
    abandon_after: float = ABANDON_AFTER
    begun: bool = field(default=False, init=False)
    """It runs, has run, or never will. A strand that was started twice, or too late, does nothing."""

    async def serve(self) -> None:
        """Run it in the strand that calls this, and answer it."""
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
            error = exc  # raised by the user's code
        except BaseException as exc:  # noqa: BLE001 - those who wait for the ticket get it
            error = exc
        finally:
            try:
                self._answer(outcome, error)
            except MemoryError:
                surely(partial(self._answer, outcome, error))
            # the traceback keeps this frame, so the frame must not keep the ticket, which keeps the error
            del self, ticket, outcome, error

    def _answer(self, outcome: Outcome[Any] | None, error: BaseException | None) -> None:
        if outcome is not None:
            self.ticket.resolve(outcome)
        elif error is not None:
            self.ticket.fail(error)
        self.answered()

    def left(self, began: float, outcome: Outcome[Any] | None) -> None:
        """The run, which began then, has ended; the answer follows. None if an exception is raised instead."""

    def answered(self) -> None:
        """It has been answered."""

    def unbegun(self, error: Exception) -> Outcome[Any]:
        """The Outcome of a request that will not run, or not to its end."""
        return outcome_of_unbegun(self.ticket.request, self.ticket.run, error, self.posted, self.host.runtime.now())


def wait_for(ticket: Ticket[Any], meanwhile: Callable[[], object] | None = None) -> Outcome[Any]:
    """Block until the ticket is answered. Ctrl-C cancels it and waits for its clean-up; a second Ctrl-C does not wait.

    ``meanwhile`` is called first, and may do something else until the ticket is answered.
    """
    try:
        if meanwhile is not None:
            meanwhile()
        return ticket.wait()
    except BaseException:
        if not ticket.done:
            ticket.cancel("the call that waited for it was interrupted")
            with contextlib.suppress(BaseException):  # a second Ctrl-C, or an error of the clean-up
                ticket.wait()
        del ticket  # the traceback keeps this frame
        raise


async def wait_in_place(ticket: Ticket[Any]) -> Outcome[Any]:
    """Await the ticket. If this wait is cancelled, the request is cancelled, and has ended before this raises."""
    try:
        return await ticket
    except BaseException:
        if not ticket.done:
            ticket.cancel("the task that awaited it was cancelled")
            await ticket.ended()
        del ticket  # the traceback keeps this frame
        raise
