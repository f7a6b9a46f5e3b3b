"""4 blocking functions called from a loop: each runs on a worker thread, or in place where marked so."""

from __future__ import annotations

import asyncio

import trio

from benchmarks import ours
from benchmarks.measure import Case, on_loop
from benchmarks.ours import blocking_step, bridge
from benchmarks.settings import Settings
from benchmarks.table import Table
from rio_chain import Task


async def by_hand_asyncio(value: int) -> int:
    for last in (False, False, False, True):
        for retries_left in (3, 2, 1, 0):
            try:
                async with asyncio.timeout(1):
                    value = await asyncio.to_thread(blocking_step, value)
                break
            except OSError:
                if not retries_left:
                    raise
        value = value if last else bridge(value)
    return value


async def by_hand_trio(value: int) -> int:
    for last in (False, False, False, True):
        for retries_left in (3, 2, 1, 0):
            try:
                with trio.fail_after(1):
                    value = await trio.to_thread.run_sync(blocking_step, value, abandon_on_cancel=True)
                break
            except (OSError, trio.TooSlowError):
                if not retries_left:
                    raise
        value = value if last else bridge(value)
    return value


def mine() -> list[Case]:
    inline = Task(blocking_step).inline()
    chain = inline >> bridge >> inline >> bridge >> inline >> bridge >> inline
    return [
        Case("rio_chain, bare", ours.awaited(ours.chain_of(blocking_step, "bare"))),
        Case("rio_chain, guarded", ours.awaited(ours.chain_of(blocking_step))),
        Case("rio_chain, bare, .inline()", ours.awaited(chain)),
    ]


async def on_asyncio(settings: Settings) -> Table:
    cases = [Case("by hand, to_thread, guarded", lambda: by_hand_asyncio(1)), *mine()]
    return Table("asyncio: 4 blocking functions", await on_loop(cases, settings.effort), cases[0].name)


async def on_trio(settings: Settings) -> Table:
    cases = [Case("by hand, to_thread.run_sync, guarded", lambda: by_hand_trio(1)), *mine()]
    return Table("trio: 4 blocking functions", await on_loop(cases, settings.effort), cases[0].name)


def tables(settings: Settings) -> list[Table]:
    return [asyncio.run(on_asyncio(settings)), trio.run(on_trio, settings)]
