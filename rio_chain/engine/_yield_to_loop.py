"""Functions that never wait would block the event loop. So a long run yields to the loop every few milliseconds."""

from __future__ import annotations

from rio_chain.engine._current_run import Strand


async def yield_to_loop(strand: Strand, deadline: float, t: float) -> float:
    """Yield to the event loop if this run blocks it.

    Called when the clock, which reads ``t``, has reached ``rt.look_at``.

    ``deadline`` is the earliest deadline of the strand; it may have passed afterwards. Returns the current time.
    """
    run = strand.run
    while run.around is not None:  # a part of another run, or begun in a body of it
        run = run.around
    rt = strand.rt
    if not rt.holds(id(run), t):
        return t
    strand.deadline = deadline
    strand.slot.arm(deadline)
    await rt.sleep(0)
    return rt.now()
