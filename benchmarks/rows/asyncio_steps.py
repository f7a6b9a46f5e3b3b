"""4 steps on asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from benchmarks import ours
from benchmarks.by_hand import on_asyncio
from benchmarks.measure import Case
from benchmarks.rows.steps import both
from benchmarks.settings import Settings
from benchmarks.table import Table

TASK = "by hand, guarded, create_task + await"


def in_a_task(step: ours.Step) -> list[Case]:
    async def case() -> None:
        await asyncio.create_task(on_asyncio.guarded(step, 1))

    return [Case(TASK, case)]


def measured(title: str, settings: Settings, loop_factory: Callable[[], Any] | None = None) -> list[Table]:
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        tables = runner.run(both(title, on_asyncio, settings, in_a_task))
    suspending, _ = tables
    suspending.bar("rio_chain, guarded", "by hand, guarded", 0.5)
    for table in tables:
        table.bar("rio_chain, guarded, post + await", TASK, 1.2)
    return tables


def tables(settings: Settings) -> list[Table]:
    return measured("asyncio", settings)
