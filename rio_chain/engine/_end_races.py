"""Handles an error in a strand that is in races: finds the races that it ends, and awaits their other calls."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rio_chain.engine._classify_error import EXITS, classify
from rio_chain.engine._current_run import Strand
from rio_chain.engine._frames import INF, RACE_LOST, Frame, drop
from rio_chain.engine._instructions import Op
from rio_chain.engine._race_frame import RaceFrame
from rio_chain.results._task_record import close


async def classified(strand: Strand, frames: list[Frame], exc: BaseException, limit: float, op: Op | None) -> Any:
    """As ``classify``, and await the other calls of races that end. Where ``classify`` raises, drop all frames."""
    while True:
        races = [frame for frame in frames if frame.races]
        try:
            error = classify(strand, frames, exc, limit, op)
        except BaseException:
            drop(frames)
            try:
                await _all_gone(races, now=isinstance(exc, GeneratorExit))
            except BaseException as again:  # the exception that goes on is an interruption already
                if isinstance(again, EXITS):
                    raise
            raise
        finally:
            del exc  # its traceback keeps this frame
        dropped = [frame for frame in races if frame not in frames]
        if not dropped:
            return error
        try:
            strand.deadline = frames[-1].deadline if frames else strand.parent_deadline
            strand.slot.arm(strand.deadline)
            await _all_gone(dropped, now=False)
        except BaseException as again:  # noqa: BLE001 - of a timeout around this, or a foreign cancellation
            exc, limit, op = again, INF, None
            continue
        if error is not RACE_LOST:
            for frame in reversed(dropped):
                close(strand.run.log, frame.low, frame.high, error)
        return error


async def _all_gone(frames: Sequence[Frame], *, now: bool) -> None:
    """Await the calls of races that were dropped, the innermost first. ``now``: nothing can be awaited."""
    raised: BaseException | None = None
    for frame in reversed(frames):
        if isinstance(frame, RaceFrame):
            try:
                if now:
                    frame.gone_at_once()
                else:
                    await frame.gone()
            except BaseException as exc:  # noqa: BLE001 - raised when all have ended
                raised = exc
    if raised is not None:
        try:
            raise raised
        finally:
            del raised  # its traceback keeps this frame
