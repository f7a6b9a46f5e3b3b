"""Sleeps on the clock of the calling function."""

from __future__ import annotations

from rio_chain.executors._current_strand import driven_strand
from rio_chain.executors._running_loop import runtime_here
from rio_chain.executors._thread_waiter import sleep as strand_sleep
from rio_chain.executors._thread_waiter import yield_to_others


async def sleep_here(seconds: float) -> None:
    """Sleep; 0 lets other tasks run.

    Raises:
        UsageError: no loop is running.
    """
    if driven_strand() is None:
        await runtime_here().sleep(seconds)
    else:  # a strand, which knows its clock; in virtual time it may run on any thread
        await (strand_sleep(seconds) if seconds > 0 else yield_to_others())
