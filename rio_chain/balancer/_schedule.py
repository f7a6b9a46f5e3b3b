"""``balancer.every``: posts a request at each tick of a schedule, until it is cancelled or the balancer closes."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from contextvars import copy_context
from datetime import datetime, tzinfo
from functools import partial
from math import inf
from typing import TYPE_CHECKING, Any, cast

from attrs import frozen

from rio_chain._core.unhandled_errors import report_unhandled, surely
from rio_chain._core.units import short_repr
from rio_chain.chain._compose import Composed, call, entry, made
from rio_chain.chain._plan import public_name
from rio_chain.chain._request import Request
from rio_chain.chain._validation import NO_NAMES
from rio_chain.engine._current_run import CURRENT
from rio_chain.engine._runtime_protocol import HostGone
from rio_chain.errors import BalancerClosed, ChainDefinitionError, QueueFull, Saturated
from rio_chain.results._deliver import deliver, observers_now
from rio_chain.results._events import Event
from rio_chain.schedule._decisions import Due, Reason, ScheduleState

if TYPE_CHECKING:
    from rio_chain.balancer._lifetime import Lifetime
    from rio_chain.balancer._posted_request import RequestOptions
    from rio_chain.executors._base import Host
    from rio_chain.executors._ticket import Ticket
    from rio_chain.results._outcome import Outcome

LOOK = 60.0
"""Seconds after which a waiting schedule looks at the clock of the world again: somebody may have set it."""
SET_BACK = 3 * 3600.0
"""Seconds. If the clock was set back by more, a schedule goes on from there. By less, it waits, as cron does."""

Make = Callable[[datetime], Request[Any]]
"""Makes the request of a tick."""


@frozen
class ScheduleCounts:
    """What has become of the ticks of a schedule.

    Attributes:
        started: requests that were posted.
        skipped: ticks that were left out because a run of the schedule went on.
        missed: ticks that were left out because they could not start in time.
        rejected: ticks whose request the balancer did not accept: its buffer was full, or it was saturated.
    """

    started: int = 0
    skipped: int = 0
    missed: int = 0
    rejected: int = 0


class WorldClock:
    """The seconds since 1970, as a host counts them: they go with its own clock, which a test may move.

    Where the host has no time of day of its own, the clock of this machine counts, also when it is set.
    """

    def __init__(self, host: Host) -> None:
        self._now = host.runtime.now
        self._own = host.time_at_zero
        self._at_zero = time.time() - self._now() if self._own is None else self._own
        self._apart = time.time() - time.monotonic()

    def __call__(self) -> float:
        """The seconds now."""
        set_by = 0.0 if self._own is not None else time.time() - time.monotonic() - self._apart
        return self._at_zero + self._now() + set_by


def request_maker(work: object) -> tuple[Make, str]:
    """How to make the request of a tick from what the user gave, and the title of its chain.

    Raises:
        ChainDefinitionError: it is no request, no chain and no function, or takes more than the tick.
    """
    if type(cast("Any", work)) is Request:
        request = cast("Request[Any]", work)
        return lambda _: request, public_name(request.plan)
    rule = "`every` takes a request, a chain or a function"
    chain = work if isinstance(work, Composed) else made(Composed, call(work, rule), NO_NAMES)
    plan, takes = chain.plan(), entry(chain)
    if takes.keywords or takes.least > 1:
        raise ChainDefinitionError(
            "`every` calls a chain or a function with the time of the tick, or with nothing, and this one needs more: "
            f"write balancer.every(..., page(42)) with its arguments; got {short_repr(work)}"
        )
    return lambda tick: Request(plan, (tick,) if takes.least else ()), public_name(plan)


class ScheduleRun:
    """The strand of a schedule. It does not keep the balancer alive.

    Args:
        lifetime: the open balancer.
        host: where it runs.
        state: decides.
        clock: the clock of the ticks.
        make: makes the request of a tick.
        options: of each request.
        title: the name of the chain, for observers.
        zone: in which the ticks are given.
    """

    def __init__(
        self,
        *,
        lifetime: Lifetime,
        host: Host,
        state: ScheduleState,
        clock: Callable[[], float],
        make: Make,
        options: RequestOptions,
        title: str,
        zone: tzinfo,
    ) -> None:
        self.lifetime = lifetime
        self.host = host
        self.state = state
        self.make = make
        self.zone = zone
        self.counts = dict.fromkeys(("started", "skipped", "missed", "rejected"), 0)
        self.tickets: dict[Ticket[Any], None] = {}  # those that have no Outcome yet
        self.last: Outcome[Any] | None = None
        self.done = False
        self._clock = clock
        self._world = WorldClock(host) if not state.ticks.on_world_clock else clock
        self._options = options
        self._title = title
        self._over = False
        self._ends: deque[Ticket[Any]] = deque()  # those that have ended since the strand looked
        self._wake: Callable[[], None] | None = None
        self._wakers: list[Callable[[], None]] = []

    def start(self) -> None:
        """Start its strand.

        Raises:
            BalancerClosed: the balancer is closed, or its loop has ended.
        """
        context = copy_context()
        context.run(CURRENT.set, None)  # it belongs to the balancer, and not to the run around the call
        started = False
        self.lifetime.dispatcher.schedules.add(self)
        try:
            if not self.lifetime.admission.closed:  # checked after adding, as closing goes through the set
                self.host.spawn(self._serve, context)
                started = True
        except HostGone:
            pass
        finally:
            if not started:
                self._ended()
        if not started:
            raise self.lifetime.admission.refusal()

    def end(self) -> None:
        """Start nothing more. From any thread; never waits."""
        self._over = True
        wake = self._wake
        if wake is not None:
            wake()

    def add_waker(self, waker: Callable[[], None]) -> None:
        """Call ``waker`` when the strand has ended, or now. It must not raise; a second call of it does nothing."""
        self._wakers.append(waker)
        if self.done:
            waker()

    def next(self) -> datetime | None:
        """The time of the next tick; None if none will come."""
        if self._over or self.state.next == inf:
            return None
        at = self.state.next if self.state.ticks.on_world_clock else self._world() + self.state.next - self._clock()
        return datetime.fromtimestamp(at, self.zone)

    # --- the strand ---------------------------------------------------------------------------------------------

    async def _serve(self) -> None:
        try:
            await self._run()
        except self.host.cancelled:
            raise
        except Exception as error:  # noqa: BLE001 - as without memory; on trio it would end the loop
            report_unhandled(error)
        finally:
            self._ended()

    async def _run(self) -> None:
        rt, before = self.host.runtime, self._clock()
        while not self._over:
            now = self._clock()
            if self.state.ticks.on_world_clock and now < before - SET_BACK:
                self.state.jump_back(now)
            before = now
            self._do(self.state.advance(now))
            while self._ends:
                self._take_end(self._ends.popleft())
            if self._over:
                return
            waiter, slot = rt.waiter(), rt.slot()
            self._wake = waiter.wake  # from here on a wake reaches us; an earlier one has left something to see
            try:
                if not (self._over or self._ends):
                    slot.arm(rt.now() + min(LOOK, max(0.0, self.state.wake_at() - self._clock())))
                    await waiter.wait()
            except BaseException as error:
                if not slot.settle(error):
                    raise
            finally:
                self._wake = None
                slot.release()

    def _do(self, due: Due) -> None:
        """Post what starts, and report what is left out. A request that is not accepted ends at once."""
        decided = deque([due])
        while decided:
            due = decided.popleft()
            for _, reason in due.left_out:
                self._leave_out(reason)
            for tick in due.starts:
                if self._over:
                    return
                if not self._posted(tick):
                    decided.append(self.state.ended())

    def _posted(self, tick: float) -> bool:
        at = tick if self.state.ticks.on_world_clock else self._world() + tick - self._clock()
        try:
            request = self.make(datetime.fromtimestamp(at, self.zone))
            ticket = self.lifetime.post(self.host, request, self._options, observe=self._open)
        except (QueueFull, Saturated, BalancerClosed):  # reported to observers
            self.counts["rejected"] += 1
            return False
        except Exception as error:  # noqa: BLE001 - as without memory; the next tick may be luckier
            self.counts["rejected"] += 1
            report_unhandled(error)
            return False
        self.counts["started"] += 1
        ticket.add_waker(partial(self._note_end, ticket))
        return True

    def _open(self, ticket: Ticket[Any]) -> None:
        self.tickets[ticket] = None

    def _note_end(self, ticket: Ticket[Any]) -> None:
        """A run has ended, on any thread."""
        self._ends.append(ticket)
        wake = self._wake
        if wake is not None:
            wake()

    def _take_end(self, ticket: Ticket[Any]) -> None:
        if ticket not in self.tickets:
            return  # its waker was called twice
        del self.tickets[ticket]
        self.last = ticket.outcome or self.last
        self._do(self.state.ended())

    def _leave_out(self, reason: Reason) -> None:
        self.counts["skipped" if reason == "overlap" else "missed"] += 1
        observers = observers_now(self.lifetime.settings.observers)
        deliver(observers, Event("request_rejected", None, 0.0, chain=self._title, reason=reason))

    def _ended(self) -> None:
        self._over = self.done = True
        self.lifetime.dispatcher.schedules.discard(self)
        wakers, self._wakers = self._wakers, []
        for waker in wakers:
            surely(waker)
