"""One run from its beginning to its Outcome, in the strand that calls."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

from rio_chain._core.deadline import Deadline
from rio_chain.chain._request import Request
from rio_chain.engine._blocking_call import CALLING
from rio_chain.engine._current_run import CURRENT, INF, Run, Strand, inherited
from rio_chain.engine._interpreter import interpret
from rio_chain.engine._prepare import program_for
from rio_chain.engine._runtime_protocol import Runtime
from rio_chain.errors import DeadlineExceeded
from rio_chain.results._outcome import Failed, Outcome
from rio_chain.results._task_record import close

ABANDON_AFTER = 30.0
"""Seconds; the limit of a run that nothing else limits."""


async def execute(rt: Runtime, request: Request[Any], run: Run) -> Outcome[Any]:
    """Run the request; ``run`` is its state, new. The deadline inherited from the run around it counts.

    Cancellation, and any BaseException of a body, leaves it as it is; all else is in the Outcome.
    """
    checkpoints = rt.checkpoints
    passed = 0
    if checkpoints is not None:
        await checkpoints.heed()
        passed = checkpoints.count()
    began = rt.now()
    walking = begin(rt, request, run, began, None, ABANDON_AFTER)
    del request
    try:
        got = await walking
    finally:
        end(run)
    outcome = outcome_of(run, got, (began, began, rt.now()))
    if checkpoints is not None and checkpoints.count() == passed:
        await checkpoints.pause()
    return outcome


# The parts of it, for who would have to keep a coroutine of theirs around it for each request that is under way. They
# let go of the request when it has begun: what it was called with lives for as long as the walk needs it.


def begin(  # noqa: PLR0917 - called for every request
    rt: Runtime, request: Request[Any], run: Run, now: float, deadline: Deadline | None, abandon_after: float
) -> Coroutine[Any, Any, Any]:
    """The run has begun; what gives its value, or ``Failed``, is to be awaited at once. Then comes ``end``.

    Args:
        rt: the runtime of the strand that calls.
        request: what to run.
        run: its state, new; the caller may ``stop`` it.
        now: the instant, on the runtime's clock.
        deadline: the limit of the run; the one inherited from the run around it counts as well.
        abandon_after: seconds, counted from now, for a run without a deadline or an outermost timeout.
    """
    program, value = program_for(request, rt)
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
        # an abandoned blocking call in it keeps the places of the body around, too
        strand.permits = parent_strand.permits
    if program.kept:
        strand.kept = [None] * program.kept
    CURRENT.set(strand)
    if run.stop_error is not None or late:
        return _at_once(run, run.stop_error or DeadlineExceeded("before it began"))
    return interpret(strand, program.ops, 0, program.length, value, now)


async def _at_once(run: Run, error: Exception) -> Failed:
    return _answered(run, error)


def end(run: Run) -> None:
    """The run is over, however it ended."""
    strand = run.root
    if strand is None:
        return  # it never began
    run.root = run.around = None
    here: Any = CURRENT.get()
    if here is strand or not isinstance(here, Strand):  # else a collector ends it, in the context of somebody else
        if strand.before is None:
            CURRENT.set(None)
        else:
            parent_strand, calling = strand.before
            CURRENT.set(parent_strand)
            CALLING.set(calling)
    strand.before = None
    strand.end()


def outcome_of(run: Run, got: Any, times: tuple[float, float, float]) -> Outcome[Any]:
    """What came of a run that is over. ``times``: when it was posted, began, and ended."""
    if run.stop_error is not None and type(got) is not Failed:
        got = _answered(run, run.stop_error)  # it did not listen, or had nothing more to wait for
    if run.observed:
        run.over(got.error if type(got) is Failed else None)
    return Outcome(run.plan, run.log, got, times)


def _until(rt: Runtime, *deadlines: Deadline | None) -> float:
    """The earliest of the deadlines, on the runtime's clock."""
    return min((deadline.on(rt.now) for deadline in deadlines if deadline is not None), default=INF)


def outcome_of_unbegun(request: Request[Any], run: Run, error: Exception, posted: float, now: float) -> Outcome[Any]:
    """The Outcome of a request that ended while it waited."""
    return Outcome(request.plan, run.log, _answered(run, error), (posted, now, now))


def _answered(run: Run, error: Exception) -> Failed:
    close(run.log, 0, len(run.log), error)
    return Failed(error)
