"""Clocks that jump, for the executors that have clocks of their own: what they have in common, and that of threads.

Such a clock moves when nothing else is left to do. A call that runs on a thread is something to do, however long it
takes: the clock waits for it, so a sync function takes no time, as on the virtual executor.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from math import inf
from typing import cast

from rio_chain.executors.base import Host
from rio_chain.executors.crew import Crew
from rio_chain.executors.thread import ThreadHost
from rio_chain.executors.timers import Alarm, Deadlines
from rio_chain.executors.virtual import AsyncFunctions

BEGIN = 1_000.0
"""Seconds at which these clocks begin: unusual, so that a mix-up of clocks shows."""
LOOK = 0.001
"""Real seconds between two looks at calls that are under way."""


class Calls:
    """The crews whose calls such a clock waits for."""

    def __init__(self) -> None:
        self._crews: list[Crew] = []

    def watch(self, crew: Crew) -> None:
        """Wait for the calls of this one as well."""
        if crew not in self._crews:
            self._crews.append(crew)

    def quiet(self) -> int | None:
        """A number that changes with each call; None: one runs or is about to.

        When a call has ended, whom it wakes has been told before.
        """
        made = sum(crew.submitted for crew in self._crews)
        return None if any(crew.pending for crew in self._crews) else made


class JumpingTimers:
    """``Timers`` that fire when they are told to."""

    def __init__(self) -> None:
        self._at = BEGIN
        self._deadlines = Deadlines[Alarm]()
        self._lock = threading.RLock()
        self.now: Callable[[], float] = lambda: self._at

    def push(self, alarm: Alarm, at: float) -> None:
        """As ``Timers.push``."""
        with self._lock:
            self._deadlines.push(alarm, at)

    def jump(self, until: float = inf) -> bool:
        """Move the clock to the next instant at which something is due; False: to ``until``, as nothing is before."""
        over: list[Alarm] = []
        with self._lock:
            while not over and (at := self._deadlines.next()) < until:
                over = self._deadlines.due(at)
                self._at = max(self._at, at) if over else self._at
            if not over and until < inf:
                self._at = max(self._at, until)
        for alarm in over:
            alarm.fire(self._at)
        return bool(over)


class JumpingThreadHost(ThreadHost):
    """Real threads under a clock that jumps when no call runs and all strands are parked. Who waits moves it.

    Async functions are strands as well: an asyncio loop beside it would have a clock of its own.
    """

    def __init__(self, threads: int, max_abandoned: int, name: str = "rio_chain-jumping") -> None:
        self._timers = JumpingTimers()
        super().__init__(threads, max_abandoned, name, async_host=AsyncFunctions, timers=self._timers)

    def block(self, gate: threading.Lock, seconds: float | None = None) -> bool:
        """As ``Waited.block``."""
        until = inf if seconds is None else self._timers.now() + seconds
        while not gate.acquire(timeout=LOOK):
            if not self.crew.pending and not self._timers.jump(until) and until < inf:
                return gate.acquire(blocking=False)
        return True


def launch(threads: int, max_abandoned: int) -> Host:
    """As ``ExecutorModule.launch``."""
    return cast("Host", JumpingThreadHost(threads, max_abandoned))
