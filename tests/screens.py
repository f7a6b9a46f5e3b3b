"""A screen for tests of live views."""

from __future__ import annotations

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
