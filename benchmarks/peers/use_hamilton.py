"""Apache Hamilton: its async driver over 4 nodes guarded by hand, and 3 for the bridges."""

from __future__ import annotations

from hamilton import ad_hoc_utils, async_driver

from benchmarks.by_hand.on_asyncio import guarded_call, suspending_step
from benchmarks.ours import bridge
from benchmarks.peers import Chains


async def step_1(value: int) -> int:
    return await guarded_call(suspending_step, value)


def bridge_1(step_1: int) -> int:
    return bridge(step_1)


async def step_2(bridge_1: int) -> int:
    return await guarded_call(suspending_step, bridge_1)


def bridge_2(step_2: int) -> int:
    return bridge(step_2)


async def step_3(bridge_2: int) -> int:
    return await guarded_call(suspending_step, bridge_2)


def bridge_3(step_3: int) -> int:
    return bridge(step_3)


async def step_4(bridge_3: int) -> int:
    return await guarded_call(suspending_step, bridge_3)


def chains() -> Chains:
    nodes = (step_1, bridge_1, step_2, bridge_2, step_3, bridge_3, step_4)
    driver = async_driver.AsyncDriver({}, ad_hoc_utils.create_temporary_module(*nodes))

    async def chain() -> object:
        return await driver.raw_execute(["step_4"], inputs={"value": 1})

    return {"Hamilton async driver, guarded by hand": chain}
