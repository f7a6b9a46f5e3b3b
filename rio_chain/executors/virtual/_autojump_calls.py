"""What clocks that jump have in common. Each executor that has a clock of its own has one.

Such a clock moves when nothing else is left to do. A call that runs on a thread is something to do, however long it
takes: the clock waits for it, so a sync function takes no time, as on the virtual executor.
"""

from __future__ import annotations

from rio_chain.executors._worker_pool import WorkerPool

BEGIN = 1_000.0
"""Seconds at which these clocks begin: unusual, so that a mix-up of clocks shows."""
POLL_EVERY = 0.001
"""Real seconds between two looks at calls that are under way."""


class RunningCalls:
    """The pools whose calls such a clock waits for."""

    def __init__(self) -> None:
        self._crews: list[WorkerPool] = []

    def watch(self, pool: WorkerPool) -> None:
        """Wait for the calls of this one as well."""
        if pool not in self._crews:
            self._crews.append(pool)

    def quiet(self) -> int | None:
        """A number that changes with each call; None: one runs or is about to.

        When a call has ended, whom it wakes has been told before.
        """
        made = sum(pool.submitted for pool in self._crews)
        return None if any(pool.busy for pool in self._crews) else made
