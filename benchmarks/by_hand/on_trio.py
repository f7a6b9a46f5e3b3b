"""The chain of 4 steps and 3 bridges on trio, in three shapes, and a hedged call."""

from __future__ import annotations

import trio

from benchmarks.ours import Step, bridge


async def suspending_step(value: int) -> int:
    await trio.lowlevel.checkpoint()
    return value


async def bare(step: Step, value: int) -> int:
    for _ in range(3):
        value = bridge(await step(value))
    return await step(value)


async def limited(step: Step, value: int) -> int:
    for last in (False, False, False, True):
        with trio.fail_after(1):
            value = await step(value)
        value = value if last else bridge(value)
    return value


async def guarded(step: Step, value: int) -> int:
    for last in (False, False, False, True):
        value = await guarded_call(step, value)
        value = value if last else bridge(value)
    return value


async def guarded_call(step: Step, value: int) -> int:
    """One step: 1 s for each attempt, up to 3 retries."""
    for retries_left in (3, 2, 1, 0):
        try:
            with trio.fail_after(1):
                return await step(value)
        except (OSError, trio.TooSlowError):
            if not retries_left:
                raise
    raise AssertionError("the last attempt returns or raises")


async def fan_out(step: Step, value: int, branches: int) -> list[int]:
    found = [0] * branches

    async def branch(at: int) -> None:
        found[at] = await guarded_call(step, value)

    async with trio.open_nursery() as nursery:
        for at in range(branches):
            nursery.start_soon(branch, at)
    return found


async def gathered(step: Step, number: int, limit: int) -> int:
    """Guarded steps on many values, so many at once."""
    room, found = trio.Semaphore(limit), [0] * number

    async def one(value: int) -> None:
        async with room:
            found[value] = await guarded_call(step, value)

    async with trio.open_nursery() as nursery:
        for value in range(number):
            nursery.start_soon(one, value)
    return sum(found)


async def staggered(step: Step, value: int, after: float) -> int:
    """A second call if the first is not back in ``after`` seconds; the first answer wins, the other is stopped."""
    found: list[int] = []
    first_is_back = trio.Event()

    async with trio.open_nursery() as nursery:

        async def call() -> None:
            found.append(await step(value))
            first_is_back.set()
            nursery.cancel_scope.cancel()

        nursery.start_soon(call)
        with trio.move_on_after(after):
            await first_is_back.wait()
        if not found:
            nursery.start_soon(call)
    return found[0]


async def at_once(step: Step, value: int) -> int:
    """Two calls, the first answer wins, the other is stopped and waited for."""
    found: list[int] = []
    async with trio.open_nursery() as nursery:

        async def call() -> None:
            found.append(await step(value))
            nursery.cancel_scope.cancel()

        nursery.start_soon(call)
        nursery.start_soon(call)
    return found[0]
