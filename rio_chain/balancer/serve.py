"""Answering tickets: the strand that runs a posted request, and the thread that waits for it."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from rio_chain.balancer.ticket import Ticket
from rio_chain.deadline import Deadline
from rio_chain.engine.execute import execute, unbegun
from rio_chain.errors import TicketCancelled

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from rio_chain.executors.base import Host
    from rio_chain.outcome import Outcome

LOST = "the loop it ran on has ended"


async def serve(
    host: Host,
    ticket: Ticket[Any],
    *,
    deadline: Deadline | None,
    abandon_after: float,
    posted: float,
    ended: Callable[[], None] | None = None,
) -> None:
    """Run a ticket's request and answer it, whatever happens; ``ended`` is called right before the answer."""
    outcome: Outcome[Any] | None = None
    error: BaseException | None = None
    try:
        outcome = await execute(
            host.runtime, ticket.request, ticket.run, deadline=deadline, abandon_after=abandon_after, posted=posted
        )
    except host.cancelled as exc:
        if host.cancelling():
            outcome = cancelled(host, ticket, TicketCancelled(LOST), posted)
            raise
        error = exc  # the body's own
    except BaseException as exc:  # noqa: BLE001 - it belongs to those who wait for the ticket
        error = exc
    finally:
        if ended is not None:
            ended()
        if outcome is not None:
            ticket.resolve(outcome)
        elif error is not None:
            ticket.fail(error)
        # the error's traceback keeps this frame, which must not keep the ticket that keeps the error
        del ticket, outcome, error, ended


def cancelled(host: Host, ticket: Ticket[Any], error: Exception, posted: float) -> Outcome[Any]:
    """The Outcome of a ticket that will not run, or not on."""
    return unbegun(ticket.request, ticket.run, error, posted, host.runtime.now())


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
        raise


async def wait_in_place(ticket: Ticket[Any], meanwhile: Callable[[], Awaitable[None]] | None = None) -> Outcome[Any]:
    """Await the ticket; a cancellation of this wait cancels the request, and goes on when that has ended.

    ``meanwhile`` as for ``wait_for``.
    """
    try:
        if meanwhile is not None:
            await meanwhile()
        return await ticket
    except BaseException:
        if not ticket.done:
            ticket.cancel("the task that awaited it was cancelled")
            await ticket.ended()
        raise
