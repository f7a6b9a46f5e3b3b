"""A chain of 4 steps and 3 bridges, each step with a limit of 1 s and 3 retries; nothing fails.

Ours runs as users run it: with the default ``abandon_after``, and the result and one Response are read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor

import trio

from benchmarks.measure import loops, plain, table
from rio_chain import Balancer, Chain, Outcome, Task

Step = Callable[[int], Awaitable[int]]


def bridge(value: int) -> int:
    return value


async def asyncio_step(value: int) -> int:
    await asyncio.sleep(0)
    return value


async def trio_step(value: int) -> int:
    await trio.lowlevel.checkpoint()
    return value


async def instant_step(value: int) -> int:
    return value


def blocking_step(value: int) -> int:
    return value


def guarded(step: Callable[[int], Awaitable[int]] | Callable[[int], int]) -> Chain[[int], int]:
    task = Task(step).timeout(1000).retry(3)
    return task >> bridge >> task >> bridge >> task >> bridge >> task


async def bare(step: Step, value: int) -> int:
    for _ in range(3):
        value = bridge(await step(value))
    return await step(value)


async def by_hand_asyncio(step: Step, value: int) -> int:
    for last in (False, False, False, True):
        for retries_left in (3, 2, 1, 0):
            try:
                async with asyncio.timeout(1):
                    value = await step(value)
                break
            except OSError:
                if not retries_left:
                    raise
        value = value if last else bridge(value)
    return value


async def by_hand_trio(step: Step, value: int) -> int:
    for last in (False, False, False, True):
        for retries_left in (3, 2, 1, 0):
            try:
                with trio.fail_after(1):
                    value = await step(value)
                break
            except (OSError, trio.TooSlowError):
                if not retries_left:
                    raise
        value = value if last else bridge(value)
    return value


def read(outcome: Outcome[int]) -> None:
    assert outcome.result
    assert outcome[0].attempts == 1


async def on_loop(title: str, step: Step, by_hand: Callable[[Step, int], Awaitable[int]], number: int) -> str:
    balancer = Balancer(workers=10, buffer=20)
    chains = {"steps suspend": (step, guarded(step)), "steps don't suspend": (instant_step, guarded(instant_step))}
    parts = []
    for shape, (function, chain) in chains.items():

        async def awaited(chain: Chain[[int], int] = chain) -> None:
            read(await chain(1))

        async def through(chain: Chain[[int], int] = chain) -> None:
            read(await balancer.arun(chain(1)))

        async def posted(chain: Chain[[int], int] = chain) -> None:
            read(await balancer.post(chain(1)))

        rows = await loops(
            {
                "bare": lambda function=function: bare(function, 1),
                "by hand": lambda function=function: by_hand(function, 1),
                "rio_chain, await": awaited,
                "rio_chain, balancer.arun": through,
                "rio_chain, balancer.post and await": posted,
            },
            number,
        )
        parts.append(table(f"{title}, {shape}", rows, "by hand"))
    await balancer.aclose()
    return "\n".join(parts)


def whole(value: int) -> int:
    for _ in range(3):
        value = bridge(blocking_step(value))
    return blocking_step(value)


def on_threads(number: int) -> str:
    pool = ThreadPoolExecutor(4)
    balancer = Balancer("thread", workers=10, threads=4, buffer=number)
    task = Task(blocking_step)
    unlimited = task >> bridge >> task >> bridge >> task >> bridge >> task

    def submitted(times: int) -> None:
        for future in [pool.submit(whole, 1) for _ in range(times)]:
            future.result()

    def posted(chain: Chain[[int], int]) -> Callable[[int], None]:
        def case(times: int) -> None:
            for ticket in [balancer.post(chain(1)) for _ in range(times)]:
                read(ticket.wait())

        return case

    cases = {
        "ThreadPoolExecutor.submit of the whole": submitted,
        "rio_chain, no limits": posted(unlimited),
        "rio_chain, each step limited": posted(guarded(blocking_step)),
    }
    rows = plain(cases, number)
    pool.shutdown()
    balancer.close()
    return table("threads, pipelined", rows, "ThreadPoolExecutor.submit of the whole")


def main(number: int = 2000) -> None:
    """Print the tables."""
    print(asyncio.run(on_loop("asyncio", asyncio_step, by_hand_asyncio, number)))
    print(trio.run(on_loop, "trio", trio_step, by_hand_trio, number // 2))
    print(on_threads(number))
