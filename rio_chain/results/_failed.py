"""Failed: the internal result of a run that gave no value."""

from __future__ import annotations

from typing import Any


class Failed:
    """The result of a run, or of a part of a run, that failed. It is passed on in place of a value."""

    __slots__ = ("error",)

    def __init__(self, error: Any) -> None:
        self.error = error
