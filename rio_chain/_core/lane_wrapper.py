"""Passes context along with a call into another process, of a lane or a cluster, which has no context of the caller.

An observer that carries headers sets ``LANE_WRAPPER`` in the context of a run. The lane calls it in the context of the
attempt, before it sends the call. The result is pickled, sent along, and calls the function in the process.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from contextvars import Context, ContextVar, copy_context
from typing import Any

from rio_chain._core.pickling import loads, plain_dumps

CallInLane = Callable[[Callable[[Any], Any], Any], Any]
"""Calls the function with the value. It is pickled, so it must be a function of a module, or a partial of one."""

LANE_WRAPPER: ContextVar[Callable[[], CallInLane | None] | None] = ContextVar("rio_chain_lane_wrapper", default=None)


def call_in_lane() -> CallInLane | None:
    """The wrapper for the call that this context is about to send. With None, the call is sent without one."""
    wrapper = LANE_WRAPPER.get()
    return None if wrapper is None else wrapper()


def packed_wrapper() -> bytes:
    """The wrapper for a call that this context is about to send, pickled. Empty if there is none."""
    wrapper = call_in_lane()
    return b"" if wrapper is None else plain_dumps(wrapper)


def enter_context_of(packed: bytes) -> None:
    """Give this context the variables that the wrapper sets. In a process that can't load it, nothing happens."""
    if not packed:
        return
    with suppress(Exception):  # the library of the observer may be missing here
        wrapper: CallInLane = loads(packed)
        found: Context = wrapper(_context_here, None)
        for variable, value in found.items():
            variable.set(value)


def _context_here(_: Any) -> Context:
    return copy_context()
