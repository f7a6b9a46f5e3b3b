"""The way of a request: it is handed in, waits for its turn, runs, and is answered, whatever happens meanwhile."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from rio_chain._core.unhandled_errors import surely
from rio_chain.balancer._admission import Core
from rio_chain.balancer._posted_request import CLOSED, ENDED, Posting, Terms
from rio_chain.balancer._priority_queue import Turn
from rio_chain.chain._request import Request
from rio_chain.engine._current_run import INF, Run
from rio_chain.engine._runtime_protocol import HostGone
from rio_chain.errors import BalancerClosed, DeadlineExceeded, QueueFull, TicketCancelled
from rio_chain.executors._run_ticket import LOST
from rio_chain.executors._ticket import Ticket

if TYPE_CHECKING:
    from rio_chain.engine._runtime_protocol import Runtime
    from rio_chain.executors._base import Host, Main

Out = TypeVar("Out")


class Desk:
    """Takes posted requests, waits for turns, and knows who has not been answered yet.

    Args:
        core: order and counts.
        abandon_after: seconds, for runs that nothing else limits.
        on_loss: called when the host's loop has ended and everything has been answered.
    """

    def __init__(self, core: Core, abandon_after: float, on_loss: Callable[[], None]) -> None:
        self.core = core
        self.abandon_after = abandon_after
        self.posted: set[Posting] = set()  # started on the host and not answered
        self._on_loss = on_loss
        self._gone = False  # the host's loop has ended

    @property
    def idle(self) -> bool:
        """Whether nothing is under way, and everything is answered."""
        core = self.core
        return not (core.runs or core.queue.waiting or any(not one.ticket.done for one in list(self.posted)))

    def post(self, host: Host, request: Request[Out], terms: Terms) -> Ticket[Out]:
        """A ticket for a request that was checked.

        Raises:
            BalancerClosed: it is closed.
            QueueFull: the terms say that it is not to wait for room, and there is none.
        """
        ticket = Ticket(request, host)
        ticket.run.priority = terms.priority
        now, until = host.runtime.now(), terms.deadline
        posting = Posting(
            host, ticket, now, until, self.abandon_after, context=copy_context(), core=self.core, open=self.posted
        )
        try:
            if self.core.take(ticket.run):
                self._start(posting, posting.serve)
            else:
                self._line_up(posting, terms)
        except (BalancerClosed, QueueFull):
            raise
        except BaseException:  # an interruption, or no thread could be started; nobody knows how far it got
            if not posting.begun:
                posting.begun = ticket.run.dropped = self.core.torn = True
            with contextlib.suppress(BaseException):  # what this can't do, `settle` and the next decision do
                surely(partial(self._drop, posting))
            raise
        return ticket

    def _drop(self, posting: Posting) -> None:
        """Nobody has its ticket: it does not run, or not on, and holds neither a place nor a slot."""
        error = TicketCancelled("the call that posted it was interrupted")
        posting.ticket.run.stop(error)
        if not posting.ticket.run.dropped:
            return  # it runs, and will leave its slot by itself
        if posting.turn is not None:
            self.core.give_up(posting.turn)
        self.core.release(posting.ticket.run)
        posting.cancelled(error)
        posting.answered()

    def settle(self) -> None:
        """Do what interruptions left undone."""
        self.core.settle()
        for posting in list(self.posted):
            if posting.ticket.run.dropped and not posting.ticket.done:
                self._drop(posting)

    def _line_up(self, posting: Posting, terms: Terms) -> None:
        turn = posting.turn = Turn(posting.ticket.run, terms.priority, posting.posted)
        posting.ticket.withdraw = partial(self._withdraw, posting, turn)
        until = terms.until(posting.host.runtime, turn.at)
        if until == INF:  # it waits alone; else a strand waits with it and looks at the time
            turn.wake = partial(self._start_woken, posting, turn)
        if self.core.admit(turn, bounded=terms.bounded):
            self._start_woken(posting, turn, accepted=False)  # it need not wait, so it can't wait too long
        elif until < INF:
            self._start(posting, partial(self._wait_and_serve, posting, turn, until))

    def _start_woken(self, posting: Posting, turn: Turn, *, accepted: bool = True) -> None:
        """Its waiting is over, with a slot or without."""
        if turn.state == "waiting":
            return  # what was to end it was interrupted
        if turn.state == "gone":
            posting.cancelled(posting.ticket.run.stop_error or self._cancelled())
        elif not posting.begun:  # else it was told before, and an interruption had it told again
            self._start(posting, posting.serve, accepted=accepted)
        turn.wake = None  # it knows the posting, and the posting knows the turn

    def _start(self, posting: Posting, main: Main, *, accepted: bool = False) -> None:
        """Start the strand of a posted request: it has its slot, or must keep an eye on the time."""
        self.posted.add(posting)
        over = False
        try:
            posting.host.spawn(main, posting.context, accepted=accepted)
        except HostGone:
            self._gone = over = True
        if self._gone:  # also when it ended between: then a strand that it took will not run
            self.lost(over=over)

    async def _wait_and_serve(self, posting: Posting, turn: Turn, until: float) -> None:
        rt = posting.host.runtime
        try:
            if await self.turn_came(rt, turn, until):
                await posting.serve()
            else:
                posting.cancelled(posting.ticket.run.stop_error or self.passed_over(rt, until))
        except posting.host.cancelled:
            raise
        except Exception as error:  # noqa: BLE001 - of this machinery, as where memory ends; it would end all of trio
            surely(partial(posting.cancelled, error))
        finally:
            surely(partial(self._waited, posting))

    def _waited(self, posting: Posting) -> None:
        """The strand that waited for a slot is over, whatever became of that."""
        if not posting.begun and posting.turn is not None:
            self.core.give_up(posting.turn)
        if not posting.ticket.done:  # cancelled, with its loop, while it waited in the line
            posting.cancelled(TicketCancelled(LOST))
        posting.answered()

    async def slot_came(self, rt: Runtime, run: Run, terms: Terms, posted: float) -> Exception | None:
        """A slot for a run that has no ticket, after its wait in the line; or why it got none.

        Raises:
            BalancerClosed, QueueFull: as ``post``.
        """
        turn = Turn(run, terms.priority, posted)
        until = terms.until(rt, posted)
        try:
            came = self.core.admit(turn, bounded=terms.bounded) or await self.turn_came(rt, turn, until)
        except BaseException:
            run.dropped = self.core.torn = True
            self.core.give_up(turn)
            raise
        return None if came else self.passed_over(rt, until)

    async def turn_came(self, rt: Runtime, turn: Turn, until: float) -> bool:
        """Wait in the line. False: time is over, or there is nothing left to wait for."""
        if turn.state == "waiting":
            waiter = rt.waiter()
            turn.wake = waiter.wake  # whoever ends the waiting from here on wakes us; who did before, left its mark
            slot = rt.slot()
            try:
                if turn.state == "waiting":
                    slot.arm(until)
                    await waiter.wait()
            except BaseException as exc:
                turn.run.dropped = self.core.torn = True
                self.core.give_up(turn)
                if not slot.settle(exc):
                    raise
            finally:
                slot.release()
        if until < INF and turn.state == "granted" and rt.now() >= until:  # the loop was busy, or in the same instant
            self.core.give_up(turn)
        return turn.state == "granted"

    def passed_over(self, rt: Runtime, until: float) -> Exception:
        """Why the turn of one who waited up to ``until`` never came. While it drains, time may run out as well."""
        return self._cancelled() if self.core.closed and rt.now() < until else DeadlineExceeded("in the queue")

    def _cancelled(self) -> TicketCancelled:
        """Why what is left is cancelled: the balancer was closed, or its loop has ended."""
        return TicketCancelled(LOST if self._gone else CLOSED)

    def _withdraw(self, posting: Posting, turn: Turn, error: Exception) -> None:
        """Cancel a ticket that is still in the line."""
        if self.core.defer(lambda: self._withdraw(posting, turn, error)):
            return
        if self.core.withdraw(turn):
            posting.cancelled(error)

    def cancel_left(self) -> None:
        """Answer those who wait in the line, and stop those that run."""
        for run in self.core.clear():
            run.stop(self._cancelled())

    def lost(self, *, over: bool = False) -> None:
        """The host's loop ends: everything is answered now.

        ``over``: nothing on it goes on, so what ``arun`` runs there is over as well.
        """
        self._gone = True
        self.core.shut(ENDED)
        try:
            self.cancel_left()
        finally:
            for posting in list(self.posted):
                posting.begun = True
                self.core.release(posting.ticket.run)
                posting.cancelled(TicketCancelled(LOST))
                posting.answered()
            for run in list(self.core.runs) if over else ():
                self.core.release(run)
            self._on_loss()
