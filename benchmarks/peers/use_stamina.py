"""stamina, with asyncio.timeout for each attempt."""

from __future__ import annotations

import asyncio

import stamina

from benchmarks.by_hand.on_asyncio import suspending_step
from benchmarks.ours import bridge
from benchmarks.peers import Chains


@stamina.retry(on=OSError, attempts=4)
async def guarded(value: int) -> int:
    async with asyncio.timeout(1):
        return await suspending_step(value)


async def chain() -> int:
    value = 1
    for _ in range(3):
        value = bridge(await guarded(value))
    return await guarded(value)


def chains() -> Chains:
    return {"stamina + asyncio.timeout": chain}
