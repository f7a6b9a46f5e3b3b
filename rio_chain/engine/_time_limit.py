"""The ``time_limit=`` of a fan-out or an ``each``: its strands end then, and what has come by then is its result."""

from __future__ import annotations

from rio_chain._core.units import milliseconds
from rio_chain.engine._current_run import INF, Run, Strand
from rio_chain.engine._expire import is_lost
from rio_chain.errors import TaskTimedOut


class TimeIsUp(BaseException):
    """An ``each`` has reached its time limit and goes on with what it has. Caught where it was begun."""


def limit_from_now(strand: Strand, seconds: float | None) -> float:
    """The instant of a time limit that begins now. Infinity if there is none, or if one around is earlier."""
    if seconds is None:
        return INF
    until = strand.rt.now() + seconds
    return until if until < strand.deadline else INF


def is_up(strand: Strand, until: float) -> bool:
    """Whether a strand that ended with ``OuterExpired`` has reached this limit, and not one around the whole."""
    return until < INF and strand.run.stop_error is None and strand.rt.now() < strand.deadline and not is_lost(strand)


def timed_out(run: Run, low: int, high: int, seconds: float) -> TaskTimedOut:
    """The error of the tasks ``low`` up to ``high`` that have not ended when the limit is reached."""
    tasks = run.plan.tasks
    name = tasks[low].name if high - low == 1 else f"{tasks[low].name} .. {tasks[high - 1].name}"
    return TaskTimedOut(name, milliseconds(seconds))
