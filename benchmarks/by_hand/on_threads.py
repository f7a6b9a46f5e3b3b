"""A fan-out of guarded blocking calls on threads: a limited call needs a pool inside of the pool."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor


def guarded_call(calls: ThreadPoolExecutor, step: Callable[[int], int], value: int) -> int:
    """One step: 1 s for each attempt, up to 3 retries. A thread of ``calls`` runs it while this one waits."""
    for retries_left in (3, 2, 1, 0):
        try:
            return calls.submit(step, value).result(1)
        except OSError:
            if not retries_left:
                raise
    raise AssertionError("the last attempt returns or raises")


def fan_out(
    pool: ThreadPoolExecutor, calls: ThreadPoolExecutor, step: Callable[[int], int], value: int, branches: int
) -> list[int]:
    futures = [pool.submit(guarded_call, calls, step, value) for _ in range(branches)]
    return [future.result() for future in futures]
