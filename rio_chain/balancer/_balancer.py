"""Balancer: the shared pool of an application.

``_admission`` has the order and the counts. ``_dispatch`` takes each request from ``post`` to its Outcome.
``_host_binding`` decides where requests run. ``_close`` closes the balancer, and ``_lifetime`` opens it again.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar

from rio_chain._core import hooks
from rio_chain._core.deadline import Deadline
from rio_chain._core.notebook_repr import NotebookRepr
from rio_chain._core.unhandled_errors import surely
from rio_chain._core.units import Duration, count, flag, seconds
from rio_chain._core.users_line import users_line
from rio_chain.balancer._dropped import described
from rio_chain.balancer._every_method import EveryMethod
from rio_chain.balancer._lanes import BalancerLanes
from rio_chain.balancer._lifetime import Lifetime, Settings
from rio_chain.balancer._map_methods import MapMethods
from rio_chain.balancer._nested_requests import check_not_nested
from rio_chain.balancer._observe_methods import ObserveMethods
from rio_chain.balancer._posted_request import OnFull, request_options
from rio_chain.balancer._resources import checked_resources
from rio_chain.balancer._share_options import checked_shed, checked_weights
from rio_chain.chain._never_run import DEV_MODE, handed_over
from rio_chain.chain._request import Request
from rio_chain.engine._current_run import CURRENT, Run
from rio_chain.engine._new_run import new_run
from rio_chain.engine._run import UNFINISHED, begin, finish, outcome_of_unbegun
from rio_chain.errors import UsageError
from rio_chain.executors import checked_executor, default_name, warn_if_a_loop_runs
from rio_chain.executors._run_ticket import wait_for, wait_in_place
from rio_chain.executors._ticket import Ticket
from rio_chain.policies._checks import checked_aging
from rio_chain.results._observers import OBSERVERS, Observe, Observer, checked_observers

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Mapping
    from types import TracebackType

    from rio_chain.balancer._admission import Admission
    from rio_chain.balancer._dispatch import Dispatcher
    from rio_chain.balancer._host_binding import HostBinding
    from rio_chain.executors._base import Executor, Host
    from rio_chain.journal import Journal
    from rio_chain.results._outcome import Outcome

Out = TypeVar("Out")
In = TypeVar("In")


class Balancer(MapMethods, EveryMethod, ObserveMethods, NotebookRepr):
    """A pool that runs up to ``workers`` requests at once.

    The others wait in one queue. The request with the highest ``priority`` is next, and among equals the one that came
    first. With ``aging``, each step of priority counts as some time of waiting, so no request waits for ever.

    The balancer binds to an event loop when you enter it or first use it. ``async with``, or the first ``arun``, binds
    it to the running loop. ``with``, or the first ``run`` or ``post``, gives it a thread of its own. So you can make a
    balancer at module level.

    A closed balancer accepts no requests. ``with`` or ``async with`` opens it again, also on another event loop. The
    counts of ``stats()`` continue, and calls that were abandoned before still count towards ``max_abandoned``. A second
    block can't enter a balancer that is already open in a block.

    Args:
        executor: ``"asyncio"``, ``"trio"``, ``"thread"``, or for tests ``"virtual"`` and ``VirtualExecutor()``.
            ``"dask"`` and ``DaskExecutor("tcp://...")`` run the parts of chains on a cluster.
            Default: that of the running loop, else ``"asyncio"``.
        workers: how many requests run at once (a fan-out counts as one). Default 10.
        buffer: how many requests may wait before ``post`` raises ``QueueFull``. ``run`` and ``arun`` wait for room, or
            raise too with ``on_full="reject"``. Default 1000.
        threads: how many sync functions run at once, not counting abandoned ones. Default ``4 * workers``.
        abandon_after: the timeout of a request that has no deadline, and no ``.timeout`` around its whole chain. In
            milliseconds or as a ``timedelta``. Default 30000.
        max_abandoned: while this many abandoned calls still run, ``run``, ``arun`` and ``post`` raise ``Saturated``.
            Abandoned calls do not count towards ``threads``. Default ``2 * workers``.
        lanes: a dict from the name of a lane to its number of processes, for tasks with a ``.lane(name)``. The
            processes start with the first call and end with the balancer. Default none.
        lane_bytes: the largest message of a lane, in bytes: a pickled function with its argument, or its answer. A
            larger message is not sent: the call fails with ``LaneMessageTooLarge``. Default 256 MiB.
        resources: what tasks with ``.resources`` share, as in ``{"gpu": 1, "memory": "8GiB"}``. Each call of such a
            task waits until all that it needs is free, and holds it while its function runs. A request that needs more
            than there is in all is refused with ``UsageError``. Default None: ``.resources`` has no effect.
        aging: how much waiting one step of priority counts for, in milliseconds or as a ``timedelta``. The next request
            is the one with the earliest value of (instant of its arrival - ``priority * aging``). With ``aging=500``
            and priorities from 0 to 3, no request is overtaken by one that came more than 1500 ms later. Default None:
            the highest priority goes first, however long the others wait.
        fair: whether the ``tenant`` of a request counts: True, or a dict with the weights of some tenants; those that
            are not in it have weight 1. Within one priority, each tenant that has requests waiting then gets slot time
            in proportion to its weight, however many requests it has. Can't be combined with ``aging``. Default False.
        shed: which request goes if one more comes while ``buffer`` requests wait. It fails with ``RequestShed``. With
            ``"lowest"`` it is the one that would be last. With ``"oldest"`` it is the one that has waited longest. A
            function of the Request returns what it is worth, a number; the one that is worth least goes, and among
            equals the newest. Requests of ``run`` and ``arun`` count as well. Items of a ``map`` are never shed.
            Default None: the new one is refused.
        shed_late: whether a request fails with ``RequestShed`` instead of being begun if its deadline leaves less time
            than nearly all requests of this chain take (the mean of the last ones and two standard deviations).
            Default False.
        observers: functions that are called with every ``Event`` of the balancer's requests, as with ``add_observer``.
            For events with errors or values, give ``rio_chain.observers.Observer`` objects. Default none.

    Raises:
        ChainDefinitionError: an argument is out of its range.

    Example:
        >>> from rio_chain import Balancer, Task
        >>> with Balancer(workers=2) as balancer:
        ...     [outcome.unwrap() for outcome in balancer.map(Task(len), ["a", "bb", "ccc"])]
        [1, 2, 3]
    """

    def __init__(
        self,
        executor: str | Executor | None = None,
        *,
        workers: int = 10,
        buffer: int = 1000,
        threads: int | None = None,
        abandon_after: Duration = 30_000,
        max_abandoned: int | None = None,
        lanes: Mapping[str, int] | None = None,
        lane_bytes: int = 256 * 1024 * 1024,
        resources: Mapping[str, float | str] | None = None,
        aging: Duration | None = None,
        fair: bool | Mapping[Hashable, float] = False,
        shed: Literal["lowest", "oldest"] | Callable[[Request[Any]], float] | None = None,
        shed_late: bool = False,
        observers: Iterable[Observe | Observer] = (),
    ) -> None:
        given = None if executor is None else checked_executor(executor)
        workers = count(workers, "workers", least=1)
        self._settings = Settings(
            executor=given,
            workers=workers,
            threads=4 * workers if threads is None else count(threads, "threads", least=1),
            abandon_after=seconds(abandon_after, "abandon_after"),
            max_abandoned=2 * workers if max_abandoned is None else count(max_abandoned, "max_abandoned", least=1),
            lanes=BalancerLanes(lanes, lane_bytes),
            resources=checked_resources(resources, checked_aging(aging), given),
            buffer=count(buffer, "buffer"),
            aging=checked_aging(aging),
            weights=checked_weights(fair, aging),
            shed=checked_shed(shed),
            shed_late=flag(shed_late, "shed_late"),
            observers=checked_observers(observers),
            made=users_line(),
        )
        self._lifetime = Lifetime(self, self._settings)

    @classmethod
    def from_env(cls, **options: Any) -> Self:
        """A balancer on the executor that ``$RIO_EXECUTOR`` names (default asyncio). ``options`` as for the class."""
        return cls(default_name(), **options)

    # --- run ----------------------------------------------------------------------------------------------------

    async def arun(
        self,
        request: Request[Out],
        *,
        priority: float = 0,
        deadline: Deadline | Duration | None = None,
        queue_timeout: Duration | None = None,
        on_full: OnFull = "wait",
        tenant: Hashable = None,
        journal: Journal | None = None,
        run_id: str | None = None,
    ) -> Outcome[Out]:
        """Run a request and wait for its Outcome, in async code.

        If the balancer is bound to the caller's event loop, the request runs in the caller's task.

        Args:
            request: a chain called with its arguments.
            priority: higher goes first. Default 0.
            deadline: of waiting and running together: milliseconds, a ``timedelta`` or a ``Deadline``.
            queue_timeout: the longest time that the request may wait for a worker: milliseconds or a ``timedelta``.
                After that the request fails with ``DeadlineExceeded``.
            on_full: what to do if ``buffer`` requests are waiting: ``"wait"`` in the same queue (default), or
                ``"reject"``, which raises ``QueueFull``.
            tenant: whose request it is, if the balancer has ``fair``: any hashable value, also None.
            journal: as for ``Request.run``, with its errors.
            run_id: as for ``Request.run``.

        Raises:
            QueueFull: ``on_full`` is ``"reject"``, and ``buffer`` requests are waiting.
            BalancerClosed: the balancer is closed.
            Saturated: ``max_abandoned`` abandoned calls still run.
        """
        if DEV_MODE:
            handed_over(request)
        session = None if journal is None and run_id is None else hooks.facade.session(journal, run_id, request)
        lifetime = self._lifetime
        admission, observers = lifetime.admission, lifetime.settings.observers
        if CURRENT.get() is not None:
            check_not_nested(admission, "arun")
        host = lifetime.host(request, here=True)
        options = request_options(host.runtime.now, priority, deadline, queue_timeout, on_full)
        if tenant is not None or lifetime.managed:
            options = lifetime.manage(request, options, tenant)
        if not host.here():
            host.check_await()
            return await wait_in_place(lifetime.post(host, request, options, session))
        lifetime.check(host, request, session)
        plan, rt, watched = request.given[0], host.runtime, OBSERVERS or observers or session
        run = new_run(plan, observers, admission, session) if watched else Run(plan)
        run.priority = options.priority
        checkpoints, passed = rt.checkpoints, 0
        if checkpoints is not None:
            await checkpoints.heed()
            passed = checkpoints.count()
        posted = began = rt.now()
        got: Any = UNFINISHED
        try:
            if not admission.take(run):
                error = await lifetime.dispatcher.slot_came(rt, run, options, posted)
                if error is not None:
                    admission.unbegun(outcome := outcome_of_unbegun(request, run, error, posted, rt.now()))
                    return outcome
                began = rt.now()
            try:  # as in ``execute``, but without another coroutine for each request
                walking = begin(rt, request, run, began, options.deadline, lifetime.settings.abandon_after)
                del request
                got = await walking
            finally:
                outcome = finish(run, got, (posted, began, rt.now()))
                admission.leave(run, began - posted, rt.now() - began, outcome)
        except BaseException as error:  # an interruption, which may come anywhere
            lifetime.refused(plan, error)
            run.dropped = admission.torn = True
            with contextlib.suppress(BaseException):  # if this fails, the next decision does it
                surely(admission.settle)
            raise
        if checkpoints is not None and checkpoints.count() == passed:
            await checkpoints.pause()
        return outcome

    def run(
        self,
        request: Request[Out],
        *,
        priority: float = 0,
        deadline: Deadline | Duration | None = None,
        queue_timeout: Duration | None = None,
        on_full: OnFull = "wait",
        live: bool = False,
        tenant: Hashable = None,
        journal: Journal | None = None,
        run_id: str | None = None,
    ) -> Outcome[Out]:
        """Run a request and wait for its Outcome, in plain code; keywords as for ``arun``. Ctrl-C cancels the request.

        ``live`` shows the tasks while it waits and runs, as for ``Request.run``.

        Raises:
            QueueFull: ``on_full`` is ``"reject"``, and ``buffer`` requests are waiting.
            BalancerClosed: the balancer is closed.
            Saturated: ``max_abandoned`` abandoned calls still run.
            JournalError: as for ``Request.run``.
            UsageError: ``run`` was called on the thread of the balancer's event loop; write ``await
                balancer.arun(...)`` there.
        """
        if DEV_MODE:
            handed_over(request)
        session = None if journal is None and run_id is None else hooks.facade.session(journal, run_id, request)
        lifetime = self._lifetime
        check_not_nested(lifetime.admission, "run")
        host = lifetime.host(request, here=False)
        if host.on_loop_thread():
            raise UsageError("`run` would block the loop that runs the request; write `await balancer.arun(...)`")
        warn_if_a_loop_runs("await balancer.arun(...)")
        options = request_options(host.runtime.now, priority, deadline, queue_timeout, on_full)
        if tenant is not None or lifetime.managed:
            options = lifetime.manage(request, options, tenant)
        if live is False or not flag(live, "live"):
            return wait_for(lifetime.post(host, request, options, session))
        with contextlib.ExitStack() as shown:
            looks: list[Callable[[], object]] = []

            def follow(ticket: Ticket[Any]) -> None:
                looks.append(shown.enter_context(hooks.facade.followed(ticket)))

            ticket = lifetime.post(host, request, options, session, follow)
            return wait_for(ticket, looks[0])

    def post(
        self,
        request: Request[Out],
        *,
        priority: float = 0,
        deadline: Deadline | Duration | None = None,
        queue_timeout: Duration | None = None,
        tenant: Hashable = None,
        journal: Journal | None = None,
        run_id: str | None = None,
    ) -> Ticket[Out]:
        """Queue a request and return its Ticket. Never blocks; any thread, event loop or finaliser may call this.

        Keywords as for ``arun``. A ``JournalError`` is raised where you wait for the ticket.

        Raises:
            QueueFull: ``buffer`` requests are waiting.
            BalancerClosed: the balancer is closed.
            Saturated: ``max_abandoned`` abandoned calls still run.
        """
        if DEV_MODE:
            handed_over(request)
        session = None if journal is None and run_id is None else hooks.facade.session(journal, run_id, request)
        lifetime = self._lifetime
        host = lifetime.host(request, here=False)
        options = request_options(host.runtime.now, priority, deadline, queue_timeout, "reject")
        if tenant is not None or lifetime.managed:
            options = lifetime.manage(request, options, tenant)
        return lifetime.post(host, request, options, session)

    # --- entering and closing ------------------------------------------------------------------------------------

    def close(self, grace: Duration = 30_000) -> None:
        """Accept no more requests, wait up to ``grace`` for running and waiting ones, then cancel the rest.

        Every request gets an Outcome. Sync functions that are still running at that point can't be stopped; a
        ``RuntimeWarning`` names their tasks. If the balancer is bound to your own event loop, and that loop is not
        running, ``close`` waits at most one second.

        Args:
            grace: milliseconds, or a ``timedelta``; 0 cancels at once. Default 30,000.

        Raises:
            UsageError: ``close`` was called in one of these places:

                - on the thread of the balancer's event loop; write ``await balancer.aclose()`` there
                - in a function that the balancer runs
                - in an observer of a run of the balancer
                - in a process that was forked after the balancer was bound
        """
        self._lifetime.closing.close(grace)

    async def aclose(self, grace: Duration = 30_000) -> None:
        """``close`` for async code, from any event loop."""
        await self._lifetime.closing.aclose(grace)

    def _enter(self, *, here: bool) -> Self:
        if self._lifetime.admission.closed:
            self._lifetime = self._lifetime.next(self)
        self._lifetime.enter(here=here)
        return self

    def __enter__(self) -> Self:
        return self._enter(here=False)

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        if not self._binding.forked:  # in a child, only the parent may close it
            self.close(**self._lifetime.closing.leave_block(exc))

    async def __aenter__(self) -> Self:
        return self._enter(here=True)

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        if not self._binding.forked:
            await self.aclose(**self._lifetime.closing.leave_block(exc))

    # The current parts, for tests and tools.

    @property
    def _admission(self) -> Admission:
        return self._lifetime.admission

    @property
    def _dispatcher(self) -> Dispatcher:
        return self._lifetime.dispatcher

    @property
    def _binding(self) -> HostBinding:
        return self._lifetime.binding

    @property
    def _host(self) -> Host | None:
        return self._lifetime.binding.host

    def __repr__(self) -> str:
        return described(self._binding, self._admission)
