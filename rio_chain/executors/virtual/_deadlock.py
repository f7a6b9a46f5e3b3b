"""Describes what each strand waits for, when nothing can happen any more."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import FrameType
from typing import Any

from rio_chain._core.suspended_frames import frames_of
from rio_chain._core.units import escape_nonprintable, milliseconds
from rio_chain.engine._current_run import CURRENT, Run
from rio_chain.engine._run import ABANDON_AFTER
from rio_chain.errors import RioError
from rio_chain.executors._strand import ThreadStrand
from rio_chain.executors._strand_slot import StrandDeadline
from rio_chain.executors._thread_kernel import Kernel
from rio_chain.executors._timers import Timed


class Deadlock(RioError):
    """In virtual time nothing is ready and nothing is due, but a caller or a strand waits: it would wait for ever.

    A limit that you wrote would be due and end the wait. The limit of a run without any other one (``abandon_after``)
    does not count: on another executor such a run fails with ``Abandoned`` after half a minute.

    Attributes:
        ms: the instant, in milliseconds of virtual time.
        waits: one line for each that waits: its name, and what it waits for.
    """

    def __init__(self, at: float, waits: tuple[str, ...]) -> None:
        super().__init__(at, waits)
        self.ms = milliseconds(at)
        self.waits = waits

    def __str__(self) -> str:
        head = f"deadlock after {self.ms:g} ms of virtual time: nothing is ready and nothing is due, but"
        return "\n  ".join([head, *(self.waits or ("the caller waits for something that will never happen",))])


def gives_up(alarm: Timed) -> bool:
    """Whether the timer only gives up a run, by a limit that the user did not write (``abandon_after``)."""
    strand = alarm.strand if isinstance(alarm, StrandDeadline) else None
    found = None if strand is None else strand.context.get(CURRENT)
    if found is None or not found.open or alarm.deadline < found.parent_deadline:
        return False
    run: Run | None = found.run
    while run is not None and run.abandon_after is None:
        run = run.around
    return run is not None and run.abandon_after == ABANDON_AFTER


def waits(kernel: Kernel) -> tuple[str, ...]:
    """A line for each strand that waits, without those that wait only for others of them."""
    lines = (_line(strand, frames_of(strand.coroutine)) for strand in kernel.strands)
    return tuple(sorted(line for line in lines if line is not None))


def _line(strand: ThreadStrand, frames: list[FrameType]) -> str | None:
    for frame in reversed(frames):
        name, code = frame.f_globals.get("__name__", ""), frame.f_code
        if name.startswith("rio_chain.") and code.co_qualname in _WAITS:
            what = _WAITS[code.co_qualname](frame.f_locals)
            return what and f"{_who(strand)} waits for {what}"
    return f"{_who(strand)} waits for something that will never happen{_place(frames)}"


def _who(strand: ThreadStrand) -> str:
    found = strand.context.get(CURRENT)
    if found is None or not found.open:
        return "a function"
    plan = found.run.plan
    return f"task {plan.tasks[found.at].name}" + ("" if len(plan.tasks) == 1 else f" of {plan.title}")


def _place(frames: list[FrameType]) -> str:
    """The innermost line outside of rio_chain."""
    for frame in reversed(frames):
        if not frame.f_globals.get("__name__", "").startswith("rio_chain."):
            return (
                f", in {escape_nonprintable(frame.f_code.co_qualname)}, "
                f"{escape_nonprintable(frame.f_code.co_filename)}:{frame.f_lineno}"
            )
    return ""


Locals = Mapping[str, Any]


def _nothing(_: Locals) -> str | None:
    return None


def _slot(held: Locals) -> str:
    return f"one of the {held['self'].admission.queue.workers} slots of its balancer, all of which are taken"


_WAITS: dict[str, Callable[[Locals], str | None]] = {
    "_enter_policy": lambda held: held["policy"].awaited(),
    "Dispatcher.turn_came": _slot,
    "Ticket._wait": lambda held: f"{held['self']!r}",
    "Ticket.ended": lambda held: f"{held['self']!r}",
    "HedgeRace.contender": _nothing,  # these wait only for other strands of the same run
    "HedgeRace.timekeeper": _nothing,
    "ThreadRuntime.call_async": _nothing,
    "race": _nothing,
}
"""What our coroutines wait for, by their names, from their variables."""
