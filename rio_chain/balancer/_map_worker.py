"""The requests of one ``map``: a few strands, the workers, run them one after the other.

A worker is posted with its first item, as any request. When an item has ended, the worker takes the next one and keeps
its slot, unless another request is first in the queue. So an item needs neither a ticket nor a strand.
"""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Callable
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from attrs import define, field

from rio_chain._core.tracebacks import drop_frames
from rio_chain._core.unhandled_errors import report_unhandled, surely
from rio_chain._rio_error import RioError
from rio_chain.balancer._posted_request import PostedRequest, RequestOptions
from rio_chain.engine._current_run import Run
from rio_chain.engine._new_run import new_run
from rio_chain.engine._run import UNFINISHED, begin, finish, outcome_of_unbegun
from rio_chain.errors import TicketCancelled
from rio_chain.executors._run_ticket import LOST
from rio_chain.executors._ticket import Ticket

if TYPE_CHECKING:
    from rio_chain.balancer._dispatch import Dispatcher
    from rio_chain.balancer._priority_queue import Turn
    from rio_chain.chain._request import Request
    from rio_chain.engine._journal_protocol import RunJournal
    from rio_chain.executors._base import Host
    from rio_chain.results._outcome import Outcome

Out = TypeVar("Out")
LEFT = "the loop over it was left"


class MapItem(Generic[Out]):
    """One request of a ``map``."""

    __slots__ = ("error", "outcome", "posted", "request", "run", "value")

    value: Any
    """The input, if it is to be given with the Outcome."""

    def __init__(self, request: Request[Out], run: Run, posted: float) -> None:
        self.request = request
        self.run = run
        self.posted = posted
        self.outcome: Outcome[Out] | None = None
        self.error: BaseException | None = None  # a BaseException of the user's function, which ends more than its run

    @property
    def done(self) -> bool:
        """Whether it is answered."""
        return self.outcome is not None or self.error is not None


class MapRequests(Generic[Out]):
    """The open items, and the items that wait for a worker. Workers and the reader may be on different threads.

    Args:
        dispatcher: takes the workers.
        host: where they run.
        options: of each request.
        workers: the most workers.
        as_completed: whether the first item to be answered is given next.
    """

    def __init__(
        self, dispatcher: Dispatcher, host: Host, options: RequestOptions, workers: int, *, as_completed: bool
    ) -> None:
        self.dispatcher = dispatcher
        self.host = host
        self.options = options
        self.most = workers
        self.workers: set[MapWorker] = set()
        self.pending: deque[MapItem[Out]] = deque()
        self.over = False  # whether the reader has left
        self.ready: deque[MapItem[Out]] = deque()  # answered and not handed out; only read with ``as_completed``
        self.progress: Callable[[MapItem[Out]], object] | None = None  # called with each answered item
        self._as_completed = as_completed
        self._awaited: MapItem[Out] | None = None  # the item that the reader waits for
        self._wake: list[Callable[[], None]] = []
        self._lock = threading.RLock()

    def post(self, request: Request[Out], journal: RunJournal | None = None) -> MapItem[Out]:
        """Add a request.

        Raises:
            BalancerClosed: the balancer is closed.
        """
        run = new_run(request.plan, self.dispatcher.observers, self.dispatcher.admission, journal)
        run.priority = self.options.priority
        item = MapItem(request, run, self.host.runtime.now())
        with self._lock:
            if len(self.workers) >= self.most:
                if self.dispatcher.admission.closed:
                    raise self.dispatcher.admission.refusal()
                self.pending.append(item)
                return item
        self._begin_with(item)
        return item

    def _begin_with(self, item: MapItem[Out]) -> None:
        """Post another worker."""
        dispatcher, options = self.dispatcher, self.options
        ticket = Ticket(item.request, self.host)
        ticket.run = item.run
        worker = MapWorker(
            self.host,
            ticket,
            item.posted,
            options.deadline,
            dispatcher.abandon_after,
            context=copy_context(),
            admission=dispatcher.admission,
            open=dispatcher.posted,
            several=self,
            item=item,
        )
        try:
            self.workers.add(worker)
            dispatcher.accept(worker, options)
        except BaseException:
            self.workers.discard(worker)
            raise

    def take(self, worker: MapWorker) -> MapItem[Out] | None:
        """The next item for a worker. Returns None if there is none; the worker then ends."""
        with self._lock:
            if self.pending:
                cut = self.dispatcher.cut
                if cut is None:
                    return self.pending.popleft()
            self.workers.discard(worker)
        self._refuse_rest(self.dispatcher.cut)
        return None

    def answer(self, item: MapItem[Out], outcome: Outcome[Out]) -> None:
        """Answer an item. Only the first answer counts."""
        if item.outcome is not None or item.error is not None:
            return
        item.outcome = outcome
        try:
            self._arrived(item)
        except BaseException:  # an interruption, or memory is short
            surely(partial(self._arrived, item))
            raise

    def fail(self, item: MapItem[Out], error: BaseException) -> None:
        """A BaseException of the user's function, or its journal, ended its run. The reader gets that exception."""
        if item.done:
            return
        drop_frames(error)
        item.error = error
        if self.over and not isinstance(error, RioError):  # which is like a Failure that nobody reads
            report_unhandled(error)
        surely(partial(self._arrived, item))

    def _arrived(self, item: MapItem[Out]) -> None:
        if self._as_completed:
            self.ready.append(item)
        if self.progress is not None:
            self.progress(item)
        if self._wake and (self._as_completed or self._awaited is item):
            with contextlib.suppress(IndexError):  # another thread has taken the waker
                self._wake.pop()()

    def on_arrival(self, item: MapItem[Out] | None, waker: Callable[[], None]) -> None:
        """Call ``waker`` once, when the item is answered, or when any item is (None); at once if it is already."""
        self._awaited = item
        self._wake[:] = [waker]
        if self.ready if item is None else item.done:  # it was answered meanwhile
            with contextlib.suppress(IndexError):
                self._wake.pop()()

    def unbegun(self, item: MapItem[Out], error: Exception) -> None:
        """Answer an item that will not run, or not to its end."""
        outcome = outcome_of_unbegun(item.request, item.run, error, item.posted, self.host.runtime.now())
        if not item.done:
            self.dispatcher.admission.unbegun(outcome)
        self.answer(item, outcome)

    def ended(self, worker: MapWorker, error: Exception | None = None) -> None:
        """A worker has ended. With an ``error``, the items that wait for it end with that too."""
        with self._lock:
            self.workers.discard(worker)
        self._refuse_rest(error or self.dispatcher.cut)

    def _refuse_rest(self, error: Exception | None) -> None:
        """Answer the items that no worker will run: the balancer cancels them, or their time is over."""
        while error is not None and self.pending:
            try:
                item = self.pending.popleft()
            except IndexError:  # another worker took the last one
                return
            self.unbegun(item, error)

    def cancel(self) -> None:
        """Cancel all open items, and begin no more."""
        self.over = True
        with self._lock:
            self.pending.clear()
        for worker in list(self.workers):
            worker.ticket.cancel(LEFT)


@define(eq=False)
class MapWorker(PostedRequest):
    """A strand that runs items of a ``map``. Its ticket is answered when it ends."""

    sheddable: ClassVar[bool] = False  # the reader of the map holds its items back already
    several: MapRequests[Any] = field(kw_only=True)
    item: MapItem[Any] = field(kw_only=True)
    """The item that it runs, or that it waits with in the queue."""

    async def serve(self) -> None:
        """As ``TicketRun.serve``, for one item after the other."""
        if self.begun:
            return
        self.begun = True
        several, host = self.several, self.host
        try:
            await self._serve()
        except host.cancelled as exc:
            if host.cancelling():
                lost = TicketCancelled(LOST)
                several.unbegun(self.item, lost)
                several.ended(self, lost)
                raise
            several.fail(self.item, exc)
        except BaseException as exc:  # noqa: BLE001 - the reader gets it
            several.fail(self.item, exc)
        finally:
            surely(partial(several.ended, self))
            surely(self._over)
            del self, several  # the traceback of the error keeps this frame

    async def _serve(self) -> None:
        several, admission, item = self.several, self.admission, self.item
        rt, deadline, abandon_after = self.host.runtime, self.deadline, self.abandon_after
        now, priority = rt.now, several.options.priority
        while True:
            run, posted, began = item.run, item.posted, now()
            got: Any = UNFINISHED
            try:
                got = await begin(rt, item.request, run, began, deadline, abandon_after)
            finally:
                ended = now()
                outcome = finish(run, got, (posted, began, ended))
                if got is UNFINISHED:
                    admission.leave(run, began - posted, ended - began, outcome)
            following = several.take(self)
            turn: Turn | None = None
            try:
                if following is None:
                    admission.leave(run, began - posted, ended - began, outcome)
                else:
                    self.item, self.ticket.run = following, following.run
                    turn = admission.pass_on(
                        run, following.run, priority, following.posted, began - posted, ended - began, outcome
                    )
            finally:
                several.answer(item, outcome)
            if following is None:
                return
            item = following
            if several.over or several.dispatcher.cut is not None:  # the stop may have reached only the run before
                item.run.stop(several.dispatcher.cut or TicketCancelled(LEFT))
            if turn is not None and not await self._turn_came(turn, item):
                return

    async def _turn_came(self, turn: Turn, item: MapItem[Any]) -> bool:
        """Wait in the queue, where others come first. Returns False if the worker will run no further item."""
        several, dispatcher, rt = self.several, self.several.dispatcher, self.host.runtime
        self.turn = turn
        self.ticket.withdraw = partial(dispatcher.withdraw, self, turn)
        until = several.options.until(rt, item.posted)
        item.run.report("request_queued", None)
        if await dispatcher.turn_came(rt, turn, until):
            return True
        error = item.run.stop_error or dispatcher.passed_over(rt, until, turn)
        several.unbegun(item, error)
        several.ended(self, error)
        return False

    def cancelled(self, error: Exception) -> None:
        """As ``PostedRequest.cancelled``."""
        self.several.unbegun(self.item, error)
        self.several.ended(self, error)  # items that wait for it have the same deadline and balancer
        self._over()

    def _over(self) -> None:
        self.ticket.resolve(self.unbegun(TicketCancelled("a worker of a map has ended")))  # nothing reads this
        self.answered()
