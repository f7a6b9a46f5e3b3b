"""The asyncio loop that all thread executors of the process share, for their async functions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextvars import Context
from typing import Any

from rio_chain.engine._runtime_protocol import Raised
from rio_chain.executors._asyncio import AsyncioHost, AsyncioWaiter, launch, plain_task


class SharedLoop:
    """The one asyncio loop thread on which the async functions of thread executors run."""

    cancellation: type[BaseException] = AsyncioHost.cancelled

    def __init__(self) -> None:
        self._host = launch(threads=1, max_abandoned=1, name="rio_chain-thread-shared-loop")

    def start(
        self,
        fn: Callable[..., Any],
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        context: Context,
        done: Callable[[Any], None],
    ) -> Callable[[], None]:
        """Run an async function in a task of its own; ``done`` gets its value or ``Raised``.

        Gives a cancel function.
        """
        loop = self._host.loop
        tasks: list[Any] = []

        async def guard() -> Any:
            try:
                return await fn(*args, **kwargs)
            except BaseException as exc:  # noqa: BLE001 - it is raised where the function was called
                return Raised(exc)

        def begin() -> None:
            task = plain_task(loop, guard(), context)
            tasks.append(task)
            task.add_done_callback(lambda t: done(Raised(self.cancellation()) if t.cancelled() else t.result()))

        def cancel() -> None:
            loop.call_soon_threadsafe(cancel_begun)

        def cancel_begun() -> None:
            # after the first step of the task, which is due earlier: a task that is cancelled before that never begins,
            # so neither would a clean-up such as `aclose`
            loop.call_soon(tasks[0].cancel)

        loop.call_soon_threadsafe(begin)
        return cancel

    def waiter(self) -> AsyncioWaiter:
        """As ``AsyncHost.waiter``."""
        return AsyncioWaiter(self._host.loop)
