"""A race of tasks on an asyncio loop: all works at once, until one decides it or all have ended."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Sequence
from functools import partial
from typing import Any, Protocol

from rio_chain._core.unhandled_errors import surely
from rio_chain.engine._runtime_protocol import STOPPED, Raised


class Future(Awaitable[None], Protocol):
    """A future of the loop."""

    def done(self) -> bool: ...

    def set_result(self, result: None, /) -> None: ...


class Task(Protocol):
    """A task of the loop."""

    def add_done_callback(self, call: Callable[[Any], object], /) -> None: ...

    def cancel(self) -> object: ...

    def cancelled(self) -> bool: ...

    def result(self) -> Any: ...


class AsyncioRace:
    """The state of one race: its tasks, its results, and whether the rest is being stopped.

    Args:
        count: how many works there are.
        until: whether a result decides the race.
        task: makes a task of a coroutine.
        future: makes a future of the loop.
        cancelled: what a task gets that is cancelled.
    """

    def __init__(
        self,
        count: int,
        until: Callable[[Any], bool],
        *,
        task: Callable[[Coroutine[Any, Any, Any]], Task],
        future: Callable[[], Future],
        cancelled: type[BaseException],
    ) -> None:
        self.until = until
        self.results: list[Any] = [STOPPED] * count
        self.left = set(range(count))
        self.tasks: list[Task] = []
        self.stopping = False
        self.error: BaseException | None = None
        self.over: Future | None = None
        self._task = task
        self._future = future
        self._cancelled = cancelled

    async def guard(self, work: Callable[[], Awaitable[Any]]) -> Any:
        """The work with every error as a value: a SystemExit that leaves a task would stop the whole loop."""
        try:
            return await work()
        except self._cancelled as exc:
            return STOPPED if self.stopping else Raised(exc)
        except BaseException as exc:  # noqa: BLE001 - it is raised where the race is awaited
            return Raised(exc)

    def start(self, works: Sequence[Callable[[], Awaitable[Any]]]) -> None:
        """Start a task for each work."""
        for index, work in enumerate(works):
            task = self._task(self.guard(work))
            self.tasks.append(task)
            task.add_done_callback(lambda done, index=index: surely(partial(self.ended, index, done)))  # type: ignore[misc]

    def ended(self, index: int, task: Task) -> None:
        """Called when a task has ended."""
        got = STOPPED if task.cancelled() else task.result()
        self.left.discard(index)
        if type(got) is Raised:
            if self.error is None:
                self.error = got.error
            self.stop()
        else:
            self.results[index] = got
            if got is not STOPPED and not self.stopping and self.decided(got):
                self.stop()
        if not self.left and self.over is not None and not self.over.done():
            self.over.set_result(None)

    def decided(self, got: Any) -> bool:
        """Whether this result ends the race. An error in asking does so, and is raised where the race is awaited."""
        try:
            return self.until(got)
        except BaseException as exc:  # noqa: BLE001 - this is a callback of the loop
            self.error = self.error or exc
            return True

    def stop(self) -> None:
        """Cancel what still runs, once."""
        if not self.stopping:
            self.stopping = True
            for task in self.tasks:
                task.cancel()

    async def end(self) -> list[Any]:
        """Wait until every task has ended, whatever interrupts this; then go on with the interruption."""
        interruption: BaseException | None = None
        while self.left:
            self.over = self._future()
            try:
                await self.over
            except self._cancelled as exc:
                interruption = exc
                self.stop()
        error, self.error = interruption or self.error, None
        if error is None:
            return self.results
        try:
            raise error
        finally:
            del error, interruption  # its traceback keeps this frame
