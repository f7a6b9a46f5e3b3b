"""How long requests may take and wait, and which go first: the same in all applications of the shop."""

from __future__ import annotations

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
