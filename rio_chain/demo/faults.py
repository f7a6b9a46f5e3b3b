"""Which fault a server shows for which call: a pure function, so that every run of one seed sees the same faults."""

from __future__ import annotations

import random
from typing import Literal

Node = Literal["users", "orders", "shops"]
Fault = Literal["none", "slow", "flaky", "wrong"]

KINDS: dict[Node, Fault] = {"users": "slow", "orders": "flaky", "shops": "wrong"}
RATES: dict[Node, float] = {"users": 0.2, "orders": 0.35, "shops": 0.3}

HELD = 1.5
"""Seconds a slow answer is held back: far over the limit that the chain sets."""


def fault(seed: int, request: int, node: Node, attempt: int) -> Fault:
    """The fault of this very call, whenever it arrives and whatever else is going on."""
    drawn = random.Random(f"{seed}/{request}/{node}/{attempt}").random()  # noqa: S311 - a reproducible draw is wanted
    return KINDS[node] if drawn < RATES[node] else "none"
