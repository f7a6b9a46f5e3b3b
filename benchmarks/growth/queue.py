"""The balancer's line with many in it: to enter, to leave, to withdraw.

O(log n) comes out near 0.1; the misses of the caches, for calls that come in no order, add to it.
"""

from __future__ import annotations

import gc
import random
import time
import tracemalloc
from collections.abc import Callable

from benchmarks.growth.fit import head, line
from rio_chain import Task
from rio_chain.balancer._priority_queue import Turn, TurnQueue
from rio_chain.engine._current_run import Run

CALLS = 20_000
"""So many are measured at the least, for every number in the line, and as often as this."""
REPEATS = 3
RUN = Run(Task(len).plan())

Case = Callable[[TurnQueue, list[Turn]], int]


def filled(size: int, draw: random.Random, aging: float | None) -> tuple[TurnQueue, list[Turn]]:
    """A queue with one slot, which is taken, and ``size`` turns of random priority in its line."""
    queue = TurnQueue(1, aging)
    queue.take()
    turns = [Turn(RUN, draw.randrange(10), float(at)) for at in range(size)]
    for turn in turns:
        queue.enter(turn)
    draw.shuffle(turns)
    return queue, turns


def enter(queue: TurnQueue, turns: list[Turn]) -> int:
    """A tenth more come."""
    many = max(1, len(turns) // 10)
    for number in range(many):
        queue.enter(Turn(RUN, number % 10, float(len(turns) + number)))
    return many


def leave(queue: TurnQueue, turns: list[Turn]) -> int:
    """One ends and one comes, so that as many wait as before."""
    many = max(1, len(turns) // 10)
    for number in range(many):
        queue.leave()
        queue.enter(Turn(RUN, number % 10, float(len(turns) + number)))
    return many


def withdraw(queue: TurnQueue, turns: list[Turn]) -> int:
    """All of them but a hundredth are cancelled, in random order."""
    many = len(turns) - len(turns) // 100
    for turn in turns[:many]:
        queue.withdraw(turn)
    return many


def mixed(queue: TurnQueue, turns: list[Turn]) -> int:
    """Cancels in random order among those who come and go."""
    many = len(turns) // 2
    for turn in turns[:many]:
        queue.withdraw(turn)
        queue.enter(Turn(RUN, turn.priority, turn.at))
        queue.leave()
        queue.enter(Turn(RUN, turn.priority, turn.at))
    return 4 * many


CASES: dict[str, Case] = {"enter": enter, "leave + enter": leave, "withdraw": withdraw, "all of them, mixed": mixed}


def cost(case: Case, size: int, aging: float | None) -> float:
    """Microseconds of processor time per call, the least of several tries: others use this machine too."""
    found = []
    for repeat in range(REPEATS):
        seconds, calls, draw = 0.0, 0, random.Random(repeat)  # noqa: S311 - needs no secrecy
        gc.collect()
        while calls < CALLS:
            queue, turns = filled(size, draw, aging)
            began = time.thread_time()
            calls += case(queue, turns)
            seconds += time.thread_time() - began
        found.append(seconds / calls * 1e6)
    return min(found)


def longest(size: int) -> float:
    """Milliseconds that the slowest of all withdrawals takes: the one that drops those who are gone from the heap."""
    queue, turns = filled(size, random.Random(0), None)  # noqa: S311 - needs no secrecy
    worst = 0.0
    for turn in turns:
        began = time.perf_counter()
        queue.withdraw(turn)
        worst = max(worst, time.perf_counter() - began)
    return worst * 1e3


def kept(size: int) -> tuple[float, float]:
    """Bytes per turn that the queue holds when all wait, and after 99 of 100 were cancelled at random."""
    tracemalloc.start()
    queue, turns = filled(size, random.Random(0), None)  # noqa: S311 - needs no secrecy
    gc.collect()
    full = tracemalloc.get_traced_memory()[0] / size
    withdraw(queue, turns)
    del turns
    gc.collect()
    left = tracemalloc.get_traced_memory()[0] / size
    tracemalloc.stop()
    return full, left


def report(most: int) -> None:
    """Print the tables, up to ``most`` in the line."""
    sizes = [size for size in (1_000, 10_000, 100_000, 1_000_000) if size <= most]
    for aging in (None, 1.0):
        kind = "priority alone" if aging is None else "with aging"
        print(head(f"in the line, {kind} (us)", sizes))
        for name, case in CASES.items():
            print(line(name, sizes, [cost(case, size, aging) for size in sizes]), flush=True)
    print(f"  the slowest withdrawal of {most:,}: {longest(most):.1f} ms")
    full, left = kept(min(most, 100_000))
    print(f"  bytes per turn: {full:.0f} when all wait; {left:.0f} when 99 of 100 were cancelled")
