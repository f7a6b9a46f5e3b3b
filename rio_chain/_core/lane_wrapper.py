"""Passes context along with a call into the process of a lane, which has no context variables of the caller.

An observer that carries headers sets ``LANE_WRAPPER`` in the context of a run. The lane calls it in the context of the
attempt, before it sends the call. The result is pickled, sent along, and calls the function in the process.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

CallInLane = Callable[[Callable[[Any], Any], Any], Any]
"""Calls the function with the value. It is pickled, so it must be a function of a module, or a partial of one."""

LANE_WRAPPER: ContextVar[Callable[[], CallInLane | None] | None] = ContextVar("rio_chain_lane_wrapper", default=None)


def call_in_lane() -> CallInLane | None:
    """The wrapper for the call that this context is about to send. With None, the call is sent without one."""
    wrapper = LANE_WRAPPER.get()
    return None if wrapper is None else wrapper()
