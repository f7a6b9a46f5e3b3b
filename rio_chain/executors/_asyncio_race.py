"""A race on an asyncio loop: all works at once, until one decides it or all have ended.

The first work runs in the task that awaits the race, the others in tasks of their own. When another work decides the
race, the first one is cancelled with its task, and the race takes that back (``uncancel``) when the work has ended. If
``cancelling()`` is then still higher than it was, somebody else has cancelled the task as well. That wins.
"""

from __future__ import annotations

import types
from collections.abc import Awaitable, Callable, Coroutine, Generator, Sequence
from functools import partial
from typing import Any, NamedTuple, Protocol

from rio_chain._core.unhandled_errors import surely
from rio_chain.engine._runtime_protocol import STOPPED, Raised
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
    """What a race needs of its loop: what makes a task, what makes a future, and what a cancelled task gets."""

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
        works: what runs, at least one.
        until: whether a result decides the race.
        own: the task that awaits the race.
        loop: what is needed of the loop.
    """

    tasks: Sequence[Task] = ()
    stopping = False
    error: BaseException | None = None
    over: Future | None = None
    _inside = True
    """The last work has not ended."""
    _interrupted = False
    """It was cancelled by us."""

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
        got: Any = STOPPED
        interruption: BaseException | None = None
        try:
            if last:
                self.tasks = tasks = list[Task]()
                for index in range(last):
                    tasks.append(self._loop.task(self._contend(index)))
                await _next_round()  # the others begin first, as they come first
            if inside:
                got = await in_own_context(self.works[last])
        except self._loop.cancelled as exc:
            interruption = exc
        except GeneratorExit:  # its loop is closed
            raise
        except BaseException as exc:  # noqa: BLE001 - raised below, when all have ended
            got = Raised(exc)
            self.left.difference_update(range(len(self.tasks), last))  # a task could not be made
        self._inside = False
        if (own.uncancel() if self._interrupted else own.cancelling()) > base:
            interruption = interruption or self._loop.cancelled()  # the work may have swallowed it
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
        self.tasks = ()  # one that was cancelled before it began keeps this with its error
        error, self.error = interruption or self.error, None
        if error is None:
            return self.results
        try:
            raise error
        finally:
            del error, interruption, got  # its traceback keeps this frame

    async def _all_ended(self) -> BaseException | None:
        """Wait until every work has ended, whatever interrupts this. Gives the last interruption."""
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
        """A task: the work with every error as a value. A SystemExit that leaves a task would stop the whole loop."""
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
        """The end of a work was not noted, as where memory ends. What a signal handler raised ends the race."""
        surely(partial(self.ended, index, got if isinstance(error, Exception) else Raised(error)))

    def ended(self, index: int, got: Any) -> None:
        """A work has ended. Again does nothing more."""
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
                except BaseException as exc:  # noqa: BLE001 - nobody else would wake the task that waits
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
                task.add_done_callback(partial(self._gone, index))  # one that has not begun never runs
                task.cancel()
        if self._inside:
            self._interrupted = True
            self._own.cancel()

    def _gone(self, index: int, _: object) -> None:
        surely(partial(self.ended, index, STOPPED))


def race(
    works: Sequence[Callable[[], Awaitable[Any]]], until: Callable[[Any], bool], own: Task | None, loop: Loop
) -> Awaitable[list[Any]]:
    """As ``Runtime.race``, for the task ``own``."""
    return _nothing() if own is None or not works else AsyncioRace(works, until, own, loop).run()


async def _nothing() -> list[Any]:
    return []
