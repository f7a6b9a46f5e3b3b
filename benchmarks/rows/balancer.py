"""Through a balancer of 10 workers: 1, 100 and 10,000 callers; 10,000 inputs by ``post``, ``arun`` and ``amap``."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

from benchmarks import ours
from benchmarks.by_hand.on_asyncio import guarded, suspending_step
from benchmarks.measure import Case, Effort, on_loop
from benchmarks.settings import Settings
from benchmarks.table import Bar, Table
from rio_chain import Balancer, Chain, Task, each

WORKERS = 10
One = Callable[[], Awaitable[object]]


def callers(number: int, in_a_row: int, one: One) -> Callable[[], Awaitable[None]]:
    """So many tasks, each with so many requests in a row."""

    async def caller() -> None:
        for _ in range(in_a_row):
            await one()

    async def case() -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(number):
                group.create_task(caller())

    return case


async def by_callers(settings: Settings, balancer: Balancer) -> list[Table]:
    slots = asyncio.Semaphore(WORKERS)
    chain = ours.chain_of(suspending_step)

    async def by_hand() -> None:
        async with slots:
            await guarded(suspending_step, 1)

    async def arun() -> None:
        ours.read(await balancer.arun(chain(1)))

    tables, effort = [], Effort(settings.either(7, 3), settings.effort.seconds)  # 10,000 callers take long
    for number, in_a_row in ((1, 100), (100, 10), (settings.either(10_000, 2_000), 1)):
        cases = [
            Case(name, callers(number, in_a_row, one), number * in_a_row)
            for name, one in (("by hand, Semaphore", by_hand), ("rio_chain, arun", arun))
        ]
        title = f"asyncio: {number:,} callers on {WORKERS} workers, guarded steps that suspend"
        tables.append(Table(title, await on_loop(cases, effort), cases[0].name))
    return tables


async def standing(number: int) -> None:
    """By hand: as many tasks as workers, which share the inputs."""
    inputs = iter(range(number))

    async def worker(inputs: Iterator[int]) -> None:
        for value in inputs:
            await guarded(suspending_step, value)

    async with asyncio.TaskGroup() as group:
        for _ in range(WORKERS):
            group.create_task(worker(inputs))


async def aiometered(number: int) -> None:
    import aiometer  # noqa: PLC0415 - a peer may be missing

    async def one(value: int) -> int:
        return await guarded(suspending_step, value)

    async with aiometer.amap(one, range(number), max_at_once=WORKERS) as found:
        async for _ in found:
            pass


EACH = "rio_chain, each in one request"


def over_inputs(number: int, balancer: Balancer, chain: Chain[[int], int]) -> list[Case]:
    items = Task(range).inline() >> each(chain, limit=WORKERS)

    async def post() -> None:
        for ticket in [balancer.post(chain(value)) for value in range(number)]:
            ours.read(await ticket)

    async def amap() -> None:
        outcomes: AsyncIterator[object] = balancer.amap(chain, range(number))
        async for outcome in outcomes:
            ours.read(outcome)  # type: ignore[arg-type]

    async def one_request() -> None:
        ours.read(await balancer.arun(items(number)))

    return [
        Case("by hand, standing workers", lambda: standing(number), number),
        Case("rio_chain, post all, await all", post, number),
        Case("rio_chain, amap", amap, number),
        Case(EACH, one_request, number),
    ]


async def by_inputs(settings: Settings, balancer: Balancer) -> Table:
    number, notes = settings.either(2_000, 500), []
    cases = over_inputs(number, balancer, ours.chain_of(suspending_step))
    try:
        await aiometered(10)
        cases.append(Case("aiometer, guarded by hand", lambda: aiometered(number), number))
    except ImportError:
        notes.append("aiometer is not installed")
    title = f"asyncio: {number:,} inputs through {WORKERS} workers, guarded steps that suspend"
    table = Table(title, await on_loop(cases, settings.effort), cases[0].name, notes=notes)
    table.bar("rio_chain, amap", EACH, 1.3)
    return table


async def answered(submitters: int, in_a_row: int) -> Table:
    """The load at which the Go original hangs."""
    chain, count = ours.chain_of(suspending_step), 0
    async with Balancer(workers=10, buffer=20) as balancer, asyncio.timeout(60):

        async def one() -> None:
            nonlocal count
            ours.read(await balancer.arun(chain(1)))
            count += 1

        await callers(submitters, in_a_row, one)()
    promise = f"{submitters} submitters on 10 workers x 2, answered of {submitters * in_a_row:,}"
    bar = Bar(promise, submitters * in_a_row, count, unit="", least=True)
    return Table("asyncio: never hangs", [], bars=[bar])


async def all_of_them(settings: Settings) -> list[Table]:
    async with Balancer(workers=WORKERS, buffer=10_000) as balancer:
        tables = [*await by_callers(settings, balancer), await by_inputs(settings, balancer)]
    return [*tables, await answered(100, settings.either(200, 20))]


def tables(settings: Settings) -> list[Table]:
    return asyncio.run(all_of_them(settings))
