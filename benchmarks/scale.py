"""What the balancer's line costs with many in it: to enter, to leave, to withdraw. ``python -m benchmarks.scale``.

A million at most with ``--full``, else a hundred thousand. The exponent is the slope of the logarithms, cost of one
call against number in the line: 0 is a constant, 1 would be linear. O(log n) comes out near 0.1; the misses of the
caches, for calls that come in no order, add to it.
"""

from __future__ import annotations

import argparse
import gc
import math
import random
import statistics
import time
import tracemalloc
from collections.abc import Callable

from rio_chain import Task
from rio_chain.balancer.queue import Turn, TurnQueue
from rio_chain.engine.current import Run

SIZES = (1_000, 10_000, 100_000, 1_000_000)
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


def exponent(sizes: list[int], costs: list[float]) -> float:
    """The slope of the straight line through the logarithms."""
    slope, _ = statistics.linear_regression([math.log(n) for n in sizes], [math.log(c) for c in costs])
    return slope


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


def main(most: int = SIZES[-2]) -> None:
    """Print the tables."""
    sizes = [size for size in SIZES if size <= most]
    for aging in (None, 1.0):
        print("microseconds per call, " + ("priority alone" if aging is None else "with aging"))
        print(f"  {'in the line':20}" + "".join(f"{size:>11,}" for size in sizes) + f"{'exponent':>11}")
        for name, case in CASES.items():
            costs = [cost(case, size, aging) for size in sizes]
            print(f"  {name:20}" + "".join(f"{one:11.2f}" for one in costs) + f"{exponent(sizes, costs):11.2f}")
    print(f"the slowest withdrawal of {most:,}: {longest(most):.1f} ms")
    full, left = kept(min(most, SIZES[-2]))
    print(f"bytes per turn: {full:.0f} when all wait; {left:.0f} when 99 of 100 were cancelled")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="benchmarks.scale")
    parser.add_argument("--full", action="store_true", help="up to a million in the line")
    main(SIZES[-1] if parser.parse_args().full else SIZES[-2])
