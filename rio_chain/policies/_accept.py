"""Accept: a value that is not good enough is a failure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import field, frozen


@frozen
class Accept:
    """Where ``predicate`` says False to a value, what it wraps has failed with ``NotAccepted``."""

    predicate: Callable[[Any], bool] = field(hash=False)

    def __str__(self) -> str:
        return "accepted answers only"
