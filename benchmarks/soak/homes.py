"""Where the balancers live: on a loop that is a user's own, or on workers."""

from __future__ import annotations

import asyncio
import threading
import traceback
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import trio

from rio_chain import Balancer
from rio_chain.executors import loop_module_of

Main = Callable[[], Awaitable[Any]]
EXECUTORS = ("asyncio", "trio", "thread")
OPTIONS: dict[str, Any] = {
    "workers": 8, "buffer": 80, "threads": 8, "aging": 20, "abandon_after": 5000, "max_abandoned": 5,
}  # fmt: skip
"""Of the balancers: small enough to be full and saturated at times."""


class Home(Protocol):
    """A balancer that is open as long as the soak."""

    executor: str
    balancer: Balancer

    def call(self, main: Main) -> Any:
        """Run it in a task on the loop and wait; without a loop there is nothing to run."""
        ...

    def tasks(self) -> dict[object, tuple[str, object]]:
        """The tasks of its loop: name and coroutine."""
        ...

    def close(self) -> None:
        """Close the balancer, and end the loop."""
        ...


class WorkersHome:
    """Of the thread executor."""

    def __init__(self, executor: str) -> None:
        self.executor = executor
        self.balancer = Balancer(executor, **OPTIONS)
        self.balancer.__enter__()

    def call(self, main: Main) -> Any:
        """As ``Home.call``."""

    def tasks(self) -> dict[object, tuple[str, object]]:
        """As ``Home.tasks``."""
        return {}

    def close(self) -> None:
        """As ``Home.close``."""
        self.balancer.close()


class LoopHome:
    """A balancer that is entered on a loop, so that ``arun`` there runs in the caller's own task."""

    def __init__(self, executor: str) -> None:
        self.executor = executor
        self.balancer = Balancer(executor, **OPTIONS)
        self._ready = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._token: trio.lowlevel.TrioToken | None = None
        self._thread = threading.Thread(target=self._live, name=f"soak-{executor}-home", daemon=True)
        self._thread.start()
        self._ready.wait()
        if self._loop is None and self._token is None:
            raise RuntimeError(f"the {executor} loop did not start; its thread has printed why")

    def _live(self) -> None:
        try:
            asyncio.run(self._on_asyncio()) if self.executor == "asyncio" else trio.run(self._on_trio)
        finally:
            self._ready.set()

    async def _on_asyncio(self) -> None:
        self._ended: asyncio.Event | trio.Event = asyncio.Event()
        async with self.balancer:
            self._loop = asyncio.get_running_loop()
            self._ready.set()
            await self._ended.wait()

    async def _on_trio(self) -> None:
        self._ended = trio.Event()
        async with self.balancer:
            self._token = trio.lowlevel.current_trio_token()
            self._ready.set()
            await self._ended.wait()

    def call(self, main: Main) -> Any:
        """As ``Home.call``."""
        if self._loop is not None:
            return asyncio.run_coroutine_threadsafe(_awaited(main), self._loop).result()
        return trio.from_thread.run(_awaited, main, trio_token=self._token)

    def tasks(self) -> dict[object, tuple[str, object]]:
        """As ``Home.tasks``."""

        async def look() -> dict[object, tuple[str, object]]:
            return dict(loop_module_of(self.executor).tasks())

        found: dict[object, tuple[str, object]] = self.call(look)
        return found

    def close(self) -> None:
        """As ``Home.close``."""

        async def end() -> None:
            self._ended.set()

        self.call(end)
        self._thread.join()


async def _awaited(main: Main) -> Any:
    return await main()


def home(executor: str) -> Home:
    """A new one."""
    return WorkersHome(executor) if executor == "thread" else LoopHome(executor)


def where(name: str, coroutine: Any) -> str:
    """A task and the lines at which it waits, the outermost first."""
    lines = [f"task {name}"]
    while coroutine is not None:
        frame = getattr(coroutine, "cr_frame", None) or getattr(coroutine, "gi_frame", None)
        if frame is not None:
            lines += traceback.format_list(traceback.extract_stack(frame, limit=1))
        coroutine = getattr(coroutine, "cr_await", None) or getattr(coroutine, "gi_yieldfrom", None)
    return "\n".join(line.rstrip() for line in lines)
