"""The trio executor. The only file that imports trio.

A strand holds one cancel scope at a time and moves its deadline: there is no scope per step, and no watcher task.
Moving a deadline costs as much as a whole step, so a limit that differs by very little does not move it. A cancelled
scope stays cancelled. So a scope that has fired is closed with the exception that came out, as only trio knows which
scope a ``Cancelled`` belongs to. A new scope is opened when the next limit is armed, before anything else is awaited.
"""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextvars import Context
from functools import partial
from typing import Any, TypeVar

import trio

from rio_chain._core.unhandled_errors import contained
from rio_chain.engine._runtime_protocol import HostGone
from rio_chain.executors._base import BaseLoopHost, BaseLoopRuntime, Lost, Main
from rio_chain.executors._spawned_strands import OwnedStrand
from rio_chain.executors._start_thread import start_loop
from rio_chain.executors._timers import LoopDeadlines
from rio_chain.executors._trio_race import race
from rio_chain.executors._trio_side_task import SideTask, Timekeeper
from rio_chain.executors._worker_pool import WorkerPool
from rio_chain.executors.virtual._autojump_clock import JumpingClock

T = TypeVar("T")
NAME = "trio"
INF = float("inf")
TIMEKEEPER = "rio_chain timekeeper"
SLACK = 1e-4
"""A limit may fire early by this part of it, and never by more than this many seconds."""


class TrioSlot:
    """The deadlines of one strand, as one scope. It is its own alarm, which no timer checks."""

    __slots__ = ("_at", "_loop", "_scope", "_slack", "_stopped", "deadline")

    entry_at = INF

    def __init__(self, loop: TrioRuntime) -> None:
        self._loop = loop
        self._stopped = False
        self._scope: trio.CancelScope | None = None  # None before the first wait, and between two waits
        self._at = self._slack = 0.0
        self.deadline = INF

    @property
    def alarm(self) -> TrioSlot:
        """As ``Slot.alarm``."""
        return self

    def arm(self, at: float) -> None:
        """As ``Slot.arm``. A limit that is very close to the last one leaves the scope as it is."""
        if self._scope is not None and self._at <= at < self._at + self._slack:
            return
        self._at = at
        self._slack = min(SLACK, SLACK * (at - self._loop.now())) if at < INF else 0.0
        if self._scope is None:
            self._scope = scope = trio.CancelScope(deadline=at)
            scope.__enter__()
            if self._stopped:
                self._stopped = False
                scope.cancel()
        else:
            self._scope.deadline = at

    def settle(self, error: BaseException | None) -> bool:
        """As ``Slot.settle``."""
        scope = self._scope
        if scope is None:
            return False
        scope.deadline = INF  # reading a scope cancels it if its deadline has passed, even if the step ended in time
        if not scope.cancel_called:
            scope.deadline = self._at
            return False
        self._scope = None  # also if another Cancelled is raised from here
        try:
            if error is None:
                absorbed = scope.__exit__(None, None, None)
            else:
                absorbed = scope.__exit__(type(error), error, error.__traceback__)
        except Exception:  # noqa: BLE001 - raised by a nursery's clean-up, beside our Cancelled
            absorbed = True
        if (
            not absorbed
            and isinstance(error, (trio.Cancelled, BaseExceptionGroup))
            and not isinstance(error, Exception)
        ):
            try:
                raise error
            finally:
                del error  # its traceback keeps this frame
        return True

    def interrupt(self) -> None:
        """As ``Slot.interrupt``."""
        if self._scope is not None:
            self._scope.cancel()

    def stop(self) -> None:
        """As ``Slot.stop``."""
        call_on(self._loop.token, self._cancel)

    def _cancel(self) -> None:
        if self._scope is not None:
            self._scope.cancel()
        else:
            self._stopped = True

    def release(self) -> None:
        """As ``Slot.release``."""
        scope, self._scope = self._scope, None
        if scope is not None:
            scope.__exit__(None, None, None)


class TrioWaiter:
    """One task waits for a wake, which may come from any thread.

    It is not a ``trio.Event``, whose set of tasks and coroutine take some 500 bytes more for each waiting request.
    """

    __slots__ = ("_task", "_thread", "_token", "_woken")

    def __init__(self, token: trio.lowlevel.TrioToken) -> None:
        self._token = token
        self._thread = threading.get_ident()
        self._task: trio.lowlevel.Task | None = None
        self._woken = False

    async def wait(self) -> None:
        """As ``Waiter.wait``."""
        if self._woken:
            await trio.lowlevel.checkpoint()
            return
        self._task = trio.lowlevel.current_task()
        await trio.lowlevel.wait_task_rescheduled(self._gave_up)

    async def wait_shielded(self) -> None:
        """As ``Waiter.wait_shielded``."""
        with trio.CancelScope(shield=True):
            await self.wait()

    def wake(self) -> None:
        """As ``Waiter.wake``."""
        if threading.get_ident() == self._thread and trio.lowlevel.in_trio_task():
            self._wake()
            return
        call_on(self._token, self._wake)  # also in a signal handler that comes while trio's own code runs

    def _wake(self) -> None:
        self._woken = True
        task, self._task = self._task, None
        if task is not None:
            trio.lowlevel.reschedule(task)

    def _gave_up(self, _: object) -> trio.lowlevel.Abort:
        self._task = None
        return trio.lowlevel.Abort.SUCCEEDED


def call_on(token: trio.lowlevel.TrioToken, call: Callable[[], object]) -> bool:
    """Make a call on the loop of that token. Returns False if the loop and its tasks have ended."""
    try:
        token.run_sync_soon(contained, call)
    except (trio.RunFinishedError, OSError):  # OSError: it has crashed, and its wake-up socket is closed
        return False
    return True


class TrioCheckpoints:
    """Trio's rule: an async call that does not raise lets other tasks run, and sees its cancellation."""

    heed = staticmethod(trio.lowlevel.checkpoint_if_cancelled)
    pause = staticmethod(trio.lowlevel.checkpoint)

    def count(self) -> int:
        """As ``Checkpoints.count``: the count of ``trio.testing.assert_checkpoints``. Without it each call pauses."""
        return getattr(trio.lowlevel.current_task(), "_schedule_points", 0)


def _running() -> trio.lowlevel.TrioToken | None:
    try:
        return trio.lowlevel.current_trio_token()
    except RuntimeError:
        return None


class TrioRuntime(BaseLoopRuntime):
    """``Runtime`` on the trio loop that was running when it was made."""

    cancellations = (trio.Cancelled,)
    checkpoints = TrioCheckpoints()

    def __init__(self, pool: WorkerPool) -> None:
        self.token = trio.lowlevel.current_trio_token()
        super().__init__(pool)
        clock = trio.lowlevel.current_clock()
        self.now = clock.current_time
        if isinstance(clock, AutojumpClock):
            clock.calls.watch(pool)
        self.virtual = isinstance(clock, AutojumpClock) or hasattr(clock, "jump")  # or trio's own clock for tests
        self.sleep = trio.sleep
        deadlines = _deadlines_of(self.token)
        self.timer, self.push_timer, self.free_timer = deadlines.timer, deadlines.push, deadlines.free_timer
        self.home = self.token
        self.running = _running

    def start(self, strand: OwnedStrand, context: Context) -> None:
        """As ``OwningRuntime.start``."""
        trio.lowlevel.spawn_system_task(strand.serve, context=context)  # cancelled after the main task has ended

    def ends(self, error: BaseException) -> bool:
        """As ``OwningRuntime.ends``."""
        return isinstance(error, trio.Cancelled)

    def _soon(self, turned: Callable[[], None]) -> None:
        call_on(self.token, turned)  # may be lost: in the last rounds system tasks are cancelled anyway

    def slot(self) -> TrioSlot:
        """As ``Runtime.slot``."""
        return TrioSlot(self)

    def waiter(self) -> TrioWaiter:
        """As ``Runtime.waiter``."""
        return TrioWaiter(self.token)

    def start_side(
        self, main: Callable[[], Coroutine[Any, Any, None]], context: Context, ended: Callable[..., None]
    ) -> SideTask:
        """As ``Runtime.start_side``."""
        side = SideTask(main, ended, trio.CancelScope())
        trio.lowlevel.spawn_system_task(side.run, context=context)
        return side

    async def race(self, works: Sequence[Callable[[], Awaitable[T]]], until: Callable[[T], bool]) -> list[Any]:
        """As ``Runtime.race``."""
        return await race(trio.open_nursery, trio.Cancelled, works, until)


_local = threading.local()


def _deadlines_of(token: trio.lowlevel.TrioToken) -> LoopDeadlines[Timekeeper]:
    """The timers of a loop, kept as long as this thread runs no other loop. Limits use scopes instead."""
    known: tuple[object, LoopDeadlines[Timekeeper]] | None = getattr(_local, "deadlines", None)
    if known is None or known[0] is not token:
        now = trio.lowlevel.current_clock().current_time
        spawn = partial(trio.lowlevel.spawn_system_task, name=TIMEKEEPER)
        timekeeper = Timekeeper(now, spawn, trio.CancelScope, trio.sleep_forever, contained)
        known = _local.deadlines = token, LoopDeadlines(timekeeper)
    return known[1]


class AutojumpClock(JumpingClock, trio.abc.Clock, trio.abc.Instrument):
    """Virtual time for trio."""


def run_autojump(main: Callable[[], Awaitable[T]]) -> T:
    """Run ``main`` in virtual time."""
    clock = AutojumpClock()
    return trio.run(main, clock=clock, instruments=[clock])


class TrioHost(BaseLoopHost):
    """A running trio loop as a host."""

    name = NAME
    cancelled = trio.Cancelled

    def __init__(self, pool: WorkerPool) -> None:
        super().__init__(pool, TrioRuntime(pool))
        self._token = trio.lowlevel.current_trio_token()
        self._keeper: trio.CancelScope | None = None

    def on_loop_thread(self) -> bool:
        """As ``Host.on_loop_thread``."""
        return threading.get_ident() == self._thread and self.here()

    def spawn(self, main: Main, context: Context, *, accepted: bool = False) -> None:  # noqa: ARG002 - it needs no thread
        """As ``Host.spawn``."""
        if trio.lowlevel.in_trio_task() and self.here():
            self._start(main, context)
            return
        # also in a signal handler that comes while trio's own code runs
        if not call_on(self._token, partial(self._start, main, context, again=True)):
            raise HostGone

    def cancelling(self) -> bool:
        """As ``Host.cancelling``: it gets a ``cancelled`` in no other way."""
        return True

    def on_loss(self, lost: Lost) -> None:
        """As ``Host.on_loss``: trio cancels its system tasks when the main task has ended."""
        self._lost = lost
        if self.here():  # a loop of our own ends only with ``close``
            self._keeper = trio.CancelScope()
            trio.lowlevel.spawn_system_task(self._keep, self._keeper)

    def _call_on_loop(self, call: Callable[[], object]) -> None:
        call_on(self._token, call)

    def _start(self, main: Main, context: Context, *, again: bool = False) -> None:
        """Start a task.

        ``again``: an error, such as a MemoryError, would end the loop, so it is repeated next round.
        """
        try:
            trio.lowlevel.spawn_system_task(main, context=context)
        except Exception as error:
            if isinstance(error, RuntimeError) and not isinstance(error, RecursionError):
                if self._lost is not None:  # too late: trio accepts no more system tasks
                    self._lost(over=False)
            elif again:
                call_on(self._token, partial(self._start, main, context, again=True))
            else:
                raise

    async def _keep(self, scope: trio.CancelScope) -> None:
        with scope:
            try:
                await trio.sleep_forever()
            finally:
                self._report_loss(over=False)

    def _dismiss(self) -> None:
        if self._keeper is not None:
            self._keeper.cancel()


class OwnTrioHost(TrioHost):
    """A trio loop on a thread of its own."""

    def __init__(self, pool: WorkerPool, ended: trio.Event) -> None:
        super().__init__(pool)
        self._ended = ended
        self.thread: threading.Thread | None = None

    def close(self, *, wait: bool = True) -> None:
        """As ``Host.close``: ends the loop and its thread."""
        super().close(wait=wait)
        if not call_on(self._token, self._ended.set):
            return
        if wait and self.thread is not None and threading.current_thread() is not self.thread:
            self.thread.join()

    def ended(self) -> None:
        """As ``OwnLoop.ended``."""
        self._report_loss(over=True)


def attach(threads: int, max_abandoned: int) -> TrioHost:
    """As ``ExecutorModule.attach``."""
    return TrioHost(WorkerPool(threads, max_abandoned, "rio_chain-trio"))


def launch(threads: int, max_abandoned: int, name: str = "rio_chain-trio") -> OwnTrioHost:
    """As ``ExecutorModule.launch``."""

    async def main(up: Callable[[OwnTrioHost], bool]) -> None:
        ended = trio.Event()
        if up(OwnTrioHost(WorkerPool(threads, max_abandoned, name), ended)):
            await ended.wait()

    def run(up: Callable[[OwnTrioHost], bool]) -> None:
        trio.run(main, up)

    return start_loop(run, name)


def runtime(pool: WorkerPool) -> TrioRuntime:
    """As ``ExecutorModule.runtime``."""
    return TrioRuntime(pool)


def tasks() -> dict[object, tuple[str, object]]:
    """As ``LoopModule.tasks``."""
    here, root = trio.lowlevel.current_task(), trio.lowlevel.current_root_task()
    found: dict[object, tuple[str, object]] = {}
    left = [] if root is None else [root]
    while left:
        task = left.pop()
        if task is not here and task.name != TIMEKEEPER:  # the timekeeper ends by itself
            found[task] = task.name, task.coro
        left += [child for nursery in task.child_nurseries for child in nursery.child_tasks]
    return found
