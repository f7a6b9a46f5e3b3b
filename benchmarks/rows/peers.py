"""The chain of 4 guarded steps that suspend, written with other libraries."""

from __future__ import annotations

import asyncio
import importlib
import logging

from benchmarks import ours
from benchmarks.by_hand import on_asyncio
from benchmarks.by_hand.on_asyncio import suspending_step
from benchmarks.measure import Case, on_loop
from benchmarks.settings import Settings
from benchmarks.table import Bar, Table

LIBRARIES = "anyio", "tenacity", "stamina", "pyresilience", "hamilton", "langchain", "pydantic_graph", "dask"
BARE, BASE, OURS = "by hand, bare", "by hand, guarded", "rio_chain, guarded"
TITLE = "peers on asyncio: 4 guarded steps that suspend"
BARS = (("tenacity", 10), ("stamina", 10), ("Hamilton", 30), ("LCEL", 200))


def cases_of(library: str) -> list[Case]:
    module = importlib.import_module(f"benchmarks.peers.use_{library}")
    return [Case(name, chain) for name, chain in module.chains().items()]


async def working(library: str, notes: list[str]) -> list[Case]:
    """The library's cases, if it is installed and each of them runs; else a note."""
    try:
        cases = cases_of(library)
        for case in cases:
            await case.call()
    except ImportError as error:
        notes.append(f"{library}: skipped, {error}")
        return []
    except Exception as error:  # noqa: BLE001 - a broken peer must not end the run of the others
        notes.append(f"{library}: skipped, it failed with {type(error).__name__}: {error}")
        return []
    return cases


def overheads(table: Table) -> list[Bar]:
    """What a guard adds to the bare chain: how many times more a peer takes for it than rio_chain."""
    ours_ = table.median(OURS) - table.median(BARE)
    bars = []
    for peer, least in BARS:
        names = [row.name for row in table.rows if row.name.startswith(peer)]
        reached = (table.median(names[0]) - table.median(BARE)) / ours_ if names else None
        bars.append(Bar(f"overhead of {peer}, to that of rio_chain", least, reached, least=True))
    return bars


async def measured(settings: Settings) -> Table:
    notes: list[str] = []
    cases = [
        Case(BARE, lambda: on_asyncio.bare(suspending_step, 1)),
        Case(BASE, lambda: on_asyncio.guarded(suspending_step, 1)),
        Case(OURS, ours.awaited(ours.chain_of(suspending_step))),
    ]
    for library in LIBRARIES:
        cases += await working(library, notes)
    table = Table(TITLE, await on_loop(cases, settings.effort), BASE, notes=notes)
    table.bars = overheads(table)
    return table


def tables(settings: Settings) -> list[Table]:
    logging.disable(logging.WARNING)  # some peers log every retry and every node
    return [asyncio.run(measured(settings))]
