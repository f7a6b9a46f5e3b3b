"""Screens for the tests of live views."""

from __future__ import annotations

import io
from typing import Any

from rio_chain.inspect.live._table import Sheet


class Kept:
    """A screen that keeps what it is shown."""

    every = 0.0

    def __init__(self) -> None:
        self.seen: list[Sheet] = []
        self.closed = 0

    def show(self, view: Any) -> None:
        self.seen.append(view.sheet(40))

    def close(self) -> None:
        self.closed += 1

    @property
    def last(self) -> str:
        return self.seen[-1].note.text


class Terminal(io.StringIO):
    """A text file that says that it is a terminal."""

    def isatty(self) -> bool:
        return True
