"""Many inputs through one balancer, a bounded number of them at a time: the side that reads."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from rio_chain._core import hooks
from rio_chain._core.tracebacks import as_kept
from rio_chain._core.unhandled_errors import report_unhandled
from rio_chain._core.units import flag
from rio_chain.balancer._map_worker import MapItem, MapRequests
from rio_chain.engine._iterables import is_plain
from rio_chain.executors._blocking_wait import SLICE, wait_until_done
from rio_chain.executors._running_loop import runtime_here, waiter_here

if TYPE_CHECKING:
    from rio_chain.chain._request import Request
    from rio_chain.results._outcome import Outcome

In = TypeVar("In")
Out = TypeVar("Out")
Make = Callable[[In], "Request[Out]"]
"""A chain of one argument, or what stands for one. It checks the request that it gives."""
Meanwhile = Callable[[], None]
"""Called again and again while one waits; it shows how far things are."""


UNKNOWN = object()


class Window(Generic[In, Out]):
    """The inputs that were read and whose Outcomes were not handed out, in their order.

    Twice as many as there are workers, so that none of these waits for the one that reads. Of a list or a range four
    times as many and one: while the first one is slow, the others go on, and their Outcomes wait.
    """

    def __init__(
        self,
        requests: MapRequests[Out],
        make: Make[In, Out],
        inputs: Iterable[In],
        *,
        in_order: bool,
        with_input: bool,
    ) -> None:
        self.balancer: object = None  # which lives as long as the one that reads: a dropped one would be closed
        self.requests = requests
        self.in_order = in_order
        self._with_input = with_input
        self.items: deque[MapItem[Out]] = deque()
        self._make = make
        workers = requests.most
        self._size = 4 * workers + 1 if is_plain(inputs) else 2 * workers
        self._batch = max(workers, self._size - 2 * workers)  # so many are read at once, if that may wait
        self._source = iter(inputs)

    def fill(self) -> bool:
        """Read as many inputs as there is room for. False: there is nothing to wait for.

        It reads none while the next Outcome is there and no worker needs an input. Nor while there are enough Outcomes:
        then the one that reads is the slower side, and would start a worker for each input.
        """
        items, requests = self.items, self.requests
        room = self._size - len(items)
        if room < self._batch and items and self.next() is not None:
            pending = len(requests.pending)
            if pending or len(items) - len(requests.workers) >= requests.most:
                return True
        for value in islice(self._source, room):
            item = requests.post(self._make(value))
            if self._with_input:
                item.value = value
            items.append(item)
        return bool(items)

    def awaited(self) -> MapItem[Out] | None:
        """The item that has to be answered next; None: any."""
        return self.items[0] if self.in_order else None

    def next(self) -> MapItem[Out] | None:
        """The one to hand out next; None if it is not answered yet."""
        if not self.in_order:
            return self.requests.ready[0] if self.requests.ready else None
        item = self.items[0]
        return item if item.outcome is not None or item.error is not None else None

    def handed_out(self, item: MapItem[Out]) -> Any:
        """Its Outcome, with its input if that is wanted; a BaseException of a body is raised."""
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
            del self, item  # its traceback keeps this frame

    def cancel(self) -> None:
        """Cancel all that is under way: nothing more begins. An error that nobody has got is reported."""
        self.requests.cancel()
        while self.items:
            item = self.items.popleft()
            if item.error is not None:
                report_unhandled(item.error)


def outcomes(window: Window[In, Out], inputs: Iterable[In], *, progress: bool) -> Iterator[Outcome[Out]]:
    """The Outcomes, for a thread that may block; and how many there are, shown."""
    if not flag(progress, "progress"):
        return outcomes_in_thread(window)
    shown = hooks.facade.progress(inputs)
    shown.follow(window.requests)
    return shown.shown(partial(outcomes_in_thread, window))


def async_outcomes(window: Window[In, Out], inputs: Iterable[In], *, progress: bool) -> AsyncIterator[Outcome[Out]]:
    """The same for a task."""
    if not flag(progress, "progress"):
        return AsyncOutcomes(window)
    shown = hooks.facade.progress(inputs)
    shown.follow(window.requests)
    return shown.ashown(partial(AsyncOutcomes[Out], window))


def outcomes_in_thread(window: Window[In, Out], look: Meanwhile | None = None) -> Iterator[Outcome[Out]]:
    """The Outcomes, for a thread that may block."""
    requests = window.requests
    try:
        while window.fill():
            while (item := window.next()) is None:
                wait_until_done(requests.host, partial(requests.on_arrival, window.awaited()), meanwhile=look)
            outcome = window.handed_out(item)
            if look is not None:
                look()  # where nobody ever has to wait, too
            del item
            yield outcome
            del outcome
    except GeneratorExit:
        window.cancel()
        raise
    except BaseException as error:
        window.cancel()
        if not isinstance(error, Exception):  # Ctrl-C, most likely; a second one does not wait
            for worker in list(requests.workers):
                wait_until_done(requests.host, worker.ticket.add_waker)
        raise


class AsyncOutcomes(AsyncIterator["Outcome[Out]"]):
    """The Outcomes, for a task.

    No async generator: a loop that is left early tells an iterator nothing but that it is dropped, and trio warns of a
    generator that is. ``aclose`` waits for the clean-up of what is under way, and so does a cancelled ``anext``.
    """

    def __init__(self, window: Window[Any, Out], look: Meanwhile | None = None) -> None:
        # the workers know the requests and not this, which ends when the loop drops it
        self._window = window
        self._look = look
        self._waits = self._over = False
        self._checkpoints: Any = UNKNOWN

    async def __anext__(self) -> Outcome[Out]:
        if self._waits:
            raise RuntimeError("another task waits for the next Outcome already")
        self._waits = True
        window, look = self._window, self._look
        try:
            if self._over or not window.fill():
                raise StopAsyncIteration  # noqa: TRY301 - what ends the loop ends this, too
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
            look()  # where nobody ever has to wait, too
        return outcome

    async def _came(self) -> MapItem[Out]:
        window, look, host = self._window, self._look, self._window.requests.host
        while True:  # a thread may be late to wake us for one that we have taken already
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
        """Cancel what is under way, and wait until it has ended, whatever interrupts this."""
        self._leave()
        for worker in list(self._window.requests.workers):
            await worker.ticket.ended()

    def __del__(self) -> None:
        if hasattr(self, "_window"):  # else there were no inputs
            self._leave()


async def _until_look(wait: Callable[[], Awaitable[None]], look: Meanwhile) -> None:
    """Wait, but no longer than until the next look."""
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
