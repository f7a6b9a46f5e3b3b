"""lint(): finds policies whose order has another effect than it seems, and gives the code to write instead.

A *stack* is a task, or several steps, with the policies directly around it. Every rule looks at one stack and at what
is around it. The better code has the same layers in another order.
"""

from __future__ import annotations

from rio_chain._core.units import count
from rio_chain.chain._plan import Plan
from rio_chain.chain._source import source
from rio_chain.inspect.lint._batch_rules import BATCHES, workers_below_batch
from rio_chain.inspect.lint._finding import Finding
from rio_chain.inspect.lint._item_rules import ITEMS
from rio_chain.inspect.lint._order_rules import ORDER
from rio_chain.inspect.lint._policy_stack import stacks
from rio_chain.inspect.lint._reach_rules import REACH

__all__ = ["Finding", "lint"]


def lint(plan: Plan, workers: int | None = None) -> tuple[Finding, ...]:
    """All findings of a plan, in plan order, each once.

    ``workers``: those of the balancer that will run it, if known.
    """
    names = tuple(task.name for task in plan.tasks)
    found = [
        Finding(said.code, names[stack.core.low : stack.core.high], said.text, source(said.better))
        for stack in stacks(plan)
        for rule in (*ORDER, *REACH, *ITEMS, *BATCHES)
        for said in rule(stack)
    ]
    if workers is not None:
        found += workers_below_batch(plan, count(workers, "workers", least=1))
    return tuple(dict.fromkeys(found))
