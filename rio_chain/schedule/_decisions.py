"""What a schedule does at an instant: which ticks start, which are left out and why. Pure: no clock, no waiting."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from typing import Any, Literal, get_args

from attrs import define, field, frozen

from rio_chain._core.units import short_repr
from rio_chain.errors import ChainDefinitionError
from rio_chain.schedule._ticks import Ticks

Overlap = Literal["skip", "queue", "parallel"]
"""What happens to a tick that comes while a run of the same schedule goes on."""
Missed = Literal["skip", "run once", "all"]
"""What happens to ticks that could not start in time."""
Reason = Literal["overlap", "missed"]
"""Why a tick does not start."""

LATE = 60.0
"""Seconds. A tick that starts later than that was missed."""
MOST = 1000
"""The most missed ticks that are made up at once, and the most ticks that wait for their turn."""


def checked_overlap(value: object) -> Overlap:
    """Check ``overlap=``."""
    checked: Overlap = _one_of(value, "overlap", get_args(Overlap))
    return checked


def checked_missed(value: object) -> Missed:
    """Check ``missed=``."""
    checked: Missed = _one_of(value, "missed", get_args(Missed))
    return checked


def _one_of(value: object, name: str, allowed: tuple[str, ...]) -> Any:
    if not isinstance(value, str) or value not in allowed:
        texts = " or ".join(f'"{one}"' for one in allowed)
        raise ChainDefinitionError(f"`{name}` must be {texts}; got {short_repr(value)}")
    return value


@frozen
class Due:
    """What a schedule does now. ``starts``: the ticks that start. ``left_out``: those that never will, and why."""

    starts: list[float] = field(factory=list[float])
    left_out: list[tuple[float, Reason]] = field(factory=list[tuple[float, Reason]])


@define(eq=False)
class ScheduleState:
    """The ticks that are to come, those that wait, and how many runs go on.

    Args:
        ticks: when it ticks.
        next: the next tick; those before it are over.
        overlap: as for ``Balancer.every``.
        missed: as for ``Balancer.every``.
        jitter: seconds by which a start is moved back at most, and never to the next tick.
        draw: gives random numbers in [0, 1).
        most: the most missed ticks that are made up at once, and the most ticks that wait.
    """

    ticks: Ticks
    next: float
    overlap: Overlap = "skip"
    missed: Missed = "skip"
    jitter: float = 0.0
    draw: Callable[[], float] = lambda: 0.0
    most: int = MOST
    running: int = field(default=0, init=False)
    _delayed: deque[tuple[float, float]] = field(factory=deque[tuple[float, float]], init=False)
    """The instants at which ticks start that jitter has moved, and the ticks."""
    _waiting: deque[float] = field(factory=deque[float], init=False)
    """The ticks that start when a run has ended."""

    def wake_at(self) -> float:
        """The instant at which something is to be done next. ``inf``: never."""
        return min(self.next, self._delayed[0][0]) if self._delayed else self.next

    def advance(self, now: float) -> Due:
        """It is ``now``: decide about all ticks that have come."""
        due = Due()
        while self._delayed and self._delayed[0][0] <= now:
            self._offer(self._delayed.popleft()[1], due)
        late, in_time = self._passed(now)
        if late and self._make_up(late, in_time, due) and in_time is not None:
            self._offer(in_time, due, made_up=True)  # it waits for those before it
        elif in_time is not None:
            start = in_time + self.draw() * min(self.jitter, self.next - in_time)
            if start <= now:
                self._offer(in_time, due)
            else:
                self._delayed.append((start, in_time))
        return due

    def ended(self) -> Due:
        """A run has ended, or could not begin."""
        due = Due()
        self.running -= 1
        if self._waiting and not self.running:
            self._start(self._waiting.popleft(), due)
        return due

    def jump_back(self, now: float) -> None:
        """The clock was set back by hours: go on from there, as cron does."""
        self.next = self.ticks.after(now)
        self._delayed.clear()

    def _passed(self, now: float) -> tuple[list[float], float | None]:
        """The ticks that have come: those that are late, and the one that is in time, if any."""
        passed: deque[float] = deque()
        while self.next <= now:
            passed.append(self.next)
            self.next = self.ticks.after(self.next)
            if len(passed) > self.most and self.next <= now:  # the clock was set forward by much
                self.next = max(self.next, self.ticks.after(now - LATE))
                while self.next <= now:
                    passed.append(self.next)
                    self.next = self.ticks.after(self.next)
        in_time = passed.pop() if passed and now - passed[-1] <= LATE else None
        return list(passed), in_time

    def _make_up(self, late: list[float], in_time: float | None, due: Due) -> bool:
        """Start or queue the late ticks that are made up. Returns whether there are any."""
        made_up: list[float] = []
        if self.missed == "all":
            made_up = late[: self.most]
        elif self.missed == "run once" and in_time is None:  # else the tick in time is this one run
            made_up = late[-1:]
        due.left_out.extend((tick, "missed") for tick in late if not made_up or tick < made_up[0] or tick > made_up[-1])
        for tick in made_up:
            self._offer(tick, due, made_up=True)
        return bool(made_up)

    def _offer(self, tick: float, due: Due, *, made_up: bool = False) -> None:
        if self.overlap == "parallel" or not (self.running or self._waiting):
            self._start(tick, due)
        elif (made_up or self.overlap == "queue") and len(self._waiting) < self.most:
            self._waiting.append(tick)
        else:
            due.left_out.append((tick, "overlap"))

    def _start(self, tick: float, due: Due) -> None:
        self.running += 1
        due.starts.append(tick)


def first_tick(ticks: Ticks, now: float) -> float:
    """The first tick of a schedule that begins now.

    Raises:
        ChainDefinitionError: there is none.
    """
    tick = ticks.after(now)
    if tick == math.inf:
        raise ChainDefinitionError(f"`when` never comes: {ticks}")
    return tick
