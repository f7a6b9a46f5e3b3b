"""Timeout: limits the time of the chain to its left."""

from __future__ import annotations

import math
from typing import Any

from attrs import frozen

from rio_chain._core.units import format_duration
from rio_chain.policies._number_format import exact_ms
from rio_chain.policies._plain_data import ms
from rio_chain.policies._policy import Facts, Label, Policy, PolicyBounds


@frozen
class Timeout(Policy):
    """Allows ``seconds`` for what it wraps, counted from when that begins."""

    builder_call = "timeout"
    needs_task = False
    asked = False

    seconds: float

    def source(self) -> str:
        """As ``Policy.source``."""
        return f".timeout({exact_ms(self.seconds)})"

    def label(self) -> Label:
        """As ``Policy.label``."""
        return Label(str(self), "time")

    def to_dict(self) -> dict[str, Any]:
        """As ``Policy.to_dict``."""
        return {"kind": "timeout", "limit_ms": ms(self.seconds)}

    def bounds(self, inner: float, _limit: float = math.inf, /) -> PolicyBounds:
        """As ``Policy.bounds``."""
        return PolicyBounds(min(inner, self.seconds))

    def facts(self) -> Facts:
        """As ``Policy.facts``."""
        return Facts(limit=self.seconds)

    def __str__(self) -> str:
        return f"timeout {format_duration(self.seconds)}"
