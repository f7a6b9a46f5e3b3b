"""Balancer: the shared pool of an application. Order and counts are in ``core``; this binds them to a host."""

from __future__ import annotations

import threading
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING, Any, Self, TypeVar

from rio_chain.balancer import mapping
from rio_chain.balancer.core import Core
from rio_chain.balancer.lanes import Lanes
from rio_chain.balancer.posting import CLOSED, PLAIN, Posting, Terms, terms_of
from rio_chain.balancer.queue import Turn
from rio_chain.balancer.serve import LOST, serve, wait_for, wait_in_place
from rio_chain.balancer.stats import Stats, status_line
from rio_chain.balancer.ticket import Ticket
from rio_chain.deadline import Deadline
from rio_chain.engine.current import CURRENT, INF, Run, inherited
from rio_chain.engine.execute import execute, unbegun
from rio_chain.engine.given import check_lanes
from rio_chain.errors import ChainDefinitionError, DeadlineExceeded, Saturated, TicketCancelled, UsageError
from rio_chain.request import Request
from rio_chain.units import Duration, count, seconds, shown

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
    from types import TracebackType

    from rio_chain.engine.runtime import Runtime
    from rio_chain.executors.base import Host
    from rio_chain.outcome import Outcome

Out = TypeVar("Out")
In = TypeVar("In")


class Balancer:
    """A pool for requests: so many at once, the others in one queue, higher ``priority`` first, then arrival.

    It binds on entry or first use: ``async with``, or the first ``arun``, binds the loop that is running; ``with``, or
    the first ``run`` or ``post``, gives it a thread of its own. So one made at module level works everywhere.

    Args:
        executor: ``"asyncio"``, ``"trio"`` or ``"thread"``. Default: the loop that is running, else ``"asyncio"``.
        workers: how many requests run at once (a fan-out is one). Default 10.
        buffer: how many may wait before ``post`` raises ``QueueFull``; ``run`` and ``arun`` wait for room.
            Default 1000.
        threads: how many sync functions run at once. Default ``4 * workers``.
        abandon_after: the limit of a run that nothing else limits, in milliseconds or as a ``timedelta``.
            Default 30000.
        max_abandoned: with so many abandoned calls still running, ``run`` and ``post`` raise ``Saturated``.
            Default ``2 * workers``.
        lanes: the processes for tasks with a ``.lane(name)``: how many for each name. They are started with the first
            call and end with the balancer. Default none.

    Raises:
        ChainDefinitionError: an argument out of its range.

    Example:
        >>> from rio_chain import Balancer, Task
        >>> with Balancer(workers=2) as balancer:
        ...     [outcome.unwrap() for outcome in balancer.map(Task(len), ["a", "bb", "ccc"])]
        [1, 2, 3]
    """

    def __init__(
        self,
        executor: str | None = None,
        *,
        workers: int = 10,
        buffer: int = 1000,
        threads: int | None = None,
        abandon_after: Duration = 30_000,
        max_abandoned: int | None = None,
        lanes: Mapping[str, int] | None = None,
    ) -> None:
        from rio_chain.executors import checked_name  # noqa: PLC0415 - imported when first used

        self._executor = None if executor is None else checked_name(executor)
        self._workers = count(workers, "workers", least=1)
        self._threads = 4 * workers if threads is None else count(threads, "threads", least=1)
        self._abandon_after = seconds(abandon_after, "abandon_after")
        self._max_abandoned = 2 * workers if max_abandoned is None else count(max_abandoned, "max_abandoned", least=1)
        self._lanes = Lanes(lanes)
        self._core = Core(workers, count(buffer, "buffer"))
        self._host: Host | None = None
        self._binding = threading.RLock()
        self._posted: set[Posting] = set()  # started on the host and not answered
        self._gone = False  # the host's loop has ended

    @classmethod
    def from_env(cls, **options: Any) -> Self:
        """A balancer on the executor that ``$RIO_EXECUTOR`` names (default asyncio); ``options`` as for the class."""
        from rio_chain.executors import default_name  # noqa: PLC0415 - imported when first used

        return cls(default_name(), **options)

    # --- run ----------------------------------------------------------------------------------------------------

    async def arun(
        self,
        request: Request[Out],
        *,
        priority: float = 0,
        deadline: Deadline | Duration | None = None,
        queue_timeout: Duration | None = None,
    ) -> Outcome[Out]:
        """Post and wait in one, for async code. On the loop it is bound to, the request runs in the caller's own task.

        Args:
            request: a chain called with its arguments.
            priority: higher goes first.
            deadline: the most that waiting and running may take together: milliseconds, a ``timedelta`` or a
                ``Deadline``.
            queue_timeout: the most it may wait for its slot. What is not started by then fails with
                ``DeadlineExceeded``.

        Raises:
            BalancerClosed: it is closed.
            Saturated: too many abandoned calls still run.
        """
        host = self._host or self._bind(here=True)
        plain = priority == 0 and deadline is None and queue_timeout is None
        terms = (
            PLAIN if plain and inherited() is None else terms_of(host.runtime.now, priority, deadline, queue_timeout)
        )
        if not host.here():
            return await wait_in_place(self._post(host, request, terms, bounded=False))
        self._check(host, request)
        rt, core, run = host.runtime, self._core, Run(request.plan)
        turn = Turn(run, terms.priority)
        posted = began = rt.now()
        if not core.admit(turn, bounded=False):
            if not await self._turn_came(rt, turn, terms.until(rt, posted)):
                error = TicketCancelled(CLOSED) if core.closed else DeadlineExceeded("in the queue")
                return unbegun(request, run, error, posted, rt.now())
            began = rt.now()
        try:
            return await execute(
                rt, request, run, deadline=terms.deadline, abandon_after=self._abandon_after, posted=posted
            )
        finally:
            core.leave(turn, began - posted, rt.now() - began)

    def run(
        self,
        request: Request[Out],
        *,
        priority: float = 0,
        deadline: Deadline | Duration | None = None,
        queue_timeout: Duration | None = None,
    ) -> Outcome[Out]:
        """Post and wait in one, for plain code; keywords as for ``arun``. Ctrl-C cancels the request, then raises.

        Raises:
            BalancerClosed: it is closed.
            Saturated: too many abandoned calls still run.
            UsageError: on the thread of the loop that would have to run it; write ``await balancer.arun(...)`` there.
        """
        from rio_chain.executors import warn_if_a_loop_runs  # noqa: PLC0415 - imported when first used

        host = self._host or self._bind(here=False)
        if host.on_loop_thread():
            raise UsageError("`run` would block the loop that has to run it; write `await balancer.arun(...)`")
        warn_if_a_loop_runs("await balancer.arun(...)")
        return wait_for(
            self._post(host, request, terms_of(host.runtime.now, priority, deadline, queue_timeout), bounded=False)
        )

    def post(
        self,
        request: Request[Out],
        *,
        priority: float = 0,
        deadline: Deadline | Duration | None = None,
        queue_timeout: Duration | None = None,
    ) -> Ticket[Out]:
        """Hand a request over and go on. Never blocks; from any thread, loop or finaliser. Keywords as for ``arun``.

        Raises:
            QueueFull: ``buffer`` requests wait already.
            BalancerClosed: it is closed.
            Saturated: too many abandoned calls still run.
        """
        host = self._host or self._bind(here=False)
        return self._post(host, request, terms_of(host.runtime.now, priority, deadline, queue_timeout), bounded=True)

    def map(
        self,
        chain: Callable[[In], Request[Out]],
        inputs: Iterable[In],
        *,
        as_completed: bool = False,
        priority: float = 0,
    ) -> Iterator[Outcome[Out]]:
        """Run the chain for every input; give the Outcomes in order, or as they come in. For plain code.

        Inputs are read as slots become free, so any number of them takes little memory. Leaving the loop early
        cancels what is under way.
        """
        host = self._host or self._bind(here=False)
        if host.on_loop_thread():
            raise UsageError(
                "`map` would block the loop that has to run it; write `async for` over `balancer.amap(...)`"
            )
        post = self._poster(host, chain, priority)
        return mapping.in_threads(post, inputs, 2 * self._workers, as_completed=as_completed)

    def amap(
        self,
        chain: Callable[[In], Request[Out]],
        inputs: Iterable[In],
        *,
        as_completed: bool = False,
        priority: float = 0,
    ) -> AsyncIterator[Outcome[Out]]:
        """The same for async code: ``async for outcome in balancer.amap(chain, inputs)``."""
        host = self._host or self._bind(here=True)
        post = self._poster(host, chain, priority)
        return mapping.on_loops(post, inputs, 2 * self._workers, as_completed=as_completed)

    def _poster(self, host: Host, chain: Callable[[In], Request[Out]], priority: float) -> Callable[[In], Ticket[Out]]:
        terms = terms_of(host.runtime.now, priority)
        return lambda value: self._post(host, chain(value), terms, bounded=False)

    # --- the way of a request ------------------------------------------------------------------------------------

    def _check(self, host: Host, request: Request[Any]) -> None:
        given: Any = request
        if type(given) is not Request:
            got = shown(request)
            raise ChainDefinitionError(
                f"`request` must be a chain called with its arguments, as in balancer.run(page(42)); got {got}"
            )
        if request.plan.lanes:
            check_lanes(request, host.runtime.lanes)
        if host.crew.saturated and not self._core.closed:
            self._core.rejected += 1
            raise Saturated(f"{host.crew.abandoned} abandoned calls still run (max_abandoned={self._max_abandoned})")

    def _post(self, host: Host, request: Request[Out], terms: Terms, *, bounded: bool) -> Ticket[Out]:
        self._check(host, request)
        ticket = Ticket(request, host.on_loop_thread)
        posting = Posting(host, ticket, Turn(ticket.run, terms.priority), terms, host.runtime.now(), copy_context())
        ticket.withdraw = partial(self._withdraw, posting)
        waits_alone = posting.until == INF  # else a strand waits with it and looks at the time
        if waits_alone:
            posting.turn.wake = partial(self._start, posting)
        if self._core.admit(posting.turn, bounded=bounded) or not waits_alone:
            self._start(posting)
        return ticket

    def _start(self, posting: Posting) -> None:
        """Start the strand of a posted request: it has its slot, or must keep an eye on the time."""
        from rio_chain.executors.base import HostGone  # noqa: PLC0415 - imported when first used

        posting.turn.wake = None  # it knows the posting, and the posting knows the turn
        if posting.turn.state == "gone":
            posting.cancelled(posting.ticket.run.stop_error or TicketCancelled(CLOSED))
            return
        self._posted.add(posting)
        try:
            posting.host.spawn(partial(self._serve, posting), posting.context)
        except HostGone:
            self._gone = True
        if self._gone:  # also when it ended between: then a strand that it took will not run
            self._lost()

    async def _serve(self, posting: Posting) -> None:
        rt, turn, posted = posting.host.runtime, posting.turn, posting.posted
        try:
            if turn.state != "granted" and not await self._turn_came(rt, turn, posting.until):
                late = TicketCancelled(CLOSED) if self._core.closed else DeadlineExceeded("in the queue")
                posting.cancelled(posting.ticket.run.stop_error or late)
                return
            began = rt.now()
            await serve(
                posting.host,
                posting.ticket,
                deadline=posting.terms.deadline,
                abandon_after=self._abandon_after,
                posted=posted,
                ended=lambda: self._core.leave(turn, began - posted, rt.now() - began),
            )
        finally:
            if not posting.ticket.done:  # cancelled, with its loop, while it waited in the line
                posting.cancelled(TicketCancelled(LOST))
            self._posted.discard(posting)

    async def _turn_came(self, rt: Runtime, turn: Turn, until: float) -> bool:
        """Wait in the line. False: time is over, or there is nothing left to wait for."""
        waiter = rt.waiter()
        turn.wake = waiter.wake  # whoever ends the waiting from here on wakes us; who did before, left its mark
        slot = rt.slot()
        try:
            if turn.state == "waiting":
                slot.arm(until)
                await waiter.wait()
        except BaseException as exc:
            self._core.give_up(turn)
            if slot.settle(exc):
                return False
            raise
        finally:
            slot.release()
        return turn.state == "granted"

    def _withdraw(self, posting: Posting, error: Exception) -> None:
        """Cancel a ticket that is still in the line."""
        if self._core.put_aside(lambda: self._withdraw(posting, error)):
            return
        if self._core.withdraw(posting.turn):
            posting.cancelled(error)
            posting.turn.tell()

    # --- binding and closing -------------------------------------------------------------------------------------

    def _bind(self, *, here: bool) -> Host:
        """The host: where ``here`` says so and it is of the right kind, the loop that runs; else one of its own."""
        from rio_chain import executors  # noqa: PLC0415 - imported when first used

        with self._binding:
            if self._core.closed:
                raise self._core.refusal()
            if self._host is None:
                running = executors.running_library() if here else None
                sizes = self._threads, self._max_abandoned
                if running is not None and self._executor in (None, running):
                    host = executors.loop_module_of(running).attach(*sizes)
                else:
                    host = executors.module_of(self._executor or executors.DEFAULT).launch(*sizes)
                host.runtime.lanes = self._lanes.open()
                host.on_loss(self._lost)
                self._host = host
            return self._host

    def _lost(self) -> None:
        """The host's loop has ended: nothing will run any more, so everything is answered now."""
        self._gone = True
        self._core.shut()
        self._cancel_left()
        for posting in list(self._posted):
            self._core.give_up(posting.turn)
            posting.cancelled(TicketCancelled(LOST))
            self._posted.discard(posting)
        self._lanes.close()

    def _cancel_left(self) -> None:
        waiting, running = self._core.clear()
        for turn in waiting:
            turn.tell()
        for run in running:
            run.stop(TicketCancelled(CLOSED))

    def close(self, grace: Duration = 30_000) -> None:
        """Take nothing more, wait up to ``grace`` for what is under way, then cancel what is left. All is answered.

        Args:
            grace: milliseconds, or a ``timedelta``; 0 cancels at once.

        Raises:
            UsageError: on the thread of the loop it is bound to; write ``await balancer.aclose()`` there.
        """
        limit = seconds(grace, "grace", zero=True)
        host = self._host
        if host is not None and host.on_loop_thread():
            raise UsageError("`close` would block the loop it waits for; write `await balancer.aclose()`")
        self._core.shut()
        idle = threading.Event()
        self._core.when_idle(idle.set)
        try:
            drained = idle.wait(min(limit, threading.TIMEOUT_MAX))
        except BaseException:
            self._cancel_left()
            raise
        if not drained:
            self._cancel_left()
            idle.wait()
        for posting in list(self._posted):  # their slots are free, and their answers come in a moment
            answered = threading.Event()
            posting.ticket.on_done(answered.set)
            answered.wait()
        with self._binding:
            host = self._host
        if host is not None:
            self._lanes.close()
            host.close()

    async def aclose(self, grace: Duration = 30_000) -> None:
        """``close`` for async code, from any loop."""
        from rio_chain.executors import runtime_here  # noqa: PLC0415 - imported when first used

        limit = seconds(grace, "grace", zero=True)
        if self._waits_for_us():
            raise UsageError("`aclose` in a body that this balancer runs would wait for itself; close it outside")
        self._core.shut()
        rt = runtime_here()
        waiter = rt.waiter()
        self._core.when_idle(waiter.wake)
        slot = rt.slot()
        try:
            slot.arm(rt.now() + limit)
            await waiter.wait()
        except BaseException as exc:
            self._cancel_left()
            await waiter.wait_shielded()
            if not slot.settle(exc):
                raise
        finally:
            slot.release()
            for posting in list(self._posted):  # their slots are free, and their answers come in a moment
                await posting.ticket.ended()
            with self._binding:
                host = self._host
            if host is not None:
                self._lanes.close()
                host.close()
        for _ in range(2):  # trio runs what is due in no order: what the host leaves on this loop has ended then
            await rt.sleep(0)

    def _waits_for_us(self) -> bool:
        """Whether the body that asks belongs to a run that holds one of our slots."""
        strand = CURRENT.get()
        run = strand.run if strand is not None and strand.open else None
        while run is not None and run not in self._core.runs:
            run = run.around
        return run is not None

    def __enter__(self) -> Self:
        self._bind(here=False)
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self.close(**_grace(exc))

    async def __aenter__(self) -> Self:
        self._bind(here=True)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.aclose(**_grace(exc))

    # --- looking at it -------------------------------------------------------------------------------------------

    def stats(self) -> Stats:
        """Gauges, counters and histograms, as they are now."""
        host = self._host
        return self._core.stats(0 if host is None else host.crew.abandoned)

    def __repr__(self) -> str:
        name = self._host.name if self._host is not None else self._executor or "unbound"
        state = "closed" if self._core.closed else "open"
        return status_line(name, state, self._workers, self._core.buffer, self.stats())


def _grace(exc: BaseException | None) -> dict[str, Duration]:
    """A block that was cancelled or interrupted does not wait for what is under way."""
    return {} if exc is None or isinstance(exc, Exception) else {"grace": 0}
