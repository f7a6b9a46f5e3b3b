"""Reads many inputs through one balancer, a limited number of them at a time: the reader's side of ``map``."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from rio_chain._core import hooks
from rio_chain._core.tracebacks import as_kept
from rio_chain._core.unhandled_errors import report_unhandled
from rio_chain._core.units import flag, short_repr
from rio_chain._rio_error import RioError
from rio_chain.balancer._map_worker import MapItem, MapRequests
from rio_chain.engine._iterables import is_plain
from rio_chain.errors import ChainDefinitionError
from rio_chain.executors._blocking_wait import SLICE, wait_until_done
from rio_chain.executors._running_loop import runtime_here, waiter_here

if TYPE_CHECKING:
    from rio_chain.chain._request import Request
    from rio_chain.engine._journal_protocol import RunJournal
    from rio_chain.journal import Journal
    from rio_chain.results._outcome import Outcome

In = TypeVar("In")
Out = TypeVar("Out")
Make = Callable[[In], "Request[Out]"]
"""A chain of one argument, or a function in its place. It checks the request that it returns."""
Meanwhile = Callable[[], None]
"""Called again and again during a wait; it updates the progress view."""


UNKNOWN = object()


def session_maker(
    journal: Journal | None, key: Callable[[In], object] | None
) -> Callable[[In, Request[Any]], RunJournal | None] | None:
    """Makes the journal of the run for each input. None without a journal.

    Raises:
        ChainDefinitionError: ``journal`` and ``key`` are not given both.
    """
    if journal is None and key is None:
        return None
    if journal is None or key is None or not callable(key):
        raise ChainDefinitionError(
            "a map with a journal needs both `journal` and `key`, a function that gives the run_id of an input, as in "
            f"balancer.map(page, ids, journal=journal, key=str); got journal={short_repr(journal)}, "
            f"key={short_repr(key)}"
        )

    def session(value: In, request: Request[Any]) -> RunJournal | None:
        run_id = key(value)
        if type(run_id) is not int and not (isinstance(run_id, str) and run_id):
            raise ChainDefinitionError(
                f"`key` must give the run_id of an input, a text or a whole number; got {short_repr(run_id)}"
            )
        return hooks.facade.session(journal, str(run_id), request)

    return session


class Window(Generic[In, Out]):
    """The inputs that were read and whose Outcomes were not handed out, in order.

    Its size is twice the number of workers, so that no worker waits for the reader. For a list or a range it is four
    times that number and one: while the first item is slow, the others go on, and their Outcomes wait.
    """

    def __init__(
        self,
        requests: MapRequests[Out],
        make: Make[In, Out],
        inputs: Iterable[In],
        *,
        in_order: bool,
        with_input: bool,
        session: Callable[[In, Request[Any]], RunJournal | None] | None = None,
    ) -> None:
        self._session = session
        self.balancer: object = None  # keeps the balancer alive as long as the reader: a dropped one would be closed
        self.requests = requests
        self.in_order = in_order
        self._with_input = with_input
        self.items: deque[MapItem[Out]] = deque()
        self._make = make
        workers = requests.most
        self._size = 4 * workers + 1 if is_plain(inputs) else 2 * workers
        self._batch = max(workers, self._size - 2 * workers)  # how many are read at once, if reading may wait
        self._source = iter(inputs)

    def fill(self) -> bool:
        """Read as many inputs as there is room for. Returns False if there is nothing to wait for.

        It reads none while the next Outcome is ready and no worker needs an input. It also reads none while there are
        enough Outcomes: then the reader is the slower side, and would start a worker for each input.
        """
        items, requests = self.items, self.requests
        room = self._size - len(items)
        if room < self._batch and items and self.next() is not None:
            pending = len(requests.pending)
            if pending or len(items) - len(requests.workers) >= requests.most:
                return True
        for value in islice(self._source, room):
            request = self._make(value)
            item = requests.post(request, None if self._session is None else self._session(value, request))
            if self._with_input:
                item.value = value
            items.append(item)
        return bool(items)

    def awaited(self) -> MapItem[Out] | None:
        """The item that must be answered next. None if any item will do."""
        return self.items[0] if self.in_order else None

    def next(self) -> MapItem[Out] | None:
        """The item to hand out next; None if it is not answered yet."""
        if not self.in_order:
            return self.requests.ready[0] if self.requests.ready else None
        item = self.items[0]
        return item if item.outcome is not None or item.error is not None else None

    def handed_out(self, item: MapItem[Out]) -> Any:
        """Its Outcome, with its input if wanted. A BaseException of the user's function is raised."""
        if self.in_order:
            self.items.popleft()
        else:
            self.requests.ready.popleft()
            self.items.remove(item)
        if item.outcome is not None:
            return (item.value, item.outcome) if self._with_input else item.outcome
        if item.error is None:
            raise RuntimeError("woken without an answer")
        try:
            raise as_kept(item.error)
        finally:
            del self, item  # the traceback keeps this frame

    def cancel(self) -> None:
        """Cancel all open items, and begin no more. A BaseException that the reader did not get is reported."""
        self.requests.cancel()
        while self.items:
            item = self.items.popleft()
            if item.error is not None and not isinstance(item.error, RioError):
                report_unhandled(item.error)


def outcomes(window: Window[In, Out], inputs: Iterable[In], *, progress: bool) -> Iterator[Outcome[Out]]:
    """The Outcomes for a thread that may block, with a progress view if wanted."""
    if not flag(progress, "progress"):
        return outcomes_in_thread(window)
    shown = hooks.facade.progress(inputs)
    shown.follow(window.requests)
    return shown.shown(partial(outcomes_in_thread, window))


def async_outcomes(window: Window[In, Out], inputs: Iterable[In], *, progress: bool) -> AsyncIterator[Outcome[Out]]:
    """The Outcomes for a task, with a progress view if wanted."""
    if not flag(progress, "progress"):
        return AsyncOutcomes(window)
    shown = hooks.facade.progress(inputs)
    shown.follow(window.requests)
    return shown.ashown(partial(AsyncOutcomes[Out], window))


def outcomes_in_thread(window: Window[In, Out], look: Meanwhile | None = None) -> Iterator[Outcome[Out]]:
    """The Outcomes for a thread that may block."""
    requests = window.requests
    try:
        while window.fill():
            while (item := window.next()) is None:
                wait_until_done(requests.host, partial(requests.on_arrival, window.awaited()), meanwhile=look)
            outcome = window.handed_out(item)
            if look is not None:
                look()  # also if it never has to wait
            del item
            yield outcome
            del outcome
    except GeneratorExit:
        window.cancel()
        raise
    except BaseException as error:
        window.cancel()
        if not isinstance(error, Exception):  # most likely Ctrl-C; a second one ends the wait
            for worker in list(requests.workers):
                wait_until_done(requests.host, worker.ticket.add_waker)
        raise


class AsyncOutcomes(AsyncIterator["Outcome[Out]"]):
    """The Outcomes for a task.

    It is not an async generator: when an ``async for`` is left early, its iterator is only dropped, and trio warns of a
    dropped generator. ``aclose`` waits for the clean-up of the open items, and so does a cancelled ``anext``.
    """

    def __init__(self, window: Window[Any, Out], look: Meanwhile | None = None) -> None:
        # workers refer to the requests and not to this object, so it is freed when the loop drops it
        self._window = window
        self._look = look
        self._waits = self._over = False
        self._checkpoints: Any = UNKNOWN

    async def __anext__(self) -> Outcome[Out]:
        if self._waits:
            raise RuntimeError("another task is already waiting for the next Outcome")
        self._waits = True
        window, look = self._window, self._look
        try:
            if self._over or not window.fill():
                raise StopAsyncIteration  # noqa: TRY301 - the handler below must see it too
            item = window.next()
            if item is None:
                item = await self._came()
            else:
                if self._checkpoints is UNKNOWN:
                    self._checkpoints = runtime_here().checkpoints
                if self._checkpoints is not None:
                    await self._checkpoints.pause()
            outcome: Outcome[Out] = window.handed_out(item)
        except BaseException as error:
            if isinstance(error, (Exception, GeneratorExit)):
                self._leave()
            else:
                await self.aclose()
            raise
        finally:
            self._waits = False
        if look is not None:
            look()  # also if it never has to wait
        return outcome

    async def _came(self) -> MapItem[Out]:
        window, look, host = self._window, self._look, self._window.requests.host
        while True:  # a thread may wake us late, for an item that was taken already
            host.check_process()
            host.check_await()
            waiter = waiter_here()
            window.requests.on_arrival(window.awaited(), waiter.wake)
            await (waiter.wait() if look is None else _until_look(waiter.wait, look))
            item = window.next()
            if item is not None:
                return item

    def _leave(self) -> None:
        self._over = True
        self._window.cancel()

    async def aclose(self) -> None:
        """Cancel the open items, and wait until they have ended, even if this is cancelled."""
        self._leave()
        for worker in list(self._window.requests.workers):
            await worker.ticket.ended()

    def __del__(self) -> None:
        if hasattr(self, "_window"):  # false if __init__ failed
            self._leave()


async def _until_look(wait: Callable[[], Awaitable[None]], look: Meanwhile) -> None:
    """Wait, but only until the next update of the view."""
    rt = runtime_here()
    slot = rt.slot()
    try:
        slot.arm(rt.now() + SLICE)
        await wait()
    except BaseException as exc:
        if not slot.settle(exc):
            raise
    finally:
        slot.release()
    look()
