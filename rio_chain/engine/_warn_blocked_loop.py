"""Warns about a function that blocked the loop. No watcher is needed: the clock is read around each call anyway."""

from __future__ import annotations

import warnings

from rio_chain._core.unhandled_errors import report_unhandled
from rio_chain.chain._functions import code_of
from rio_chain.engine._current_run import Strand
from rio_chain.engine._instructions import TASK, BridgeOp, Op, Spread, TaskOp

BLOCKED_AFTER = 0.1
"""Seconds. A call that takes longer than this causes a warning. asyncio's debug mode has the same threshold."""
MAX_WARNINGS = 1000
"""The most functions that are remembered, so that functions made at run time can't fill the memory."""

_warned: set[tuple[str, str, int]] = set()


def warn_blocked_loop(strand: Strand, op: Op, seconds: float) -> None:
    """Warn, once for each function, that the function of ``op`` blocked the loop. The warning names its first line.

    If warnings are errors, the error goes to ``threading.excepthook``: the run does not fail because of it.
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
    message = f"{what} blocked the event loop for {seconds * 1000:.0f} ms; {advice}"
    try:
        if code is None:
            warnings.warn(message, RuntimeWarning, stacklevel=2)
        else:
            warnings.warn_explicit(message, RuntimeWarning, file, line)
    except BaseException as error:  # noqa: BLE001 - also from a `showwarning` of the user
        report_unhandled(error)
