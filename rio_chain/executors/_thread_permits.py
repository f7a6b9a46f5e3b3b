"""Permits for threads: a sync function waits here, in order, until a permit is free."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Awaitable, Callable
from functools import partial

from rio_chain._core.unhandled_errors import surely
from rio_chain.engine._runtime_protocol import Waiter


class ThreadPermits:
    """A number of permits. A permit that is given back passes directly to the first in the queue."""

    def __init__(self, free: int) -> None:
        self.free = free
        self._lock = threading.RLock()
        self._turns: deque[_PermitWaiter] = deque()

    def reserve(self, waiter_factory: Callable[[], Waiter]) -> Awaitable[None] | None:
        """Take a permit: None if there was one, else an awaitable to wait for one."""
        with self._lock:
            if self.free:
                self.free -= 1
                return None
        return self._wait(waiter_factory)

    def release(self) -> None:
        """Pass a permit to the caller that has waited longest. From any thread."""
        with self._lock:
            while self._turns:
                turn = self._turns.popleft()
                if turn.state == "waits":
                    turn.state = "has it"
                    break
            else:
                self.free += 1
                return
        surely(turn.waiter.wake)

    async def _wait(self, waiter_factory: Callable[[], Waiter]) -> None:
        turn = _PermitWaiter(waiter_factory())
        with self._lock:
            if self.free:  # one was given back meanwhile
                self.free -= 1
                return
            self._turns.append(turn)
        try:
            await turn.waiter.wait()
        except BaseException:
            if surely(partial(self._quit, turn)):
                surely(self.release)  # it was granted, but is not used
            raise

    def _quit(self, turn: _PermitWaiter) -> bool:
        with self._lock:
            had, turn.state = turn.state == "has it", "gone"
            while self._turns and self._turns[0].state == "gone":
                self._turns.popleft()
            return had


class _PermitWaiter:
    __slots__ = ("state", "waiter")

    def __init__(self, waiter: Waiter) -> None:
        self.state = "waits"
        self.waiter = waiter
