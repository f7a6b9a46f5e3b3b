"""The thread executor's Runtime."""

from __future__ import annotations

import os
import random
import sys
import threading
import types
from collections.abc import Awaitable, Callable, Coroutine, Generator, Mapping, Sequence
from contextvars import Context
from functools import partial
from math import inf
from typing import Any, Protocol, TypeVar, cast

from rio_chain._core.forks import after_fork
from rio_chain._core.unhandled_errors import surely
from rio_chain.engine._blocking_call import CALLING
from rio_chain.engine._remote_protocol import Remote
from rio_chain.engine._runtime_protocol import (
    NO_LANES,
    Fires,
    PlanChanges,
    Raised,
    Refused,
    SpawnedStrand,
    SpawnedWork,
    Waiter,
)
from rio_chain.executors._base import Lost
from rio_chain.executors._blocking_wait import BlockingHost
from rio_chain.executors._current_strand import current_strand, driven_strand
from rio_chain.executors._process_resources import keep_for_process
from rio_chain.executors._spawned_strands import OwnedStrand, OwningRuntime, SpawnedStrands
from rio_chain.executors._strand import ThreadStrand
from rio_chain.executors._strand_race import race
from rio_chain.executors._strand_slot import Expired, StrandCancelled
from rio_chain.executors._thread_kernel import Kernel, Timers
from rio_chain.executors._thread_waiter import ThreadWaiter, sleep
from rio_chain.executors._timers import MonotonicClock, StrandTimer, TimerThread
from rio_chain.executors._worker_pool import WorkerPool

T = TypeVar("T")


class AsyncHost(Protocol):
    """The loop thread for async functions of runs that have no loop."""

    cancellation: type[BaseException]
    """The exception that an async function gets there when it is cancelled."""

    def start(
        self,
        fn: Callable[..., Awaitable[Any]],
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        context: Context,
        done: Callable[[Any], None],
    ) -> Callable[[], None]:
        """Run ``fn`` in a task of its own, in ``context``; from any thread. Gives a function that cancels it.

        ``done`` is called once, on the loop thread, with the value or ``Raised``, even after a cancel.
        """
        ...

    def waiter(self) -> Waiter:
        """A new waiter for the async function that calls it, which runs there."""
        ...


class ThreadRuntime:
    """Runs are strands on the workers of a pool: see ``_strand``.

    Args:
        pool: the workers; the code that made it closes it.
        async_host: gives the host when the first async function is called.
        timers: clock and timer. Default: real time, with one timer thread, which ``close`` ends.
    """

    direct = False
    places = False
    home: object = None
    turn = 0.001  # threads get the interpreter one after the other
    policies: PlanChanges | None = None
    remote: Remote | None = None
    lanes = NO_LANES
    look_at = inf
    checkpoints = None
    draw = staticmethod(random.random)

    def __init__(self, pool: WorkerPool, async_host: Callable[[], AsyncHost], timers: Timers | None = None) -> None:
        self._own = TimerThread(MonotonicClock(), f"{pool.name}-timer")  # its thread starts when it is first used
        self._kernel = Kernel(pool, timers or self._own)
        self._kernel.rescue.looks = timers is None
        self.virtual = timers is not None
        self._async_host = async_host
        self.spawned = SpawnedStrands(cast("OwningRuntime", self))
        self.now = self._kernel.timers.now
        self.spare: list[Any] = []
        self.push_timer: Any = self._kernel.timers.push

    @property
    def cancellations(self) -> tuple[type[BaseException], ...]:
        """As ``Runtime.cancellations``. Async functions get those of their loop; a running loop has its module."""
        loop = sys.modules.get("asyncio")
        return StrandCancelled, Expired, getattr(loop, "CancelledError", StrandCancelled)

    @property
    def live(self) -> int:
        """The number of open strands, with the branches of races."""
        return len(self._kernel.strands)

    def start_strand(
        self, main: Callable[[], Coroutine[Any, Any, None]], context: Context, *, accepted: bool = False
    ) -> None:
        """Start a strand, from any thread. An error that leaves ``main`` goes to ``threading.excepthook``."""
        if self._kernel.timers is self._own:
            self._own.begin()  # first, as no timeout of the strand would work without it
        self._kernel.spawn(main, context, accepted=accepted)

    def spawn(self, main: SpawnedWork, limit: float | None = None) -> SpawnedStrand:
        """As ``Runtime.spawn``."""
        return self.spawned.spawn(main, limit)

    def start(self, strand: OwnedStrand, context: Context) -> None:
        """As ``OwningRuntime.start``."""
        self.start_strand(strand.serve, context, accepted=True)

    def ends(self, error: BaseException) -> bool:  # noqa: ARG002 - as ``OwningRuntime``
        """As ``OwningRuntime.ends``: there is no loop that could end."""
        return False

    def drives_here(self) -> bool:
        """As ``BlockingHost.drives_here``."""
        return driven_strand() in self._kernel.strands

    def serves(self, host: ThreadHost) -> None:
        """Requests that a strand awaits run on this host: its async functions are strands too, without a loop."""
        self._kernel.host = host

    def close(self, *, wait: bool = True) -> None:
        """End the timer thread; with ``wait`` wait until it has ended."""
        self._own.close(wait=wait)

    async def sleep(self, seconds: float) -> None:
        """As ``Runtime.sleep``; the thread is free meanwhile."""
        if seconds > 0:
            await sleep(seconds)

    @types.coroutine
    def call(self, fn: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Generator[Any, Any, Any]:
        """As ``Runtime.call``: the worker that drives the strand makes the call itself."""
        return (yield (fn, args, kwargs))

    async def call_async(self, fn: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """As ``Runtime.call_async``, on the shared loop thread. An interruption has priority over an answer."""
        strand = current_strand()
        ended, answers = ThreadWaiter(strand), list[Any]()

        def done(answer: Any) -> None:
            answers.append(answer)
            surely(ended.wake)

        try:
            host = self._async_host()
        except (RuntimeError, MemoryError, OSError) as error:  # its loop can't be started
            return Refused(error)
        context = strand.context.copy()
        context.run(CALLING.set, object())  # it is not in a blocking call, and can't be abandoned
        cancel = host.start(fn, args, kwargs, context, done)
        try:
            await ended.wait()
        except BaseException:
            cancel()
            await ended.wait_shielded()
            if not _ends_more(answers[0], host):
                raise
        else:
            return answers[0]
        try:
            raise answers[0].error  # outside of the handler, or it would get the interruption as its context
        finally:
            answers.clear()  # the traceback keeps this frame

    def holds(self, run: int, now: float) -> bool:  # noqa: ARG002 - as ``Runtime``
        """As ``Runtime.holds``: there is no loop to hold."""
        return False

    def reserve(self) -> None:
        """As ``Runtime.reserve``. A strand that is driven has its thread already."""

    def unreserve(self) -> None:
        """As ``Runtime.unreserve``. There is nothing to give back."""

    def slot(self) -> ThreadStrand:
        """As ``Runtime.slot``: the calling strand is its own slot."""
        return current_strand().slot()

    def start_side(
        self, main: Callable[[], Coroutine[Any, Any, None]], context: Context, ended: Callable[..., None]
    ) -> ThreadStrand:
        """As ``Runtime.start_side``."""
        strand = ThreadStrand(self._kernel, main, context, lambda _value, _error: ended())
        surely(partial(self._kernel.go_on, strand.drive))
        return strand

    def timer(self, target: Fires, at: float) -> StrandTimer:
        """As ``Runtime.timer``."""
        return self._kernel.timer(target, at)

    def free_timer(self, timer: StrandTimer) -> None:
        """As ``Runtime.free_timer``."""
        timer.deadline = inf
        timer.target = None
        self._kernel.spare_timers.append(timer)

    def race(self, works: Sequence[Callable[[], Awaitable[T]]], until: Callable[[T], bool]) -> Awaitable[list[Any]]:
        """As ``Runtime.race``; every branch is a strand."""
        return race(current_strand(), works, until)

    def waiter(self) -> ThreadWaiter:
        """As ``Runtime.waiter``, for the calling strand."""
        return ThreadWaiter(current_strand())

    def async_waiter(self) -> Waiter:
        """As ``Runtime.async_waiter``."""
        return self._async_host().waiter()


def _ends_more(got: Any, host: AsyncHost) -> bool:
    """Whether a cancelled function raised a SystemExit or similar. As on a loop, that is not lost."""
    return isinstance(got, Raised) and not isinstance(got.error, (Exception, host.cancellation))


# --- the host ---------------------------------------------------------------------------------------------------


class ThreadHost(BlockingHost):
    """A pool of workers as a host. It has no loop, so no task runs on it and no thread blocks it."""

    name = "thread"
    cancelled = StrandCancelled
    must_close = True

    def __init__(
        self,
        threads: int,
        max_abandoned: int,
        name: str,
        *,
        async_host: Callable[[], AsyncHost] | None = None,
        timers: Timers | None = None,
    ) -> None:
        self.pool = WorkerPool(threads, max_abandoned, name)
        self.runtime = ThreadRuntime(self.pool, async_host or _async_host, timers)
        self.spawn = self.runtime.start_strand

    def here(self) -> bool:
        """As ``Host.here``."""
        return False

    @property
    def spawned(self) -> SpawnedStrands:
        """As ``Host.spawned``."""
        return self.runtime.spawned

    def drives_here(self) -> bool:
        """As ``BlockingHost.drives_here``."""
        return self.runtime.drives_here()

    def forked(self) -> bool:
        """As ``BlockingHost.forked``."""
        return self.pool.forked

    def cancelling(self) -> bool:
        """As ``Host.cancelling``: it gets a ``cancelled`` in no other way."""
        return True

    def on_loss(self, lost: Lost) -> None:
        """As ``Host.on_loss``: workers exist as long as the process."""

    def close(self, *, wait: bool = True) -> None:
        """As ``Host.close``."""
        self.pool.close(wait=wait)
        self.runtime.close(wait=wait)


def launch(threads: int, max_abandoned: int, name: str = "rio_chain-thread") -> ThreadHost:
    """As ``ExecutorModule.launch``."""
    return ThreadHost(threads, max_abandoned, name)


_lock = threading.Lock()
_loops: dict[int, AsyncHost] = {}


def _renew() -> None:
    global _lock  # noqa: PLW0603 - another thread may have held it at the fork
    _lock = threading.Lock()


after_fork(_renew)


def _async_host() -> AsyncHost:
    """The loop thread for async functions: one per process, made when first needed."""
    from rio_chain.executors._shared_loop import SharedLoop  # noqa: PLC0415 - only thread chains with async functions need it

    pid = os.getpid()  # a forked child has none of its parent's threads
    with _lock:
        if pid not in _loops:
            with keep_for_process():
                _loops[pid] = SharedLoop()
        return _loops[pid]
