"""The two loops with a clock that jumps: nothing sleeps for real."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import trio
import trio.testing

from rio_chain.executors._asyncio import AutojumpLoop


def on_asyncio(main: Callable[..., Awaitable[Any]], *args: Any) -> Any:
    """Await ``main(*args)`` on an asyncio loop."""

    async def awaited() -> Any:
        return await main(*args)

    with asyncio.Runner(loop_factory=AutojumpLoop) as runner:
        return runner.run(awaited())


def on_trio(main: Callable[..., Awaitable[Any]], *args: Any) -> Any:
    """Await ``main(*args)`` on trio."""

    async def awaited() -> Any:
        return await main(*args)

    return trio.run(awaited, clock=trio.testing.MockClock(autojump_threshold=0))


LOOPS = {"asyncio": on_asyncio, "trio": on_trio}
