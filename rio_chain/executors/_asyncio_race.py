"""A race on an asyncio loop: all works at once, until one decides it or all have ended.

The last work runs in the task that awaits the race, the others in tasks of their own. If another work decides the race,
the last one is cancelled with its task, and the race takes that cancellation back (``uncancel``) when the work has
ended. If ``cancelling()`` is then still higher than before, the task was cancelled by someone else as well. That wins.
"""

from __future__ import annotations

import types
from collections.abc import Awaitable, Callable, Coroutine, Generator, Sequence
from functools import partial
from typing import Any, NamedTuple, Protocol

from rio_chain._core.unhandled_errors import surely
from rio_chain.engine._runtime_protocol import STOPPED, Raised
from rio_chain.executors._asyncio_calls import by_others, interrupt
from rio_chain.executors._own_context import in_own_context, may_nest


class Future(Awaitable[None], Protocol):
    """A future of the loop."""

    def done(self) -> bool: ...

    def set_result(self, result: None, /) -> None: ...


class Task(Protocol):
    """A task of the loop."""

    def add_done_callback(self, call: Callable[[Any], object], /) -> None: ...

    def cancel(self) -> object: ...

    def cancelling(self) -> int: ...

    def uncancel(self) -> int: ...


class Loop(NamedTuple):
    """The loop as a race uses it: makes a task, makes a future, and the exception of a cancelled task."""

    task: Callable[[Coroutine[Any, Any, Any]], Task]
    future: Callable[[], Future]
    cancelled: type[BaseException]


@types.coroutine
def _next_round() -> Generator[None]:
    """Let the loop go round once."""
    yield


class AsyncioRace:
    """The state of one race: its tasks, its results, and whether the rest is being stopped.

    Args:
        works: the works, at least one.
        until: whether a result decides the race.
        own: the task that awaits the race.
        loop: the loop.
    """

    tasks: Sequence[Task] = ()
    stopping = False
    error: BaseException | None = None
    over: Future | None = None
    _inside = True
    """Whether the last work has not ended yet."""
    _base = 0
    """The cancellations of the task that are not ours."""
    _interrupted = False
    """Whether the race has cancelled the last work."""

    def __init__(
        self, works: Sequence[Callable[[], Awaitable[Any]]], until: Callable[[Any], bool], own: Task, loop: Loop
    ) -> None:
        count = len(works)
        self.works = works
        self.until = until
        self.results: list[Any] = [STOPPED] * count
        self.left = set(range(count))
        self._own = own
        self._loop = loop

    async def run(self) -> list[Any]:  # noqa: C901 - each way in which the last work may end
        """As ``Runtime.race``."""
        own, inside = self._own, may_nest()
        base, last = own.cancelling(), len(self.works) - inside
        self._base = base
        got: Any = STOPPED
        interruption: BaseException | None = None
        try:
            if last:
                self.tasks = tasks = list[Task]()
                for index in range(last):
                    tasks.append(self._loop.task(self._contend(index)))
                await _next_round()  # the other works begin first
            if inside:
                got = await in_own_context(self.works[last])
        except self._loop.cancelled as exc:
            interruption = exc
        except GeneratorExit:  # the loop was closed
            raise
        except BaseException as exc:  # noqa: BLE001 - raised below, when all have ended
            got = Raised(exc)
            self.left.difference_update(range(len(self.tasks), last))  # a task could not be made
        self._inside = False
        if (own.uncancel() if self._interrupted else own.cancelling()) > base:
            interruption = by_others(own, interruption, self._loop.cancelled)  # the work may have swallowed it
            self.stop()
        elif interruption is not None:
            got = STOPPED if self._interrupted else Raised(interruption)
            interruption = None
        try:
            self.ended(last, got)
        except BaseException as exc:  # noqa: BLE001 - see ``_again``
            self._again(last, got, exc)
        if self.left:
            interruption = await self._all_ended() or interruption
        self.tasks = ()  # the error of a task that was cancelled before it began would keep this object
        error, self.error = interruption or self.error, None
        if error is None:
            return self.results
        try:
            raise error
        finally:
            del error, interruption, got  # its traceback keeps this frame

    async def _all_ended(self) -> BaseException | None:
        """Wait until every work has ended, even if this is cancelled. Gives the last interruption."""
        interruption: BaseException | None = None
        while self.left:
            self.over = self._loop.future()
            try:
                await self.over
            except self._loop.cancelled as exc:
                interruption = exc
                self.stop()
        return interruption

    async def _contend(self, index: int) -> None:
        """A task: runs a work and keeps every error as a value. A SystemExit that leaves a task would stop the loop."""
        got: Any
        try:
            got = await self.works[index]()
        except self._loop.cancelled as exc:
            got = STOPPED if self.stopping else Raised(exc)
        except BaseException as exc:  # noqa: BLE001 - it is raised where the race is awaited
            got = Raised(exc)
        try:
            self.ended(index, got)
        except BaseException as exc:  # noqa: BLE001 - see ``_again``
            self._again(index, got, exc)

    def _again(self, index: int, got: Any, error: BaseException) -> None:
        """Record the end of a work again, after an error such as no memory. A signal handler's error ends the race."""
        surely(partial(self.ended, index, got if isinstance(error, Exception) else Raised(error)))

    def ended(self, index: int, got: Any) -> None:
        """A work has ended. A second call does nothing more."""
        self.left.discard(index)
        if type(got) is Raised:
            if self.error is None:
                self.error = got.error
            self.stop()
        elif got is not STOPPED:
            self.results[index] = got
            if not self.stopping:
                try:
                    decided = self.until(got)
                except BaseException as exc:  # noqa: BLE001 - otherwise the task that waits would never be woken
                    decided, self.error = True, exc
                if decided:
                    self.stop()
        if not self.left and self.over is not None and not self.over.done():
            self.over.set_result(None)

    def stop(self) -> None:
        """Cancel what still runs, once."""
        if self.stopping:
            return
        self.stopping = True
        for index in self.left:
            if index < len(self.tasks):
                task = self.tasks[index]
                task.add_done_callback(partial(self._gone, index))  # a task that has not begun will never run
                task.cancel()
        if self._inside:
            self._interrupted = True
            interrupt(self._own, self._base)

    def _gone(self, index: int, _: object) -> None:
        surely(partial(self.ended, index, STOPPED))


def race(
    works: Sequence[Callable[[], Awaitable[Any]]], until: Callable[[Any], bool], own: Task | None, loop: Loop
) -> Awaitable[list[Any]]:
    """As ``Runtime.race``, for the task ``own``."""
    return _nothing() if own is None or not works else AsyncioRace(works, until, own, loop).run()


async def _nothing() -> list[Any]:
    return []
