"""Calls of functions that are not tasks: bridges, fallbacks, and awaiting the awaitable that a function returned."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from rio_chain.engine._blocking_call import call_blocking
from rio_chain.engine._current_run import Strand
from rio_chain.engine._discarded_results import call_async
from rio_chain.engine._frames import Fail
from rio_chain.engine._instructions import CALL, DIRECT, PIN, PLACE
from rio_chain.engine._thread_bound_values import call_pinning

if TYPE_CHECKING:
    from rio_chain.engine._thread_bound_values import Pinning


async def invoke(strand: Strand, route: int, fn: Callable[..., Any], value: Any) -> Any:
    """Call a function of one argument by its route."""
    if route == DIRECT:
        return await fn(value)
    if route == PLACE:
        try:
            return fn(value)
        except StopIteration as exc:  # no coroutine can raise one
            raise Fail(exc) from None
    if route == CALL:
        return await call_blocking(strand, fn, (value,))
    if route == PIN:
        return await call_pinning(strand, cast("Pinning", fn), value)
    return await call_async(strand, fn, value)
