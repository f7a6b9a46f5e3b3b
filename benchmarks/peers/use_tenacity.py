"""tenacity, with asyncio.timeout for each attempt."""

from __future__ import annotations

import asyncio

from tenacity import retry, retry_if_exception_type, stop_after_attempt

from benchmarks.by_hand.on_asyncio import suspending_step
from benchmarks.ours import bridge
from benchmarks.peers import Chains


@retry(stop=stop_after_attempt(4), retry=retry_if_exception_type(OSError), reraise=True)
async def guarded(value: int) -> int:
    async with asyncio.timeout(1):
        return await suspending_step(value)


async def chain() -> int:
    value = 1
    for _ in range(3):
        value = bridge(await guarded(value))
    return await guarded(value)


def chains() -> Chains:
    return {"tenacity + asyncio.timeout": chain}
