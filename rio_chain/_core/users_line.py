"""Finds the line of the user's program that called rio_chain, for warnings."""

from __future__ import annotations

import inspect
from pathlib import Path

_PACKAGE = str(Path(__file__).parents[1])

Line = tuple[str, int]
"""A file and a line in it."""


def users_line() -> Line:
    """The line outside of rio_chain that led to this call."""
    frame = inspect.currentframe()
    while frame is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        frame = frame.f_back
    return ("?", 0) if frame is None else (frame.f_code.co_filename, frame.f_lineno)
