"""A run with a journal: what its instructions RECALL, RECORD and NOTE do.

What is recalled and recorded is decided by the ``RunJournal``, which never waits. The waiting is done here.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any

from rio_chain._journal_errors import JournalError
from rio_chain.engine._instructions import RECALL, RECORD, Args, JournalPart

if TYPE_CHECKING:
    from rio_chain.engine._current_run import Run, Strand
    from rio_chain.engine._journal_protocol import RunJournal, Write


def root_of(run: Run) -> Run:
    """The run that this one is a part of, or runs in the place of."""
    while run.root is None and run.around is not None:
        run = run.around
    return run


def journal_for(strand: Strand) -> RunJournal | None:
    """The journal for a Request that a function in this strand returned. Nothing is recorded inside of a race."""
    return None if strand.in_race is not None else root_of(strand.run).journal


def journal_step(strand: Strand, op: Any, pc: int, value: Any) -> tuple[int, Any] | Awaitable[tuple[int, Any]]:
    """Run an instruction of the journal. Returns where to go on and the value, or an awaitable of both."""
    journal = root_of(strand.run).journal
    if journal is None:  # the run has ended, and this is an abandoned part of it
        return pc + 1, value
    if op[0] == RECALL:
        try:
            return _recalled(strand, journal, op, pc, value)
        except JournalError as error:
            return stopped(strand, error)
    if op[0] == RECORD:
        return _record(strand, journal, op.part, pc, value)
    journal.note(strand.run, op.part, strand.kept[op.part.slot], op.way)
    return pc + 1, value


def _record(
    strand: Strand, journal: RunJournal, part: JournalPart, pc: int, value: Any
) -> tuple[int, Any] | Awaitable[tuple[int, Any]]:
    run, then = strand.run, (pc + 1, value)
    kept = [strand.kept[place] for place in part.keeps] if part.keeps else []
    try:
        write = journal.record(run, part, strand.kept[part.slot], value, kept)
    except Exception as error:  # noqa: BLE001 - of the user's serializer, too
        return stopped(strand, error)
    if write is None:
        return then
    commits = getattr(run.step, "commits", None)
    if commits is not None and commits.last == pc and commits.room:
        commits.begin(run.step, write)  # the worker of the item takes the next one meanwhile
        return then
    return _recorded(strand, write, then)


async def _recorded(strand: Strand, write: Write, then: tuple[int, Any]) -> tuple[int, Any]:
    """Wait until it is written. If it can't be, the run ends with the reason, which no policy sees."""
    rt = strand.rt
    if rt.virtual:  # as in ``run_journaled``, without another coroutine
        write.finish()
    else:
        waiter = rt.waiter()
        try:
            write.on_done(waiter.wake, rt)
            await waiter.wait()
        finally:
            write.wake_others()
    return then if write.error is None else await stopped(strand, write.error)


def _recalled(strand: Strand, journal: RunJournal, op: Any, pc: int, value: Any) -> tuple[int, Any]:
    part: JournalPart = op.part
    inputs = (*value.args, value.kwargs) if type(value) is Args else (value,)
    if part.used:
        inputs = (*inputs, *[strand.kept[place] for place in part.used])
    found, digest = journal.recall(strand.run, part, inputs)
    strand.kept[part.slot] = digest
    if found is None:
        return pc + 1, value
    if found.way is not None:
        return part.ways[found.way], value
    for place, one in zip(part.keeps, found.kept, strict=False):  # the function of a fallback keeps none
        strand.kept[place] = one
    return op.to if op.to >= 0 else part.jump, found.value


# --- waiting ------------------------------------------------------------------------------------------------------


async def stopped(strand: Strand, error: Exception) -> tuple[int, Any]:
    """End the run with this error."""
    root_of(strand.run).stop(error)
    while True:  # until that interrupts this strand
        await strand.rt.waiter().wait()
