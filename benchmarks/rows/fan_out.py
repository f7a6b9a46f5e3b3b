"""A fan-out of 2, 10 and 100 guarded branches that suspend, and hedged calls."""

from __future__ import annotations

import asyncio
from functools import partial
from types import ModuleType

import trio

from benchmarks import ours
from benchmarks.by_hand import on_asyncio, on_trio
from benchmarks.measure import Case, on_loop
from benchmarks.settings import Settings
from benchmarks.table import Table
from rio_chain import fan_out


async def wide(name: str, loop: ModuleType, settings: Settings) -> list[Table]:
    tables = []
    step = loop.suspending_step
    task = ours.with_policies(step, "guarded")
    for branches in (2, 10, 100):
        cases = [
            Case("by hand", partial(loop.fan_out, step, 1, branches)),
            Case("rio_chain", ours.awaited(fan_out(*[task] * branches))),
        ]
        rows = await on_loop(cases, settings.effort)
        tables.append(Table(f"{name}: fan-out of {branches} guarded branches", rows, "by hand"))
    return tables


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
    return [*asyncio.run(both("asyncio", on_asyncio, settings)), *trio.run(both, "trio", on_trio, settings)]
