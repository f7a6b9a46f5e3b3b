"""Takes requests through a balancer: posted, waiting for a turn, running, and answered, whatever interrupts that."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from rio_chain._core.unhandled_errors import surely
from rio_chain.balancer._admission import Admission
from rio_chain.balancer._posted_request import CLOSED, ENDED, PostedRequest, RequestOptions
from rio_chain.balancer._priority_queue import Turn
from rio_chain.chain._request import Request
from rio_chain.engine._current_run import INF, Run
from rio_chain.engine._runtime_protocol import HostGone
from rio_chain.errors import BalancerClosed, DeadlineExceeded, QueueFull, TicketCancelled
from rio_chain.executors._run_ticket import LOST
from rio_chain.executors._ticket import Ticket

if TYPE_CHECKING:
    from rio_chain.balancer._schedule import ScheduleRun
    from rio_chain.engine._journal_protocol import RunJournal
    from rio_chain.engine._runtime_protocol import Runtime
    from rio_chain.executors._base import Host, Main
    from rio_chain.results._observers import Observer

Out = TypeVar("Out")


class Dispatcher:
    """Takes posted requests, waits for turns, and knows which requests have no Outcome yet.

    Args:
        admission: the order and the counts.
        abandon_after: seconds; the timeout of a run that has no deadline and no timeout around its whole chain.
        on_loss: called when the host's event loop has ended and all requests have an Outcome.
        observers: those of the balancer.
    """

    def __init__(
        self,
        admission: Admission,
        abandon_after: float,
        on_loss: Callable[[], None],
        observers: tuple[Observer, ...] = (),
    ) -> None:
        self.admission = admission
        self.observers = observers
        self.abandon_after = abandon_after
        self.posted: set[PostedRequest] = set()  # started on the host and not answered
        self.schedules: set[ScheduleRun] = set()  # those whose strands have not ended
        self._on_loss = on_loss
        self.gone = False  # the host's loop has ended
        self.cut: Exception | None = None  # why open requests are cancelled, once they are

    @property
    def idle(self) -> bool:
        """Whether nothing is running or waiting, and everything is answered."""
        admission = self.admission
        return not (admission.runs or admission.queue.waiting or any(not one.ticket.done for one in list(self.posted)))

    def post(
        self,
        host: Host,
        request: Request[Out],
        options: RequestOptions,
        journal: RunJournal | None = None,
        observe: Callable[[Ticket[Any]], object] | None = None,
    ) -> Ticket[Out]:
        """A ticket for a request that was checked. ``observe`` is called with the ticket before it can run.

        Raises:
            BalancerClosed: the balancer is closed.
            QueueFull: the queue is full, and the options say not to wait for room.
        """
        ticket = Ticket(request, host, self.observers, self.admission, journal)
        if observe is not None:
            observe(ticket)
        ticket.run.priority = options.priority
        now, until = host.runtime.now(), options.deadline
        posted_request = PostedRequest(
            host,
            ticket,
            now,
            until,
            self.abandon_after,
            context=copy_context(),
            admission=self.admission,
            open=self.posted,
        )
        self.accept(posted_request, options)
        return ticket

    def accept(self, posted_request: PostedRequest, options: RequestOptions) -> None:
        """Start its strand, or put it in the queue. Raises as ``post``."""
        run = posted_request.ticket.run
        try:
            if self.admission.take(run):
                self._start(posted_request, posted_request.serve)
            else:
                self._line_up(posted_request, options)
        except (BalancerClosed, QueueFull):
            raise
        except BaseException:  # an interruption, or no thread could be started; how far it got is unknown
            if not posted_request.begun:
                posted_request.begun = run.dropped = self.admission.torn = True
            with contextlib.suppress(BaseException):  # if this fails, `settle` and the next decision do it
                surely(partial(self._drop, posted_request))
            raise

    def _drop(self, posted_request: PostedRequest) -> None:
        """Cancel a request whose ticket no caller has, and free its turn or slot."""
        error = TicketCancelled("the call that posted it was interrupted")
        posted_request.ticket.run.stop(error)
        if not posted_request.ticket.run.dropped:
            return  # it runs, and gives back its slot itself
        if posted_request.turn is not None:
            self.admission.give_up(posted_request.turn)
        self.admission.release(posted_request.ticket.run)
        posted_request.cancelled(error)
        posted_request.answered()

    def shut(self, why: str = "it was closed by close()") -> None:
        """Accept no more requests, and end all schedules. Does not wait."""
        self.admission.shut(why)
        for schedule in self.schedules.copy():
            schedule.end()

    def when_schedules_end(self, call: Callable[[], object]) -> None:
        """Call ``call`` as soon as no schedule is left. A second call of it must do nothing."""
        for schedule in self.schedules.copy():
            schedule.add_waker(partial(self.when_schedules_end, call))
            return
        call()

    def open_ends(self) -> list[Callable[[Callable[[], None]], None]]:
        """How to be called at the end of each request that has no answer, and of each schedule that has not ended."""
        return [
            *(posted_request.ticket.add_waker for posted_request in list(self.posted)),
            *(schedule.add_waker for schedule in list(self.schedules)),
        ]

    def settle(self) -> None:
        """Complete what interruptions left undone."""
        self.admission.settle()
        for posted_request in list(self.posted):
            if posted_request.ticket.run.dropped and not posted_request.ticket.done:
                self._drop(posted_request)

    def _line_up(self, posted_request: PostedRequest, options: RequestOptions) -> None:
        run, rt = posted_request.ticket.run, posted_request.host.runtime
        turn = options.turn(run, posted_request.posted, rt, sheddable=posted_request.sheddable)
        posted_request.turn = turn
        posted_request.ticket.withdraw = partial(self.withdraw, posted_request, turn)
        until = options.until(posted_request.host.runtime, turn.at)
        if until == INF:  # it waits without a strand; with a limit, a strand waits for the turn or the limit
            turn.wake = partial(self._start_woken, posted_request, turn)
        if self.admission.admit(turn, bounded=options.bounded):
            self._start_woken(posted_request, turn, accepted=False)  # it has its slot at once, so no limit matters
            return
        if turn.state == "gone":  # shed at once
            self._start_woken(posted_request, turn)
            return
        posted_request.ticket.run.report("request_queued", None)
        if until < INF:
            self._start(posted_request, partial(self._wait_and_serve, posted_request, turn, until))

    def _start_woken(self, posted_request: PostedRequest, turn: Turn, *, accepted: bool = True) -> None:
        """Its wait is over, with a slot or without."""
        if turn.state == "waiting":
            return  # the decision that was to end its wait was interrupted
        if turn.state == "gone":
            posted_request.cancelled(posted_request.ticket.run.stop_error or turn.error or self._cancelled())
        elif not posted_request.begun:  # else it was woken before, and an interruption woke it again
            self._start(posted_request, posted_request.serve, accepted=accepted)
        turn.wake = None  # breaks the cycle of posted request and turn

    def _start(self, posted_request: PostedRequest, main: Main, *, accepted: bool = False) -> None:
        """Start the strand of a posted request, which has its slot or waits for it with a limit."""
        self.posted.add(posted_request)
        over = False
        try:
            posted_request.host.spawn(main, posted_request.context, accepted=accepted)
        except HostGone:
            self.gone = over = True
        if self.gone:  # also if the loop has just ended: then its strand will not run
            self.lost(over=over)

    async def _wait_and_serve(self, posted_request: PostedRequest, turn: Turn, until: float) -> None:
        rt = posted_request.host.runtime
        try:
            if await self.turn_came(rt, turn, until):
                await posted_request.serve()
            else:
                posted_request.cancelled(posted_request.ticket.run.stop_error or self.passed_over(rt, until, turn))
        except posted_request.host.cancelled:
            raise
        except Exception as error:  # noqa: BLE001 - an internal error, as without memory; it would end the trio loop
            surely(partial(posted_request.cancelled, error))
        finally:
            surely(partial(self._waited, posted_request))

    def _waited(self, posted_request: PostedRequest) -> None:
        """The strand that waited for a slot has ended, in whatever way."""
        if not posted_request.begun and posted_request.turn is not None:
            self.admission.give_up(posted_request.turn)
        if not posted_request.ticket.done:  # it was cancelled with its loop while it waited
            posted_request.cancelled(TicketCancelled(LOST))
        posted_request.answered()

    async def slot_came(self, rt: Runtime, run: Run, options: RequestOptions, posted: float) -> Exception | None:
        """Wait for a slot for a run without a ticket.

        Returns None if the run has a slot. Else returns the error that says why it has none.

        Raises:
            BalancerClosed, QueueFull: as ``post``.
        """
        turn = options.turn(run, posted, rt, sheddable=True)
        until = options.until(rt, posted)
        queued = False
        try:
            came = self.admission.admit(turn, bounded=options.bounded)
            if not came:
                queued = True
                run.report("request_queued", None)
                came = await self.turn_came(rt, turn, until)
        except BaseException:
            run.dropped = self.admission.torn = True
            self.admission.give_up(turn)
            if queued:
                self.admission.unbegun(None)
                run.ended("cancelled", None, 0.0)
            raise
        return None if came else self.passed_over(rt, until, turn)

    async def turn_came(self, rt: Runtime, turn: Turn, until: float) -> bool:
        """Wait in the queue. Returns False if the time has run out, or if the turn will never come."""
        if turn.state == "waiting":
            waiter = rt.waiter()
            turn.wake = waiter.wake  # a wake from here on reaches us; an earlier one has changed the state
            slot = rt.slot()
            try:
                if turn.state == "waiting":
                    slot.arm(until)
                    await waiter.wait()
            except BaseException as exc:
                turn.run.dropped = self.admission.torn = True
                self.admission.give_up(turn)
                if not slot.settle(exc):
                    raise
            finally:
                slot.release()
        if until < INF and turn.state == "granted":
            now = rt.now()
            if now >= until:  # its time has run out meanwhile
                self.admission.give_up(turn)
            elif self.admission.is_late(turn, now):
                self.admission.shed_late(turn, now)
        return turn.state == "granted"

    def passed_over(self, rt: Runtime, until: float, turn: Turn) -> Exception:
        """The error of a run whose turn did not come by ``until``. Time may also run out while the balancer closes."""
        if turn.error is not None:
            return turn.error
        return self._cancelled() if self.admission.closed and rt.now() < until else DeadlineExceeded("in the queue")

    def _cancelled(self) -> TicketCancelled:
        """The error of what is cancelled: the balancer was closed, or its loop has ended."""
        return TicketCancelled(LOST if self.gone else CLOSED)

    def withdraw(self, posted_request: PostedRequest, turn: Turn, error: Exception) -> None:
        """Cancel a ticket that is still in the queue."""
        if self.admission.defer(lambda: self.withdraw(posted_request, turn, error)):
            return
        if self.admission.withdraw(turn):
            posted_request.cancelled(error)

    def cancel_left(self) -> None:
        """Answer the requests in the queue, and stop those that run."""
        self.cut = cut = self._cancelled()  # first, because a map worker checks it before it takes another item
        for run in self.admission.clear():
            run.stop(cut)

    def lost(self, *, over: bool = False) -> None:
        """The host's loop ends: answer everything now.

        ``over``: nothing on the loop continues, so runs of ``arun`` on it have ended too.
        """
        self.gone = True
        self.shut(ENDED)
        try:
            self.cancel_left()
        finally:
            for posted_request in list(self.posted):
                posted_request.begun = True
                self.admission.release(posted_request.ticket.run)
                posted_request.cancelled(TicketCancelled(LOST))
                posted_request.answered()
            for run in list(self.admission.runs) if over else ():
                self.admission.release(run)
            self._on_loss()
