"""Functions that answer, fail, hang or misbehave. What a call does depends on the seed, the request and the attempt."""

from __future__ import annotations

import asyncio
import threading
import time
import zlib
from collections.abc import Awaitable, Callable, Generator, Mapping
from contextvars import ContextVar
from typing import Any, NoReturn

from attrs import field, frozen
from returns.result import Failure

from benchmarks.soak.ledger import DECLINED, MODULO, Fault, Final, Ledger
from benchmarks.soak.loops import cancelled_class, pause, shielded, together
from rio_chain import current_attempt, remaining

WHO: ContextVar[int] = ContextVar("soak_who")
"""The number of the request, set by whoever asks."""
SCRATCH: ContextVar[object] = ContextVar("soak_scratch", default=None)
"""What bodies write to; nobody reads it."""
HOUR = 3_600_000
STUCK = 60
"""Milliseconds that a sync function is stuck: it can't be stopped, so it must end by itself."""
_never = threading.Event()


@frozen(eq=False)
class Body:
    """A call: which one of ``faults`` it does. The shares are per thousand; what is left of them answers at once."""

    task: int
    ledger: Ledger = field(repr=False)
    faults: Mapping[str, int]
    nested: Callable[[Any], Any] | None = field(default=None, repr=False)
    awaited: bool = True
    """Whether who calls it stays until it has ended. A sync function may be abandoned, also when it has just begun."""

    def begin(self, value: int | None, used: Mapping[str, int | None]) -> tuple[int, str]:
        """What to answer, and what to do instead."""
        me = WHO.get(None)
        if me is None:
            self.ledger.found("a body ran without the context of who asked", f"t{self.task}")
            return value or 0, "answer"
        if self.awaited and me not in self.ledger.open:
            self.ledger.found("a body ran for a request that was answered", f"t{self.task} for request {me}")
        for one in (value, *used.values()):
            if one is not None and (one - me) % MODULO:
                self.ledger.found("a body got a value of another request", f"t{self.task} of request {me} got {one}")
        if self.awaited and remaining() == float("inf"):
            self.ledger.found("a body runs without a limit", f"t{self.task} of request {me}")
        draw = zlib.crc32(f"{self.task}/{me}/{int(current_attempt())}/{current_attempt().replica}".encode()) % 1000
        for fault, share in self.faults.items():
            draw -= share
            if draw < 0:
                return me if value is None else value, fault
        return me if value is None else value, "answer"


class AsyncBody(Body):
    """An async function."""

    async def __call__(self, value: int | None, /, **used: int | None) -> Any:
        got, fault = self.begin(value, used)
        if fault == "request" and self.nested is not None:
            return self.nested(got)
        return await ASYNC.get(fault, _pauses)(got)


class SyncBody(Body):
    """A sync function."""

    def __call__(self, value: int | None, /, **used: int | None) -> Any:
        got, fault = self.begin(value, used)
        if fault == "request" and self.nested is not None:
            return self.nested(got)
        return SYNC.get(fault, _answers)(got)


# --- sync -------------------------------------------------------------------------------------------------------


def _answers(value: int) -> int:
    return value


def _waits(value: int) -> int:
    time.sleep(0.0005)
    return value


def _raises(value: int) -> NoReturn:
    raise Fault(value)


def _declines(_: int) -> Any:
    return Failure(DECLINED)


def _sticks(value: int) -> int:
    _never.wait(STUCK / 1000)
    return value


def _exits(_: int) -> NoReturn:
    raise SystemExit(3)


def _ends(value: int) -> NoReturn:
    raise Final(value)


def _stops(value: int) -> NoReturn:
    raise StopFault(value)


def _writes(value: int) -> int:
    SCRATCH.set([value] * 100)
    return value


class _Later:
    """To be awaited. No coroutine: one that comes too late, and reaches nobody, would warn that it was not awaited."""

    def __init__(self, value: int) -> None:
        self.value = value

    def __await__(self) -> Generator[Any, Any, int]:
        return _pauses(self.value).__await__()


class StopFault(Fault, StopIteration):
    """It means something else to generators."""


SYNC: dict[str, Callable[[int], Any]] = {
    "answer": _answers,
    "pause": _waits,
    "raise": _raises,
    "decline": _declines,
    "hang": _sticks,
    "exit": _exits,
    "final": _ends,
    "stop": _stops,
    "context": _writes,
    "awaitable": _Later,
}


# --- async ------------------------------------------------------------------------------------------------------


async def _pauses(value: int) -> int:
    await pause(value % 4 / 2)
    return value


async def _fails(value: int) -> NoReturn:
    await pause(0)
    raise Fault(value)


async def _refuses(_: int) -> Any:
    await pause(0)
    return Failure(DECLINED)


async def _hangs(value: int) -> int:
    await pause(HOUR)
    return value


async def _swallows(value: int) -> int:
    """Its first cancellation. On trio the next wait is cancelled again."""
    try:
        await pause(20)
    except cancelled_class():
        await pause(1)
    return value


async def _tidies(value: int) -> int:
    """Takes its time to clean up."""
    try:
        await pause(20)
    finally:
        await shielded(3)
    return value


async def _breaks(value: int) -> int:
    """Fails while it cleans up."""
    try:
        await pause(20)
    except cancelled_class():
        raise Fault(value) from None
    return value


async def _quits(value: int) -> NoReturn:
    await pause(0)
    _exits(value)


async def _dies(value: int) -> NoReturn:
    await pause(0)
    _ends(value)


async def _groups(value: int) -> int:
    """Has tasks of its own."""
    await together([lambda: _tidies(value), lambda: _pauses(value)])
    return value


async def _sets(value: int) -> int:
    await pause(0)
    SCRATCH.set([value] * 100)
    return value


async def _races_itself(value: int) -> int:
    """A timeout of its own around a wait, as a client library has it."""
    if cancelled_class() is asyncio.CancelledError:
        try:
            async with asyncio.timeout(0.002):
                await asyncio.sleep(0.004)
        except TimeoutError:
            return value
    await pause(1)
    return value


ASYNC: dict[str, Callable[[int], Awaitable[Any]]] = {
    "pause": _pauses,
    "raise": _fails,
    "decline": _refuses,
    "hang": _hangs,
    "swallow": _swallows,
    "tidy": _tidies,
    "break": _breaks,
    "exit": _quits,
    "final": _dies,
    "group": _groups,
    "context": _sets,
    "own": _races_itself,
}
