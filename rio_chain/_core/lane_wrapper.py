"""What goes with a call into the process of a lane, as context variables do not.

An observer that carries headers sets ``LANE_WRAPPER`` in the context of a run. The lane calls it, in the context of the
attempt, before it sends a question. What it gives is pickled, sent along, and calls the function in the process.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

CallInLane = Callable[[Callable[[Any], Any], Any], Any]
"""Calls the function with the value. It is pickled, so it is a function of a module, or a partial of one."""

LANE_WRAPPER: ContextVar[Callable[[], CallInLane | None] | None] = ContextVar("rio_chain_lane_wrapper", default=None)


def call_in_lane() -> CallInLane | None:
    """What is to make the call that this context is about to send; None: nothing goes with it."""
    wrapper = LANE_WRAPPER.get()
    return None if wrapper is None else wrapper()
