"""``python -m benchmarks``: every table, or those of ``--only``; ``--json`` keeps them."""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Any

from benchmarks.groups import GROUPS

NAMED = (
    "rio-chain",
    "trio",
    "anyio",
    "uvloop",
    "tenacity",
    "stamina",
    "pyresilience",
    "aiometer",
    "apache-hamilton",
    "langchain-core",
    "pydantic-graph",
    "dask",
)


def versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in NAMED:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def machine() -> dict[str, Any]:
    return {"system": platform.system(), "processor": platform.machine(), "cores": os.cpu_count()}


def measured(group: str, options: list[str]) -> list[dict[str, Any]] | None:
    """The group's tables, printed as they come; None if it failed."""
    began = time.perf_counter()
    command = [sys.executable, "-m", "benchmarks.groups", group, *options]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)  # noqa: S603
    if done.returncode:
        print(f"\n{group}: FAILED, exit code {done.returncode}", flush=True)
        return None
    tables: list[dict[str, Any]] = json.loads(done.stdout)
    for table in tables:
        print("\n" + table.pop("text"), flush=True)
        table["group"] = group
    print(f"  ({group}: {time.perf_counter() - began:.0f} s)", flush=True)
    return tables


def main() -> int:
    """Exit code 1 if a group failed; a missed bar is printed and is no failure: it depends on the machine."""
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument("--only", action="append", choices=GROUPS, help="one group; may be given again")
    parser.add_argument("--quick", action="store_true", help="fewer and shorter samples")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the tables there, too")
    parser.add_argument("--go", metavar="DIR", help="a checkout of the Go original, to be measured beside ours")
    asked = parser.parse_args()
    options = ["--quick"] * asked.quick + (["--go", asked.go] if asked.go else [])
    groups = {name: measured(name, options) for name in asked.only or GROUPS}
    tables = [table for found in groups.values() for table in found or ()]
    missed = [bar for table in tables for bar in table["bars"] if bar["met"] is False]
    print(f"\n{sum(len(table['bars']) for table in tables)} bars, {len(missed)} missed")
    if asked.json:
        when = time.strftime("%Y-%m-%d", time.gmtime())
        run = {"when": when, "quick": asked.quick, "machine": machine(), "versions": versions(), "tables": tables}
        asked.json.write_text(json.dumps(run, indent=1) + "\n")
    return int(None in groups.values())


if __name__ == "__main__":
    sys.exit(main())
