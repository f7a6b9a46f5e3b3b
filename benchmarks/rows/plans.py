"""Deep and wide plans: 10,000 nodes in a row, 10,000 branches side by side; to build, to compile, to run."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from benchmarks import ours
from benchmarks.growth.fit import exponent
from benchmarks.measure import Case, on_loop
from benchmarks.settings import Settings
from benchmarks.table import Bar, Row, Table
from rio_chain import Chain, Task, fan_out
from rio_chain.engine._program import program_of

NODES = 10_000
SIZES = 1_250, 2_500, 5_000, 10_000
TASK = Task(ours.instant_step)


def deep(nodes: int) -> Chain[[int], Any]:
    chain: Chain[[int], Any] = TASK
    for _ in range(nodes - 1):
        chain = chain >> TASK
    return chain


def wide(branches: int) -> Chain[[int], Any]:
    return fan_out(*[TASK] * branches)


def compile_time(chain: Chain[[int], Any]) -> float:
    """Seconds from the chain to the instructions that the interpreter walks."""
    began = time.perf_counter()
    program_of(chain.plan(), direct=True, places=False)
    return time.perf_counter() - began


def compiled(name: str, make: Callable[[int], Chain[[int], Any]], samples: int) -> tuple[Table, list[float]]:
    """Building and compiling, in ms; a chain keeps its plan, so each sample is of a new one."""
    build, compiling = Row(f"to write, {NODES:,} nodes"), Row(f"to compile, {NODES:,} nodes")
    for _ in range(samples):
        began = time.perf_counter()
        chain = make(NODES)
        build.samples.append((time.perf_counter() - began) * 1e3)
        compiling.samples.append(compile_time(chain) * 1e3)
    growth = [min(compile_time(make(size)) for _ in range(samples)) for size in SIZES]
    return Table(f"a {name} chain", [build, compiling], unit="ms"), growth


async def run(settings: Settings) -> Table:
    async def by_hand() -> int:
        value = 1
        for _ in range(NODES):
            value = await ours.instant_step(value)
        return value

    async def side_by_side() -> None:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(ours.instant_step(1)) for _ in range(NODES)]
        [task.result() for task in tasks]

    cases = [
        Case("deep, by hand", by_hand, NODES),
        Case("deep, rio_chain", ours.awaited(deep(NODES)), NODES),
        Case("wide, by hand, TaskGroup", side_by_side, NODES),
        Case("wide, rio_chain", ours.awaited(wide(NODES)), NODES),
    ]
    return Table(f"asyncio: to run {NODES:,} nodes, for each", await on_loop(cases, settings.effort), cases[2].name)


def tables(settings: Settings) -> list[Table]:
    found = []
    for name, make in (("deep", deep), ("wide", wide)):
        table, growth = compiled(name, make, settings.either(7, 2))
        table.bars.append(Bar(f"to compile {NODES:,} nodes", 200, table.rows[1].median, " ms"))
        table.bars.append(Bar("growth of that, as a power of the nodes", 1.15, exponent(SIZES, growth), ""))
        found.append(table)
    return [*found, asyncio.run(run(settings))]
