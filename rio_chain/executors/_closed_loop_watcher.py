"""Notices that an asyncio loop was closed."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from contextvars import Context
from typing import Any, Protocol

from rio_chain._core.unhandled_errors import call_once

FAR_AWAY = 1e9
"""Seconds for a timer that never fires."""


class _Handle(Protocol):
    """A timer of the loop."""

    def cancel(self) -> None: ...


class Loop(Protocol):
    """An asyncio loop."""

    def call_later(self, delay: float, callback: Callable[..., object], /, *args: Any, context: Context) -> _Handle:
        """Make a call after this many seconds, in that context."""
        ...


class ClosedLoopWatcher:
    """Calls ``ended`` when the loop is closed, unless this object was dismissed or is gone.

    A loop has no hook for that. But when it is closed, it drops what it owns: its wake-up socket or, in a loop without
    one such as uvloop's, the arguments of its timers. A timer is the second choice, because a test's clock that jumps
    to the next timer would jump to this one.
    """

    def __init__(self, loop: Loop, ended: Callable[[], None]) -> None:
        self._timer: Callable[[], _Handle | None] = _no_timer
        owned = getattr(loop, "_ssock", None)
        if owned is None:
            owned = _Owned()
            self._timer = weakref.ref(loop.call_later(FAR_AWAY, _nothing, owned, context=Context()))
        self._owned: object = weakref.ref(owned, lambda _: call_once([ended]))

    def dismiss(self) -> None:
        """Stop watching. On the loop only."""
        self._owned = None
        timer = self._timer()
        if timer is not None:
            timer.cancel()


class _Owned:
    """An object that can be referred to weakly."""


def _no_timer() -> None:
    return None


def _nothing(_: object) -> None:
    return None
