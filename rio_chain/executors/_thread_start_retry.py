"""Repeats failed attempts to start a thread, and repeats wake-ups that were lost."""

from __future__ import annotations

from collections import deque
from math import inf
from typing import TYPE_CHECKING

from rio_chain.executors._strand import ThreadStrand
from rio_chain.executors._strand_slot import CHECK_EVERY

if TYPE_CHECKING:
    from rio_chain.executors._thread_kernel import Kernel
    from rio_chain.executors._worker_pool import WorkItem

RETRY_START_AFTER = 0.05
"""Seconds between two attempts to start a thread."""


class StartRetry:
    """Items that wait for a thread that could not be started. A timer repeats the attempt again and again.

    Meanwhile the timer's thread drives each strand up to its next call. So limits hold, and cancelled strands end, even
    if no thread can ever be started again.

    Without memory any step of a wake-up may fail, even the one that would repeat it. So while there are strands, the
    timer also checks for strands whose wake-up or expiry was lost, and repeats that.
    """

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._items: deque[WorkItem] = deque()
        self.looks = False  # whether it checks for lost wake-ups; with a test's clock it would never end
        self.deadline = self.entry_at = inf

    def add(self, items: list[WorkItem], error: BaseException) -> None:  # noqa: ARG002 - as ``WorkerPool.unserved``
        """Try again soon to get a thread for these items."""
        self._items.extend(items)
        self._arm(RETRY_START_AFTER)

    def waits(self) -> bool:
        """Whether items wait here."""
        return bool(self._items)

    def begin(self) -> None:
        """A strand begins."""
        if self.looks and self.deadline == inf:
            self._arm(CHECK_EVERY)

    def _arm(self, seconds: float) -> None:
        self.deadline = at = self._kernel.timers.now() + seconds
        if at < self.entry_at:
            self._kernel.timers.push(self, at)

    def fire(self, now: float) -> None:
        """Try to get a thread for each item, and check each strand."""
        self.deadline = inf
        try:
            for _ in range(len(self._items)):
                item = self._items[0]  # kept there until it is done, as this may be interrupted too
                if self._still_waits(item):
                    self._items.append(item)
                self._items.popleft()
            if self.looks:
                self._kernel.pool.look()
                for strand in self._kernel.strands.copy():
                    strand.look(now)
        finally:
            if self._items:
                self._arm(RETRY_START_AFTER)
            elif self.looks and self._kernel.strands:
                self._arm(CHECK_EVERY)

    def _still_waits(self, item: WorkItem) -> bool:
        try:
            self._kernel.pool.submit(item)
        except (RuntimeError, MemoryError):
            strand = getattr(item, "__self__", None)
            return strand.advance() if isinstance(strand, ThreadStrand) else item()
        return False
