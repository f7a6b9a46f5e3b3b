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


def interrupt(task: Any, base: int) -> None:
    """Cancel a task for a reason of ours, without losing the message of a cancellation by others that is on its way.

    Args:
        task: the task.
        base: the cancellations that it had when we began.
    """
    task.cancel(getattr(task, "_cancel_message", None) if task.cancelling() > base else None)


def by_others(task: object, error: BaseException | None, cancelled: type[BaseException]) -> BaseException:
    """The cancellation of a task by others, if our own came in the same turn of the loop. It has their message.

    anyio knows by the message which scope a cancellation is for. If ours came first, theirs has not reached the task as
    an exception, and asyncio keeps only the message.
    """
    if isinstance(error, cancelled) and error.args:
        return error
    message = getattr(task, "_cancel_message", None)
    if message is not None:
        return cancelled(message)
    return error if isinstance(error, cancelled) else cancelled()


def over(ended: Callable[[], object], _task: object) -> None:
    """Call ``ended``. It is the callback of a task that is done."""
    surely(ended)
