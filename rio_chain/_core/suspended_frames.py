"""Finds where a suspended coroutine is."""

from __future__ import annotations

import gc
from types import FrameType
from typing import Any

DRIVEN = "driven_coroutine"
"""The name of a variable. A generator that drives another coroutine by hand, without awaiting it, keeps it there."""


def frames_of(coroutine: Any) -> list[FrameType]:
    """The frames of a suspended coroutine, the outermost first."""
    frames: list[FrameType] = []
    while coroutine is not None:
        frame = getattr(coroutine, "cr_frame", None) or getattr(coroutine, "gi_frame", None)
        if frame is not None:
            frames.append(frame)
        inner = getattr(coroutine, "cr_await", None) or getattr(coroutine, "gi_yieldfrom", None)
        if inner is None and type(coroutine).__name__ == "coroutine_wrapper":  # of `coroutine.__await__()`
            inner = next(iter(gc.get_referents(coroutine)), None)
        if inner is None and frame is not None and DRIVEN in frame.f_code.co_varnames:
            inner = frame.f_locals.get(DRIVEN)
        coroutine = inner
    return frames
