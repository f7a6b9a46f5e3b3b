"""Strands that run at once, where one may decide that the others are not needed: fan-outs, hedges, races, items.

When a race is decided, no strand in it begins anything more. Its losers are stopped by the code that runs the race, but
a winner could free its place under a limit for a loser before that. So a strand in a race gives places back only when
it is known whether its end decides the race. A loser that gets a place afterwards ends before it uses it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from rio_chain.engine._instructions import ADMIT, BATCH, BRIDGE, CHOOSE, EACH, EXPAND, FAN, HANDLER, PIECE, TASK
from rio_chain.engine._instructions import RACE as COMPETE

if TYPE_CHECKING:
    from rio_chain.engine._parked import RunLine

BEGINS = frozenset({TASK, BRIDGE, ADMIT, FAN, COMPETE, EACH, EXPAND, CHOOSE, HANDLER, BATCH, PIECE})
"""The instructions that call functions, or may have to wait."""


class RaceOver(BaseException):
    """The race is decided, so the strand must end. Caught where the strand began, or where its race was begun."""


class Race:
    """The common state of the strands of one race.

    Args:
        around: the contender whose strand runs this race, if that strand is in a race itself.
        count: the number of strands, if it is known already.

    Attributes:
        decided: whether the other strands are no longer needed.
        left: a token for each strand that has not ended; ``pop`` is atomic.
        line: the line of execution that it is a part of, where strands of it wait in a batch.
        idle: how many of its strands wait for work that others of them may find.
    """

    __slots__ = ("around", "decided", "idle", "left", "line")

    def __init__(self, around: Contender | None, count: int = 0) -> None:
        self.around = around
        self.decided = False
        self.left = [None] * count
        self.line: RunLine | None = None
        self.idle: Callable[[], int] | None = None

    def expect(self, count: int) -> None:
        """Set the number of strands."""
        self.left = [None] * count

    @property
    def over(self) -> bool:
        """Whether this race is decided, or a race around it."""
        race = self
        while not race.decided:
            if race.around is None:
                return False
            race = race.around.race
        return True


class Contender:
    """A strand in a race, with the places that it gives back when it is known whether it decides the race."""

    __slots__ = ("owed", "race")

    def __init__(self, race: Race) -> None:
        self.race = race
        self.owed: list[Callable[[], None]] = []

    def owe(self, give_back: Callable[[], None]) -> None:
        """Call ``give_back`` later, in ``pay``."""
        self.owed.append(give_back)

    def pay(self) -> None:
        """Give the places back: the strand goes on, so the part of it that ended did not decide the race."""
        while self.owed:
            self.owed.pop(0)()

    def idles(self) -> None:
        """The strand waits for work that others of its race may find."""
        self.pay()
        if self.race.line is not None:
            self.race.line.look_at(self.race)

    def go_on(self, code: int) -> None:
        """Called before each instruction. Raises ``RaceOver`` if the instruction would begin something in vain."""
        if code in BEGINS:
            race = self.race
            if race.decided or (race.around is not None and race.over):
                raise RaceOver
            if self.owed:
                self.pay()

    def ended(self) -> None:
        """The strand has ended, and its race knows it. If that ends the race, it may also decide the race around it."""
        race = self.race
        race.left.pop()
        if race.line is not None and not race.over:
            race.line.look_at(race)
        if self.owed:
            if race.around is not None and (race.decided or not race.left):
                race.around.owed.extend(self.owed)
                self.owed = []
            else:
                self.pay()
