"""Waiters of strands, which another thread or the timer wakes."""

from __future__ import annotations

import types
from collections.abc import Callable, Generator
from functools import partial
from math import inf
from typing import TYPE_CHECKING, Any

from rio_chain.executors._current_strand import current_strand

if TYPE_CHECKING:
    from rio_chain.executors._strand import ThreadStrand


class ThreadWaiter:
    """A ``Waiter`` of a strand. A wake before the wait is kept. A wake without a wait has no effect."""

    __slots__ = ("left", "shielded", "strand", "woken")

    def __init__(self, strand: ThreadStrand, left: Callable[[], None] | None = None) -> None:
        self.strand = strand
        self.left = left  # called when the wait is interrupted, on the interrupting thread
        self.shielded = False
        self.woken = False

    async def wait(self) -> None:
        """Wait until it is woken; interruptible."""
        if not self.woken:
            await trap(self)

    async def wait_shielded(self) -> None:
        """Wait until it is woken. An interruption stays pending until the strand waits for something else."""
        self.shielded = True
        if not self.woken:
            await trap(self)

    def wake(self) -> None:
        """Wake it. From any thread."""
        self.strand.wake(self)


class ThreadSleep(ThreadWaiter):
    """A waiter that a timer wakes."""

    __slots__ = ("deadline", "entry_at")

    def __init__(self, strand: ThreadStrand, at: float) -> None:
        super().__init__(strand)
        self.deadline = at
        self.entry_at = inf

    def fire(self, now: float) -> None:  # noqa: ARG002 - a sleep never moves its deadline
        """Its time has come."""
        self.wake()


async def sleep(seconds: float) -> None:
    """Park the calling strand for this many seconds."""
    timers = current_strand().kernel.timers
    sleeper = ThreadSleep(current_strand(), timers.now() + seconds)
    timers.push(sleeper, sleeper.deadline)
    try:
        await sleeper.wait()
    finally:
        sleeper.deadline = inf


async def yield_to_others() -> None:
    """Continue after the strands that are ready now had their turn."""
    signal = ThreadWaiter(current_strand())
    current_strand().kernel.go_on(partial(_woken, signal))
    await signal.wait()


def _woken(signal: ThreadWaiter) -> bool:
    signal.wake()
    return False


@types.coroutine
def trap(what: Any) -> Generator[Any, Any, Any]:
    """Pass ``what`` to the worker that drives the strand."""
    return (yield what)
