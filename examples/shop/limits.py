"""What all applications of the shop have in common: how long requests may take, which go first, what is counted."""

from __future__ import annotations

from rio_chain.balancer import Stats

WORKERS, BUFFER = 32, 200
"""So many requests run at once, and so many may wait."""
DEADLINE = 5_000
"""Milliseconds for one request; a caller may ask for less."""
QUEUE_TIMEOUT = 500
"""Milliseconds that it may wait for its turn."""
MEMBERS = frozenset({"Bearer ada", "Bearer grace"})


def urgency(authorization: str | None) -> int:
    """Members go first. A secret that we gave out says who is one, and never a number that the caller chose."""
    return 5 if authorization in MEMBERS else 0


def counts(stats: Stats) -> dict[str, int]:
    """How many requests run, wait, and have ended, and how."""
    names = ("running", "queued", "abandoned", "done", "rejected", "succeeded", "failed", "timed_out", "cancelled")
    return {name: getattr(stats, name) for name in names}
