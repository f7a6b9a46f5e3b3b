"""A fan-out of 2, 10 and 100 guarded branches that suspend, and hedged calls."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from types import ModuleType

import trio

from benchmarks import ours
from benchmarks.by_hand import on_asyncio, on_threads, on_trio
from benchmarks.measure import Case, on_loop, plain
from benchmarks.settings import Settings
from benchmarks.table import Table
from rio_chain import Balancer


async def wide(name: str, loop: ModuleType, settings: Settings) -> list[Table]:
    tables = []
    step = loop.suspending_step
    for branches in (2, 10, 100):
        cases = [
            Case("by hand", partial(loop.fan_out, step, 1, branches)),
            Case("rio_chain", ours.awaited(ours.side_by_side(step, branches))),
        ]
        rows = await on_loop(cases, settings.effort)
        table = Table(f"{name}: fan-out of {branches} guarded branches", rows, "by hand")
        table.bar("rio_chain", "by hand", 1.0)
        tables.append(table)
    return tables


def on_a_pool(settings: Settings) -> Table:
    step, chain = ours.blocking_step, ours.side_by_side(ours.blocking_step)
    with ThreadPoolExecutor(4) as pool, ThreadPoolExecutor(4) as calls, Balancer("thread") as balancer:
        cases = [
            Case("by hand, a pool in a pool", lambda: on_threads.fan_out(pool, calls, step, 1, 2)),
            Case("rio_chain", lambda: ours.read(balancer.run(chain(1)))),
        ]
        table = Table("threads: fan-out of 2 guarded branches", plain(cases, settings.effort), cases[0].name)
    table.bar("rio_chain", cases[0].name, 1.0)
    return table


async def hedged(name: str, loop: ModuleType, settings: Settings) -> list[Table]:
    """Both answer at once, so the second call of the staggered one never begins."""
    step = loop.suspending_step
    task = ours.with_policies(step, "bare")
    cases = [
        Case("by hand, 2 at once", lambda: loop.at_once(step, 1)),
        Case("rio_chain, .replica(2)", ours.awaited(task.replica(2))),
        Case("by hand, second after 20 ms", lambda: loop.staggered(step, 1, 0.02)),
        Case("rio_chain, .replica(2, after=20)", ours.awaited(task.replica(2, after=20))),
    ]
    return [Table(f"{name}: a hedged call", await on_loop(cases, settings.effort), cases[0].name)]


async def both(name: str, loop: ModuleType, settings: Settings) -> list[Table]:
    return [*await wide(name, loop, settings), *await hedged(name, loop, settings)]


def tables(settings: Settings) -> list[Table]:
    loops = [*asyncio.run(both("asyncio", on_asyncio, settings)), *trio.run(both, "trio", on_trio, settings)]
    return [*loops, on_a_pool(settings)]
