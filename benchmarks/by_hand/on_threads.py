"""Guarded blocking calls on threads: a limited call needs a pool inside of the pool. And hedged ones."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait

from benchmarks.ours import bridge


def guarded_call(calls: ThreadPoolExecutor, step: Callable[[int], int], value: int) -> int:
    """One step: 1 s for each attempt, up to 3 retries. A thread of ``calls`` runs it while this one waits."""
    for retries_left in (3, 2, 1, 0):
        try:
            return calls.submit(step, value).result(1)
        except OSError:
            if not retries_left:
                raise
    raise AssertionError("the last attempt returns or raises")


def chain(calls: ThreadPoolExecutor, step: Callable[[int], int], value: int) -> int:
    """4 guarded steps and 3 bridges."""
    for _ in range(3):
        value = bridge(guarded_call(calls, step, value))
    return guarded_call(calls, step, value)


def fan_out(
    pool: ThreadPoolExecutor, calls: ThreadPoolExecutor, step: Callable[[int], int], value: int, branches: int
) -> list[int]:
    futures = [pool.submit(guarded_call, calls, step, value) for _ in range(branches)]
    return [future.result() for future in futures]


def staggered(pool: ThreadPoolExecutor, step: Callable[[int], int], value: int, after: float) -> int:
    """A second call if the first is not back in ``after`` seconds; the first answer wins. A thread can't be stopped."""
    futures = [pool.submit(step, value)]
    done, _ = wait(futures, after)
    if not done:
        futures.append(pool.submit(step, value))
        done, _ = wait(futures, return_when=FIRST_COMPLETED)
    return done.pop().result()


def at_once(pool: ThreadPoolExecutor, step: Callable[[int], int], value: int) -> int:
    """Two calls, the first answer wins."""
    done, _ = wait([pool.submit(step, value) for _ in range(2)], return_when=FIRST_COMPLETED)
    return done.pop().result()
