"""anyio: its cancel scope, retried by hand."""

from __future__ import annotations

import anyio

from benchmarks.by_hand.on_asyncio import suspending_step
from benchmarks.ours import bridge
from benchmarks.peers import Chains


async def guarded(value: int) -> int:
    for retries_left in (3, 2, 1, 0):
        try:
            with anyio.fail_after(1):
                return await suspending_step(value)
        except OSError:
            if not retries_left:
                raise
    raise AssertionError("the last attempt returns or raises")


async def chain() -> int:
    value = 1
    for _ in range(3):
        value = bridge(await guarded(value))
    return await guarded(value)


def chains() -> Chains:
    return {"anyio.fail_after, retried by hand": chain}
