"""What Dask costs: ``python -m benchmarks.on_dask``. It needs ``rio-chain[dask]``, and takes a minute or two.

Each row is measured in the same run as what people write instead, on a cluster of two worker processes. Besides the
time it prints processor time, of the client and of the workers, which says more on a machine that does other work too.
"""

from __future__ import annotations

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


def show(what: str, work: Callable[[], object], client: Any, workers: list[Any]) -> None:
    """Measure something that is done for each of many items."""
    before, began = (processor_time([client]), processor_time(workers)), time.perf_counter()
    work()
    took = time.perf_counter() - began
    ours, theirs = processor_time([client]) - before[0], processor_time(workers) - before[1]
    print(
        f"{what:34} {took:6.2f} s   an item: client {ours / ITEMS * 1e6:5.0f} us, "
        f"workers {theirs / ITEMS * 1e6:5.0f} us"
    )


def one_at_a_time(work: Callable[[], object]) -> list[float]:
    """The shortest, a tenth and half of the times, in milliseconds."""
    times: list[float] = []
    for _ in range(RUNS):
        began = time.perf_counter()
        work()
        times.append((time.perf_counter() - began) * 1e3)
    times.sort()
    return [times[0], times[RUNS // 10], times[RUNS // 2]]


def main() -> None:
    """Measure all rows."""
    import psutil  # noqa: PLC0415 - it comes with distributed
    from distributed import Client, LocalCluster  # noqa: PLC0415 - the extra

    began = time.process_time()
    for number in range(1_000):
        compute(number)
    print(f"an item that computes takes {(time.process_time() - began) * 1e3:.0f} us of one process")
    options: dict[str, Any] = {"n_workers": 2, "threads_per_worker": 4, "dashboard_address": "127.0.0.1:0"}
    with LocalCluster(**options) as cluster, Client(cluster) as by_hand:
        client = psutil.Process()
        processes = client.children(recursive=True)
        with Balancer(DaskExecutor(cluster.scheduler_address), abandon_after=600_000) as balancer:
            chain = Task(add) >> Task(add) >> Task(add) >> Task(add)
            balancer.run(chain(1)).unwrap()
            by_hand.submit(add_four, 1).result()
            rows = {
                "a chain of four": lambda: balancer.run(chain(1)).unwrap(),
                "a submit of the same function": lambda: by_hand.submit(add_four, 1, pure=False).result(),
            }
            for what, work in rows.items():
                print(f"{what:34} {', '.join(f'{ms:.1f}' for ms in one_at_a_time(work))} ms")
            for name, fn in (("small", add), ("computing", compute)):
                items = each(Task(fn), limit=8)
                show(
                    f"each, {name} items",
                    lambda items=items: balancer.run(items(range(ITEMS))).unwrap(),
                    client,
                    processes,
                )
                mapped = lambda fn=fn: by_hand.gather(by_hand.map(fn, range(ITEMS), pure=False))  # noqa: E731
                show(f"client.map, {name} items", mapped, client, processes)


if __name__ == "__main__":
    main()
