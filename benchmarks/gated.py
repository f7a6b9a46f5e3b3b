"""What the gate watches: the paths that most requests take, each beside the same work written by hand."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from types import ModuleType

import trio
from attrs import frozen

from benchmarks import ours
from benchmarks.by_hand import on_asyncio, on_threads, on_trio
from benchmarks.rows.hedge import late_first
from benchmarks.rows.many_items import asyncio_workers, chain_over
from benchmarks.rows.thread_steps import whole
from rio_chain import Balancer, Chain, Task, each

ITEMS = POSTS = 200
"""Items of one ``each``, and requests posted to threads at once."""

Once = Callable[[], Awaitable[object]]
Timed = Callable[[int], float]
"""Does so many, and says how many seconds of processor time they took, those of all threads together."""


@frozen
class Pair:
    """Ours, and what it is compared to."""

    name: str
    ours: Timed
    by_hand: Timed


async def many_times(once: Once, many: int) -> float:
    began = time.process_time()
    for _ in range(many):
        await once()
    return time.process_time() - began


def plain_times(once: Callable[[], object], many: int) -> float:
    began = time.process_time()
    for _ in range(many):
        once()
    return time.process_time() - began


def steps(name: str, loop: ModuleType, on: Callable[[Once], Timed]) -> list[Pair]:
    """The guarded chain awaited, with steps that suspend and steps that don't."""

    def by_hand(step: ours.Step) -> Once:
        return lambda: loop.guarded(step, 1)

    kinds = (("suspend", loop.suspending_step), ("don't suspend", ours.instant_step))
    both = ours.awaited(ours.side_by_side(loop.suspending_step))
    return [
        *(
            Pair(f"{name}, guarded, steps {kind}", on(ours.awaited(ours.chain_of(step))), on(by_hand(step)))
            for kind, step in kinds
        ),
        Pair(f"{name}, two guarded branches", on(both), on(lambda: loop.fan_out(loop.suspending_step, 1, 2))),
        *hedges(name, loop, on),
    ]


def hedges(name: str, loop: ModuleType, on: Callable[[Once], Timed]) -> list[Pair]:
    """A hedge that is not needed, to the chain without it; and one that is, and two at once, to the same by hand."""
    step = loop.suspending_step
    task = Task(step)
    late = late_first(step, trio.sleep if loop is on_trio else asyncio.sleep)

    def once(chain: Chain[[int], int]) -> Timed:
        return on(ours.awaited(chain))

    return [
        Pair(f"{name}, hedge not needed, to none", once(task.replica(2, after=1000)), once(task)),
        Pair(f"{name}, two calls at once", once(task.replica(2)), on(lambda: loop.at_once(step, 1))),
        Pair(
            f"{name}, a hedge that fires",
            once(Task(late).replica(2, after=1)),
            on(lambda: loop.staggered(late, 1, 0.001)),
        ),
    ]


def on_asyncio_alone(on: Callable[[Once], Timed], balancer: Balancer) -> list[Pair]:
    """A post beside a task, each beside standing workers, and amap beside each."""
    chain, items = ours.chain_of(on_asyncio.suspending_step), chain_over(on_asyncio.suspending_step, "bare")

    async def arun() -> None:
        ours.read(await balancer.arun(chain(1)))

    async def post() -> None:
        ours.read(await balancer.post(chain(1)))

    async def by_hand() -> None:
        await on_asyncio.guarded(on_asyncio.suspending_step, 1)

    async def task() -> None:
        await asyncio.create_task(by_hand())

    async def each_item() -> None:
        (await items(ITEMS)).unwrap()

    async def workers() -> None:
        await asyncio_workers(ITEMS)

    guarded = ours.with_policies(on_asyncio.suspending_step, "guarded")
    listed = Task(range).inline() >> each(guarded, limit=10)

    async def amap() -> None:
        async for outcome in balancer.amap(guarded, range(ITEMS)):
            outcome.unwrap()

    async def arun_each() -> None:
        (await balancer.arun(listed(ITEMS))).unwrap()

    return [
        Pair("asyncio, guarded, arun", on(arun), on(by_hand)),
        Pair("asyncio, guarded, post + await", on(post), on(task)),
        Pair("asyncio, each, an item", on(each_item), on(workers)),
        Pair("asyncio, amap, to each", on(amap), on(arun_each)),
    ]


def on_threads_alone(pool: ThreadPoolExecutor, calls: ThreadPoolExecutor, balancer: Balancer) -> list[Pair]:
    """Many blocking chains posted at once, beside as many functions submitted; branches, and map beside each."""

    def submitted(fn: Callable[..., int], *args: object) -> Timed:
        def once() -> None:
            for future in [pool.submit(fn, *args, 1) for _ in range(POSTS)]:
                future.result()

        return lambda many: plain_times(once, many)

    def post(chain: Chain[[int], int]) -> Timed:
        def once() -> None:
            for ticket in [balancer.post(chain(1)) for _ in range(POSTS)]:
                ours.read(ticket.wait())

        return lambda many: plain_times(once, many)

    def mapped() -> None:
        for outcome in balancer.map(guarded, range(POSTS)):
            outcome.unwrap()

    step = ours.blocking_step
    guarded, both = ours.with_policies(step, "guarded"), ours.side_by_side(step)
    listed = Task(range).inline() >> each(guarded, limit=10)
    single = Task(step)
    hedged = single.replica(2, after=1000)
    return [
        Pair("threads, bare, posted", post(ours.chain_of(step, "bare")), submitted(whole)),
        Pair(
            "threads, guarded, posted, to a pool in a pool",
            post(ours.chain_of(step)),
            submitted(on_threads.chain, calls, step),
        ),
        Pair(
            "threads, two guarded branches",
            lambda many: plain_times(lambda: ours.read(balancer.run(both(1))), many),
            lambda many: plain_times(lambda: on_threads.fan_out(pool, calls, step, 1, 2), many),
        ),
        Pair(
            "threads, hedge not needed, to none",
            lambda many: plain_times(lambda: ours.read(balancer.run(hedged(1))), many),
            lambda many: plain_times(lambda: ours.read(balancer.run(single(1))), many),
        ),
        Pair(
            "threads, map, to each",
            lambda many: plain_times(mapped, many),
            lambda many: plain_times(lambda: balancer.run(listed(POSTS)).unwrap(), many),
        ),
    ]


@contextmanager
def pairs() -> Iterator[list[Pair]]:
    """All that is watched. On asyncio one loop serves all of them; trio's loops can't be entered twice."""
    with asyncio.Runner() as runner, ThreadPoolExecutor(4) as pool, ThreadPoolExecutor(4) as calls:
        balancer = Balancer(workers=10, buffer=20)
        runner.run(balancer.__aenter__())

        def on_one_loop(once: Once) -> Timed:
            return lambda many: runner.run(many_times(once, many))

        def on_a_new_loop(once: Once) -> Timed:
            return lambda many: trio.run(many_times, once, many)

        with Balancer("thread", workers=10, threads=4, buffer=2 * POSTS) as threads:
            yield [
                *steps("asyncio", on_asyncio, on_one_loop),
                *on_asyncio_alone(on_one_loop, balancer),
                *steps("trio", on_trio, on_a_new_loop),
                *on_threads_alone(pool, calls, threads),
            ]
        runner.run(balancer.aclose())
