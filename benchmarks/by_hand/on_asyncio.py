"""The chain of 4 steps and 3 bridges on asyncio, in three shapes, and a hedged call."""

from __future__ import annotations

import asyncio

from benchmarks.ours import Step, bridge


async def suspending_step(value: int) -> int:
    await asyncio.sleep(0)
    return value


async def bare(step: Step, value: int) -> int:
    for _ in range(3):
        value = bridge(await step(value))
    return await step(value)


async def limited(step: Step, value: int) -> int:
    for last in (False, False, False, True):
        async with asyncio.timeout(1):
            value = await step(value)
        value = value if last else bridge(value)
    return value


async def guarded(step: Step, value: int) -> int:
    for last in (False, False, False, True):
        value = await guarded_call(step, value)
        value = value if last else bridge(value)
    return value


async def guarded_call(step: Step, value: int) -> int:
    """One step: 1 s for each attempt, up to 3 retries. TimeoutError is an OSError."""
    for retries_left in (3, 2, 1, 0):
        try:
            async with asyncio.timeout(1):
                return await step(value)
        except OSError:
            if not retries_left:
                raise
    raise AssertionError("the last attempt returns or raises")


async def fan_out(step: Step, value: int, branches: int) -> list[int]:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(guarded_call(step, value)) for _ in range(branches)]
    return [task.result() for task in tasks]


async def gathered(step: Step, number: int, limit: int) -> int:
    """Guarded steps on many values, so many at once."""
    room = asyncio.Semaphore(limit)

    async def one(value: int) -> int:
        async with room:
            return await guarded_call(step, value)

    return sum(await asyncio.gather(*map(one, range(number))))


async def staggered(step: Step, value: int, after: float) -> int:
    """A second call if the first is not back in ``after`` seconds; the first answer wins, the other is stopped."""
    tasks = [asyncio.create_task(step(value))]
    try:
        done, _ = await asyncio.wait(tasks, timeout=after)
        if not done:
            tasks.append(asyncio.create_task(step(value)))
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        return done.pop().result()
    finally:
        await stop(tasks)


async def at_once(step: Step, value: int) -> int:
    """Two calls, the first answer wins, the other is stopped and waited for."""
    tasks = [asyncio.create_task(step(value)) for _ in range(2)]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        return done.pop().result()
    finally:
        await stop(tasks)


async def stop(tasks: list[asyncio.Task[int]]) -> None:
    """Cancel those that still run, and wait for them."""
    pending = [task for task in tasks if not task.done()]
    for task in pending:
        task.cancel()
    if pending:
        await asyncio.wait(pending)
