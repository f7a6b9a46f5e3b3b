"""The groups of tables, in the order in which they are measured; and one of them, in this process.

``python -m benchmarks.groups NAME`` measures one and prints JSON: ``python -m benchmarks`` gives each a process of its
own, so that what one imports or leaves behind is no cost to the next.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys

from benchmarks.settings import Missing, Settings
from benchmarks.table import Table

GROUPS = {
    "asyncio": "asyncio_steps",
    "uvloop": "uvloop_steps",
    "trio": "trio_steps",
    "threads": "thread_steps",
    "sync": "sync_functions",
    "portal": "portal",
    "fan_out": "fan_out",
    "hedge": "hedge",
    "items": "many_items",
    "batches": "batching",
    "balancer": "balancer",
    "go": "go",
    "peers": "peers",
    "flight": "flight",
    "waiting": "waiting",
    "plans": "plans",
    "memory": "memory",
    "imports": "imports",
}


def measured(name: str, settings: Settings) -> list[Table]:
    """Its tables; one with nothing but a note if it can't be measured here."""
    try:
        found: list[Table] = importlib.import_module(f"benchmarks.rows.{GROUPS[name]}").tables(settings)
    except Missing as error:
        return [Table(name, [], notes=[f"skipped: {error}"])]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.groups")
    parser.add_argument("name", choices=GROUPS)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--go")
    asked = parser.parse_args()
    found = measured(asked.name, Settings(quick=asked.quick, go=asked.go))
    json.dump([{**table.data(), "text": table.text()} for table in found], sys.stdout)


if __name__ == "__main__":
    main()
