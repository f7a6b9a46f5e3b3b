"""The body that the tests of ``each`` and ``expand`` give their items to: it says what runs and what became of it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from attrs import define, field
from conformance.harness import World

HANG = 10_000
"""Milliseconds that nothing in a test lasts."""


@define(eq=False)
class Works:
    """Takes ``ms(item)`` milliseconds for an item, and then fails with ``error(item)`` unless that is None.

    It waits first until ``ready(item)``.
    """

    world: World
    ms: Callable[[Any], float] = lambda _: 1
    error: Callable[[Any], BaseException | None] = lambda _: None
    ready: Callable[[Any], bool] = lambda _: True
    cleanup: float = 0
    begun: list[Any] = field(factory=list)
    ended: list[Any] = field(factory=list)
    cancelled: list[Any] = field(factory=list)
    running: int = 0
    most: int = 0
    _lock: threading.Lock = field(factory=threading.Lock)

    async def do(self, item: Any) -> Any:
        with self._lock:
            self.begun.append(item)
            self.running += 1
            self.most = max(self.most, self.running)
        try:
            await self.world.until(lambda: self.ready(item))
            await self.world.pause(self.ms(item))
            error = self.error(item)
        except BaseException:
            if self.cleanup:
                await self.world.shielded(self.cleanup)
            self.cancelled.append(item)
            raise
        finally:
            with self._lock:
                self.running -= 1
        self.ended.append(item)
        if error is not None:
            raise error
        return item


class Source:
    """Generators that say what was taken of them, and whether they were closed."""

    def __init__(self, world: World, count: int | None = None, error: BaseException | None = None) -> None:
        self.world = world
        self.count = count  # None: endless
        self.error = error  # raised in the end
        self.taken = 0
        self.closed = 0

    def _over(self) -> bool:
        return self.count is not None and self.taken >= self.count

    def plain(self, _: object) -> Any:
        try:
            while not self._over():
                self.taken += 1
                yield self.taken - 1
            if self.error is not None:
                raise self.error
        finally:
            self.closed += 1

    async def slow(self, _: object) -> Any:
        try:
            while not self._over():
                await self.world.pause(1)
                self.taken += 1
                yield self.taken - 1
            if self.error is not None:
                raise self.error
        finally:
            self.closed += 1
