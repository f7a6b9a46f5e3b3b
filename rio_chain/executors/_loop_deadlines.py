"""The deadlines of the asyncio loop that runs in this thread."""

from __future__ import annotations

import threading

from rio_chain.executors._timers import L, LoopDeadlines

_local = threading.local()


def deadlines_of(loop: L) -> LoopDeadlines[L]:
    """The LoopDeadlines of a loop, kept as long as this thread runs no other loop."""
    reaper: LoopDeadlines[L] | None = getattr(_local, "reaper", None)
    if reaper is None or reaper.loop is not loop:
        reaper = _local.reaper = LoopDeadlines(loop)
    return reaper
