"""``balancer.map(..., progress=True)``: how many inputs are done, and how long the rest may take."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sized
from contextlib import ExitStack
from typing import Any, TypeVar

from returns.result import Failure

from rio_chain._core.units import escape_nonprintable
from rio_chain.balancer._map_worker import MapItem, MapRequests
from rio_chain.balancer._mapping import AsyncOutcomes
from rio_chain.inspect.live._screen import Shown
from rio_chain.inspect.live._table import Cell, Sheet
from rio_chain.results._outcome import Outcome

WINDOW = 5.0
"""The seconds that the rate covers."""

Out = TypeVar("Out")


class Progress:
    """The state of many inputs, as a View. Tickets are answered on any thread; a single thread reads the view.

    Args:
        inputs: their number is known if they have a ``len``.
    """

    def __init__(self, inputs: Iterable[Any]) -> None:
        self.total = len(inputs) if isinstance(inputs, Sized) else None
        self.done = self.failed = 0
        self._title = ""
        self._requests: MapRequests[Any] | None = None
        self._answered: deque[MapItem[Any]] = deque()  # since the last update
        self._began = self._now = time.monotonic()
        self._past = deque([(self._began, 0)])  # instants, and how many inputs were done at each
        self._said: object = None

    def follow(self, requests: MapRequests[Any]) -> None:
        """Follow these requests."""
        requests.progress = self._answered.append
        self._requests = requests

    def _running(self) -> list[MapItem[Any]]:
        return [] if self._requests is None else [worker.item for worker in tuple(self._requests.workers)]

    def shown(self, outcomes: Callable[[Callable[[], None]], Iterator[Out]]) -> Iterator[Out]:
        """Show progress while ``outcomes`` gives Outcomes. It is called with a function to call while it waits."""
        with Shown(self) as look:
            yield from outcomes(look)

    def ashown(self, outcomes: Callable[[Callable[[], None]], AsyncOutcomes[Out]]) -> AsyncShown[Out]:
        """As ``shown``, for async code."""
        return AsyncShown(self, outcomes)

    # --- the view -----------------------------------------------------------------------------------------------

    def sheet(self, rows: int) -> Sheet:  # noqa: ARG002 - there are none
        """As ``View.sheet``."""
        self._count()
        share = None if not self.total else min(1.0, self.done / self.total)
        return Sheet(Cell(self._title), share=share, note=Cell(self._line()))

    def news(self) -> Iterator[str]:
        """As ``View.news``."""
        self._count()
        if self._said != (self.done, self.failed) and self._title:
            self._said = self.done, self.failed
            yield f"{escape_nonprintable(self._title)}: {self._line()}"

    def _count(self) -> None:
        """Count what was answered since the last update."""
        for item in self._running()[:1]:
            self._title = item.request.plan.title
        while self._answered:
            item = self._answered.popleft()
            self._title = item.request.plan.title
            self.done += 1
            self.failed += item.outcome is None or isinstance(item.outcome.result, Failure)
        self._now = time.monotonic()
        self._past.append((self._now, self.done))
        while self._now - self._past[1][0] > WINDOW:
            self._past.popleft()

    def _line(self) -> str:
        running = sum(item.run.root is not None for item in self._running())
        rate = self.rate()
        parts = [f"{self.done}{'' if self.total is None else f'/{self.total}'} done"]
        parts += [f"{self.failed} failed"] if self.failed else []
        parts += [f"{running} running"] if running else []
        parts += [f"{rate:.1f}/s"] if rate else []
        if self.total is not None and rate and self.done < self.total:
            parts.append(f"{rough((self.total - self.done) / rate)} left")
        else:
            parts.append(f"{rough(self._now - self._began)}")
        return ", ".join(parts)

    def rate(self) -> float:
        """How many inputs are done in a second: recently, or overall when all are done."""
        then, before = (self._began, 0) if self.done == self.total else self._past[0]
        return (self.done - before) / (self._now - then) if self._now > then else 0.0


class AsyncShown(AsyncIterator[Outcome[Out]]):
    """What ``async for`` reads while progress is shown: from the first Outcome until the loop ends or is left."""

    def __init__(self, progress: Progress, outcomes: Callable[[Callable[[], None]], AsyncOutcomes[Out]]) -> None:
        self._view = ExitStack()
        self._make: Callable[[], AsyncOutcomes[Out]] = lambda: outcomes(self._view.enter_context(Shown(progress)))
        self._several: AsyncOutcomes[Out] | None = None

    async def __anext__(self) -> Outcome[Out]:
        if self._several is None:
            self._several = self._make()
        try:
            return await anext(self._several)
        except BaseException:
            self._view.close()
            raise

    async def aclose(self) -> None:
        """Cancel the running requests, wait until they have ended, and close the view."""
        with self._view:
            if self._several is not None:
                await self._several.aclose()

    def __del__(self) -> None:
        self._view.close()


def rough(seconds: float) -> str:
    """A duration for people: ``0.4 s``, ``12 s``, ``3 min 5 s``, ``2 h 10 min``."""
    if seconds < 10:  # noqa: PLR2004
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:  # noqa: PLR2004
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"  # noqa: PLR2004
