"""pyresilience: its own timeout, for each attempt, and retry."""

from __future__ import annotations

from pyresilience import RetryConfig, TimeoutConfig, resilient

from benchmarks.by_hand.on_asyncio import suspending_step
from benchmarks.ours import bridge
from benchmarks.peers import Chains

guarded = resilient(timeout=TimeoutConfig(seconds=1), retry=RetryConfig(max_attempts=4, retry_on=(OSError,)))(
    suspending_step
)


async def chain() -> int:
    value = 1
    for _ in range(3):
        value = bridge(await guarded(value))
    return await guarded(value)


def chains() -> Chains:
    return {"pyresilience": chain}
