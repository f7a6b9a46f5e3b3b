"""Distinguishes an interruption of a body from an error that the body itself raises to end more than its run."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from rio_chain.engine._runtime_protocol import Runtime


def is_interruption(rt: Runtime, error: BaseException | None) -> bool:
    """Whether the error is a cancellation or Ctrl-C, and not ``SystemExit`` or the like. Of a group, all its errors."""
    kinds: tuple[type[BaseException], ...] = (KeyboardInterrupt, GeneratorExit, *rt.cancellations)
    if isinstance(error, BaseExceptionGroup):
        group = cast("BaseExceptionGroup[BaseException]", error)
        return group.split(kinds)[1] is None
    return isinstance(error, kinds)
