"""One run from its beginning to its Outcome, in the strand of the caller."""

from __future__ import annotations

import sys
from collections.abc import Coroutine
from functools import partial
from typing import Any, cast

from rio_chain._core.deadline import Deadline
from rio_chain._core.units import milliseconds
from rio_chain.chain._request import Request
from rio_chain.engine._blocking_call import CALLING
from rio_chain.engine._current_run import CURRENT, INF, Run, Strand, inherited
from rio_chain.engine._interpreter import interpret
from rio_chain.engine._interruptions import is_interruption
from rio_chain.engine._prepare import program_for
from rio_chain.engine._run_journaled import run_journaled
from rio_chain.engine._runtime_protocol import Runtime
from rio_chain.errors import DeadlineExceeded
from rio_chain.results._outcome import Failed, Outcome
from rio_chain.results._task_record import Status, close, status_of

ABANDON_AFTER = 30.0
"""Seconds; the limit of a run that has no other limit."""
UNFINISHED: Any = object()
"""The value of a run that an exception ends."""
NOBODYS = cast("Outcome[Any]", None)
"""The Outcome of a run that was cancelled. It is never returned."""


class _Failed:
    ok = False
    error = None


FAILED = cast("Outcome[Any]", _Failed())
"""The Outcome of a run that a ``SystemExit`` or the like of a body ends. It counts as failed; it is never returned."""


async def execute(rt: Runtime, request: Request[Any], run: Run, deadline: Deadline | None = None) -> Outcome[Any]:
    """Run the request; ``run`` is its new state. The deadline of the run around it counts as well.

    A cancellation, and any other BaseException of a body, is raised as it is. All other errors are in the Outcome.
    """
    checkpoints = rt.checkpoints
    passed = 0
    if checkpoints is not None:
        await checkpoints.heed()
        passed = checkpoints.count()
    began = rt.now()
    walking = begin(rt, request, run, began, deadline, ABANDON_AFTER)
    del request
    got: Any = UNFINISHED
    try:
        got = await walking
    finally:
        outcome = finish(run, got, (began, began, rt.now()))
    if checkpoints is not None and checkpoints.count() == passed:
        await checkpoints.pause()
    return outcome


# `execute`, split up for callers that cannot afford another coroutine per request. They drop the request after
# `begin`, so that its arguments live only as long as the run needs them.


def begin(  # noqa: PLR0917 - called for every request
    rt: Runtime, request: Request[Any], run: Run, now: float, deadline: Deadline | None, abandon_after: float
) -> Coroutine[Any, Any, Any]:
    """Begin a run. Await the returned coroutine at once: it returns the value, or ``Failed``. Then call ``finish``.

    Args:
        rt: the runtime of the calling strand.
        request: the request to run.
        run: its new state; the caller may ``stop`` it.
        now: the current time, on the runtime's clock.
        deadline: that of the run; the deadline of the run around it counts as well.
        abandon_after: seconds from now; the limit of a run that has no deadline and no outermost timeout.
    """
    program, value = program_for(request, rt, run.journal)
    run.origin = now
    parent_strand = CURRENT.get()
    until = INF if deadline is None and parent_strand is None else _until(rt, deadline, inherited())
    late = until <= now
    if until == INF and not program.limited:
        run.abandon_after = abandon_after
        until = now + abandon_after
    if parent_strand is not None and parent_strand.open:
        run.around = parent_strand.run
        if parent_strand.rt.now == rt.now:
            run.origin = parent_strand.run.origin
    strand = run.root = run.strand(rt, rt.slot(), until)
    if parent_strand is not None:
        strand.before = parent_strand, CALLING.get()
        # an abandoned blocking call in this run keeps the places of the body around it, too
        strand.permits, strand.depth = parent_strand.permits, parent_strand.depth
    if program.kept:
        strand.kept = [None] * program.kept
    CURRENT.set(strand)
    if run.stop_error is not None or late:
        return _at_once(run, run.stop_error or DeadlineExceeded("before it began"))
    if run.journal is not None:
        walk = partial(interpret, strand, program.ops, 0, program.length, value)
        return run_journaled(strand, run.journal, walk)
    return interpret(strand, program.ops, 0, program.length, value, now)


async def _at_once(run: Run, error: Exception) -> Failed:
    return _answered(run, error)


def finish(run: Run, got: Any, times: tuple[float, float, float]) -> Outcome[Any]:
    """End a run, however it ended. All runs end here.

    Args:
        run: its state.
        got: its value, or ``Failed``. ``UNFINISHED`` if an exception is raised: then no Outcome is made.
        times: when the run was posted, began and ended.
    """
    strand = run.root
    if strand is not None:  # None: it never began
        run.root = run.around = None
        here: Any = CURRENT.get()
        if here is strand or not isinstance(here, Strand):  # else a garbage collector ends it, in another run
            if strand.before is None:
                CURRENT.set(None)
            else:
                parent_strand, calling = strand.before
                CURRENT.set(parent_strand)
                CALLING.set(calling)
        strand.before = None
        strand.end()
    if got is UNFINISHED:
        return _broken(run, None if strand is None else strand.rt, sys.exception(), times[2] - times[1])
    if run.stop_error is not None and type(got) is not Failed:
        got = _answered(run, run.stop_error)  # the body ignored the stop, or had nothing more to wait for
    if run.observed:
        run.over(got.error if type(got) is Failed else None)
        _report_end(run, got, times[2] - times[1])
    if run.journal is not None and run.journal.times is not None:
        times = run.journal.times
    return Outcome(run.plan, run.log, got, times)


def _broken(run: Run, rt: Runtime | None, error: BaseException | None, seconds: float) -> Outcome[Any]:
    """The Outcome of a run that an exception ends: a cancellation, or a BaseException of a body."""
    failed = error is not None and rt is not None and not is_interruption(rt, error)
    if run.observed:
        run.ended("failed" if failed else "cancelled", error if failed else None, milliseconds(seconds))
    return FAILED if failed else NOBODYS


def _until(rt: Runtime, *deadlines: Deadline | None) -> float:
    """The earliest of the deadlines, on the runtime's clock."""
    return min((deadline.on(rt.now) for deadline in deadlines if deadline is not None), default=INF)


def outcome_of_unbegun(request: Request[Any], run: Run, error: Exception, posted: float, now: float) -> Outcome[Any]:
    """The Outcome of a request that ended while it waited."""
    got = _answered(run, error)
    if run.observed:
        _report_end(run, got, 0.0)
    return Outcome(request.plan, run.log, got, (posted, now, now))


def _report_end(run: Run, got: Any, seconds: float) -> None:
    status: Status
    status, error = (status_of(got.error), got.error) if type(got) is Failed else ("succeeded", None)
    run.ended(status, error, milliseconds(seconds))


def _answered(run: Run, error: Exception) -> Failed:
    close(run.log, 0, len(run.log), error)
    return Failed(error)
