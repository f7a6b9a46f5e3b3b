"""The warnings of a balancer: calls that still run after it closed, and that it was dropped without being closed."""

from __future__ import annotations

import threading
import warnings
from collections import Counter
from collections.abc import Iterable

from rio_chain._core.units import short_repr
from rio_chain._core.users_line import Line, users_line

NAMES = 5
"""The most tasks that are named."""


def left_running(call: str, tasks: Iterable[str]) -> None:
    """Warn that calls of these tasks still run after ``call``. It does not warn at exit, where they end anyway."""
    counted = Counter(tasks)
    if not counted or not threading.main_thread().is_alive():
        return
    number = counted.total()
    calls = "1 call that still runs" if number == 1 else f"{number} calls that still run"
    several = sorted(counted.items(), key=lambda one: (-one[1], one[0]))
    named = [short_repr(task) + (f" ({n} calls)" if n > 1 else "") for task, n in several[:NAMES]]
    more = f" and {len(several) - NAMES} more" if len(several) > NAMES else ""
    text = (
        f"{call} stopped waiting for {calls}: {', '.join(named)}{more}. A sync function can't be stopped, and its "
        "thread ends when it returns; give what it waits for a timeout of its own"
    )
    warnings.warn_explicit(text, RuntimeWarning, *users_line())


def dropped(balancer: str, made: Line) -> None:
    """Warn that a balancer was dropped. ``made`` is the line that made it."""
    warnings.warn_explicit(
        f"{balancer} was dropped without being closed; write `with Balancer(...) as balancer:`, "
        "`async with`, or call `close()`",
        ResourceWarning,
        *made,
    )
