"""A race of tasks on a trio loop: all works at once, until one decides it or all have ended."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any

from rio_chain.engine._runtime_protocol import STOPPED
from rio_chain.executors._cancellation_in_errors import cancelled_part, first_error
from rio_chain.executors._own_context import in_own_context, may_nest


async def race(
    open_nursery: Callable[[], AbstractAsyncContextManager[Any]],
    cancellation: type[BaseException],
    works: Sequence[Callable[[], Awaitable[Any]]],
    until: Callable[[Any], bool],
) -> list[Any]:
    """As ``Runtime.race``. The last work runs in the calling task, in a context of its own."""
    results: list[Any] = [STOPPED] * len(works)
    inside = len(works) > 0 and may_nest()
    last = len(works) - inside
    raised: list[BaseException] = []
    cancelled: list[BaseException] = []

    async def contend(index: int, work: Callable[[], Awaitable[Any]]) -> None:
        try:
            got = await work()
        except BaseException as exc:  # noqa: BLE001 - raised below, without an ExceptionGroup around it
            part = cancelled_part(exc, cancellation)
            if part is not None:
                try:
                    raise part from None
                finally:
                    del part  # the traceback keeps this frame
            raised.append(exc)
            nursery.cancel_scope.cancel()
            return
        results[index] = got
        if until(got):
            nursery.cancel_scope.cancel()

    try:
        async with open_nursery() as nursery:
            for index in range(last):
                nursery.start_soon(contend, index, works[index])
            if inside:
                await in_own_context(partial(contend, last, works[last]))
    except BaseExceptionGroup as group:  # it has only Cancelled of the same scope, so the first is enough
        cancelled.append(first_error(group))
    if cancelled or raised:
        try:
            raise (cancelled or raised)[0]  # outside of the handler, or the group would be its context
        finally:
            cancelled.clear()  # the traceback keeps this frame
            raised.clear()
    return results
