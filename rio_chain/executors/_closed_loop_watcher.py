"""Finds out that an asyncio loop was closed."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from contextvars import Context
from typing import Any, Protocol

from rio_chain._core.unhandled_errors import call_once

FAR_AWAY = 1e9
"""Seconds; a timer that never fires."""


class _Handle(Protocol):
    """A timer of the loop."""

    def cancel(self) -> None: ...


class Loop(Protocol):
    """An asyncio loop."""

    def call_later(self, delay: float, callback: Callable[..., object], /, *args: Any, context: Context) -> _Handle:
        """Call it after so many seconds, in that context."""
        ...


class ClosedLoopWatcher:
    """Calls ``ended`` when the loop is closed, for as long as this object lives and is not dismissed.

    A loop has no hook for that. But when it is closed, it lets go of what it owns: its wake-up socket, or with a loop
    such as uvloop's, that has none to look at, the arguments of its timers. A timer is the second choice, because a
    test's clock that jumps to the next timer would jump to this one.
    """

    def __init__(self, loop: Loop, ended: Callable[[], None]) -> None:
        self._timer: Callable[[], _Handle | None] = _no_timer
        owned = getattr(loop, "_ssock", None)
        if owned is None:
            owned = _Owned()
            self._timer = weakref.ref(loop.call_later(FAR_AWAY, _nothing, owned, context=Context()))
        self._owned: object = weakref.ref(owned, lambda _: call_once([ended]))

    def dismiss(self) -> None:
        """It is not needed any more. On the loop only."""
        self._owned = None
        timer = self._timer()
        if timer is not None:
            timer.cancel()


class _Owned:
    """Something that can be referred to weakly."""


def _no_timer() -> None:
    return None


def _nothing(_: object) -> None:
    return None
