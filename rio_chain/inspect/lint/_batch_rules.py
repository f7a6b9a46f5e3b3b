"""Rules about batches that can't become full, as fewer calls than that run at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import ceil

from attrs import evolve

from rio_chain.chain._nodes import Each, Expand, Node, Scope, call_of, parts
from rio_chain.chain._plan import Plan
from rio_chain.inspect.lint._finding import Finding
from rio_chain.inspect.lint._policy_stack import PolicyStack, Said
from rio_chain.policies._batch import Batch


def items_below_batch(stack: PolicyStack) -> Iterator[Said]:
    """Fewer items run at once than the batch has room for."""
    core = stack.core.node
    if not isinstance(core, (Each, Expand)) or stack.around.items:
        return
    for batch, inside in batches_in(core.inner):
        if core.limit * inside < batch.gathers:
            text = (
                f"no more than {core.limit * inside} items run at once, so a batch with room for {batch.gathers} never "
                f"has more: the limit of the {call_of(core)} is below its size"
            )
            better = evolve(core, limit=ceil(batch.gathers / inside))
            yield Said("items-below-batch", text, stack.build(stack.nodes(), better))


def workers_below_batch(plan: Plan, workers: int) -> Iterator[Finding]:
    """Fewer requests run at once than a batch of all of them has room for."""
    for batch, inside in batches_in(plan.root):
        if batch.shared and workers * inside < batch.gathers:
            at_once = f"{inside} items of each of " if inside > 1 else ""
            text = (
                f"{at_once}{workers} requests run at once, so a batch of all requests with room for {batch.gathers} "
                "never has more: the balancer's `workers` are below its size"
            )
            where = tuple(task.name for task in plan.tasks)
            better = f"Balancer(workers={ceil(batch.gathers / inside)})"
            yield Finding("workers-below-batch", where, text, better)


def batches_in(node: Node) -> Iterator[tuple[Batch, int]]:
    """The batches in a part of a chain, and how many items run at once in the ``each`` around them. Not those in these:
    their calls are fewer.
    """
    todo: list[tuple[Node, int]] = [(node, 1)]
    while todo:
        node, at_once = todo.pop()
        if isinstance(node, Scope) and isinstance(node.policy, Batch):
            yield node.policy, at_once
            continue
        if isinstance(node, (Each, Expand)):
            at_once *= node.limit
        todo.extend((part, at_once) for part in reversed(parts(node)))


BATCHES: tuple[Callable[[PolicyStack], Iterator[Said]], ...] = (items_below_batch,)
