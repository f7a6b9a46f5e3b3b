"""Bodies that the workers import by name. What they have done is in files, as they run in other processes."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from attrs import frozen
from conformance.harness import pause
from laws.dag_values import BodyError, Val, item_of, mixed

from rio_chain import Request, Task, current_attempt, remaining
from rio_chain.policies import Call


def plus(value: int) -> int:
    return value + 1


async def twice(value: int) -> int:
    await asyncio.sleep(0.002)
    return 2 * value


def both(left: int, right: int = 0) -> int:
    return left * 100 + right


def total(values: tuple[int, ...]) -> int:
    return sum(values)


def fails(value: Any) -> int:
    raise ValueError(f"no {value}")


async def fails_twice(value: int) -> int:
    if current_attempt() <= 2:
        raise LookupError(f"attempt {int(current_attempt())}")
    return value


def doubled(values: list[int]) -> list[int]:
    return [2 * value for value in values]


def in_one_call(values: list[int]) -> list[tuple[int, int]]:
    """For each value the process that was asked, and how many values it was asked for."""
    return [(os.getpid(), len(values)) for _ in values]


def odd_fails(value: int) -> int:
    if value % 2:
        raise ValueError(value)
    return value


def is_even(value: int) -> bool:
    return value % 2 == 0


def halves(value: int) -> list[int]:
    return [value // 2] * 2 if value > 1 else []


def asks(value: int) -> Request[tuple[int, int]]:
    return (Task(plus) & Task(twice))(value)


def key_of(_: Any) -> str:
    return current_attempt().key


def time_left(_: Any) -> float:
    return remaining()


def process(_: Any) -> int:
    return os.getpid()


def spins(value: int) -> int:
    """Holds the processor for a millisecond."""
    until = time.perf_counter() + 0.001
    while time.perf_counter() < until:
        pass
    return value


async def pauses(value: int) -> int:
    await asyncio.sleep(1)
    return value


async def long(_: Any) -> None:
    await asyncio.sleep(60)


async def long_if_three(value: int) -> int:
    await asyncio.sleep(60 if value == 3 else 0)
    return value


def unpicklable(_: Any) -> Any:
    return threading.Lock()


def big(size: int) -> bytes:
    return bytes(size)


def first_byte(data: bytes) -> int:
    return data[0]


def joined_length(parts: dict[str, Any]) -> int:
    return len(parts["a"]) + len(parts["b"])


class Odd(Exception):
    """An error that pickle can't make again."""

    def __init__(self, left: int, right: int) -> None:
        super().__init__(f"{left} and {right}")


def raises_odd(_: Any) -> None:
    raise Odd(1, 2)


def exits(_: Any) -> None:
    raise SystemExit(3)


def dies(_: Any) -> None:
    time.sleep(0.05)
    os.kill(os.getpid(), signal.SIGKILL)


@frozen
class Noted:
    """Notes in a file when it begins, and when it is cancelled."""

    path: Path
    seconds: float

    def note(self, text: str) -> None:
        with self.path.open("a") as file:
            file.write(f"{text}\n")

    async def __call__(self, value: Any) -> Any:
        self.note(f"began {value}")
        try:
            await asyncio.sleep(self.seconds)
        except BaseException:
            self.note(f"cancelled {time.time()}")
            raise
        return value


@frozen
class Blocking(Noted):
    """The same for a sync function."""

    def __call__(self, value: Any) -> Any:
        self.note(f"began {value}")
        time.sleep(self.seconds)
        self.note("returned")
        return value


@frozen
class DiesOnce:
    """Kills its process in the first call of all, and counts all calls in a file."""

    path: Path
    at: int

    def __call__(self, value: int) -> int:
        with self.path.open("a") as file:
            file.write("x")
        killed = self.path.with_suffix(".killed")
        if value == self.at and not killed.exists():
            killed.touch()
            time.sleep(0.05)  # the worker logs what it begins every few milliseconds
            os.kill(os.getpid(), signal.SIGKILL)
        return value + 1


class Counting:
    """A gate that counts the calls that it lets in, in this process."""

    def __init__(self) -> None:
        self.calls = 0

    def enter(self, _: Call) -> None:
        self.calls += 1


@frozen
class Remote:
    """The body of a task of a random plan: how often it fails is known from its attempt."""

    task: int
    ms: int
    faults: int

    async def __call__(self, value: Any, **used: Any) -> Val:
        digest = mixed(value, used)
        await pause(self.ms / 10)
        if current_attempt() <= self.faults:
            raise BodyError(self.task, digest, item_of(value))
        return Val(mixed(self.task, digest), item_of(value))


def remote(task: int, ms: int, faults: int) -> Callable[..., Any]:
    return Remote(task, ms, faults)


@frozen
class Pausing:
    """Says when it ran, on the clock that all processes of a machine have in common."""

    seconds: float

    async def __call__(self, _: Any) -> tuple[float, float]:
        began = time.monotonic()
        await asyncio.sleep(self.seconds)
        return began, time.monotonic()


added = Task(plus) >> Task(twice)
"""For the command."""
