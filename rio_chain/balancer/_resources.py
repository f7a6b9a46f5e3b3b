"""``Balancer(resources={"gpu": 1})``: tasks with ``.resources`` wait until the balancer has them free."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from attrs import evolve, frozen

from rio_chain.chain._nodes import Node, Scope, TaskNode, parts, walk, with_parts
from rio_chain.chain._resources import resources_source, totals_of
from rio_chain.engine._batch_work import ASKED_FOR, AskedFor
from rio_chain.errors import ChainDefinitionError, UsageError
from rio_chain.executors import module_of
from rio_chain.policies._resource_pool import ResourcePool, TakesResources

if TYPE_CHECKING:
    from rio_chain.chain._plan import Plan, PlannedTask
    from rio_chain.chain._request import Request
    from rio_chain.engine._current_run import Run
    from rio_chain.engine._runtime_protocol import PlanChanges
    from rio_chain.executors._base import Executor

WITH_RESOURCES = "with resources"
"""Under which name a plan keeps what the balancers have made of it."""


@frozen
class ResourceUse:
    """How much of a resource of a balancer is used.

    Attributes:
        used: what calls hold now. This includes abandoned calls that still run.
        total: what the balancer has.
        waiting: how many of the calls that wait need it.
    """

    used: float
    total: float
    waiting: int


class BalancerResources:
    """The argument ``Balancer(resources=...)``, checked, and how much of each is free.

    It stays the same when the balancer opens again: calls that were abandoned before still hold theirs.

    Args:
        given: the argument.
        aging: seconds, of the balancer.

    Raises:
        ChainDefinitionError: it is not a mapping of names to amounts.
    """

    def __init__(self, given: object, aging: float | None) -> None:
        self.pool = ResourcePool(totals_of(given), aging)

    def stats(self) -> dict[str, ResourceUse]:
        """The present use of each."""
        return {name: ResourceUse(*self.pool.use(name)) for name in self.pool.totals}

    def check(self, request: Request[Any]) -> None:
        """Refuse a request with a task that can never have what it needs.

        Raises:
            UsageError: the text names the task, the resource, and what to write.
        """
        self._check(request.given[0])

    def _check(self, plan: Plan) -> None:
        for task in plan.needing_resources:
            for name, amount in task.call.resources:
                if amount > self.pool.totals.get(name, 0.0):
                    raise self._refusal(task, name, amount)
            if task.call.generator:
                raise UsageError(
                    f"task {task.name} is a generator function, which runs while its items are used; a balancer with "
                    "`resources=` can't hold its resources for so long: return a list, or leave `.resources()` out"
                )

    def _refusal(self, task: PlannedTask, name: str, amount: float) -> UsageError:
        need = resources_source(((name, amount),))
        enough = {known: f"{total:.15g}" for known, total in self.pool.totals.items()} | {name: f"{amount:.15g}"}
        right = ", ".join(f"{known!r}: {total}" for known, total in sorted(enough.items()))
        have = resources_source(tuple(self.pool.totals.items()))
        return UsageError(
            f"task {task.name} needs {need}, and this balancer has "
            + (f"only {have}" if have else "no resources")
            + f": write Balancer(resources={{{right}}}), or more of {name}"
        )

    def plan(self, plan: Plan) -> Plan:
        """The plan in which tasks with resources wait for them: the same one each time.

        Raises:
            UsageError: a task can never have what it needs.
        """
        if not plan.needing_resources:
            return plan
        made: WeakKeyDictionary[BalancerResources, Plan] = _plans_of(plan)
        found = made.get(self)
        if found is None:
            self._check(plan)
            found = made.setdefault(self, evolve(plan, root=self._around(plan.root)))
        return found

    def _around(self, root: Node) -> Node:
        made: list[Node] = []
        for node in reversed(list(walk(root))):  # from the last to the first, so that no plan is too deep
            node = with_parts(node, tuple([made.pop() for _ in parts(node)]))  # noqa: PLW2901
            made.append(
                Scope(TakesResources(self.pool, node.resources), node)
                if isinstance(node, TaskNode) and node.resources
                else node
            )
        return made[0]


class PlansWithResources:
    """Changes the plans of runs that have a slot of the balancer, and those of the Requests that these return.

    A run that a function begins by itself, as with ``await page(42)``, is a part of the call of that function.

    Args:
        resources: of the balancer.
        slots: the runs that have a slot of it.
        before: what changes the plans of all runs there.
    """

    def __init__(self, resources: BalancerResources, slots: Mapping[Run, object], before: PlanChanges | None) -> None:
        self._resources = resources
        self._slots = slots
        self._before = before

    def plan(self, plan: Plan, run: Any = None) -> Plan:
        """As ``PlanChanges.plan``."""
        if self._before is not None:
            plan = self._before.plan(plan, run)
        if not plan.needing_resources or not self._of_balancer(run, ASKED_FOR.get()):
            return plan
        return self._resources.plan(plan)

    def _of_balancer(self, run: Run | None, asked_for: AskedFor | None) -> bool:
        while run is not None and run not in self._slots:
            if run.root is not None:  # it is a run of its own: of a function, or of a batch for the runs that wait
                batch = asked_for if asked_for is not None and asked_for.run is run else None
                return batch is not None and any(self._of_balancer(one, batch.outer) for one in batch.waiting)
            run = run.around
        return run is not None


def _plans_of(plan: Plan) -> WeakKeyDictionary[BalancerResources, Plan]:
    """What the balancers have made of a plan. It keeps none of them alive."""
    found: WeakKeyDictionary[BalancerResources, Plan] | None = plan.programs.get(WITH_RESOURCES)
    if found is not None:
        return found
    kept: WeakKeyDictionary[BalancerResources, Plan] = plan.programs.setdefault(WITH_RESOURCES, WeakKeyDictionary())
    return kept


def checked_resources(given: object, aging: float | None, executor: str | Executor | None) -> BalancerResources | None:
    """Check ``resources=``. None: the balancer has none, and ``.resources`` of tasks has no effect.

    Raises:
        ChainDefinitionError: it is not a mapping of names to amounts, or the executor has resources of its own.
    """
    if given is None:
        return None
    if executor is not None and getattr(module_of(executor), "workers_have_resources", False):
        raise ChainDefinitionError(
            "`resources` of a Balancer are those of this process; on Dask the workers have them: leave `resources=` "
            'out, and start them with `dask worker --resources "gpu=1 memory=8e9"`'
        )
    return BalancerResources(given, aging)
