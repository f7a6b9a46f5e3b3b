"""Functions that answer at once never let a loop go round. A run of many does so itself, every few milliseconds."""

from __future__ import annotations

from rio_chain.engine._current_run import Strand


async def yield_to_loop(strand: Strand, deadline: float, t: float) -> float:
    """Let the loop go round if this run holds it. Called when the clock, which says ``t``, has come to ``rt.look_at``.

    ``deadline`` is the earliest limit that is open, which may be over then. Gives what the clock says now.
    """
    run = strand.run
    while run.around is not None:  # a part of another one, or begun in a body of that
        run = run.around
    rt = strand.rt
    if not rt.holds(id(run), t):
        return t
    strand.deadline = deadline
    strand.slot.arm(deadline)
    await rt.sleep(0)
    return rt.now()
