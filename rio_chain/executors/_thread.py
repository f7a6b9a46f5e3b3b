"""The thread executor's Runtime."""

from __future__ import annotations

import os
import random
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
from rio_chain.executors._strand_slot import StrandCancelled
from rio_chain.executors._thread_kernel import Kernel, Timers
from rio_chain.executors._thread_waiter import ThreadWaiter, sleep
from rio_chain.executors._timers import MonotonicClock, StrandTimer, TimerThread
from rio_chain.executors._worker_pool import WorkerPool

T = TypeVar("T")


class AsyncHost(Protocol):
    """The loop thread on which async functions run for those who have no loop."""

    cancellation: type[BaseException]
    """What an async function gets there when it is cancelled."""

    def start(
        self,
        fn: Callable[..., Awaitable[Any]],
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        context: Context,
        done: Callable[[Any], None],
    ) -> Callable[[], None]:
        """Run ``fn`` in a task of its own, in ``context``; from any thread. Gives what cancels it, from any thread.

        ``done`` is called once, on the loop thread, with the value or ``Raised``, also after a cancel.
        """
        ...

    def waiter(self) -> Waiter:
        """A new waiter for the async function that calls it, which runs there."""
        ...


class ThreadRuntime:
    """Runs are strands on the workers of a pool: see ``_strand``.

    Args:
        pool: the workers; who made it closes it.
        async_host: asked for its host when the first async function is called.
        timers: clock and timer; by default real time, with one timer thread, which ``close`` ends.
    """

    direct = False
    places = False
    policies: PlanChanges | None = None
    remote: Remote | None = None
    lanes = NO_LANES
    look_at = inf
    checkpoints = None
    draw = staticmethod(random.random)

    def __init__(self, pool: WorkerPool, async_host: Callable[[], AsyncHost], timers: Timers | None = None) -> None:
        self._own = TimerThread(MonotonicClock(), f"{pool.name}-timer")  # has no thread before it is used
        self._kernel = Kernel(pool, timers or self._own)
        self._kernel.rescue.looks = timers is None
        self._async_host = async_host
        self.spawned = SpawnedStrands(cast("OwningRuntime", self))
        self.now = self._kernel.timers.now
        self.spare: list[Any] = []
        self.push_timer: Any = self._kernel.timers.push

    @property
    def live(self) -> int:
        """The strands that have not ended, branches of races included."""
        return len(self._kernel.strands)

    def start_strand(
        self, main: Callable[[], Coroutine[Any, Any, None]], context: Context, *, accepted: bool = False
    ) -> None:
        """Start a strand, from any thread. An error that leaves ``main`` goes to ``threading.excepthook``."""
        if self._kernel.timers is self._own:
            self._own.begin()  # first: no limit of the strand would hold without it
        self._kernel.spawn(main, context, accepted=accepted)

    def spawn(self, main: SpawnedWork, limit: float | None = None) -> SpawnedStrand:
        """As ``Runtime.spawn``."""
        return self.spawned.spawn(main, limit)

    def start(self, strand: OwnedStrand, context: Context) -> None:
        """As ``OwningRuntime.start``."""
        self.start_strand(strand.serve, context, accepted=True)

    def ends(self, error: BaseException) -> bool:  # noqa: ARG002 - as ``OwningRuntime``
        """As ``OwningRuntime.ends``: there is no loop that could."""
        return False

    def drives_here(self) -> bool:
        """As ``BlockingHost.drives_here``."""
        return driven_strand() in self._kernel.strands

    def serves(self, host: ThreadHost) -> None:
        """Requests that a strand awaits run on this host: its async functions are strands, and have no loop."""
        self._kernel.host = host

    def close(self, *, wait: bool = True) -> None:
        """End the timer thread, and ``wait`` for that."""
        self._own.close(wait=wait)

    async def sleep(self, seconds: float) -> None:
        """As ``Runtime.sleep``; the thread is free meanwhile."""
        if seconds > 0:
            await sleep(seconds)

    @types.coroutine
    def call(self, fn: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Generator[Any, Any, Any]:
        """As ``Runtime.call``: the worker that drives the strand makes the call, without a hop."""
        return (yield (fn, args, kwargs))

    async def call_async(self, fn: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """As ``Runtime.call_async``, on the shared loop thread; an interruption wins over an answer."""
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
        context.run(CALLING.set, object())  # it is in no blocking call, and can't be abandoned
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
            raise answers[0].error  # not in the handler: it would get the interruption as its context
        finally:
            answers.clear()  # its traceback keeps this frame

    def holds(self, run: int, now: float) -> bool:  # noqa: ARG002 - as ``Runtime``
        """As ``Runtime.holds``: there is no loop to hold."""
        return False

    def reserve(self) -> None:
        """A strand that is driven has its thread."""

    def unreserve(self) -> None:
        """As ``Runtime.unreserve``; there is nothing to give back."""

    def slot(self) -> ThreadStrand:
        """The strand that calls it is its own slot."""
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
        """A signal for the strand that calls it."""
        return ThreadWaiter(current_strand())

    def async_waiter(self) -> Waiter:
        """As ``Runtime.async_waiter``."""
        return self._async_host().waiter()


def _ends_more(got: Any, host: AsyncHost) -> bool:
    """Whether a function that was cancelled has raised a SystemExit or its like; as on a loop, that is not lost."""
    return isinstance(got, Raised) and not isinstance(got.error, (Exception, host.cancellation))


# --- the host ---------------------------------------------------------------------------------------------------


class ThreadHost(BlockingHost):
    """A pool of workers as a host. It has no loop, so no task is ever on it and no thread blocks it."""

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
        """As ``Host.cancelling``: there is no other way to it."""
        return True

    def on_loss(self, lost: Lost) -> None:
        """As ``Host.on_loss``: workers are there as long as the process."""

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
