"""What runs in the processes of lanes. Each imports it anew; the tests around would bring pytest and trio along."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

from returns.result import Failure, Success


def where(_: object = None) -> int:
    return os.getpid()


def stay(note: Path) -> None:
    """Write down where it runs, and never return."""
    note.write_text(str(os.getpid()))
    threading.Event().wait()


def hold(gate: Path) -> None:
    """Until there is such a file; another one tells that it began."""
    gate.with_suffix(".held").touch()
    while not gate.exists():
        time.sleep(0.002)


def die(code: int) -> None:
    os._exit(code)


def refuse(x: int) -> None:
    raise ValueError(x)


def halve(x: int) -> Success[int] | Failure[str]:
    return Failure("odd") if x % 2 else Success(x // 2)


def compute(seconds: float) -> float:
    """Hold the interpreter: a sum is one instruction, and nothing else in the process runs meanwhile."""
    begun = time.perf_counter()
    while time.perf_counter() - begun < seconds:
        sum(range(1_000_000))
    return time.perf_counter() - begun
