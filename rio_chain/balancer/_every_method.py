"""``balancer.every``, and the handle of a schedule that it returns."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any

from rio_chain._core.units import Duration, number, seconds
from rio_chain.balancer._posted_request import RequestOptions
from rio_chain.balancer._schedule import ScheduleCounts, ScheduleRun, WorldClock, request_maker
from rio_chain.chain import _validation
from rio_chain.engine._current_run import INF
from rio_chain.schedule._decisions import Missed, Overlap, ScheduleState, checked_missed, checked_overlap, first_tick
from rio_chain.schedule._ticks import checked_when, checked_zone

if TYPE_CHECKING:
    from rio_chain.balancer._lifetime import Lifetime
    from rio_chain.chain._request import Request
    from rio_chain.executors._ticket import Ticket
    from rio_chain.results._outcome import Outcome


class Schedule:
    """The result of ``balancer.every``: a schedule that goes on until you cancel it or the balancer closes.

    It may be used from any thread. You need not keep it.
    """

    __slots__ = ("_balancer", "_run", "name")

    def __init__(self, run: ScheduleRun, balancer: object, name: str) -> None:
        self._run = run
        self._balancer = balancer  # one that is dropped would be closed
        self.name = name
        """The name given to ``every``, or that of its chain."""

    def cancel(self) -> None:
        """End the schedule: no further run begins, also of the ticks that wait. Never waits.

        Runs that go on are not cancelled; to cancel them as well, cancel the ``tickets``. In a forked child it does
        nothing, as the schedule is in the parent.
        """
        if not self._run.host.forked():
            self._run.end()

    @property
    def done(self) -> bool:
        """Whether it has ended. Its last runs may go on."""
        return self._run.done

    @property
    def next(self) -> datetime | None:
        """The time of the next tick, without jitter, in the time zone of the schedule. None if it has ended."""
        return self._run.next()

    @property
    def tickets(self) -> tuple[Ticket[Any], ...]:
        """The tickets of the runs that have not ended."""
        return tuple(ticket for ticket in self._run.tickets.copy() if not ticket.done)

    @property
    def last(self) -> Outcome[Any] | None:
        """The Outcome of the run that ended last. None before the first one has ended."""
        return self._run.last

    @property
    def counts(self) -> ScheduleCounts:
        """What has become of the ticks up to now."""
        return ScheduleCounts(**self._run.counts)

    def __repr__(self) -> str:
        upcoming = self.next
        state = "ended" if upcoming is None else f"next at {upcoming.isoformat(timespec='seconds')}"
        return f"<Schedule {self.name!r} {self._run.state.ticks}: {state}, {self._run.counts['started']} started>"


class EveryMethod:
    """The method of a ``Balancer`` that runs requests on a schedule."""

    _lifetime: Lifetime

    def every(
        self,
        when: str | Duration,
        work: Request[Any] | Callable[..., Any],
        *,
        name: str | None = None,
        tz: str = "UTC",
        overlap: Overlap = "skip",
        missed: Missed = "skip",
        jitter: Duration = 0,
        priority: float = 0,
    ) -> Schedule:
        """Post a request at each tick of a schedule, until the schedule is cancelled or the balancer closes.

        The schedule is in this process. It never ends because a run fails: each run has its own Outcome, which
        observers see. A run ends after ``abandon_after``, as any other, unless its chain has a ``.timeout`` around it.

        Args:
            when: a cron line such as ``"30 2 * * mon"`` (minute, hour, day, month, weekday; with six fields, the first
                is the second), or a period in milliseconds or as a ``timedelta``. The first tick of a period is one
                period from now. A cron line needs the extra ``rio-chain[cron]``.
            work: a request; or a chain or a function. If it needs an argument, it is called with the time of the tick,
                a ``datetime`` in the time zone ``tz``; else with nothing. A function may return a Request, which then
                runs.
            name: of the schedule. Default: the name of the chain.
            tz: the time zone of a cron line. Default ``"UTC"``.
            overlap: what happens to a tick while a run of this schedule goes on: ``"skip"`` leaves it out (default),
                ``"queue"`` starts it when the run has ended (up to 1000 ticks wait), ``"parallel"`` starts it at once.
            missed: what happens to ticks that could not start within a minute and before the next tick, as when the
                machine slept: ``"skip"`` leaves them out (default), ``"run once"`` starts one run for all of them, and
                ``"all"`` starts one after the other, up to 1000.
            jitter: each run starts up to so much later than its tick, and before the next tick: milliseconds or a
                ``timedelta``. Default 0.
            priority: of the requests, as for ``arun``. Default 0.

        Raises:
            ChainDefinitionError: an argument is not valid, or ``when`` never comes.
            BalancerClosed: the balancer is closed.
            ImportError: ``when`` is a cron line, and cronsim is not installed.

        Example:
            >>> from datetime import timedelta
            >>> from rio_chain import Balancer, Task
            >>> with Balancer("virtual") as balancer:
            ...     schedule = balancer.every(timedelta(minutes=5), Task(len)("four"))
            ...     schedule.next.isoformat()
            '2000-01-01T00:05:00+00:00'
            >>> schedule.done
            True
        """
        zone = checked_zone(tz)
        make, title = request_maker(work)
        label = title if name is None else _validation.name(name)
        overlap, missed = checked_overlap(overlap), checked_missed(missed)
        spread = seconds(jitter, "jitter", zero=True)
        # those of each run: they have no deadline of a run around this call
        options = RequestOptions(number(priority, "priority"), None, INF, bounded=True)
        checked_when(when, zone, 0.0)  # before the balancer is bound
        lifetime = self._lifetime
        host = lifetime.binding.get(here=False)
        now = host.runtime.now
        ticks = checked_when(when, zone, now())
        clock = WorldClock(host) if ticks.on_world_clock else now
        state = ScheduleState(ticks, first_tick(ticks, clock()), overlap, missed, spread, host.runtime.draw)
        run = ScheduleRun(
            lifetime=lifetime,
            host=host,
            state=state,
            clock=clock,
            make=make,
            options=options,
            title=title,
            zone=zone,
        )
        run.start()
        return Schedule(run, self, label)
