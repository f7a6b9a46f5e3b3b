"""A process of its own for the tests of the journal: runs a chain and writes each call to a file, before and after it.

``python journal_child.py FILE CALLS EXECUTOR RUN_ID ITEMS PAUSE_MS LEASE_MS``
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import trio

from rio_chain import Chain, Journal, LeaseLost, RunInUse, Task, each


def noted(calls: Path, line: str) -> None:
    """A write of one line is not torn by a kill."""
    fd = os.open(calls, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(fd, f"{line}\n".encode())
    finally:
        os.close(fd)


SLEEPS: dict[str, Callable[[float], Awaitable[object]]] = {"asyncio": asyncio.sleep, "trio": trio.sleep}


def chain_for(calls: Path, executor: str, pause: float) -> Chain[..., Any]:
    """Tasks before, in and after an ``each``."""

    def begin(count: int) -> list[int]:
        noted(calls, f"begin {count}")
        return list(range(count))

    async def fetch(item: int) -> int:
        noted(calls, f"fetch {item}")
        await SLEEPS[executor](pause)
        return item * item

    def fetch_on_thread(item: int) -> int:
        noted(calls, f"fetch {item}")
        time.sleep(pause)
        return item * item

    def total(found: list[int]) -> int:
        noted(calls, f"total {len(found)}")
        return sum(found)

    inner: Any = Task(fetch_on_thread).named("fetch") if executor == "thread" else Task(fetch).named("fetch")
    return Task(begin) >> each(inner, limit=8) >> Task(total)


def say(line: str) -> None:
    """To the test that started this process."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> None:
    """Run it, and say how it ended."""
    file, calls, executor, run_id, items, pause, lease = sys.argv[1:]
    chain = chain_for(Path(calls), executor, float(pause) / 1000)
    with Journal(file, lease=float(lease)) as journal:
        say("begun")
        try:
            outcome = chain(int(items)).run(executor=executor, journal=journal, run_id=run_id)
        except RunInUse:
            say("in use")
            return
        error = outcome.error
        say("lost" if isinstance(error, LeaseLost) else str(outcome.result))


if __name__ == "__main__":
    main()
