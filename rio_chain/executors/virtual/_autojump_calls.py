"""The common part of clocks that jump. Each executor with its own clock has such a clock.

The clock moves when nothing else is left to do. A call that runs on a thread is something to do, however long it takes:
the clock waits for it. So a sync function takes no time, as on the virtual executor.
"""

from __future__ import annotations

from rio_chain.executors._worker_pool import WorkerPool

BEGIN = 1_000.0
"""Seconds at which these clocks begin. The number is unusual, so that a confusion of clocks is noticed."""
POLL_EVERY = 0.001
"""Real seconds between two checks of running calls."""


class RunningCalls:
    """The pools whose calls the clock waits for."""

    def __init__(self) -> None:
        self._crews: list[WorkerPool] = []

    def watch(self, pool: WorkerPool) -> None:
        """Also wait for the calls of this pool."""
        if pool not in self._crews:
            self._crews.append(pool)

    def quiet(self) -> int | None:
        """A number that changes with each call. None if a call runs or is about to run.

        When a call has ended, its waiter has been woken before.
        """
        made = sum(pool.submitted for pool in self._crews)
        return None if any(pool.busy for pool in self._crews) else made
