"""Finds the frame that an interruption belongs to: that of a timeout that has expired, or of a race that is decided."""

from __future__ import annotations

from typing import Any

from rio_chain.engine._current_run import Strand
from rio_chain.engine._frames import RACE_LOST, Frame, OuterExpired, drop
from rio_chain.results._task_record import close


def lose(frames: list[Frame], level: int) -> Any:
    """The race at this level no longer needs the call in the strand: drop the frames inside of it."""
    while len(frames) > level + 1:
        frames.pop().drop()
    return RACE_LOST


def is_lost(strand: Strand) -> bool:
    """Whether a race no longer needs what runs in this strand, and has interrupted it."""
    race = strand.in_race
    while race is not None and not race.lost:
        race = race.outer
    return race is not None


def _outermost_lost(strand: Strand, frames: list[Frame]) -> int | None:
    """The index of the frame of the race that has interrupted the strand; -1: the race is around the walk."""
    around = strand.in_race
    while around is not None:
        if around.lost and id(around) not in map(id, frames):
            return -1
        around = around.outer
    return next((k for k, frame in enumerate(frames) if frame.lost), None)


def expire(strand: Strand, frames: list[Frame], now: float) -> Any:
    """A timeout has expired, a race is decided, or the run was stopped: drop the frames inside the OUTERMOST one.

    Returns its error, or ``RACE_LOST`` if another call of that race has won.
    """
    run = strand.run
    if not strand.root and now >= strand.parent_deadline:
        raise OuterExpired
    if strand.root and (run.stop_error is not None or now >= strand.parent_deadline):
        drop(frames)
        error = run.stop_error or run.overdue()
        close(run.log, 0, len(run.log), error)
        return error
    over = next((k for k, frame in enumerate(frames) if frame.until <= now), None)
    lost = _outermost_lost(strand, frames)
    if lost is not None and (over is None or lost < over):
        if lost < 0:
            raise OuterExpired
        return lose(frames, lost)
    if over is None:
        if not strand.root:
            raise OuterExpired  # the interruption was for a strand around us: a stopped run, or a timeout there
        if not frames:
            return run.overdue()
        over = min(range(len(frames)), key=lambda k: frames[k].until)  # a timer fired a moment early
    frame = frames[over]
    while len(frames) > over:
        frames.pop().drop()
    error = frame.expired(run.plan)
    close(run.log, frame.low, frame.high, error)
    return error
