"""The beginning and the end of a run with a journal: it waits for the lease, and for the last write."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from rio_chain.engine._classify_error import classify
from rio_chain.engine._current_run import INF
from rio_chain.results._outcome import Failed

if TYPE_CHECKING:
    from rio_chain.engine._current_run import Strand
    from rio_chain.engine._journal_protocol import RunJournal, Write
    from rio_chain.engine._runtime_protocol import Runtime


async def run_journaled(strand: Strand, journal: RunJournal, walk: Callable[[float], Awaitable[Any]]) -> Any:
    """Run the whole under a lease. Returns its value or ``Failed``.

    Raises:
        JournalError: the run may not go on here.
    """
    run = strand.run
    try:
        begun = journal.begin(run)
        stopped_by = await _interrupted(strand, begun, strand.parent_deadline)
        if stopped_by is not None:
            journal.leave()
            return stopped_by
        if begun.error is not None:
            raise begun.error  # noqa: TRY301 - whoever runs it gets it
        run.step = journal.key
        known = journal.finished(run)
        if known is not None:
            return known[0]
        got = await walk(strand.rt.now())
        ended = journal.end(run, got)
        if ended is not None:
            got = await _interrupted(strand, ended, INF) or got
            if ended.error is not None:
                run.stop_error = ended.error
    except BaseException:
        journal.leave()
        raise
    return got


async def _interrupted(strand: Strand, write: Write, until: float) -> Failed | None:
    """Wait for it. Returns why the run has ended, if it was stopped or its deadline came meanwhile."""
    try:
        strand.slot.arm(until)
        await _waited(strand.rt, write)
    except BaseException as exc:  # noqa: BLE001 - `classify` raises those that are not for this run
        return Failed(classify(strand, [], exc, until, None))
    return None


async def _waited(rt: Runtime, write: Write) -> None:
    if rt.virtual:  # time would pass while another thread writes
        write.finish()
        return
    waiter = rt.waiter()
    try:
        write.on_done(waiter.wake, rt)
        await waiter.wait()
    finally:
        write.wake_others()
