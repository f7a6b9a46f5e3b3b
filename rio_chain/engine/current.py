"""What runs here and now: the run, its strands, and how a body asks about them."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any

from rio_chain.deadline import Deadline
from rio_chain.engine.runtime import Runtime, Slot
from rio_chain.errors import Abandoned, DeadlineExceeded
from rio_chain.outcome import Entry, Log
from rio_chain.plan import Plan
from rio_chain.units import milliseconds

INF = float("inf")


class Run:
    """The state of one run: its log, and why it was told to stop, if it was."""

    __slots__ = ("abandon_after", "log", "plan", "slot", "stop_error")

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.abandon_after: float | None = None  # seconds, where that is its limit; else its limit is a deadline
        self.log: Log = [None] * len(plan.tasks)
        self.stop_error: Exception | None = None
        self.slot: Slot | None = None  # of the root strand, while it runs

    def stop(self, error: Exception) -> None:
        """End the run with ``error`` as soon as it can be. From any thread; a run that is over stays as it is."""
        if self.stop_error is None:
            self.stop_error = error
        slot = self.slot
        if slot is not None:
            slot.stop()

    def overdue(self) -> Exception:
        """The error that says its limit is over."""
        return DeadlineExceeded() if self.abandon_after is None else Abandoned(milliseconds(self.abandon_after))


class Strand:
    """One line of execution of a run. ``edge`` is the earliest limit open right now, its own and those around it."""

    __slots__ = ("at", "edge", "open", "outer", "root", "rt", "run", "slot")

    def __init__(self, run: Run, rt: Runtime, slot: Slot, outer: float, *, root: bool) -> None:
        self.run = run
        self.rt = rt
        self.slot = slot
        self.outer = outer  # of a root: the limit of its run; of others: the limits around it, which those keep
        self.root = root
        self.edge = outer
        self.at = 0  # the task whose turn it is
        self.open = True

    def close(self) -> None:
        """It is over. A copy of its context may live on, in a timer that was cancelled, say, and must not keep the run."""
        self.open = False
        self.run = _OVER


_OVER = Run.__new__(Run)  # of nothing
_OVER.log = []

CURRENT: ContextVar[Strand | None] = ContextVar("rio_chain_current", default=None)


def current_attempt() -> int:
    """Which call of its task, in this run, the body that asks is: 1 for the first. 1 outside of any run."""
    strand = CURRENT.get()
    log: Log = [] if strand is None else strand.run.log  # read first: it may be closed at any moment
    if strand is None or not strand.open:
        return 1
    found: Any = log[strand.at]
    return 1 if found is None else found.calls + 1 if type(found) is Entry else 2


def remaining() -> float:
    """Milliseconds until the earliest limit around the body that asks; ``inf`` outside of any run.

    Example:
        >>> from rio_chain import Task, remaining
        >>> Task(lambda: 0 < remaining() <= 100).timeout(100)().run().unwrap()
        True
    """
    strand = CURRENT.get()
    if strand is None or not strand.open:
        return INF
    return milliseconds(strand.edge - strand.rt.now())


def inherited() -> Deadline | None:
    """The deadline that a run begun or posted here inherits from the body that does so."""
    strand = CURRENT.get()
    if strand is None or not strand.open or strand.edge == INF:
        return None
    return Deadline(strand.edge, strand.rt.now)
