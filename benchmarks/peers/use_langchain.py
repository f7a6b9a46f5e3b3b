"""LangChain's expression language: RunnableLambda with .with_retry, and asyncio.timeout for each attempt."""

from __future__ import annotations

import asyncio

from langchain_core.runnables import RunnableLambda

from benchmarks.by_hand.on_asyncio import suspending_step
from benchmarks.ours import bridge
from benchmarks.peers import Chains


async def limited(value: int) -> int:
    async with asyncio.timeout(1):
        return await suspending_step(value)


async def async_bridge(value: int) -> int:
    """A sync one would be run on a thread, which costs more."""
    return bridge(value)


def chains() -> Chains:
    step = RunnableLambda(limited).with_retry(retry_if_exception_type=(OSError,), stop_after_attempt=4)
    between = RunnableLambda(async_bridge)
    sequence = step | between | step | between | step | between | step

    async def chain() -> object:
        return await sequence.ainvoke(1)

    return {"LCEL .with_retry + asyncio.timeout": chain}
