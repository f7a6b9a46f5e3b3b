"""One run from its beginning to its Outcome, in the strand that calls."""

from __future__ import annotations

from typing import Any

from rio_chain.deadline import Deadline
from rio_chain.engine.current import CURRENT, INF, Run, inherited
from rio_chain.engine.given import program_for
from rio_chain.engine.interpret import walk
from rio_chain.engine.runtime import Runtime
from rio_chain.errors import DeadlineExceeded
from rio_chain.log import close
from rio_chain.outcome import Failed, Outcome
from rio_chain.request import Request

ABANDON_AFTER = 30.0
"""Seconds; the limit of a run that nothing else limits."""


async def execute(
    rt: Runtime,
    request: Request[Any],
    run: Run,
    *,
    deadline: Deadline | None = None,
    abandon_after: float = ABANDON_AFTER,
    posted: float | None = None,
) -> Outcome[Any]:
    """Run the request. Cancellation, and any BaseException of a body, leaves it as it is; all else is in the Outcome.

    Args:
        rt: the runtime of the strand that calls.
        request: what to run.
        run: its state, new; the caller may ``stop`` it.
        deadline: the limit of the run; the one inherited from the run around it counts as well.
        abandon_after: seconds, counted from here, for a run without a deadline or an outermost timeout.
        posted: when it was handed to the balancer, on the runtime's clock; default now.
    """
    plan = request.plan
    program, value = program_for(request, rt)
    began = run.origin = rt.now()
    outer = CURRENT.get()
    until = INF if deadline is None and outer is None else _until(rt, deadline, inherited())
    late = until <= began
    if until == INF and not program.limited:
        run.abandon_after = abandon_after
        until = began + abandon_after
    if outer is not None and outer.open:
        run.around = outer.run
        if outer.rt.now == rt.now:
            run.origin = outer.run.origin
    slot = run.slot = rt.slot()
    strand = run.strand(rt, slot, until)
    if program.kept:
        strand.kept = [None] * program.kept
    token = CURRENT.set(strand)
    try:
        if run.stop_error is not None:
            got: Any = _answered(run, run.stop_error)
        elif late:
            got = _answered(run, DeadlineExceeded("before it began"))
        else:
            got = await walk(strand, program.ops, 0, program.length, value, [], began)
            if run.stop_error is not None and type(got) is not Failed:
                got = _answered(run, run.stop_error)  # it did not listen, or had nothing more to wait for
    finally:
        run.slot = run.around = None
        strand.close()
        slot.release()
        CURRENT.reset(token)
    if run.watched:
        run.over(got.error if type(got) is Failed else None)
    return Outcome(plan, run.log, got, (began if posted is None else posted, began, rt.now()))


def _until(rt: Runtime, *deadlines: Deadline | None) -> float:
    """The earliest of the deadlines, on the runtime's clock."""
    return min((deadline.on(rt.now) for deadline in deadlines if deadline is not None), default=INF)


def unbegun(request: Request[Any], run: Run, error: Exception, posted: float, now: float) -> Outcome[Any]:
    """The Outcome of a request that ended while it waited."""
    return Outcome(request.plan, run.log, _answered(run, error), (posted, now, now))


def _answered(run: Run, error: Exception) -> Failed:
    close(run.log, 0, len(run.log), error)
    return Failed(error)
