"""Strands that run at once, of which one may decide that the others are not needed: fan-outs, hedges, races, items.

Once a race is decided nothing more begins in it. The losers are stopped by what runs the race, but the winner may give
its place under a limit to one of them before that. So a strand in a race gives places back when it is known whether its
end decides the race, and a loser that gets one afterwards ends before it uses it.
"""

from __future__ import annotations

from collections.abc import Callable

from rio_chain.engine._instructions import ADMIT, BRIDGE, CHOOSE, EACH, EXPAND, FAN, HANDLER, PIECE, TASK
from rio_chain.engine._instructions import RACE as COMPETE

BEGINS = frozenset({TASK, BRIDGE, ADMIT, FAN, COMPETE, EACH, EXPAND, CHOOSE, HANDLER, PIECE})
"""The instructions that call functions, or may have to wait."""


class RaceOver(BaseException):
    """The race is decided, so the strand goes no further. Caught where the strand began, or its race was begun."""


class Race:
    """What the strands of one race have in common.

    Args:
        around: the contender whose strand runs the race, where that is in a race itself.
        count: how many strands there are, as far as that is known.

    Attributes:
        decided: whether the others are not needed any more.
        left: a token for each strand that has not ended; ``pop`` is atomic.
    """

    __slots__ = ("around", "decided", "left")

    def __init__(self, around: Contender | None, count: int = 0) -> None:
        self.around = around
        self.decided = False
        self.left = [None] * count

    def expect(self, count: int) -> None:
        """There will be so many strands."""
        self.left = [None] * count

    @property
    def over(self) -> bool:
        """Whether it is decided, or a race around it is."""
        race = self
        while not race.decided:
            if race.around is None:
                return False
            race = race.around.race
        return True


class Contender:
    """A strand in a race: what it has to give back when it is known whether that decides the race."""

    __slots__ = ("owed", "race")

    def __init__(self, race: Race) -> None:
        self.race = race
        self.owed: list[Callable[[], None]] = []

    def owe(self, give_back: Callable[[], None]) -> None:
        """Call this later."""
        self.owed.append(give_back)

    def pay(self) -> None:
        """Give back what is owed: the strand goes on, so its race was not decided by what has ended."""
        while self.owed:
            self.owed.pop(0)()

    def go_on(self, code: int) -> None:
        """Called before each instruction. Raises ``RaceOver`` where that would begin something for nothing."""
        if code in BEGINS:
            race = self.race
            if race.decided or (race.around is not None and race.over):
                raise RaceOver
            if self.owed:
                self.pay()

    def ended(self) -> None:
        """The strand has ended, and its race knows. Where that ends the race, it may decide the race around as well."""
        race = self.race
        race.left.pop()
        if self.owed:
            if race.around is not None and (race.decided or not race.left):
                race.around.owed.extend(self.owed)
                self.owed = []
            else:
                self.pay()
