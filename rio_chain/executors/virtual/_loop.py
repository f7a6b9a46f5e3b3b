"""The loop of virtual time: it drives strands in turn on the thread that waits, and its clock jumps.

A run is a strand of the same kernel as on the thread executor. There the pool has threads and the timer has one. Here
what is ready waits in a queue. When the queue is empty, the clock moves to the next instant at which something is due.
Nothing else moves it, so a call takes no time unless it sleeps.
"""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Callable, Generator
from math import inf
from typing import Any

import sniffio

from rio_chain._core.forks import after_fork, keep_alive
from rio_chain.chain._fresh_policies import FreshPolicies
from rio_chain.executors._current_strand import no_current_strand
from rio_chain.executors._thread_kernel import Kernel
from rio_chain.executors._timers import Deadlines, Timer
from rio_chain.executors._worker_pool import WorkerPool, WorkItem
from rio_chain.executors.virtual._deadlock import Deadlock, gives_up, waits
from rio_chain.executors.virtual._real_io_guard import foreign_awaitable, no_real_io

NAME = "virtual"
PATIENCE = 0.01
"""Real seconds between two checks of a loop that another thread drives."""


class _RunningLoop(threading.local):
    loop: VirtualLoop | None = None


_here = _RunningLoop()


def running() -> VirtualLoop | None:
    """The loop that this thread drives."""
    return _here.loop


class InlinePool(WorkerPool):
    """A pool without threads: items wait until the loop is driven."""

    def __init__(self, soon: Callable[[Callable[[], Any]], None]) -> None:
        super().__init__(threads=1, max_abandoned=1, name=NAME)
        self._soon = soon

    def submit(self, item: WorkItem) -> None:
        """As ``WorkerPool.submit``."""
        self._soon(item)

    def count_abandoned_of(self, before: WorkerPool) -> None:
        """As ``WorkerPool.count_abandoned_of``: calls are made in place, and those of other loops don't count."""


class VirtualLoop:
    """What is ready, what is due, and the clock. It is the ``Timers`` of its kernel.

    Args:
        draw: returns random numbers in [0, 1), for runs.
        pick: returns numbers in [0, 1), which select the next ready item; None: they go in order.
    """

    def __init__(self, draw: Callable[[], float], pick: Callable[[], float] | None = None) -> None:
        self._at = 0.0
        self.time_at_zero = 0.0  # seconds since 1970
        self._pick = pick
        self._ready: deque[Callable[[], Any]] = deque()
        self._deadlines = Deadlines[Timer]()
        self._turn = threading.Lock()
        self.policies: FreshPolicies | None = None  # for what runs here
        self.draw: Callable[[], float] = draw
        self.now: Callable[[], float] = lambda: self._at
        self.soon: Callable[[Callable[[], Any]], None] = self._ready.append
        self.pool = InlinePool(self.soon)
        self.kernel = Kernel(self.pool, self)
        self.kernel.stray = foreign_awaitable
        after_fork(self._renew)

    def push(self, alarm: Timer, at: float) -> None:
        """As ``Timers.push``."""
        self._deadlines.push(alarm, at)

    def _renew(self) -> None:
        """In a forked child: if another thread drove it, nothing is ready or due here."""
        if _here.loop is not self:
            keep_alive((self._ready.copy(), self._deadlines, self.kernel.strands))
            self._turn, self._deadlines, self.kernel.strands = threading.Lock(), Deadlines[Timer](), set()
            self._ready.clear()
            self.kernel.limits.clear()  # their entries were in the old heap

    def drive(self, over: Callable[[], bool], until: float = inf) -> bool:
        """Run until ``over`` is true, which is checked after each step. Returns False if ``until`` comes first.

        Raises:
            Deadlock: it is not over, and nothing is left that could happen.
        """
        # another thread that drives the loop may end our wait as well
        while not self._turn.acquire(timeout=PATIENCE if self._at < until else 0):
            if over():
                return True
            if self._at >= until:
                return False
        try:
            with self._driving():
                while not over():
                    if self._ready:
                        self._next()()
                    elif not self._jump(until):
                        return False
                return True
        finally:
            self._turn.release()

    @contextlib.contextmanager
    def _driving(self) -> Generator[None]:
        around, _here.loop = _here.loop, self
        library, sniffio.thread_local.name = sniffio.thread_local.name, NAME
        try:
            with no_current_strand(), no_real_io():
                yield
        finally:
            _here.loop, sniffio.thread_local.name = around, library

    def _next(self) -> Callable[[], Any]:
        if self._pick is not None:
            self._ready.rotate(-int(self._pick() * len(self._ready)))
        return self._ready.popleft()

    def _jump(self, until: float) -> bool:
        """Move the clock to the next instant at which something happens. Returns False if ``until`` is earlier."""
        while True:
            at = self._deadlines.next()
            if at >= until:
                if until == inf:
                    raise Deadlock(self._at, waits(self.kernel))
                self._at = max(self._at, until)
                return False
            if until == inf and all(map(gives_up, self._deadlines.live())):
                raise Deadlock(self._at, waits(self.kernel))
            over = self._deadlines.due(at)  # empty if those deadlines have moved
            if over:
                self._at = max(self._at, at)
                for alarm in over:
                    alarm.fire(self._at)
                return True
