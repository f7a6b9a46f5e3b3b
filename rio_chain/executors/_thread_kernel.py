"""Kernel: what all strands of one thread runtime share, such as the pool that drives them and the timers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextvars import Context
from functools import partial
from typing import Any, Protocol

from rio_chain._core.unhandled_errors import report_unhandled, surely
from rio_chain.engine._runtime_protocol import Fires
from rio_chain.executors._strand import ThreadStrand
from rio_chain.executors._strand_slot import StrandDeadline
from rio_chain.executors._thread_start_retry import StartRetry
from rio_chain.executors._timers import StrandTimer, Timer
from rio_chain.executors._worker_pool import WorkerPool, WorkItem


class Timers(Protocol):
    """A clock with timers: ``TimerThread``, or a clock for tests."""

    now: Callable[[], float]

    def push(self, alarm: Timer, at: float) -> None:
        """As ``Deadlines.push``, from any thread."""
        ...


class Kernel:
    """What all strands of one runtime share."""

    def __init__(self, pool: WorkerPool, timers: Timers) -> None:
        self.pool = pool
        self.timers = timers
        self.strands: set[ThreadStrand] = set()  # the open ones; this also keeps parked ones alive
        self.limits: list[StrandDeadline] = []  # free ones
        self.spare_timers: list[StrandTimer] = []  # free ones
        self.stray: Callable[[object], BaseException] = _stray
        self.rescue = StartRetry(self)
        pool.unserved, pool.wanted = self.rescue.add, self.rescue.waits
        self.host: Any = None  # that of its runtime if async functions are strands, which may await requests

    def timer(self, target: Fires, at: float) -> StrandTimer:
        """As ``Runtime.timer``."""
        try:
            timer = self.spare_timers.pop()
        except IndexError:
            timer = StrandTimer()
        timer.target = target
        timer.deadline = at
        if at < timer.entry_at:
            self.timers.push(timer, at)
        return timer

    def spawn(self, main: Callable[[], Awaitable[None]], context: Context, *, accepted: bool = False) -> None:
        """Start a strand of its own, from any thread.

        Args:
            main: makes the coroutine.
            context: the context it runs in.
            accepted: if no thread can be started, it waits until one can be. Default False: the error is raised.

        Raises:
            RuntimeError: no thread can be started and none is there. ``main`` will not run.
        """
        try:
            strand = ThreadStrand(self, main, context, _report)
            self.rescue.begin()
            (self.go_on if accepted else self.pool.submit)(strand.drive)
        except BaseException:  # an interruption may come at any point, even before the variable is set
            for late in [strand for strand in self.strands.copy() if strand.main is main]:
                late.disown()
            raise

    def go_on(self, item: WorkItem) -> None:
        """Have an item done that must not be lost: if no thread can be started, it waits until one can be."""
        try:
            self.pool.submit(item)
        except BaseException as error:
            surely(partial(self.rescue.add, [item], error))
            if not isinstance(error, (RuntimeError, MemoryError)):
                raise


def _report(_: object, error: BaseException | None) -> None:
    if error is not None:
        report_unhandled(error)


def _stray(_: object) -> BaseException:
    return RuntimeError("a strand can await only what its own runtime provides")
