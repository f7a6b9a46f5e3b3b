"""Remembers the Outcome that a live view has shown in a notebook cell, so that the cell shows its picture only once."""

from __future__ import annotations

import sys
from typing import Any

_last: tuple[int, int] | None = None
"""The identity of the Outcome, and the number of the cell. The Outcome itself is not kept."""


def note_shown_live(outcome: object) -> None:
    """Note that a live view has ended with the picture of this Outcome."""
    global _last  # noqa: PLW0603 - a process has one notebook
    cell = _cell()
    _last = None if cell is None else (id(outcome), cell)


def shown_live(outcome: object) -> bool:
    """Whether a live view in this cell has ended with the picture of this Outcome."""
    return _last is not None and _last == (id(outcome), _cell())


def _cell() -> int | None:
    """The number of the running cell. None if this is not a notebook."""
    ipython: Any = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    number = getattr(shell, "execution_count", None)
    return number if isinstance(number, int) else None
