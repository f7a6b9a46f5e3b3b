"""Calls on an asyncio loop, from any thread."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from rio_chain._core.unhandled_errors import surely


class CallableLoop(Protocol):
    """An asyncio loop."""

    def call_soon_threadsafe(self, callback: Callable[..., object], /, *args: Any) -> object:
        """Make this call in the next round of the loop."""
        ...

    def is_closed(self) -> bool:
        """Whether it will not run any more."""
        ...


def call_on(loop: CallableLoop, fn: Callable[[], object]) -> None:
    """Make a call on the loop. If the loop is closed, its tasks are gone and no call is made."""
    try:
        loop.call_soon_threadsafe(surely, fn)
    except RuntimeError:
        if not loop.is_closed():
            raise  # another error, as near the recursion limit


def over(ended: Callable[[], object], _task: object) -> None:
    """Call ``ended``. It is the callback of a task that is done."""
    surely(ended)
