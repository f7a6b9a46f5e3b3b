"""The asyncio executor. The only file that imports asyncio.

A limit costs one float store: every loop has one *reaper* with one timer for all its runs. When the timer fires, the
reaper cancels the tasks whose limit is over, and each of them takes its cancellation back when it comes out of the
wait, exactly as often as it was ours (``Slot.settle``). If somebody else cancelled the task too, theirs wins.
"""

from __future__ import annotations

import asyncio
import contextlib
import selectors
import threading
import time
import weakref
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextvars import Context
from functools import partial
from typing import Any, TypeVar, cast

from rio_chain._core.unhandled_errors import call_once, surely
from rio_chain.engine._runtime_protocol import STOPPED, HostGone, Raised
from rio_chain.executors._base import BaseLoopHost, BaseLoopRuntime, Lost, Main
from rio_chain.executors._start_thread import start_loop
from rio_chain.executors._timers import Deadlines
from rio_chain.executors._worker_pool import WorkerPool
from rio_chain.executors.virtual._autojump_calls import BEGIN, POLL_EVERY, RunningCalls

T = TypeVar("T")
INF = float("inf")
NAME = "asyncio"
REPEAT_AFTER = 0.01
"""Seconds until a task that could not be made is tried again."""
FAR_AWAY = 1e9
"""Seconds; a timer that never fires."""
_NO_CONTEXT = Context()
"""For callbacks of our own, which would else keep the context of the task that asks for them."""


# --- limits -----------------------------------------------------------------------------------------------------


class _SlotDeadline:
    """A slot's place in the reaper's heap. It outlives the slot and serves the next one, so that the heap holds no
    more entries than there were runs at once.
    """

    __slots__ = ("deadline", "entry_at", "slot")

    def __init__(self) -> None:
        self.deadline = self.entry_at = INF
        self.slot: AsyncioSlot | None = None


class LoopDeadlines:
    """One timer for all limits of a loop, set to the earliest."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.free: list[_SlotDeadline] = []
        self._deadlines: Deadlines[_SlotDeadline] = Deadlines()
        self._timer: asyncio.TimerHandle | None = None
        self._context = Context()  # a timer would keep that of whoever set it

    def push(self, alarm: _SlotDeadline, at: float) -> None:
        """Look at the alarm at that instant."""
        if self._deadlines.push(alarm, at):
            self._set(at)

    def drop(self, alarm: _SlotDeadline) -> None:
        """The alarm has gone off: whatever it is set to next has to be pushed."""
        self._deadlines.drop(alarm)

    def _set(self, at: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self.loop.call_at(at, surely, self._look, context=self._context)

    def _look(self) -> None:
        self._timer = None
        for alarm in self._deadlines.due(self.loop.time()):
            alarm.deadline = INF
            if alarm.slot is not None:
                surely(alarm.slot.fire)
        at = self._deadlines.next()
        if at < INF:
            self._set(at)


class AsyncioSlot:
    """The limits of one task. Each run has one, so it is filled in by ``of``: an ``__init__`` costs as much again."""

    __slots__ = ("_base", "_fired", "_reaper", "_task", "alarm")

    _base: int
    """The cancellations that are not ours."""
    _fired: bool
    _reaper: LoopDeadlines
    _task: asyncio.Task[Any] | None
    alarm: _SlotDeadline

    @classmethod
    def of(cls, reaper: LoopDeadlines) -> AsyncioSlot:
        """For the task that calls."""
        task = asyncio.current_task(reaper.loop)
        if task is None:
            raise RuntimeError("not in a task")
        slot = cls()
        slot._task = task
        slot._base = task.cancelling()
        slot._fired = False
        slot._reaper = reaper
        slot.alarm = alarm = reaper.free.pop() if reaper.free else _SlotDeadline()
        alarm.slot = slot
        return slot

    def arm(self, at: float) -> None:
        """As ``Slot.arm``. The alarm of one that has fired has no entry, so this is called and nobody gets past it."""
        if self._fired:
            raise asyncio.CancelledError  # the body swallowed our interruption; it holds all the same
        alarm = self.alarm
        alarm.deadline = at
        if at < alarm.entry_at:
            self._reaper.push(alarm, at)

    def fire(self) -> None:
        """Interrupt the task. On its loop only."""
        if self._task is not None and not self._fired:
            self._fired = True
            self._reaper.drop(self.alarm)
            self._task.cancel()

    def settle(self, error: BaseException | None) -> bool:
        """As ``Slot.settle``."""
        if self._task is None:
            return False
        fired, self._fired = self._fired, False
        if not fired and not (isinstance(error, Exception) and _answers_a_cancel(error)):
            return False
        if (self._task.uncancel() if fired else self._task.cancelling()) > self._base:
            try:
                raise asyncio.CancelledError if error is None or isinstance(error, Exception) else error
            finally:
                del error  # its traceback keeps this frame
        return fired

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


def _answers_a_cancel(error: BaseException) -> bool:
    """Whether it was raised while a cancellation was handled, as the errors of clean-ups are.

    What a task counts in ``cancelling`` does not tell: where one task of a TaskGroup fails while the group waits for
    all, that of Python 3.11 cancels its parent and never takes it back. Of a group, all must be such errors: one that
    is not, is what the others were cancelled for.
    """
    if isinstance(error, BaseExceptionGroup):
        return all(map(_answers_a_cancel, cast("BaseExceptionGroup[BaseException]", error).exceptions))
    seen = set[int]()
    context: BaseException | None = error
    while context is not None and id(context) not in seen:  # users make cycles of them
        if isinstance(context, asyncio.CancelledError):
            return True
        seen.add(id(context))
        context = context.__context__
    return False


# --- tasks and waiting ------------------------------------------------------------------------------------------


def plain_task(
    loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, T], context: Context | None = None
) -> asyncio.Task[T]:
    """A task that begins in the next round of the loop, whatever the loop's own task factory does.

    That may begin a task at once, within the code that starts it: a line of requests that don't wait for anything
    would begin each within the one before, up to the recursion limit.
    """
    return asyncio.Task(work, loop=loop, context=context)


def call_on(loop: asyncio.AbstractEventLoop, fn: Callable[[], object]) -> None:
    """Call it on the loop; not at all where that is closed, and its tasks with it."""
    try:
        loop.call_soon_threadsafe(surely, fn)
    except RuntimeError:
        if not loop.is_closed():
            raise  # it says something else, as near the recursion limit


class AsyncioWaiter:
    """One task waits, anybody wakes it."""

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
        call_on(
            self._loop, self._set
        )  # also for a signal handler, while the loop waits for events: this ends the waiting

    def _set(self) -> None:
        if self._future is not None and not self._future.done():
            self._future.set_result(None)


class _Race:
    """The state of one race: its tasks, its results, and whether the rest is being stopped."""

    def __init__(self, loop: asyncio.AbstractEventLoop, count: int, until: Callable[[Any], bool]) -> None:
        self.loop = loop
        self.until = until
        self.results: list[Any] = [STOPPED] * count
        self.left = set(range(count))
        self.tasks: list[asyncio.Task[Any]] = []
        self.stopping = False
        self.error: BaseException | None = None
        self.over: asyncio.Future[None] | None = None

    async def guard(self, work: Callable[[], Awaitable[Any]]) -> Any:
        """The work with every error as a value: a SystemExit that leaves a task would stop the whole loop."""
        try:
            return await work()
        except asyncio.CancelledError as exc:
            return STOPPED if self.stopping else Raised(exc)
        except BaseException as exc:  # noqa: BLE001 - it is raised where the race is awaited
            return Raised(exc)

    def start(self, works: Sequence[Callable[[], Awaitable[Any]]]) -> None:
        """Start a task for each work."""
        for index, work in enumerate(works):
            task = plain_task(self.loop, self.guard(work))
            self.tasks.append(task)
            task.add_done_callback(lambda done, index=index: surely(partial(self.ended, index, done)))  # type: ignore[misc]

    def ended(self, index: int, task: asyncio.Task[Any]) -> None:
        """Called when a task has ended."""
        got = STOPPED if task.cancelled() else task.result()
        self.left.discard(index)
        if type(got) is Raised:
            if self.error is None:
                self.error = got.error
            self.stop()
        else:
            self.results[index] = got
            if got is not STOPPED and not self.stopping and self.decided(got):
                self.stop()
        if not self.left and self.over is not None and not self.over.done():
            self.over.set_result(None)

    def decided(self, got: Any) -> bool:
        """Whether this result ends the race. An error in asking does so, and is raised where the race is awaited."""
        try:
            return self.until(got)
        except BaseException as exc:  # noqa: BLE001 - this is a callback of the loop
            self.error = self.error or exc
            return True

    def stop(self) -> None:
        """Cancel what still runs, once."""
        if not self.stopping:
            self.stopping = True
            for task in self.tasks:
                task.cancel()

    async def end(self) -> list[Any]:
        """Wait until every task has ended, whatever interrupts this; then go on with the interruption."""
        interruption: asyncio.CancelledError | None = None
        while self.left:
            self.over = self.loop.create_future()
            try:
                await self.over
            except asyncio.CancelledError as exc:
                interruption = exc
                self.stop()
        error, self.error = interruption or self.error, None
        if error is None:
            return self.results
        try:
            raise error
        finally:
            del error, interruption  # its traceback keeps this frame


class AsyncioRuntime(BaseLoopRuntime):
    """``Runtime`` on the loop that was running when it was made."""

    def __init__(self, loop: asyncio.AbstractEventLoop, pool: WorkerPool) -> None:
        self.loop = loop
        super().__init__(pool)
        if isinstance(loop, AutojumpLoop):
            loop.calls.watch(pool)
        plain = getattr(type(loop), "time", None) is asyncio.BaseEventLoop.time
        self.now = time.monotonic if plain else loop.time  # the same clock, without a Python call
        self.sleep = asyncio.sleep
        self.slot = partial(AsyncioSlot.of, _deadlines_of(loop))
        self.home = loop
        self.running = asyncio._get_running_loop  # noqa: SLF001 - public in all but its name, and in C

    def _soon(self, turned: Callable[[], None]) -> None:
        self.loop.call_soon(turned, context=_NO_CONTEXT)

    def waiter(self) -> AsyncioWaiter:
        """As ``Runtime.waiter``."""
        return AsyncioWaiter(self.loop)

    async def race(self, works: Sequence[Callable[[], Awaitable[T]]], until: Callable[[T], bool]) -> list[Any]:
        """As ``Runtime.race``."""
        race = _Race(self.loop, len(works), until)
        race.start(works)
        return await race.end()


_local = threading.local()


def _deadlines_of(loop: asyncio.AbstractEventLoop) -> LoopDeadlines:
    """The reaper of a loop, kept for as long as this thread runs no other loop."""
    reaper: LoopDeadlines | None = getattr(_local, "reaper", None)
    if reaper is None or reaper.loop is not loop:
        reaper = _local.reaper = LoopDeadlines(loop)
    return reaper


# --- a clock that jumps -----------------------------------------------------------------------------------------


class _AutojumpSelector(selectors.DefaultSelector):
    """A selector that never waits for time to pass: it moves the clock."""

    def __init__(self) -> None:
        super().__init__()
        self.at = BEGIN
        self.calls = RunningCalls()

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """As ``BaseSelector.select``."""
        if timeout is not None and timeout <= 0:
            return super().select(timeout)
        while self.calls.quiet() is None:
            if ready := super().select(POLL_EVERY):
                return ready
        ready = super().select(timeout and 0)  # what the last call woke is there by now
        if not ready and timeout is not None:
            self.at += timeout
        return ready


class AutojumpLoop(asyncio.SelectorEventLoop):
    """An asyncio loop in virtual time: when nothing is ready, the clock moves to the next timer."""

    def __init__(self) -> None:
        self._jumps = _AutojumpSelector()
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


# --- the end of a loop ------------------------------------------------------------------------------------------


class _Closing:
    """Calls ``ended`` when the loop is closed, for as long as this object lives and is not dismissed.

    A loop has no hook for that. But when it is closed, it lets go of what it owns: its wake-up socket, or with a loop
    such as uvloop's, that has none to look at, the arguments of its timers. A timer is the second choice, because a
    test's clock that jumps to the next timer would jump to this one.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, ended: Callable[[], None]) -> None:
        self._timer: Callable[[], asyncio.TimerHandle | None] = _no_timer
        owned = getattr(loop, "_ssock", None)
        if owned is None:
            owned = _Owned()
            self._timer = weakref.ref(loop.call_later(FAR_AWAY, _nothing, owned, context=Context()))
        self._owned: object = weakref.ref(owned, lambda _: call_once([ended]))

    def dismiss(self) -> None:
        """It is not needed any more. On the loop only."""
        self._owned = None
        timer = self._timer()
        if timer is not None:
            timer.cancel()


class _Owned:
    """Something that can be referred to weakly."""


def _no_timer() -> None:
    return None


def _nothing(_: object) -> None:
    return None


# --- hosts ------------------------------------------------------------------------------------------------------


class AsyncioHost(BaseLoopHost):
    """A running asyncio loop as a host."""

    name = NAME
    cancelled = asyncio.CancelledError
    borrowed = True

    def __init__(self, pool: WorkerPool) -> None:
        self.loop = asyncio.get_running_loop()
        self.pool = pool
        self.runtime = AsyncioRuntime(self.loop, pool)
        self._thread = threading.get_ident()
        self._tasks: set[asyncio.Task[Any]] = set()  # a loop itself keeps its tasks only weakly
        self._lost: Lost | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._closing: _Closing | None = None
        self._closed = False

    def on_loop_thread(self) -> bool:
        """As ``Host.on_loop_thread``."""
        return threading.get_ident() == self._thread and self.loop.is_running()

    def stopped(self) -> bool:
        """As ``BlockingHost.stopped``."""
        return not self.loop.is_running()

    def cancelling(self) -> bool:
        """As ``Host.cancelling``. A body that awaits a cancelled task gets a ``CancelledError`` too."""
        task = asyncio.current_task()
        return task is not None and task.cancelling() > 0

    def spawn(self, main: Main, context: Context, *, accepted: bool = False) -> None:  # noqa: ARG002 - it needs no thread
        """As ``Host.spawn``."""
        if self.here() and asyncio.current_task(self.loop) is not None:
            self._start(main, context)
        else:  # another thread; or a signal handler that comes while the loop waits for events: this ends the waiting
            self._soon(surely, partial(self._start, main, context, again=True))

    def on_loss(self, lost: Lost) -> None:
        """As ``Host.on_loss``.

        asyncio.run cancels all tasks when it ends, so a task that waits for that will know. A loop that is closed
        without that leaves its tasks where they are.
        """
        self._lost = lost
        if self.here():  # a loop of our own ends with ``close`` only
            nobody = Context()  # whose task this is must not be kept with it
            keeper: Any = plain_task(self.loop, self._keep(), nobody)
            keeper.add_done_callback(self._gone, context=nobody)
            keeper._log_destroy_pending = False  # noqa: SLF001 - goes with a balancer that is dropped unclosed; no news
            self._keeper = keeper
            self._closing = _Closing(self.loop, self._loop_closed)

    def close(self, *, wait: bool = True) -> None:
        """As ``Host.close``."""
        self._closed = True
        if self.here():
            self._dismiss()
        else:
            with contextlib.suppress(HostGone):
                self._soon(self._dismiss)
        self.pool.close(wait=wait)

    def _soon(self, fn: Callable[..., object], *args: Any) -> None:
        try:
            self.loop.call_soon_threadsafe(fn, *args)
        except RuntimeError as exc:
            if not self.loop.is_closed():
                raise  # it says something else, as near the recursion limit
            raise HostGone from exc

    def _start(self, main: Main, context: Context, *, again: bool = False) -> None:
        """``again``: there is no caller for an error, such as a MemoryError, so it is tried again a little later."""
        if self._keeper is not None and self._keeper.cancelling() and not self._closed:
            self._gone(None)  # too late: asyncio.run neither runs nor cancels what is started now
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
        if not self._closed and self._lost is not None:
            self._lost(over=False)

    def _loop_closed(self) -> None:
        """Nothing on the loop goes on."""
        tasks, self._tasks = self._tasks, set()
        for task in tasks:
            task._log_destroy_pending = False  # type: ignore[attr-defined]  # noqa: SLF001 - its ticket is answered
        if not self._closed and self._lost is not None:
            self._lost(over=True)

    def _dismiss(self) -> None:
        if self._keeper is not None:
            self._keeper.cancel()
        if self._closing is not None:
            self._closing.dismiss()


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
        if not self._closed and self._lost is not None:
            self._lost(over=True)


def attach(threads: int, max_abandoned: int) -> AsyncioHost:
    """As ``ExecutorModule.attach``."""
    return AsyncioHost(WorkerPool(threads, max_abandoned, "rio_chain-asyncio"))


def launch(threads: int, max_abandoned: int, name: str = "rio_chain-asyncio") -> OwnAsyncioHost:
    """As ``ExecutorModule.launch``."""

    async def main(up: Callable[[OwnAsyncioHost], bool]) -> None:
        ended = asyncio.Event()
        if up(OwnAsyncioHost(WorkerPool(threads, max_abandoned, name), ended)):
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


class SharedLoop:
    """The one asyncio loop thread on which the async functions of thread executors run."""

    cancellation: type[BaseException] = asyncio.CancelledError

    def __init__(self) -> None:
        self._host = launch(threads=1, max_abandoned=1, name="rio_chain-thread-shared-loop")

    def start(
        self,
        fn: Callable[..., Any],
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        context: Context,
        done: Callable[[Any], None],
    ) -> Callable[[], None]:
        """Run an async function in a task of its own; ``done`` gets its value or ``Raised``. Gives what cancels it."""
        loop = self._host.loop
        tasks: list[asyncio.Task[Any]] = []

        async def guard() -> Any:
            try:
                return await fn(*args, **kwargs)
            except BaseException as exc:  # noqa: BLE001 - it is told where the function was called
                return Raised(exc)

        def begin() -> None:
            task = plain_task(loop, guard(), context)
            tasks.append(task)
            task.add_done_callback(lambda t: done(Raised(asyncio.CancelledError()) if t.cancelled() else t.result()))

        def cancel() -> None:
            loop.call_soon_threadsafe(cancel_begun)

        def cancel_begun() -> None:
            # after its first step, which is due before: a task that is cancelled earlier never begins, and neither does
            # a clean-up such as `aclose` that it was made for
            loop.call_soon(tasks[0].cancel)

        loop.call_soon_threadsafe(begin)
        return cancel

    def waiter(self) -> AsyncioWaiter:
        """As ``AsyncHost.waiter``."""
        return AsyncioWaiter(self._host.loop)
