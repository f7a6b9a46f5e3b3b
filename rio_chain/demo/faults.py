"""The fault of each call: a pure function, so every run with one seed has the same faults."""

from __future__ import annotations

import random
from typing import Literal

Node = Literal["users", "orders", "shops"]
Fault = Literal["none", "slow", "flaky", "wrong"]

KINDS: dict[Node, Fault] = {"users": "slow", "orders": "flaky", "shops": "wrong"}
RATES: dict[Node, float] = {"users": 0.2, "orders": 0.35, "shops": 0.3}

HELD = 1.5
"""Seconds that a slow answer is delayed: far more than the limit in the chain."""


def fault(seed: int, request: int, node: Node, attempt: int) -> Fault:
    """The fault of this call. It does not depend on its time or on other calls."""
    drawn = random.Random(f"{seed}/{request}/{node}/{attempt}").random()  # noqa: S311 - it must be reproducible
    return KINDS[node] if drawn < RATES[node] else "none"
