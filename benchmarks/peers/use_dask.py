"""dask: 7 nodes on its threaded scheduler. It has no limits, and takes sync functions only."""

from __future__ import annotations

from typing import Any

import dask.threaded

from benchmarks.ours import blocking_step, bridge
from benchmarks.peers import Chains


def chains() -> Chains:
    graph: dict[str, tuple[Any, ...]] = {"node 0": (blocking_step, 1)}
    for n in range(1, 7):
        graph[f"node {n}"] = (bridge if n % 2 else blocking_step, f"node {n - 1}")

    async def chain() -> object:
        return dask.threaded.get(graph, "node 6")

    return {"dask.threaded.get, sync steps, no guards": chain}
