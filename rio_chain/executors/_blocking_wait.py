"""Waits of callers for what runs elsewhere; in those that block, Ctrl-C is heard."""

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
"""Seconds."""


def acquire_interruptible(gate: threading.Lock, seconds: float | None = None) -> bool:
    """Wait until somebody releases it; False: not in so many seconds.

    On the main thread, where signals are handled, it is cut into slices. A signal may come right between Python's look
    for one and the system call that waits, and would be heard only when that ends; seen once in a hundred interrupts.
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
    """What releases a gate that was acquired; called again, it does nothing."""

    def opened() -> None:
        with contextlib.suppress(RuntimeError):
            gate.release()

    return opened


def once(call: Callable[[], object]) -> Callable[[], None]:
    """What calls it the first time, and does nothing when it is called again; from any thread."""
    cell = [call]

    def called() -> None:
        try:
            first = cell.pop()
        except IndexError:
            return
        first()

    return called


class BlockingHost(Protocol):
    """How to wait for what runs on a host. With most it goes on by itself: who waits need do nothing for it."""

    borrowed: bool = False
    """Whether the loop is a user's, who may stop it and not run it again."""

    def stopped(self) -> bool:
        """Whether it is such a loop and does not run now, so that nothing there goes on."""
        return False

    def on_loop_thread(self) -> bool:
        """Whether blocking the thread that asks would block the host."""
        return False

    def drives_here(self) -> bool:
        """Whether the thread that asks is at work on a strand of the host, which does not go on meanwhile."""
        return False

    def forked(self) -> bool:
        """Whether the process was forked since it was made: what runs there goes on in the parent alone."""
        return False

    def check_process(self) -> None:
        """Raise ``UsageError`` where it would be waited for in vain."""
        if self.forked():
            raise UsageError(
                "this process was forked after the request had begun, which runs in the parent; wait for it there, "
                "or run another one here"
            )

    def block(self, gate: threading.Lock, seconds: float | None = None) -> bool:
        """Block until somebody releases the gate; False: not in so many seconds, on the host's clock."""
        return acquire_interruptible(gate, seconds)

    def check_await(self) -> None:
        """Raise ``UsageError`` where a task of another loop can't wait for what runs there."""
        return

    def waiter(self) -> Waiter:
        """A waiter for the task that asks, on whatever loop that runs. Raises as ``check_await``."""
        self.check_await()
        return waiter_here()


class BackgroundHost(BlockingHost):
    """What goes on by itself, on a thread of its own."""


def wait_until_done(
    host: BlockingHost,
    register: Callable[[Callable[[], None]], None],
    seconds: float | None = None,
    meanwhile: Callable[[], None] | None = None,
) -> bool:
    """Hand over what ends this waiting, and wait until it is called; False: not in so many seconds.

    ``meanwhile`` is called again and again, every ``SLICE``. It waits without end then.

    No Event: whoever calls may be a signal handler on this very thread, which would find the Event's own lock taken.
    """
    host.check_process()
    gate = threading.Lock()
    gate.acquire()
    register(release_once(gate))
    while meanwhile is not None and not host.block(gate, SLICE):
        meanwhile()
    return meanwhile is not None or host.block(gate, seconds)
