"""Tells what interrupts a body from what the body itself raises to end more than its run."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from rio_chain.engine._runtime_protocol import Runtime


def is_interruption(rt: Runtime, error: BaseException | None) -> bool:
    """Whether this is a cancellation, or Ctrl-C, and no error such as ``SystemExit``; of a group, all that is in it."""
    kinds: tuple[type[BaseException], ...] = (KeyboardInterrupt, GeneratorExit, *rt.cancellations)
    if isinstance(error, BaseExceptionGroup):
        group = cast("BaseExceptionGroup[BaseException]", error)
        return group.split(kinds)[1] is None
    return isinstance(error, kinds)
