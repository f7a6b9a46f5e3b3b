"""The two loops, as tests of what is native to them need them."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import trio
from leaks.baseline import pause
from waiting import SPARE

Work = Callable[[], Awaitable[Any]]


class Loop(Protocol):
    def run(self, main: Work) -> Any:
        """Run it on a new loop."""

    def living(self) -> int:
        """How many tasks the running loop has."""

    async def cancelled_when(self, work: Work, begun: Callable[[], bool]) -> None:
        """Run it in a task of its own, which is cancelled from outside as soon as it has begun."""

    async def together(self, *works: Work) -> None:
        """Run each in a task, and so in a context, of its own."""


async def eventually_here(truth: Callable[[], Any]) -> None:
    """As ``eventually``; the loop goes on meanwhile."""
    until = time.monotonic() + SPARE
    while not truth():
        assert time.monotonic() < until, "it never came true"
        await pause(0.001)


def one_of(semaphore: threading.Semaphore) -> Callable[[], bool]:
    return lambda: semaphore.acquire(blocking=False)


async def _of(work: Work) -> Any:
    return await work()


class OnAsyncio:
    def run(self, main: Work) -> Any:
        return asyncio.run(_of(main))

    def living(self) -> int:
        return len(asyncio.all_tasks())

    async def cancelled_when(self, work: Work, begun: Callable[[], bool]) -> None:
        task = asyncio.ensure_future(_of(work))
        await eventually_here(begun)
        task.cancel()
        got = await asyncio.gather(task, return_exceptions=True)
        assert isinstance(got[0], asyncio.CancelledError), got

    async def together(self, *works: Work) -> None:
        await asyncio.gather(*map(_of, works))
        await pause(0)


class OnTrio:
    def run(self, main: Work) -> Any:
        return trio.run(main)

    def living(self) -> int:
        return trio.lowlevel.current_statistics().tasks_living

    async def cancelled_when(self, work: Work, begun: Callable[[], bool]) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_of, work)
            await eventually_here(begun)
            nursery.cancel_scope.cancel()

    async def together(self, *works: Work) -> None:
        async with trio.open_nursery() as nursery:
            for work in works:
                nursery.start_soon(_of, work)


LOOPS: dict[str, Loop] = {"asyncio": OnAsyncio(), "trio": OnTrio()}


def eager() -> asyncio.AbstractEventLoop:
    """A new loop whose tasks begin at once; from Python 3.12 on."""
    loop = asyncio.new_event_loop()
    loop.set_task_factory(asyncio.eager_task_factory)  # type: ignore[attr-defined,unused-ignore]
    return loop
