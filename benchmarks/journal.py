"""What a journal costs: ``python -m benchmarks.journal``. An ``each`` of 2,000 tasks of 1 ms, 50 at once.

Runs with and without a journal take turns. The speed is that of the quickest quarter of each; the cost of a record is
in processor time, which a busy machine disturbs least.
"""

from __future__ import annotations

import asyncio
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import trio

from rio_chain import Balancer, Journal, Request, Task, each

ITEMS, AT_ONCE, ROUNDS = 2_000, 50, 12
Spent = tuple[float, float]
"""Seconds by the clock, and of the processor."""


async def on_asyncio(n: int) -> int:
    """A task of 1 ms."""
    await asyncio.sleep(0.001)
    return n


async def on_trio(n: int) -> int:
    """The same for trio."""
    await trio.sleep(0.001)
    return n


def on_thread(n: int) -> int:
    """The same for threads."""
    time.sleep(0.001)
    return n


def numbers(n: int) -> list[int]:
    """The items."""
    return list(range(n))


def fails(_: list[int]) -> None:
    """So that the next run has to recall all answers."""
    raise OSError


def spent(run: Callable[[], object]) -> Spent:
    """How long a call takes."""
    usage, began = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    run()
    after = resource.getrusage(resource.RUSAGE_SELF)
    return time.perf_counter() - began, after.ru_utime + after.ru_stime - usage.ru_utime - usage.ru_stime


def quick(found: list[Spent], which: int) -> float:
    """The mean of the quickest quarter."""
    best = sorted(one[which] for one in found)[: max(1, len(found) // 4)]
    return sum(best) / len(best)


def measure(executor: str, task: Any) -> str:
    """One line of the table."""
    plain, journaled, recalled = list[Spent](), list[Spent](), list[Spent]()
    items: Any = Task(numbers) >> each(Task(task).named("task"), limit=AT_ONCE)
    request: Request[Any] = items(ITEMS)
    failing: Request[Any] = (items >> Task(fails))(ITEMS)
    with Balancer(executor, workers=AT_ONCE, threads=2 * AT_ONCE) as balancer, tempfile.TemporaryDirectory() as folder:
        for i in range(ROUNDS):
            with Journal(Path(folder) / f"{i}.db") as journal:
                plain.append(spent(lambda: balancer.run(request).unwrap()))
                journaled.append(spent(lambda: balancer.run(request, journal=journal, run_id="one").unwrap()))
                balancer.run(failing, journal=journal, run_id="two")
                recalled.append(spent(lambda: balancer.run(failing, journal=journal, run_id="two")))
    record = (quick(journaled, 1) - quick(plain, 1)) / ITEMS * 1e6
    speed = quick(plain, 0) / quick(journaled, 0)
    return f"{executor:8}  {speed:8.2f}  {record:8.1f} µs  {quick(recalled, 1) / ITEMS * 1e6:8.1f} µs"


if __name__ == "__main__":
    print("executor  of speed  a record     recalled")
    for name, body in (("asyncio", on_asyncio), ("trio", on_trio), ("thread", on_thread)):
        print(measure(name, body))
