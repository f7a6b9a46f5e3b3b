"""What Dask costs: ``python -m benchmarks.on_dask [chain] [small] [computing]``. It needs ``rio-chain[dask]``.

All three rows take a minute or two. ``computing`` alone says how much faster two workers are than one process.

Each row is measured in the same run as what people write instead, on a cluster of two worker processes. Besides the
time it prints processor time, of the client and of the workers, which says more on a machine that does other work too.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

from rio_chain import Balancer, DaskExecutor, Task, each

ITEMS = 10_000
RUNS = 300


def add(value: int) -> int:
    """A small task."""
    return value + 1


def add_four(value: int) -> int:
    """What a chain of four does."""
    return add(add(add(add(value))))


def compute(value: int) -> int:
    """About a millisecond."""
    for number in range(60_000):
        value ^= number
    return value


def processor_time(processes: list[Any]) -> float:
    """Of all of them."""
    return sum(sum(process.cpu_times()[:2]) for process in processes)


def show(what: str, work: Callable[[], object], client: Any, workers: list[Any]) -> float:
    """Measure something that is done for each of many items. Gives the seconds that it took."""
    before, began = (processor_time([client]), processor_time(workers)), time.perf_counter()
    work()
    took = time.perf_counter() - began
    ours, theirs = processor_time([client]) - before[0], processor_time(workers) - before[1]
    print(
        f"{what:34} {took:6.2f} s   an item: client {ours / ITEMS * 1e6:5.0f} us, "
        f"workers {theirs / ITEMS * 1e6:5.0f} us"
    )
    return took


def chains(balancer: Balancer, by_hand: Any) -> None:
    """A chain of four tasks, and a function that does the same, in turn."""
    chain = Task(add) >> Task(add) >> Task(add) >> Task(add)
    balancer.run(chain(1)).unwrap()
    by_hand.submit(add_four, 1).result()
    rows: dict[str, Callable[[], object]] = {
        "a chain of four": lambda: balancer.run(chain(1)).unwrap(),
        "a submit of the same function": lambda: by_hand.submit(add_four, 1, pure=False).result(),
    }
    times = {what: list[float]() for what in rows}
    for _ in range(RUNS):
        for what, work in rows.items():
            times[what].append(took(work) * 1e3)
    for what, found in times.items():
        found.sort()
        print(f"{what:34} shortest, a tenth, half: {found[0]:.1f}, {found[RUNS // 10]:.1f}, {found[RUNS // 2]:.1f} ms")


def items(fn: Callable[[int], int], balancer: Balancer, by_hand: Any, processes: tuple[Any, list[Any]]) -> None:
    """Many calls of a function, on Dask and in this process."""
    many = each(Task(fn), limit=8)
    balancer.run(many(range(100))).unwrap()
    alone = took(lambda: [fn(value) for value in range(ITEMS)])
    print(f"{'a loop in one process':34} {alone:6.2f} s")
    ours = show("each", lambda: balancer.run(many(range(ITEMS))).unwrap(), *processes)
    again = took(lambda: [fn(value) for value in range(ITEMS)])
    theirs = show("client.map", lambda: by_hand.gather(by_hand.map(fn, range(ITEMS), pure=False)), *processes)
    print(
        f"each takes {ours / theirs:.2f} of client.map, and is {min(alone, again) / ours:.2f}x as fast as one process"
    )


def took(work: Callable[[], object]) -> float:
    """The seconds that it takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def main() -> None:
    """Measure the rows that the command names, or all."""
    import psutil  # noqa: PLC0415 - it comes with distributed
    from distributed import Client, LocalCluster  # noqa: PLC0415 - the extra

    rows = sys.argv[1:] or ["chain", "small", "computing"]
    options: dict[str, Any] = {"n_workers": 2, "threads_per_worker": 4, "dashboard_address": "127.0.0.1:0"}
    with LocalCluster(**options) as cluster, Client(cluster) as by_hand:
        client = psutil.Process()
        processes = client, client.children(recursive=True)
        with Balancer(DaskExecutor(cluster.scheduler_address), abandon_after=600_000) as balancer:
            if "chain" in rows:
                chains(balancer, by_hand)
            for name, fn in (("small", add), ("computing", compute)):
                if name in rows:
                    print(f"{ITEMS:,} {name} items")
                    items(fn, balancer, by_hand, processes)


if __name__ == "__main__":
    main()
