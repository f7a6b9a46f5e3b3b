"""Random schedules: one seed says which graph runs, and where the executor turns to somebody else meanwhile.

* On the loops time is virtual and everything comes from the seed, so a seed is a schedule. trio takes its tasks in an
  order drawn from it; asyncio promises first come, first served, so nothing is reordered there, but whoever may wait
  waits a few rounds of the loop longer.
* On threads the seed says where they give way, and the system which goes on. The same seed has to be tried many times.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from functools import partial
from itertools import count
from pathlib import Path
from random import Random
from types import FrameType
from typing import Any
from unittest.mock import patch

import sniffio
import trio
from attrs import evolve, frozen
from conformance.harness import pause
from laws.dag_memory import Memory, Unsure
from laws.dag_model import Played, played
from laws.dag_parts import ALL, TIMELESS, Part, numbered
from laws.dag_uses import known
from laws.dag_values import ALWAYS, Script, Val

import rio_chain
from rio_chain.executors import _asyncio as on_asyncio
from rio_chain.executors import _strand, _thread
from rio_chain.executors import _trio as on_trio

INPUT = Val(7)

# --- graphs -----------------------------------------------------------------------------------------------------

_WIDE = {"seq", "and", "keys", "need", "settle", "race", "choose"}
_NUMBERS = {"timeout": (2, 6, 15, 40), "retry": (0, 1, 2), "replica": (1, 2), "each": (0, 1, 2, 3, 4, 5)}
_OFTEN = ("each", "each", "each", "and", "settle")  # where much runs at once
LARGEST = 9
"""Tasks."""


def _grown(draw: Random, kinds: tuple[str, ...], depth: int) -> Part:
    if not depth or draw.random() < 0.2:
        return Part("task", ms=draw.choice((0, 1, 4, 9, 20)), faults=draw.choice((*[0] * 12, 1, 2, ALWAYS)))
    kind = draw.choice((*kinds, *_OFTEN))
    width = draw.choice((2, 3)) if kind in _WIDE else 1 + (kind == "or")
    inner = tuple(_grown(draw, kinds, 0 if kind == "check" else depth - 1) for _ in range(width))
    mode = draw.choice(("raise", "keep", "drop", "some")) if kind == "each" else ""
    return Part(kind, inner, draw.choice(_NUMBERS.get(kind, (0, 1, 2, 3))), draw.randrange(4), mode=mode)


def _using(draw: Random, root: Part) -> Part:
    """The same, with tasks that use what has surely succeeded before."""
    uses: dict[int, tuple[Part, ...]] = {}
    for task in root.tasks():
        able = [part for part in root.walk() if part.number < task.number and known(root, task.number, part)]
        uses[task.number] = tuple(draw.choice(able) for _ in range(draw.randrange(2))) if able else ()

    def visit(part: Part) -> Part:
        return evolve(part, inner=tuple(map(visit, part.inner)), uses=uses.get(part.number, ()))

    return visit(root)


def recipe(seed: int, *, timeless: bool) -> tuple[Part, Played, Memory]:
    """A graph of which the model knows what it does, and what that is."""
    draw = Random(seed)
    while True:
        part = _using(draw, numbered(_grown(draw, TIMELESS if timeless else ALL, 3)))
        if 1 < len(part.tasks()) <= LARGEST:
            try:
                return part, *played(part, INPUT, timeless=timeless)
            except Unsure:
                continue


# --- a schedule -------------------------------------------------------------------------------------------------


class Schedule:
    """Told at each point where somebody may wait; says how long. ``at_point`` may act at the ``at``th."""

    def __init__(self, seed: int) -> None:
        self.draw = Random(seed)
        self.trace: list[object] = []
        self.at = -1
        self.at_point: Callable[[], object] = lambda: None
        self._points = count()

    def rounds(self, where: object) -> int:
        self.trace.append(where)
        if next(self._points) == self.at:
            self.at_point()
        return self.draw.choice((0, 0, 0, 1, 1, 2, 5))

    async def hop(self, where: object) -> None:
        """Wait so many rounds of the loop that this runs on."""
        step = trio.lowlevel.checkpoint if sniffio.current_async_library() == "trio" else partial(asyncio.sleep, 0)
        for _ in range(self.rounds(where)):
            await step()

    def give_way(self, where: object) -> None:
        """The same for a thread."""
        for _ in range(self.rounds(where)):
            time.sleep(0)


def _shield() -> Any:
    return trio.CancelScope(shield=True) if sniffio.current_async_library() == "trio" else nullcontext()


NOW: Schedule
"""The schedule under which everything runs; set by ``scheduled``."""


@frozen
class Hopping(Script):
    """An async body; ``ms`` < 0: it waits for nothing but its turns."""

    async def __call__(self, value: Any, /, **used: Any) -> Val:
        schedule = NOW
        with self.call(value, used) as (ms, end):
            await schedule.hop(("began", self.task))
            try:
                if self.ms >= 0:
                    await pause(ms)
                await schedule.hop(("ends", self.task))
            finally:
                for _ in range(self.tidy):  # a clean-up; on asyncio a second cancel cuts it short
                    with _shield():
                        await schedule.hop(("tidies", self.task))
            return end()


@frozen
class Yielding(Script):
    """A sync body."""

    def __call__(self, value: Any, /, **used: Any) -> Val:
        schedule = NOW
        with self.call(value, used) as (ms, end):
            schedule.give_way(("began", self.task))
            if self.ms > 0:
                time.sleep(ms / 1000)
            schedule.give_way(("ends", self.task))
            return end()


# --- where rio_chain waits --------------------------------------------------------------------------------------

Works = list[Callable[[], Awaitable[Any]]]


@contextmanager
def _hooks(schedule: Schedule) -> Iterator[None]:
    """Turns around every wait and every branch of a race. A wait may always last longer than what it is for."""

    async def longer(work: Callable[[], Awaitable[Any]], number: int) -> Any:
        await schedule.hop(("branch", number))
        got = await work()
        await schedule.hop(("branch ends", number))
        return got

    async def with_yields(work: Callable[[], Awaitable[Any]], number: int) -> Any:
        schedule.give_way(("branch", number))
        got = await work()
        schedule.give_way(("branch ends", number))
        return got

    with ExitStack() as stack:
        for waiter, runtime in (
            (on_asyncio.AsyncioWaiter, on_asyncio.AsyncioRuntime),
            (on_trio.TrioWaiter, on_trio.TrioRuntime),
        ):
            stack.enter_context(patch.object(waiter, "wait", _hopping(waiter.wait, schedule)))
            stack.enter_context(patch.object(runtime, "race", _racing(runtime.race, longer)))
        stack.enter_context(
            patch.object(_thread.ThreadRuntime, "race", _racing(_thread.ThreadRuntime.race, with_yields))
        )
        for name in ("wake", "cancel", "stop", "drive"):
            stack.enter_context(
                patch.object(_strand.ThreadStrand, name, _yielding(getattr(_strand.ThreadStrand, name), schedule))
            )
        yield


def _hopping(wait: Callable[..., Any], schedule: Schedule) -> Callable[..., Any]:
    async def waited(self: Any) -> None:
        await schedule.hop("wait")
        await wait(self)
        await schedule.hop("woken")

    return waited


def _racing(race: Callable[..., Any], around: Callable[..., Any]) -> Callable[..., Any]:
    def raced(self: Any, works: Works, until: Callable[[Any], bool]) -> Any:
        return race(self, [partial(around, work, number) for number, work in enumerate(works)], until)

    return raced


def _yielding(call: Callable[..., Any], schedule: Schedule) -> Callable[..., Any]:
    def yielded(self: Any, *args: Any) -> Any:
        schedule.give_way(call.__name__)
        return call(self, *args)

    return yielded


PACKAGE = Path(rio_chain.__file__).parent
TRACED = tuple(str(PACKAGE / name) for name in ("engine", "balancer", "executors"))


@contextmanager
def _lines(schedule: Schedule, share: float) -> Iterator[None]:
    """Threads halt at some lines of the engine, the balancer and the executors; the seed says at which."""
    chance, sleep, salt = schedule.draw.random, time.sleep, schedule.draw.random()
    halts: dict[tuple[str, int], bool] = {}

    def line(frame: FrameType, event: str, _arg: object) -> Any:
        if event == "line":
            place = frame.f_code.co_filename, frame.f_lineno
            halt = halts.get(place)
            if halt is None:
                halt = halts[place] = Random(f"{salt} {frame.f_code.co_name} {place[1]}").random() < share
            if halt and chance() < 0.5:  # else all would halt alike
                sleep(1e-4)  # with 0 the system mostly lets the same thread go on
        return line

    def call(frame: FrameType, _event: str, _arg: object) -> Any:
        return line if frame.f_code.co_filename.startswith(TRACED) else None

    before, before_here = threading.gettrace(), sys.gettrace()
    threading.settrace(call)
    sys.settrace(call)
    try:
        yield
    finally:
        sys.settrace(before_here)
        threading.settrace(before)


@contextmanager
def _switching(seconds: float) -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(seconds)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


@contextmanager
def scheduled(seed: int, *, threads: bool = False) -> Iterator[Schedule]:
    """Everything in the block runs under the schedule of this seed."""
    global NOW  # noqa: PLW0603 - the bodies of all threads look there
    NOW = schedule = Schedule(seed)
    with ExitStack() as stack:
        stack.enter_context(_hooks(schedule))
        if threads:
            stack.enter_context(_switching(1e-6))
            if seed % 4:
                stack.enter_context(_lines(schedule, share=schedule.draw.choice((0.01, 0.03, 0.06))))
        else:
            stack.enter_context(patch.object(trio._core._run, "_ALLOW_DETERMINISTIC_SCHEDULING", new=True))
            stack.enter_context(patch.object(trio._core._run, "_r", Random(seed)))
        yield schedule


# --- seeds ------------------------------------------------------------------------------------------------------

AGAIN = 200
"""How often a replay on threads tries its seed."""


def seeds(default: int, *, threads: bool = False) -> list[int]:
    """``RIO_SCHEDULES`` of them; or the one that ``RIO_SCHEDULE_SEED`` names."""
    one = os.environ.get("RIO_SCHEDULE_SEED")
    if one is None:
        return list(range(int(os.environ.get("RIO_SCHEDULES") or default)))
    return [int(one)] * (AGAIN if threads else 1)


def try_each(which: list[int], attempt: Callable[[int], object], *, threads: bool = False) -> None:
    """Run every seed; the error of one that fails says how to see it again."""
    for seed in which:
        try:
            attempt(seed)
        except BaseException as error:
            often = f" (tries it {AGAIN} times: the seed says where threads give way, not which one goes on)"
            error.add_note(f"replay: RIO_SCHEDULE_SEED={seed}{often if threads else ''}")
            raise
