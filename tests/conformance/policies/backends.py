"""Backends that answer as scripted, and keep a log of each call: when it began and how it ended."""

from __future__ import annotations

import threading
import time
from typing import Any

from attrs import define, field
from conformance.harness import World, pause

from rio_chain import current_attempt

HANG = 10_000
"""Milliseconds that nothing in a test lasts: such a call ends because it is cancelled."""


def stamp(world: World) -> float:
    """Milliseconds now, for bodies on whatever thread they run."""
    return world.now() if world.native else time.monotonic() * 1000


@define
class Called:
    """One call: when it began, as which attempt and replica, and how it ended."""

    at: float
    attempt: int
    replica: int
    given: Any
    end: str = "running"


@define
class Reply:
    """What one call does: wait so long, then answer with the value or raise it."""

    ms: float
    value: Any


class RetryAfter(Exception):
    """An error that says how long to wait."""

    def __init__(self, retry_after: Any) -> None:
        self.retry_after = retry_after


@define(eq=False)
class Closable:
    """An answer that wants to be closed."""

    name: str
    closed: int = 0

    def close(self) -> None:
        self.closed += 1


@define(eq=False)
class AsyncClosable:
    """The same, by ``await``."""

    name: str
    closed: int = 0

    async def aclose(self) -> None:
        await pause(1)  # as over a network, on the loop that it belongs to
        self.closed += 1


@define(eq=False)
class Backend:
    """Answers call number ``i`` with reply ``i``, and all further calls with the last one.

    ``each``: not the call's number says which reply, but the replica's, as on threads they come in any order.
    """

    world: World
    replies: list[Reply]
    calls: list[Called] = field(factory=list)
    cleanup: float = 0
    each: bool = False
    running: int = 0
    most: int = 0
    made: float = 0.0
    _lock: threading.Lock = field(factory=threading.Lock)

    def __attrs_post_init__(self) -> None:
        self.made = stamp(self.world)

    async def fetch(self, x: Any) -> Any:
        with self._lock:
            me = current_attempt()
            call = Called(stamp(self.world), int(me), me.replica, x)
            number = me.replica if self.each else len(self.calls)
            reply = self.replies[min(number, len(self.replies) - 1)]
            self.calls.append(call)
            self.running += 1
            self.most = max(self.most, self.running)
        call.end = "cancelled"
        try:
            await self.world.pause(reply.ms)
            call.end = "failed" if isinstance(reply.value, BaseException) else "answered"
        except BaseException:
            if self.cleanup:
                await self.world.shielded(self.cleanup)
                call.end = "cleaned up"
            raise
        finally:
            with self._lock:
                self.running -= 1
        if isinstance(reply.value, BaseException):
            raise reply.value
        return reply.value

    @property
    def starts(self) -> list[float]:
        """When each call began, counted from the first; in real time, where that may be late, from the test's begin."""
        since = self.calls[0].at if self.world.virtual and self.calls else self.made
        return [call.at - since for call in self.calls]

    @property
    def ends(self) -> list[str]:
        """How each call ended."""
        return [call.end for call in self.calls]

    def started(self, *expected: float) -> bool:
        """Whether the calls began then: exactly in virtual time; in real time no earlier, and in this order."""
        got = self.starts
        return len(got) == len(expected) and all(map(self.world.about, got, expected))


def backend(world: World, *replies: tuple[float, Any], cleanup: float = 0, each: bool = False) -> Backend:
    """One that answers with these (milliseconds, value or error)."""
    return Backend(world, [Reply(ms, value) for ms, value in replies], cleanup=cleanup, each=each)
