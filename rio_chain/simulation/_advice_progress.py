"""``advise(..., progress=True)``: how many requests were simulated, and what was found so far."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator

from rio_chain.inspect.live._table import Cell, Sheet
from rio_chain.simulation._estimate import short


class AdviceProgress:
    """The state of a search, as a View.

    Args:
        title: the title of the chain.
        goal: the name of the percentile.
    """

    def __init__(self, title: str, goal: str) -> None:
        self._title, self._goal = title, goal
        self._requests, self._best, self._first = 0, math.inf, math.inf
        self._began = time.monotonic()
        self._said = -1

    def follow(self, requests: int, best: float) -> None:
        """So many requests were simulated, and the best value of the goal is this one."""
        self._first = best if self._first == math.inf else self._first  # of the chain as it is
        self._requests, self._best = requests, best

    def sheet(self, rows: int) -> Sheet:  # noqa: ARG002 - there are none
        """As ``View.sheet``."""
        return Sheet(Cell(f"advise {self._title}"), note=Cell(self._line()))

    def news(self) -> Iterator[str]:
        """As ``View.news``."""
        if self._said != self._requests:
            self._said = self._requests
            yield f"advise {self._title}: {self._line()}"

    def _line(self) -> str:
        parts = [f"{self._requests:,} requests simulated"]
        if self._best < NEVER:
            parts.append(f"{self._goal} now {_goal(self._first)}, best {_goal(self._best)}")
        parts.append(f"{time.monotonic() - self._began:.1f} s")
        return ", ".join(parts)


NEVER = 1e8
"""From here on, a value of the goal in ms means that too many requests fail."""


def _goal(value: float) -> str:
    return f"{short(value)} ms" if value < NEVER else "never"
