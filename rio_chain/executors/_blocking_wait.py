"""Waits of callers for results of other threads and loops. Ctrl-C interrupts those that block."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from math import inf
from typing import TYPE_CHECKING, Protocol

from rio_chain.errors import UsageError
from rio_chain.executors._running_loop import waiter_here

if TYPE_CHECKING:
    from rio_chain.engine._runtime_protocol import Waiter

SLICE = 0.1
"""Seconds between two checks for a signal."""


def acquire_interruptible(gate: threading.Lock, seconds: float | None = None) -> bool:
    """Wait until the gate is released. Returns False if it is not released within this many seconds.

    On the main thread, where signals are handled, the wait is cut into slices. A signal may come right between Python's
    check for signals and the system call that waits. It would then be handled only when that call ends. This was seen
    once in a hundred interrupts.
    """
    end = inf if seconds is None else time.monotonic() + seconds
    piece = SLICE if threading.current_thread() is threading.main_thread() else threading.TIMEOUT_MAX
    while True:
        left = end - time.monotonic()
        if gate.acquire(timeout=max(0.0, min(left, piece))):
            return True
        if left <= piece:
            return False


def release_once(gate: threading.Lock) -> Callable[[], None]:
    """A function that releases an acquired gate. A second call does nothing."""

    def opened() -> None:
        with contextlib.suppress(RuntimeError):
            gate.release()

    return opened


def once(call: Callable[[], object]) -> Callable[[], None]:
    """A function that makes the call once, on any thread. A second call does nothing."""
    cell = [call]

    def called() -> None:
        try:
            first = cell.pop()
        except IndexError:
            return
        first()

    return called


class BlockingHost(Protocol):
    """How to wait for what runs on a host.

    Most hosts run by themselves, so the waiting caller does nothing for them.
    """

    borrowed: bool = False
    """Whether the loop belongs to the user, who may stop it and not run it again."""

    time_at_zero: float | None = None
    """The seconds since 1970 when its clock is 0. None: its time of day is that of this machine."""

    def stopped(self) -> bool:
        """Whether it is the user's loop and does not run now, so that nothing on it continues."""
        return False

    def on_loop_thread(self) -> bool:
        """Whether blocking the calling thread would block the host."""
        return False

    def drives_here(self) -> bool:
        """Whether the calling thread is driving a strand of the host, which would wait meanwhile."""
        return False

    def forked(self) -> bool:
        """Whether the process was forked since it was made: then its runs continue only in the parent."""
        return False

    def check_process(self) -> None:
        """Raise ``UsageError`` if a wait would never end."""
        if self.forked():
            raise UsageError(
                "the request began before this process was forked, and it runs in the parent; wait for it there, "
                "or run it again here"
            )

    def block(self, gate: threading.Lock, seconds: float | None = None) -> bool:
        """Block until the gate is released. Returns False after this many seconds on the host's clock."""
        return acquire_interruptible(gate, seconds)

    def check_await(self) -> None:
        """Raise ``UsageError`` if a task of another loop can't wait for what runs there."""
        return

    def waiter(self) -> Waiter:
        """A waiter for the calling task, on whatever loop it runs. Raises as ``check_await``."""
        self.check_await()
        return waiter_here()


class BackgroundHost(BlockingHost):
    """A host that runs by itself, on a thread of its own."""


def wait_until_done(
    host: BlockingHost,
    register: Callable[[Callable[[], None]], None],
    seconds: float | None = None,
    meanwhile: Callable[[], None] | None = None,
) -> bool:
    """Register a waker, and wait until it is called. Returns False if it is not called within this many seconds.

    ``meanwhile`` is called again and again, every ``SLICE``. With it the wait has no limit.

    It uses no Event: a signal handler on this same thread may call the waker while the Event's own lock is held.
    """
    host.check_process()
    gate = threading.Lock()
    gate.acquire()
    register(release_once(gate))
    while meanwhile is not None and not host.block(gate, SLICE):
        meanwhile()
    return meanwhile is not None or host.block(gate, seconds)
