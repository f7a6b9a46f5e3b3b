"""Says which function held the loop. Nobody watches: the clock is read before and after each call anyway."""

from __future__ import annotations

import warnings

from rio_chain._core.unhandled_errors import report_unhandled
from rio_chain.chain._functions import code_of
from rio_chain.engine._current_run import Strand
from rio_chain.engine._instructions import TASK, BridgeOp, Op, Spread, TaskOp

BLOCKED_AFTER = 0.1
"""Seconds from which on it is worth a word: asyncio's debug mode draws the line there as well."""
MAX_WARNINGS = 1000
"""Functions that are remembered, so that those made at run time can't fill the memory."""

_warned: set[tuple[str, str, int]] = set()


def warn_blocked_loop(strand: Strand, op: Op, seconds: float) -> None:
    """Warn, once for each function, that the one of ``op`` held the loop; where it begins.

    A warning that is an error goes to ``threading.excepthook``: the run has nothing to do with it.
    """
    if op[0] == TASK:
        what = f"task '{strand.run.plan.tasks[TaskOp.of(op).task].name}'"
        advice = "without `.inline()` a sync function runs on a thread"
    else:
        what = f"bridge '{BridgeOp.of(op).bridge.name}'"
        advice = "make it a `Task`, which runs on a thread"
    fn = TaskOp.of(op).fn if op[0] == TASK else BridgeOp.of(op).fn
    code = code_of(fn.fn if isinstance(fn, Spread) else fn)
    file, line = ("", 0) if code is None else (code.co_filename, code.co_firstlineno)
    if (what, file, line) in _warned or len(_warned) >= MAX_WARNINGS:
        return
    _warned.add((what, file, line))
    message = f"{what} held the loop for {seconds * 1000:.0f} ms, and all that runs on it; {advice}"
    try:
        if code is None:
            warnings.warn(message, RuntimeWarning, stacklevel=2)
        else:
            warnings.warn_explicit(message, RuntimeWarning, file, line)
    except BaseException as error:  # noqa: BLE001 - also what a `showwarning` of the user's raises
        report_unhandled(error)
