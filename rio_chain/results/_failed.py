"""Failed: what stands in the place of a value where there is none."""

from __future__ import annotations

from typing import Any


class Failed:
    """How a run, or a part of one, that failed ends: what stands in the place of its value."""

    __slots__ = ("error",)

    def __init__(self, error: Any) -> None:
        self.error = error
