"""The asyncio executor. The only file that imports asyncio.

A limit costs one float store: every loop has one ``LoopDeadlines`` (the *reaper*) with one timer for all its runs. When
the timer fires, it cancels the tasks whose limit has passed. Each task takes its cancellation back when it leaves the
wait, exactly as often as it was ours (``Slot.settle``). If the task was cancelled by someone else too, that
cancellation wins.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextvars import Context
from functools import partial
from typing import Any, TypeVar

from rio_chain._core.unhandled_errors import surely
from rio_chain.engine._runtime_protocol import HostGone
from rio_chain.executors._asyncio_calls import by_others, call_on, interrupt, over
from rio_chain.executors._asyncio_race import Loop, race
from rio_chain.executors._base import BaseLoopHost, BaseLoopRuntime, Lost, Main
from rio_chain.executors._cancellation_in_errors import answers_cancel
from rio_chain.executors._closed_loop_watcher import ClosedLoopWatcher
from rio_chain.executors._loop_deadlines import deadlines_of
from rio_chain.executors._spawned_strands import OwnedStrand
from rio_chain.executors._start_thread import start_loop
from rio_chain.executors._timers import LoopDeadlines, SlotDeadline
from rio_chain.executors._worker_pool import WorkerPool
from rio_chain.executors.virtual._autojump_selector import AutojumpSelector

T = TypeVar("T")
INF = float("inf")
NAME = "asyncio"
REPEAT_AFTER = 0.01
"""Seconds before a failed attempt to make a task is repeated."""


# --- limits -----------------------------------------------------------------------------------------------------


class AsyncioSlot:
    """The limits of one task. Every run has one, so ``of`` fills it in: an ``__init__`` would double its cost."""

    __slots__ = ("_base", "_fired", "_reaper", "_task", "alarm")

    _base: int
    """The cancellations that are not ours."""
    _fired: bool
    _reaper: LoopDeadlines[asyncio.AbstractEventLoop]
    _task: asyncio.Task[Any] | None
    alarm: SlotDeadline

    @classmethod
    def of(cls, reaper: LoopDeadlines[asyncio.AbstractEventLoop]) -> AsyncioSlot:
        """The slot of the task that calls this."""
        task = asyncio.current_task(reaper.loop)
        if task is None:
            raise RuntimeError("not in a task")
        slot = cls()
        slot._task = task
        slot._base = task.cancelling()
        slot._fired = False
        slot._reaper = reaper
        slot.alarm = alarm = reaper.free.pop() if reaper.free else SlotDeadline()
        alarm.slot = slot
        return slot

    def arm(self, at: float) -> None:
        """As ``Slot.arm``. A slot that has fired has no entry in the heap, so this is always called for it."""
        if self._fired:
            raise asyncio.CancelledError  # the function swallowed our interruption, but the limit still holds
        alarm = self.alarm
        alarm.deadline = at
        if at < alarm.entry_at:
            self._reaper.push(alarm, at)

    def fire(self) -> None:
        """Interrupt the task. On its loop only."""
        if self._task is not None and not self._fired:
            self._fired = True
            self._reaper.drop(self.alarm)
            interrupt(self._task, self._base)

    def settle(self, error: BaseException | None) -> bool:
        """As ``Slot.settle``."""
        if self._task is None:
            return False
        fired, self._fired = self._fired, False
        if not fired and not (isinstance(error, Exception) and answers_cancel(error, asyncio.CancelledError)):
            return False
        if (self._task.uncancel() if fired else self._task.cancelling()) > self._base:
            try:
                if error is None or isinstance(error, (Exception, asyncio.CancelledError)):
                    raise by_others(self._task, error, asyncio.CancelledError)
                raise error
            finally:
                del error  # its traceback keeps this frame
        return fired

    interrupt = fire
    """As ``Slot.interrupt``."""

    def stop(self) -> None:
        """As ``Slot.stop``."""
        call_on(self._reaper.loop, self.fire)

    def release(self) -> None:
        """As ``Slot.release``."""
        if self._fired and self._task is not None:
            self._fired = False
            self._task.uncancel()
        self._task = None
        alarm = self.alarm
        alarm.deadline = INF
        alarm.slot = None
        self._reaper.free.append(alarm)


# --- tasks and waiting ------------------------------------------------------------------------------------------


def plain_task(
    loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, T], context: Context | None = None
) -> asyncio.Task[T]:
    """A task that begins in the next round of the loop, even if the loop has another task factory.

    A task factory may begin a task at once, inside of the code that makes it. In a series of requests that don't wait,
    each would then begin inside of the one before, up to the recursion limit.
    """
    return asyncio.Task(work, loop=loop, context=context)


class AsyncioWaiter:
    """One task waits for a wake, which may come from any thread."""

    __slots__ = ("_future", "_loop", "_thread", "_woken")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._thread = threading.get_ident()
        self._woken = False
        self._future: asyncio.Future[None] | None = None

    async def wait(self) -> None:
        """As ``Waiter.wait``."""
        if not self._woken:
            self._future = self._loop.create_future()
            if not self._woken:  # a wake from another thread may have come between the two
                await self._future

    async def wait_shielded(self) -> None:
        """As ``Waiter.wait_shielded``."""
        while not self._woken:
            with contextlib.suppress(asyncio.CancelledError):
                await self.wait()

    def wake(self) -> None:
        """As ``Waiter.wake``."""
        self._woken = True
        if threading.get_ident() == self._thread and asyncio.current_task(self._loop) is not None:
            self._set()
            return
        call_on(self._loop, self._set)  # wakes the loop, also for a signal handler that comes while it waits for events

    def _set(self) -> None:
        if self._future is not None and not self._future.done():
            self._future.set_result(None)


class AsyncioRuntime(BaseLoopRuntime):
    """``Runtime`` on the loop that was running when it was made."""

    cancellations = (asyncio.CancelledError,)

    def __init__(self, loop: asyncio.AbstractEventLoop, pool: WorkerPool) -> None:
        self.loop = loop
        super().__init__(pool)
        if isinstance(loop, AutojumpLoop):
            loop.calls.watch(pool)
            self.virtual = True
        plain = getattr(type(loop), "time", None) is asyncio.BaseEventLoop.time
        self.now = time.monotonic if plain else loop.time  # the same clock, without a Python call
        self.sleep = asyncio.sleep
        deadlines = deadlines_of(loop)
        self.slot = partial(AsyncioSlot.of, deadlines)
        self.timer, self.push_timer, self.free_timer = deadlines.timer, deadlines.push, deadlines.free_timer
        self.home = loop
        self._race = Loop(partial(asyncio.Task, loop=loop), loop.create_future, asyncio.CancelledError)
        self.running = asyncio._get_running_loop  # noqa: SLF001 - public in all but its name, and in C
        self._context = Context()  # else a callback keeps that of its task, which no other thread can enter
        self._watcher: ClosedLoopWatcher | None = None

    def start(self, strand: OwnedStrand, context: Context) -> object:
        """As ``OwningRuntime.start``."""
        if self._watcher is None:
            self._watcher = ClosedLoopWatcher(self.loop, self.spawned.lost)
        task = plain_task(self.loop, strand.serve(), context)
        task.add_done_callback(lambda _: surely(strand.lost), context=self._context)  # cancelled before it began
        return task

    def ends(self, error: BaseException) -> bool:
        """As ``OwningRuntime.ends``."""
        task = asyncio.current_task(self.loop)
        return isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling() > 0

    def _soon(self, turned: Callable[[], None]) -> None:
        self.loop.call_soon(turned, context=self._context)

    def waiter(self) -> AsyncioWaiter:
        """As ``Runtime.waiter``."""
        return AsyncioWaiter(self.loop)

    def start_side(
        self, main: Callable[[], Coroutine[Any, Any, None]], context: Context, ended: Callable[..., None]
    ) -> asyncio.Task[None]:
        """As ``Runtime.start_side``."""
        task = plain_task(self.loop, main(), context)
        task.add_done_callback(partial(over, ended), context=self._context)
        return task

    def race(self, works: Sequence[Callable[[], Awaitable[T]]], until: Callable[[T], bool]) -> Awaitable[list[Any]]:
        """As ``Runtime.race``."""
        return race(works, until, asyncio.current_task(self.loop), self._race)


# --- a clock that jumps -----------------------------------------------------------------------------------------


class AutojumpLoop(asyncio.SelectorEventLoop):
    """An asyncio loop in virtual time: if nothing is ready, the clock moves to the next timer."""

    def __init__(self) -> None:
        self._jumps = AutojumpSelector()
        super().__init__(self._jumps)
        self._clock_resolution = 1e-9
        self.calls = self._jumps.calls

    def time(self) -> float:
        """As ``AbstractEventLoop.time``."""
        return self._jumps.at


def run_autojump(main: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run ``main`` on such a loop."""
    with asyncio.Runner(loop_factory=AutojumpLoop) as runner:
        return runner.run(main())


# --- hosts ------------------------------------------------------------------------------------------------------


class AsyncioHost(BaseLoopHost):
    """A running asyncio loop as a host."""

    name = NAME
    cancelled = asyncio.CancelledError
    borrowed = True

    def __init__(self, pool: WorkerPool) -> None:
        self.loop = asyncio.get_running_loop()
        super().__init__(pool, AsyncioRuntime(self.loop, pool))
        self._tasks: set[asyncio.Task[Any]] = set()  # a loop itself keeps its tasks only weakly
        self._keeper: asyncio.Task[None] | None = None
        self._watcher: ClosedLoopWatcher | None = None

    def on_loop_thread(self) -> bool:
        """As ``Host.on_loop_thread``."""
        return threading.get_ident() == self._thread and self.loop.is_running()

    def stopped(self) -> bool:
        """As ``BlockingHost.stopped``."""
        return not self.loop.is_running()

    def cancelling(self) -> bool:
        """As ``Host.cancelling``. A function that awaits a cancelled task gets a ``CancelledError`` too."""
        task = asyncio.current_task()
        return task is not None and task.cancelling() > 0

    def spawn(self, main: Main, context: Context, *, accepted: bool = False) -> None:  # noqa: ARG002 - it needs no thread
        """As ``Host.spawn``."""
        if self.here() and asyncio.current_task(self.loop) is not None:
            self._start(main, context)
        else:  # on another thread, or in a signal handler while the loop waits for events: wakes the loop
            self._soon(surely, partial(self._start, main, context, again=True))

    def on_loss(self, lost: Lost) -> None:
        """As ``Host.on_loss``.

        asyncio.run cancels all tasks when it ends, so a task that waits for that notices it. A loop that is closed in
        another way leaves its tasks as they are.
        """
        self._lost = lost
        if self.here():  # a loop of our own ends only with ``close``
            nobody = Context()  # else the caller's context would be kept as long as the task
            keeper: Any = plain_task(self.loop, self._keep(), nobody)
            keeper.add_done_callback(self._gone, context=nobody)
            keeper._log_destroy_pending = False  # noqa: SLF001 - destroyed with a balancer that was dropped; no warning
            self._keeper = keeper
            self._watcher = ClosedLoopWatcher(self.loop, self._loop_closed)

    def _call_on_loop(self, call: Callable[[], object]) -> None:
        call_on(self.loop, call)

    def _soon(self, fn: Callable[..., object], *args: Any) -> None:
        try:
            self.loop.call_soon_threadsafe(fn, *args)
        except RuntimeError as exc:
            if not self.loop.is_closed():
                raise  # another error, as near the recursion limit
            raise HostGone from exc

    def _start(self, main: Main, context: Context, *, again: bool = False) -> None:
        """Start a task. ``again``: no caller can get an error, such as a MemoryError, so it is repeated later."""
        if self._keeper is not None and self._keeper.cancelling() and not self._closed:
            self._gone(None)  # too late: asyncio.run neither runs nor cancels a task that is started now
            return
        try:
            task = plain_task(self.loop, main(), context)
        except Exception:
            if not again:
                raise
            self.loop.call_later(REPEAT_AFTER, partial(self._start, main, context, again=True))
            return
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _keep(self) -> None:
        await self.loop.create_future()

    def _gone(self, _: object) -> None:
        """The loop is ending: asyncio.run cancels its tasks."""
        self._report_loss(over=False)

    def _loop_closed(self) -> None:
        """The loop was closed, so nothing on it continues."""
        tasks, self._tasks = self._tasks, set()
        for task in tasks:
            task._log_destroy_pending = False  # type: ignore[attr-defined]  # noqa: SLF001 - its ticket has an answer
        self._report_loss(over=True)

    def _dismiss(self) -> None:
        if self._keeper is not None:
            self._keeper.cancel()
        if self._watcher is not None:
            self._watcher.dismiss()


class OwnAsyncioHost(AsyncioHost):
    """An asyncio loop on a thread of its own."""

    borrowed = False

    def __init__(self, pool: WorkerPool, ended: asyncio.Event) -> None:
        super().__init__(pool)
        self._ended = ended
        self.thread: threading.Thread | None = None

    def close(self, *, wait: bool = True) -> None:
        """As ``Host.close``: ends the loop and its thread."""
        super().close(wait=wait)
        call_on(self.loop, self._ended.set)
        if wait and self.thread is not None and not self.on_loop_thread():
            self.thread.join()

    def ended(self) -> None:
        """As ``OwnLoop.ended``."""
        self._report_loss(over=True)


def attach(threads: int, max_abandoned: int) -> AsyncioHost:
    """As ``ExecutorModule.attach``."""
    return AsyncioHost(WorkerPool(threads, max_abandoned, "rio_chain-asyncio"))


def launch(threads: int, max_abandoned: int, name: str = "rio_chain-asyncio", kind: Any = None) -> OwnAsyncioHost:
    """As ``ExecutorModule.launch``. ``kind``: a subclass of ``OwnAsyncioHost``, to be used in its place."""

    async def main(up: Callable[[OwnAsyncioHost], bool]) -> None:
        ended = asyncio.Event()
        if up((kind or OwnAsyncioHost)(WorkerPool(threads, max_abandoned, name), ended)):
            await ended.wait()

    def run(up: Callable[[OwnAsyncioHost], bool]) -> None:
        asyncio.run(main(up))

    return start_loop(run, name)


def runtime(pool: WorkerPool) -> AsyncioRuntime:
    """As ``ExecutorModule.runtime``."""
    return AsyncioRuntime(asyncio.get_running_loop(), pool)


def tasks() -> dict[object, tuple[str, object]]:
    """As ``LoopModule.tasks``."""
    here = asyncio.current_task()
    return {task: (task.get_name(), task.get_coro()) for task in asyncio.all_tasks() if task is not here}
