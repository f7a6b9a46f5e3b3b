"""Many chains in flight, 4 guarded steps of 10 ms each: wall time and memory, each sample in a process of its own."""

from __future__ import annotations

import json
import random
import subprocess
import sys

from attrs import frozen

from benchmarks.settings import Settings
from benchmarks.table import Bar, Row, Table


@frozen
class Load:
    """So many chains, through so many slots."""

    chains: int
    slots: int
    samples: int
    who: tuple[str, ...]


def fly(who: str, load: Load) -> dict[str, float] | None:
    """One sample; None if what it needs is not installed."""
    command = [sys.executable, "-m", "benchmarks.in_flight", who, str(load.chains), str(load.slots)]
    found = subprocess.run(command, check=True, capture_output=True, text=True).stdout  # noqa: S603
    answer: dict[str, float] | None = json.loads(found)
    return answer


def flown(load: Load) -> tuple[Table, Table]:
    """Wall time in ms, and the growth of the process in KiB for each chain."""
    walls, growths, notes = {who: Row(who) for who in load.who}, {who: Row(who) for who in load.who}, []
    for _ in range(load.samples):
        for who in random.sample(list(walls), len(walls)):
            found = fly(who, load)
            if found is None:
                notes.append(f"skipped, not installed: {who}")
                del walls[who], growths[who]
                continue
            walls[who].samples.append(found["wall"] * 1e3)
            growths[who].samples.append(found["growth"])
    title = f"{load.chains:,} chains of 4 x 10 ms through {load.slots:,} slots"
    base = load.who[0]
    return (
        Table(f"{title}: wall time", list(walls.values()), base, "ms", notes=notes),
        Table(f"{title}: memory for each", list(growths.values()), base, "KiB"),
    )


def tables(settings: Settings) -> list[Table]:
    asyncio = ("asyncio by hand", "asyncio rio_chain")
    trio = ("trio by hand", "trio rio_chain")
    full = not settings.quick
    many = settings.either(10_000, 2_000)
    everyone = (*asyncio, "uvloop by hand", "uvloop rio_chain", *trio, "aiometer") if full else asyncio
    wall, memory = flown(Load(many, many, settings.either(5, 3), everyone))
    wall.bar("asyncio rio_chain", asyncio[0], 0.7)
    memory.bars.append(Bar("asyncio rio_chain, for each chain", 4, memory.median("asyncio rio_chain"), " KiB"))
    through, _ = flown(Load(many, 100, settings.either(3, 1), (*asyncio, *trio) if full else asyncio))
    through.bar("asyncio rio_chain", asyncio[0], 1.05)
    threads, _ = flown(Load(1_000, 100, settings.either(3, 1), ("thread by hand", "thread rio_chain")))
    return [wall, memory, through, threads]
