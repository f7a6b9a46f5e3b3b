"""System tasks on a trio loop: tasks that report their end, and one that keeps the time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from contextvars import Context
from functools import partial
from math import inf
from types import TracebackType
from typing import Any, Protocol

from rio_chain._core.unhandled_errors import report_unhandled


class Scope(Protocol):
    """A cancel scope."""

    @property
    def deadline(self) -> float: ...

    @deadline.setter
    def deadline(self, at: float, /) -> None: ...

    def __enter__(self) -> object: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None, /
    ) -> bool: ...

    def cancel(self) -> object: ...


class SideTask:
    """As ``Running``.

    It is a system task, because the timer that starts it has no task that could hold a nursery open. Opening a nursery
    for each call that may need a hedge would cost two thirds of a call. The code that starts it cancels it and awaits
    it.
    """

    __slots__ = ("_ended", "_main", "_scope")

    def __init__(self, main: Callable[[], Coroutine[Any, Any, None]], ended: Callable[..., None], scope: Scope) -> None:
        self._main = main
        self._ended = ended
        self._scope = scope

    async def run(self) -> None:
        """The main function of the task.

        Only a cancellation of the loop leaves it: another error would end the loop.
        """
        try:
            with self._scope:
                await self._main()
        except Exception as error:  # noqa: BLE001 - nothing awaits the task
            report_unhandled(error)
        finally:
            self._ended()

    def cancel(self) -> None:
        """As ``Running.cancel``."""
        self._scope.cancel()


class Timekeeper:
    """The timer of a trio loop: a ``TimedLoop`` with one timer, which is enough for ``LoopDeadlines``.

    Args:
        now: the loop's clock.
        spawn: starts a system task.
        scope: makes a cancel scope.
        forever: waits until cancelled.
        contained: makes a call and reports its errors.
    """

    def __init__(
        self,
        now: Callable[[], float],
        spawn: Callable[[Callable[[], Awaitable[None]]], object],
        scope: Callable[[], Scope],
        forever: Callable[[], Awaitable[object]],
        contained: Callable[[Callable[[], object]], None],
    ) -> None:
        self.time = now
        self._spawn = spawn
        self._new_scope = scope
        self._forever = forever
        self._contained = contained
        self._when = inf
        self._call: Callable[[], object] = bool
        self._kept = False
        self._scope: Scope | None = None

    def call_at(self, when: float, callback: Callable[..., object], /, *args: Any, context: Context) -> Timekeeper:  # noqa: ARG002 - it has one of its own
        """As ``TimedLoop.call_at``."""
        self._when, self._call = when, partial(callback, *args)
        if self._scope is not None:
            self._scope.deadline = when
        elif not self._kept:
            self._spawn(self.keep)
            self._kept = True
        return self

    def cancel(self) -> None:
        """Make no call until the next ``call_at``."""
        self._when = inf
        if self._scope is not None:
            self._scope.deadline = inf

    async def keep(self) -> None:
        """The main function of the task."""
        while True:
            self._scope = scope = self._new_scope()
            scope.deadline = self._when
            with scope:
                await self._forever()
            self._scope = None
            self._when = inf
            self._contained(self._call)
            if self._when == inf:
                self._kept = False
                return
