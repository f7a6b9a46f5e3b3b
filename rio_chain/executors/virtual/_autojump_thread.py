"""The thread executor with a clock that jumps."""

from __future__ import annotations

import threading
from collections.abc import Callable
from math import inf
from typing import cast

from rio_chain.executors._base import Host
from rio_chain.executors._thread import ThreadHost
from rio_chain.executors._timers import Deadlines, Timer
from rio_chain.executors.virtual._autojump_calls import BEGIN, POLL_EVERY
from rio_chain.executors.virtual._executor import AsyncFunctions


class AutojumpTimers:
    """``Timers`` that fire when ``jump`` is called."""

    def __init__(self) -> None:
        self._at = BEGIN
        self._deadlines = Deadlines[Timer]()
        self._lock = threading.RLock()
        self.now: Callable[[], float] = lambda: self._at

    def push(self, alarm: Timer, at: float) -> None:
        """As ``Timers.push``."""
        with self._lock:
            self._deadlines.push(alarm, at)

    def jump(self, until: float = inf) -> bool:
        """Move the clock to the next timer that is due before ``until``. Returns False if it moved to ``until``."""
        over: list[Timer] = []
        with self._lock:
            while not over and (at := self._deadlines.next()) < until:
                over = self._deadlines.due(at)
                self._at = max(self._at, at) if over else self._at
            if not over and until < inf:
                self._at = max(self._at, until)
        for alarm in over:
            alarm.fire(self._at)
        return bool(over)


class AutojumpThreadHost(ThreadHost):
    """Real threads with a clock that jumps when no call runs and all strands are parked. The waiting thread moves it.

    Async functions are strands as well: an asyncio loop next to it would have a clock of its own.
    """

    def __init__(self, threads: int, max_abandoned: int, name: str = "rio_chain-autojump") -> None:
        self._timers = AutojumpTimers()
        super().__init__(threads, max_abandoned, name, async_host=AsyncFunctions, timers=self._timers)
        self.runtime.serves(self)

    def block(self, gate: threading.Lock, seconds: float | None = None) -> bool:
        """As ``BlockingHost.block``."""
        until = inf if seconds is None else self._timers.now() + seconds
        while not gate.acquire(timeout=POLL_EVERY):
            if not self.pool.busy and not self._timers.jump(until) and until < inf:
                return gate.acquire(blocking=False)
        return True


def launch(threads: int, max_abandoned: int) -> Host:
    """As ``ExecutorModule.launch``."""
    return cast("Host", AutojumpThreadHost(threads, max_abandoned))
