"""Lifetime: the parts of a balancer from when it opens until it has closed. If it opens again, it gets new parts.

So nothing that is left from the last time, such as a ticket, a loop that ends late or a finaliser, can affect the new
parts.
"""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any, TypeVar, cast

from attrs import evolve, frozen

from rio_chain._core.units import flag, short_repr
from rio_chain.balancer._admission import Admission
from rio_chain.balancer._close import Closing
from rio_chain.balancer._dispatch import Dispatcher
from rio_chain.balancer._dropped import dropped
from rio_chain.balancer._host_binding import HostBinding
from rio_chain.balancer._managed_admission import ManagedAdmission
from rio_chain.balancer._map_worker import MapRequests
from rio_chain.balancer._mapping import Window, session_maker
from rio_chain.balancer._posted_request import RequestOptions, request_options
from rio_chain.balancer._share_options import hashable_tenant, worth_of
from rio_chain.chain._plan import public_name
from rio_chain.chain._request import Request
from rio_chain.engine._prepare import check_journal, check_request
from rio_chain.errors import BalancerClosed, ChainDefinitionError, QueueFull, Saturated, UsageError
from rio_chain.results._deliver import deliver, observers_now
from rio_chain.results._events import Event

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Mapping

    from rio_chain._core.users_line import Line
    from rio_chain.balancer._lanes import BalancerLanes
    from rio_chain.balancer._managed_admission import Shed
    from rio_chain.chain._plan import Plan
    from rio_chain.engine._journal_protocol import RunJournal
    from rio_chain.executors._base import Executor, Host
    from rio_chain.executors._ticket import Ticket
    from rio_chain.journal import Journal
    from rio_chain.results._observers import Observer

REFUSALS: dict[type[BaseException], str] = {QueueFull: "full", BalancerClosed: "closed", Saturated: "saturated"}
Out = TypeVar("Out")
In = TypeVar("In")


@frozen(eq=False)
class Settings:
    """The checked arguments of a ``Balancer``; durations in seconds. ``made``: the user's line that made it."""

    executor: str | Executor | None
    workers: int
    buffer: int
    threads: int
    abandon_after: float
    max_abandoned: int
    lanes: BalancerLanes
    aging: float | None
    weights: Mapping[Hashable, float] | None
    shed: Shed | None
    shed_late: bool
    observers: tuple[Observer, ...]
    made: Line


class Lifetime:
    """The parts of an open balancer.

    Args:
        balancer: if it is dropped, the parts end. They do not keep it alive.
        settings: of the balancer.
        before: the last Lifetime. Its counters continue, and its abandoned calls still count.
    """

    def __init__(self, balancer: object, settings: Settings, before: Lifetime | None = None) -> None:
        self.settings = settings
        lanes = settings.lanes.fresh()
        order = settings.workers, settings.buffer, settings.aging
        self.managed = settings.weights is not None or settings.shed is not None or settings.shed_late
        self.admission = (
            ManagedAdmission(*order, settings.weights, settings.shed, settings.shed_late)
            if self.managed
            else Admission(*order)
        )
        if before is not None:
            self.admission.go_on_counting(before.admission)
        self.dispatcher = Dispatcher(self.admission, settings.abandon_after, lanes.close, settings.observers)
        host: Host | None = None if before is None else before.binding.host
        self.binding: HostBinding = HostBinding(
            settings.executor,
            self.admission,
            lanes,
            threads=settings.threads,
            max_abandoned=settings.max_abandoned,
            abandon_after=settings.abandon_after,
            lost=self.dispatcher.lost,
            pool_before=None if host is None or host.pool.forked else host.pool,
        )
        self.finalizer = weakref.finalize(balancer, dropped, self.dispatcher, self.binding, settings.made)
        self.finalizer.atexit = False
        self.closing = Closing(self.dispatcher, self.binding, self.finalizer.detach)
        # Popping from a list is atomic, so only one thread gets the item. A fork could leave a lock locked for ever.
        self._may_enter = [None]
        self._may_follow = [None]

    # --- requests ---------------------------------------------------------------------------------------------------

    def check(self, host: Host, request: Request[Any], journal: object = None) -> None:
        """Refuse what is not a request, what its lanes can't run, and everything while too many abandoned calls run."""
        given: Any = request
        if type(given) is not Request:
            got = short_repr(request)
            raise ChainDefinitionError(
                f"`request` must be a chain called with its arguments, as in balancer.run(page(42)); got {got}"
            )
        if request.given[0].lanes or host.runtime.remote is not None:
            check_request(request, host.runtime, journal)
        if host.pool.saturated and not self.admission.closed:
            self.admission.rejected += 1
            most = self.settings.max_abandoned
            error = Saturated(f"{host.pool.abandoned} abandoned calls still run (max_abandoned={most})")
            error.retry_after = self.admission.expected_wait()
            self.refused(request.given[0], error)
            raise error

    def manage(self, request: Request[Any], options: RequestOptions, tenant: Hashable) -> RequestOptions:
        """The options with what the balancer needs to share its slots, and to shed."""
        options = self.options_of(options, tenant)
        if type(cast("Any", request)) is not Request:
            return options  # it is refused
        if self.settings.shed_late:
            public_name(request.given[0])  # it is made here, and not in a decision
        shed = self.settings.shed
        return evolve(options, worth=worth_of(shed, request)) if callable(shed) else options

    def options_of(self, options: RequestOptions, tenant: Hashable) -> RequestOptions:
        """The options with this tenant."""
        if tenant is None:
            return options
        if self.settings.weights is None:
            raise ChainDefinitionError(
                f"`tenant` needs a balancer that shares its slots, as in Balancer(fair=True); got {short_repr(tenant)}"
            )
        return evolve(options, tenant=hashable_tenant(tenant))

    def post(
        self,
        host: Host,
        request: Request[Out],
        options: RequestOptions,
        journal: RunJournal | None = None,
        observe: Callable[[Ticket[Any]], object] | None = None,
    ) -> Ticket[Out]:
        """As ``Dispatcher.post``, with checks."""
        self.check(host, request, journal)
        try:
            return self.dispatcher.post(host, request, options, journal, observe)
        except (BalancerClosed, QueueFull) as error:
            self.refused(request.given[0], error)
            raise

    def host(self, request: Request[Any], *, here: bool) -> Host:
        """As ``HostBinding.get``, for this request."""
        try:
            return self.binding.get(here=here)
        except BalancerClosed as error:
            if type(cast("Any", request)) is Request:
                self.refused(request.given[0], error)
            raise

    def refused(self, plan: Plan, error: BaseException) -> None:
        """Report a refused request to observers."""
        reason = REFUSALS.get(type(error))
        if reason is not None:
            observers = observers_now(self.settings.observers)
            event = Event("request_rejected", None, 0.0, error=error, chain=public_name(plan), reason=reason)
            deliver(observers, event)

    def map_window(
        self,
        host: Host,
        chain: Callable[[In], Request[Out]],
        inputs: Iterable[In],
        priority: float,
        tenant: Hashable,
        *,
        as_completed: bool,
        with_input: bool,
        journal: Journal | None = None,
        key: Callable[[In], object] | None = None,
    ) -> Window[In, Out]:
        """The state of a ``map``: its inputs that are read and not handed out."""
        if journal is not None:
            check_journal(host.runtime)
        options = self.options_of(request_options(host.runtime.now, priority), tenant)
        workers = self.settings.workers
        requests = MapRequests[Out](self.dispatcher, host, options, workers, as_completed=as_completed)

        def request_for(value: In) -> Request[Out]:
            request = chain(value)
            self.check(host, request, journal)
            return request

        with_input = flag(with_input, "with_input")
        return Window(
            requests,
            request_for,
            inputs,
            in_order=not as_completed,
            with_input=with_input,
            session=session_maker(journal, key),
        )

    # --- blocks -----------------------------------------------------------------------------------------------------

    def enter(self, *, here: bool) -> None:
        """Begin a ``with`` block, and bind the balancer.

        Raises:
            UsageError: it is in a block already, or this process was forked since it was bound.
        """
        self.binding.bound()
        try:
            self._may_enter.pop()
        except IndexError:
            raise _entered_twice() from None
        try:
            self.binding.get(here=here)
        except BaseException:
            self._may_enter.append(None)
            raise

    def next(self, balancer: object) -> Lifetime:
        """The Lifetime for the next time. This one has closed.

        Raises:
            BalancerClosed: it is still closing.
            UsageError: another thread is opening it.
        """
        if not (self.closing.over or self.binding.forked):
            self._end_if_lost()
        try:
            self._may_follow.pop()
        except IndexError:
            raise _entered_twice() from None
        try:
            return Lifetime(balancer, self.settings, self)
        except BaseException:
            self._may_follow.append(None)
            raise

    def _end_if_lost(self) -> None:
        """Free what ``close`` would have freed, if its loop has ended without a ``close``."""
        if not (self.dispatcher.gone and self.dispatcher.idle):
            raise BalancerClosed("this balancer is still closing; open it again when `close` or `aclose` has returned")
        self.binding.close(wait=False)
        self.finalizer.detach()


def _entered_twice() -> UsageError:
    return UsageError(
        "this balancer is open already; enter its `with` or `async with` block once, for example at the start of the "
        "application, and use the same object everywhere"
    )
