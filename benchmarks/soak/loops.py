"""What a caller or a body does on either loop: asyncio or trio."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import sniffio
import trio

Work = Callable[[], Awaitable[Any]]
CUT = object()
"""What ``cut`` gives when it has cancelled."""


def _on_trio() -> bool:
    return sniffio.current_async_library() == "trio"


def cancelled_class() -> type[BaseException]:
    """What a cancelled task gets."""
    return trio.Cancelled if _on_trio() else asyncio.CancelledError


async def pause(ms: float) -> None:
    """Sleep on whichever loop this runs."""
    await (trio.sleep if _on_trio() else asyncio.sleep)(ms / 1000)


async def shielded(ms: float) -> None:
    """A clean-up that takes its time and can't be hurried."""
    if _on_trio():
        with trio.CancelScope(shield=True):
            await trio.sleep(ms / 1000)
        return
    loop = asyncio.get_running_loop()
    end = loop.time() + ms / 1000
    while loop.time() < end:
        try:
            await asyncio.sleep(end - loop.time())
        except asyncio.CancelledError:
            continue


async def together(works: Sequence[Work]) -> None:
    """Each in a task of its own."""
    if _on_trio():
        async with trio.open_nursery() as nursery:
            for work in works:
                nursery.start_soon(work)
        return
    async with asyncio.TaskGroup() as group:
        for work in works:
            group.create_task(_plain(work))


async def _plain(work: Work) -> Any:
    return await work()


async def cut(ms: float, work: Work, *, kill: bool) -> Any:
    """What the work gives, or ``CUT``: it was cancelled after so long, by a scope around it or as a task."""
    if _on_trio():
        with trio.move_on_after(ms / 1000):
            return await work()
        return CUT
    if kill:
        task = asyncio.create_task(_plain(work))
        await asyncio.sleep(ms / 1000)
        task.cancel()
        try:
            return await task
        except asyncio.CancelledError:
            return CUT
    try:
        async with asyncio.timeout(ms / 1000):
            return await work()
    except TimeoutError:
        return CUT
