"""Timeout: a limit on all that stands to its left."""

from __future__ import annotations

from attrs import frozen

from rio_chain._core.units import format_duration


@frozen
class Timeout:
    """At most ``seconds`` for what it wraps, counted from the moment that is entered."""

    seconds: float

    def __str__(self) -> str:
        return f"timeout {format_duration(self.seconds)}"
