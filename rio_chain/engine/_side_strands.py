"""Strands beside the one that awaits them. They may begin at any time; they are stopped together, and all awaited."""

from __future__ import annotations

import threading
from collections.abc import Callable, Coroutine
from contextvars import Context
from functools import partial
from typing import Any

from rio_chain._core.unhandled_errors import surely
from rio_chain.engine._runtime_protocol import Running, Runtime, Waiter


class SideStrands:
    """The strands beside one, by number. On threads they begin and end on any thread.

    Args:
        rt: the runtime of the strand that awaits them.
        is_over: called whenever one of them ends; returns whether the others are no longer needed.
        over: called once, when the others are stopped for that reason or because one of them raised.

    Attributes:
        error: the error of the first that raised.
        stopped: whether they were cancelled.
    """

    __slots__ = ("_is_over", "_left", "_lock", "_over", "_rt", "_waiter", "error", "stopped")

    def __init__(
        self, rt: Runtime, lock: threading.RLock, is_over: Callable[[], bool], over: Callable[[], None]
    ) -> None:
        self._rt = rt
        self._is_over = is_over
        self._over = over
        self._left: dict[int, Running | None] = {}
        self._waiter: Waiter | None = None
        self._lock = lock
        self.stopped = False
        self.error: BaseException | None = None

    def start(self, number: int, main: Callable[[], Coroutine[Any, Any, None]], context: Context) -> None:
        """Start one in a copy of that context, unless they are stopped. ``main`` calls ``ended`` at its end."""
        with self._lock:
            if self.stopped:
                return
            self._left[number] = None
        try:
            running = self._rt.start_side(main, context.copy(), partial(self.ended, number))
        except BaseException:
            with self._lock:
                self._left.pop(number, None)
            raise
        with self._lock:
            if number in self._left:
                self._left[number] = running
            stopped = self.stopped
        if stopped:
            surely(running.cancel)

    def stop(self) -> None:
        """Cancel all that still run, once. No strand begins after that."""
        with self._lock:
            stopped, self.stopped = self.stopped, True
            left = list(self._left.values())
        if not stopped:
            for running in left:
                if running is not None:
                    surely(running.cancel)

    def ended(self, number: int, error: BaseException | None = None) -> None:
        """This strand has ended; a second call does nothing. ``error``: what it raised, except its cancellation."""
        if number not in self._left:
            return
        if error is not None and self.error is None:
            self.error = error
        if not self.stopped and (error is not None or self._is_over()):
            self._left.pop(number, None)
            self.stop()
            surely(self._over)
        with self._lock:
            self._left.pop(number, None)
            waiter = None if self._left else self._waiter
        if waiter is not None:
            surely(waiter.wake)

    async def end(self) -> None:
        """Wait until all have ended, without interruption; then raise any interruption that came."""
        interruption: BaseException | None = None
        while self._left:
            with self._lock:
                self._waiter = waiter = self._rt.waiter()
                if not self._left:
                    break
            try:
                await (waiter.wait() if interruption is None else waiter.wait_shielded())
            except GeneratorExit:
                raise
            except BaseException as exc:  # noqa: BLE001 - raised below
                interruption = exc
                self.stop()
        if interruption is not None:
            try:
                raise interruption
            finally:
                del interruption  # its traceback keeps this frame

    def check(self) -> None:
        """Raise the error of the first that raised."""
        error, self.error = self.error, None
        if error is not None:
            try:
                raise error
            finally:
                del error

    def forget(self) -> None:
        """All have ended: drop the references, so that a strand that is kept keeps nothing else."""
        none: Any = bool
        self._is_over = self._over = none
        self._waiter = self.error = None
