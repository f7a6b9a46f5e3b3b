"""The time to import rio_chain, over what it needs anyway; and that of the peers that are installed."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from importlib.util import find_spec
from tempfile import TemporaryDirectory

from benchmarks.settings import Settings
from benchmarks.table import Bar, Row, Table

NEEDED = "import attrs, returns.result"
TIMED = """
import sys, time
{needed}
began = time.perf_counter()
{statement}
took = time.perf_counter() - began
print(took, *[name for name in sys.modules if name.startswith("rio_chain.executors.") or name in ("asyncio", "trio")])
"""
OURS = "import rio_chain"
STATEMENTS = {
    OURS: NEEDED,
    "from rio_chain import Balancer, Task; Balancer('asyncio')": NEEDED,
    "import asyncio": "pass",
    "import trio": "pass",
    "import tenacity": "pass",
    "import stamina": "pass",
    "import pydantic_graph": "pass",
    "import hamilton.async_driver": "pass",
    "import langchain_core.runnables": "pass",
}


def installed(statement: str) -> bool:
    return find_spec(statement.split()[1].split(".", maxsplit=1)[0]) is not None


def timed(statement: str, needed: str, compiled: str) -> tuple[float, list[str]]:
    """Milliseconds, and which executors and loops were imported, in a process of its own.

    Modules are compiled once, in a folder of their own: where Python is set to write no bytecode, each process would
    compile those anew that no installer has compiled before, which would be ours.
    """
    code = TIMED.format(needed=needed, statement=statement)
    command = [sys.executable, "-X", f"pycache_prefix={compiled}", "-c", code]
    where = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=where)  # noqa: S603
    took, *names = done.stdout.split()
    return float(took) * 1e3, names


def tables(settings: Settings) -> list[Table]:
    wanted = [OURS] if settings.quick else list(STATEMENTS)
    rows = {statement: Row(statement) for statement in wanted if installed(statement)}
    executors: list[str] = []
    with TemporaryDirectory() as compiled:
        for statement in rows:
            timed(statement, STATEMENTS[statement], compiled)
        for _ in range(settings.either(7, 5)):
            for statement in random.sample(list(rows), len(rows)):
                took, names = timed(statement, STATEMENTS[statement], compiled)
                rows[statement].samples.append(took)
                if statement == OURS:
                    executors = names
    bars = [
        Bar(f"{OURS}, over {NEEDED}", 60, rows[OURS].median, " ms"),
        Bar(f"executors and loops that {OURS} imports", 0, len(executors), ""),
    ]
    notes = [f"not installed: {statement}" for statement in wanted if statement not in rows]
    return [Table("import time", list(rows.values()), unit="ms", bars=bars, notes=notes)]
