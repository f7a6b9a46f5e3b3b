"""pydantic-graph: 4 nodes guarded by hand, with the bridges in them."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from pydantic_graph import GraphBuilder, StepContext

from benchmarks.by_hand.on_asyncio import guarded_call, suspending_step
from benchmarks.ours import bridge
from benchmarks.peers import Chains


async def first(ctx: StepContext[None, None, int]) -> int:
    return await guarded_call(suspending_step, ctx.inputs)


async def later(ctx: StepContext[None, None, int]) -> int:
    return await guarded_call(suspending_step, bridge(ctx.inputs))


def chains() -> Chains:
    builder: Any = GraphBuilder(input_type=int, output_type=int, auto_instrument=False)
    steps = [builder.step(first, node_id="step_1"), *(builder.step(later, node_id=f"step_{n}") for n in (2, 3, 4))]
    places = [builder.start_node, *steps, builder.end_node]
    builder.add(*(builder.edge_from(left).to(right) for left, right in pairwise(places)))
    graph = builder.build()

    async def chain() -> object:
        return await graph.run(inputs=1)

    return {"pydantic-graph, guarded by hand": chain}
