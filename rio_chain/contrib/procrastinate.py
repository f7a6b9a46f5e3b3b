"""A queue and schedules in PostgreSQL, which outlive the process. Needs ``pip install 'rio-chain[queue]'``.

Jobs are delivered by procrastinate. See the page "A job queue in PostgreSQL".
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Self, TypeVar
from uuid import uuid4

from attrs import evolve

from rio_chain._core.units import Duration, count, flag, seconds, short_repr
from rio_chain.balancer import Balancer
from rio_chain.chain._validation import name as checked_name
from rio_chain.contrib._extra import require
from rio_chain.contrib._queue_errors import DeadRun, RunFailed, RunIdTaken, UnknownRun
from rio_chain.contrib._queue_json import arguments_of, arguments_text
from rio_chain.contrib._queue_schedules import QueueSchedule, tick_all
from rio_chain.contrib._queue_ticket import DurableOutcome, DurableTicket
from rio_chain.dsl._chain import Chain
from rio_chain.dsl._task import Task
from rio_chain.errors import ChainDefinitionError, UsageError
from rio_chain.journal import Journal
from rio_chain.journal._journal import is_address
from rio_chain.policies._checks import callback as function
from rio_chain.schedule._decisions import Missed, Overlap, checked_missed, checked_overlap, first_tick
from rio_chain.schedule._ticks import Period, checked_when, checked_zone

if TYPE_CHECKING:
    from types import TracebackType

    from procrastinate import App

    from rio_chain.chain._request import Request
    from rio_chain.contrib._queue_store import QueueStore, RunRow
    from rio_chain.contrib._queue_worker import QueueWorker, Working
    from rio_chain.journal import Serializer
    from rio_chain.results._outcome import Outcome

__all__ = ["DeadRun", "DurableOutcome", "DurableQueue", "DurableTicket", "RunFailed", "RunIdTaken", "UnknownRun"]

Out = TypeVar("Out")
LONGEST_ID = 200
JOURNAL_LEASE = 2 / 3
"""Of the lease of the queue: a run is put back when the journal's lease of its dead worker has ended."""
LOWEST, HIGHEST = -(2**31), 2**31 - 1
"""The range of priorities: the integers of PostgreSQL."""


class DurableQueue:
    """A queue of requests in PostgreSQL. Any process posts, any worker runs, and a request outlives both.

    A request runs at least once: if its worker dies, another one goes on with it. Answers and arguments are JSON.

    Args:
        dsn: the database, such as ``"postgresql://user@host/name"``. For TLS add ``?sslmode=verify-full``. Or an
            ``App`` of procrastinate with a ``PsycopgConnector``, whose database is used.
        queue: the name of the queue in the database. Default ``"rio_chain"``.
        lease: how long a worker may be silent before its runs are put back, in milliseconds or as a ``timedelta``.
            Default 30000.
        deaths: after so many deaths of its workers a run is a dead letter. Default 3.
        journal: whether workers record what a run has done, in the same database, so that a run that is taken over goes
            on where it was. Default True. False: it begins again, and each run is cheaper.
        serializer: how the journal writes the answers of tasks, as for ``Journal``. Default ``JSON()``.

    Raises:
        ChainDefinitionError: an argument is not valid.
        ImportError: procrastinate or psycopg is not installed.
    """

    def __init__(
        self,
        dsn: str | App,
        *,
        queue: str = "rio_chain",
        lease: Duration = 30_000,
        deaths: int = 3,
        journal: bool = True,
        serializer: Serializer | None = None,
    ) -> None:
        span = seconds(lease, "lease")
        require("procrastinate", "procrastinate", "queue", "DurableQueue")
        require("psycopg", "psycopg", "queue", "DurableQueue")
        from rio_chain.contrib._queue_store import QueueStore  # noqa: PLC0415 - needs the extra

        address = checked_address(dsn)
        self._store: QueueStore = QueueStore(address, checked_name(queue), span, count(deaths, "deaths", least=1))
        self._journal = (
            Journal(
                address,
                serializer=serializer,
                lease=timedelta(seconds=span * JOURNAL_LEASE),
                on_change="rerun",
                failures=True,
            )
            if flag(journal, "journal")
            else None
        )
        self._chains: dict[str, Chain[..., Any]] = {}
        self._schedules: list[QueueSchedule] = []
        self._worker: QueueWorker | None = None

    def create(self) -> None:
        """Make the tables, and those of procrastinate, where they are missing. Several processes may do so at once."""
        self._store.create()
        if self._journal is not None:
            self._journal.create()

    def register(self, chain: Chain[..., Any], *, name: str | None = None) -> None:
        """Let this process post and run a chain. Posts and workers know it by its name.

        Args:
            chain: the chain, or a Task.
            name: its name in the queue. Default: the name of a task. Once something is posted, keep the name.

        Raises:
            ChainDefinitionError: it is no chain, or another chain has this name.
        """
        given: Any = chain
        if not isinstance(given, Chain):
            raise ChainDefinitionError(f"`register` takes a chain; write register(Task(fn)); got {short_repr(chain)}")
        plan = chain.plan()
        label = checked_name(plan.title if name is None else name)
        known = self._chains.get(label)
        if known is not None and known.plan() is not plan:
            raise ChainDefinitionError(f"another chain is registered as {label!r}; give this one a name= of its own")
        self._chains[label] = chain

    def post(
        self,
        request: Request[Out],
        *,
        run_id: str | None = None,
        priority: int = 0,
        delay: Duration = 0,
    ) -> DurableTicket[Out]:
        """Post a request. When this returns, it is in the database. It blocks for that time; see ``apost``.

        Args:
            request: a registered chain, called with its arguments, which must be JSON.
            run_id: names the run. If it is known with the same chain and arguments, nothing is posted, and the ticket
                is that of the known run. Default: a new one.
            priority: higher goes first: a whole number from -2147483648 to 2147483647. Default 0.
            delay: the run begins no earlier than that from now: milliseconds or a ``timedelta``. Default 0.

        Raises:
            ChainDefinitionError: the chain is not registered, or an argument is not valid.
            RunIdTaken: the id is known with another chain or other arguments.
        """
        return self.ticket(self._post(*self._checked(request, run_id, priority, delay)))

    async def apost(
        self,
        request: Request[Out],
        *,
        run_id: str | None = None,
        priority: int = 0,
        delay: Duration = 0,
    ) -> DurableTicket[Out]:
        """As ``post``, for async code on asyncio and trio: it waits without blocking the loop."""
        posted = await Task(self._post)(*self._checked(request, run_id, priority, delay))
        return self.ticket(posted.unwrap())

    def _checked(
        self, request: Request[Any], run_id: object, priority: object, delay: Duration
    ) -> tuple[str, str, str, int, float]:
        given: Any = request
        plan = getattr(given, "plan", None)
        chain = next((name for name, chain in self._chains.items() if chain.plan() is plan), None)
        if plan is None or chain is None:
            raise ChainDefinitionError(
                "`request` must be a registered chain called with its arguments: queue.register(page), then "
                f"queue.post(page(42)); got {short_repr(request)}"
            )
        if isinstance(priority, bool) or not isinstance(priority, int) or not LOWEST <= priority <= HIGHEST:
            raise ChainDefinitionError(
                f"`priority` must be a whole number from {LOWEST} to {HIGHEST}; got {short_repr(priority)}"
            )
        arguments = arguments_text(chain, request.args, request.kwargs)
        wait = seconds(delay, "delay", zero=True)
        return checked_id(uuid4().hex if run_id is None else run_id), chain, arguments, priority, wait

    def _post(self, run_id: str, chain: str, arguments: str, priority: int, delay: float) -> str:
        self._store.post(run_id, chain, arguments, priority, delay)
        return run_id

    def ticket(self, run_id: str) -> DurableTicket[Any]:
        """The ticket of a run, in any process. Its methods raise ``UnknownRun`` if there is no such run."""
        return DurableTicket(self._store, checked_id(run_id), self._recall)

    def _recall(self, row: RunRow) -> Outcome[Any] | None:
        """The Outcome that the journal has of a run."""
        if self._journal is None or row.status not in {"succeeded", "failed"}:
            return None
        chain = self._chains.get(row.chain)
        if chain is None:
            raise ChainDefinitionError(
                f"run {row.run_id!r} is one of the chain {row.chain!r}, which is not registered here: call "
                f"queue.register(page, name={row.chain!r}) first"
            )
        args, kwargs = arguments_of(row.arguments)
        return self._journal.outcome(chain(*args, **kwargs), row.run_id)

    def dead(self) -> list[DurableTicket[Any]]:
        """The dead letters: runs whose workers have died ``deaths`` times. The oldest first."""
        return [self.ticket(row.run_id) for row in self._store.dead()]

    def post_again(self, run_id: str) -> DurableTicket[Any]:
        """Post a dead letter again, with its arguments and its priority. Any other run is left as it is.

        Raises:
            UnknownRun: the queue has no run with this id.
        """
        self._store.post_again(checked_id(run_id))
        return self.ticket(run_id)

    def sweep(self) -> int:
        """Put back the runs of dead workers. Workers do it by themselves. Returns how many were put back."""
        return self._store.sweep(full=True).put_back

    def forget(self, older_than: Duration) -> int:
        """Delete the runs that ended so long ago: milliseconds or a ``timedelta``. Returns how many.

        An id that was forgotten can be posted again.
        """
        return self._store.forget(seconds(older_than, "older_than", zero=True))

    # --- workers ------------------------------------------------------------------------------------------------

    async def work(
        self,
        *,
        workers: int = 10,
        executor: str | None = None,
        abandon_after: Duration = 3_600_000,
        grace: Duration = 30_000,
    ) -> None:
        """Run posted requests until this is cancelled. Works on asyncio and trio; procrastinate has its own loop.

        Args:
            workers: how many requests run at once. Default 10.
            executor: where they run, as for ``Balancer``, on threads of their own. Default ``"asyncio"``.
            abandon_after: the timeout of a run whose chain has no ``.timeout`` around it: milliseconds or a
                ``timedelta``. Default: an hour.
            grace: how long running requests may go on when this is cancelled. After that they are cancelled and put
                back, for another worker. Default 30000.

        Raises:
            ChainDefinitionError: an argument is not valid.
            UsageError: no chain is registered, or this queue works already.
        """
        await self._begin(workers, executor, abandon_after, grace).ended()

    def run_worker(
        self,
        *,
        workers: int = 10,
        executor: str | None = None,
        abandon_after: Duration = 3_600_000,
        grace: Duration = 30_000,
    ) -> None:
        """As ``work``, for plain code: blocks until ``stop`` or Ctrl-C."""
        self._begin(workers, executor, abandon_after, grace).wait()

    def stop(self) -> None:
        """Let ``work`` or ``run_worker`` of this process end, within its grace. From any thread; never waits."""
        worker = self._worker
        if worker is not None:
            worker.stop()

    def _begin(self, workers: int, executor: str | None, abandon_after: Duration, grace: Duration) -> Working:
        from rio_chain.contrib._queue_worker import QueueWorker, Working  # noqa: PLC0415 - needs the extra

        if not self._chains:
            raise UsageError("this queue has nothing to run: call `queue.register(page)` first")
        if self._worker is not None and not self._worker.stopped:
            raise UsageError("this queue works already in this process; for more at once write work(workers=20)")
        most = count(workers, "workers", least=1)
        balancer = Balancer(executor, workers=most, buffer=most, abandon_after=abandon_after)
        try:
            tick = partial(tick_all, self._store, self._schedules)
            self._worker = QueueWorker(
                self._store, self._chains, most, balancer, seconds(grace, "grace", zero=True), tick, self._journal
            )
        except BaseException:
            balancer.close()
            raise
        return Working(self._worker)

    # --- schedules ----------------------------------------------------------------------------------------------

    def every(
        self,
        when: str | Duration,
        work: Request[Any] | Callable[[datetime], Request[Any]],
        *,
        name: str,
        tz: str = "UTC",
        overlap: Overlap = "skip",
        missed: Missed = "skip",
        jitter: Duration = 0,
        priority: int = 0,
    ) -> None:
        """Post a request at each tick of a schedule, once in all processes that work on this queue.

        Call it with the same arguments in each of them, before ``work``. The runs have ids such as
        ``nightly@2026-03-28T01:30:00+00:00``.

        Args:
            when: a cron line, or a period in milliseconds or as a ``timedelta``, as for ``Balancer.every``. A period
                counts from 1970, so it ticks at the same time in each process.
            work: a request of a registered chain, or a function that gets the time of the tick and returns one.
            name: names the schedule in the database. Required, as it says which schedules are the same.
            tz: the time zone of a cron line. Default ``"UTC"``.
            overlap: what happens to a tick while a run of the schedule waits or runs: ``"skip"`` leaves it out
                (default), ``"queue"`` runs it when the ones before it have ended, ``"parallel"`` posts it at once.
            missed: what happens to ticks that came while no process worked: ``"skip"`` leaves them out (default),
                ``"run once"`` posts one run for all of them, ``"all"`` posts each, up to 1000.
            jitter: each run begins up to so much later than its tick, and before the next tick. Default 0.
            priority: as for ``post``. Default 0.

        Raises:
            ChainDefinitionError: an argument is not valid, or ``when`` never comes.
            ImportError: ``when`` is a cron line, and cronsim is not installed.
        """
        zone = checked_zone(tz)
        given: Any = work
        label = checked_name(name)
        if len(label) > LONGEST_ID // 2:
            raise ChainDefinitionError(f"`name` may have up to {LONGEST_ID // 2} characters; got {short_repr(name)}")
        if any(schedule.name == label for schedule in self._schedules):
            raise ChainDefinitionError(f"another schedule of this queue is called {label!r}")
        if hasattr(given, "plan") or not callable(given):
            self._checked(given, None, priority, 0)
            make: Callable[[datetime], Request[Any]] = lambda _: given  # noqa: E731 - the two kinds side by side
        else:
            make = function(given, "work", "a request, or a function of the tick that returns one")
        ticks = checked_when(when, zone, 0.0)
        if isinstance(ticks, Period):
            ticks = evolve(ticks, on_world_clock=True)
        first_tick(ticks, 0.0)
        checked = checked_overlap(overlap), checked_missed(missed)

        def posting(tick: datetime) -> tuple[str, str, int]:
            _, chain, arguments, urgency, _ = self._checked(make(tick), None, priority, 0)
            return chain, arguments, urgency

        self._schedules.append(
            QueueSchedule(label, ticks, zone, *checked, seconds(jitter, "jitter", zero=True), posting)
        )

    # --- the end ------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Close the idle connections to the database. The queue can be used again."""
        self._store.close()
        if self._journal is not None:
            self._journal.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<DurableQueue {self._store.queue!r}: {', '.join(self._chains) or 'no chains'}>"


def checked_address(dsn: Any) -> str:
    """Check ``dsn``, and give its address."""
    from rio_chain.contrib._queue_connections import address_of  # noqa: PLC0415 - needs the extra

    if is_address(dsn):
        return str(dsn)
    found = address_of(dsn)
    if found is None:
        raise ChainDefinitionError(
            '`dsn` must be the address of a PostgreSQL database, such as "postgresql://user@host/name", or an App of '
            f"procrastinate with a PsycopgConnector; got {'a str' if isinstance(dsn, str) else short_repr(dsn)}"
        )
    return found


def checked_id(run_id: Any) -> str:
    """Check ``run_id=``."""
    if not isinstance(run_id, str) or not run_id or len(run_id) > LONGEST_ID or not run_id.isprintable():
        raise ChainDefinitionError(
            f"`run_id` must be a printable text of 1 to {LONGEST_ID} characters; got {short_repr(run_id)}"
        )
    return run_id
