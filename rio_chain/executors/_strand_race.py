"""A race of strands: all works at once, until one decides it or all have ended."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any

from rio_chain._core.unhandled_errors import surely
from rio_chain.engine._runtime_protocol import STOPPED
from rio_chain.executors._strand import ThreadStrand
from rio_chain.executors._strand_slot import StrandCancelled
from rio_chain.executors._thread_waiter import ThreadWaiter


async def race(
    parent: ThreadStrand, works: Sequence[Callable[[], Awaitable[Any]]], until: Callable[[Any], bool]
) -> list[Any]:
    """As ``Runtime.race``, for the strand that awaits it, which continues only when every child has ended."""
    if not works:
        return []
    running = _Race(parent, works, until)
    try:
        running.start()
        await running.all_ended.wait()
    except BaseException:
        surely(running.stop)
        await running.all_ended.wait_shielded()
        raise
    finally:
        running.all_ended.left = None  # breaks a cycle
    error, running.error = running.error, None
    if error is None:
        return running.results
    try:
        raise error
    finally:
        del error  # its traceback keeps this frame


class _Race:
    """The lock guards which works have ended. Children are cancelled, and the parent is woken, outside of it."""

    def __init__(
        self, parent: ThreadStrand, works: Sequence[Callable[[], Awaitable[Any]]], until: Callable[[Any], bool]
    ) -> None:
        # an interruption of the parent stops it: its own calls may hold all threads that could drive the parent
        self.all_ended = ThreadWaiter(parent, self.stop)
        self.error: BaseException | None = None
        self.results: list[Any] = [STOPPED] * len(works)
        self._until = until
        self._left = set(range(len(works)))
        self._over = False
        self._lock = threading.RLock()
        kernel, context = parent.kernel, parent.context
        self._kernel = kernel
        self._children = [
            ThreadStrand(kernel, work, context.copy(), partial(self._ended, k)) for k, work in enumerate(works)
        ]

    def start(self) -> None:
        for child in self._children:
            surely(partial(self._kernel.go_on, child.drive))

    def stop(self) -> None:
        """Cancel all children that still run, once."""
        with self._lock:
            over, self._over = self._over, True
        if not over:
            for child in self._children:
                surely(child.cancel)  # for each child, as a second call of `stop` does nothing

    def _ended(self, index: int, result: Any, error: BaseException | None) -> None:
        if error is None:
            self.results[index] = result
            try:
                decided = self._until(result)
            except BaseException as raised:  # noqa: BLE001 - otherwise the parent would never be woken
                decided, error = True, raised
        else:
            decided = not isinstance(error, StrandCancelled)
        if decided:
            if self.error is None:  # of two at the same instant it does not matter which
                self.error = error
            self.stop()
        with self._lock:
            self._left.discard(index)  # by index, as an interruption may repeat this
            last = not self._left
        if last:
            self.all_ended.wake()
