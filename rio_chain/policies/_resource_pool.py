"""Resources of a balancer: how much of each is free, and the policy that takes them for each call of a task."""

from __future__ import annotations

from attrs import frozen

from rio_chain.errors import LimitExceeded
from rio_chain.policies._limit_lines import LimitLines
from rio_chain.policies._limit_settings import LimitRules
from rio_chain.policies._limits_together import PendingOfSeveral
from rio_chain.policies._number_format import exact_number
from rio_chain.policies._permit import Call, PendingPermit, Permit
from rio_chain.policies._policy import Facts, Policy


class ResourcePool(LimitLines):
    """One resource of a balancer: a limit of the cost that runs at once. Calls wait by priority.

    Args:
        name: of the resource.
        total: how much of it there is.
        aging: seconds, as for ``Balancer``.
    """

    key = None

    def __init__(self, name: str, total: float, aging: float | None) -> None:
        self.name = name
        self.total = total
        self._rule = f"{name}={exact_number(total)}"
        self._rules = LimitRules(
            places=total, rate=None, patience=None, queue=None, aging=aging, most=total, text=self._rule
        )
        self._begin()

    @property
    def used(self) -> float:
        """How much of it calls hold. This includes abandoned calls that still run."""
        line = self._lines.get(None)
        return 0.0 if line is None else line.used

    @property
    def waiting(self) -> int:
        """How many calls wait for it, before all others that they need."""
        return self._total.waiting

    def __repr__(self) -> str:
        return f"<resource {self._rule}: {exact_number(self.used)} used, {self.waiting} waiting>"


@frozen(eq=False)
class TakesResources(Policy):
    """Directly around a task: each call waits until all of its resources are free, and takes all or none.

    ``pools`` and ``amounts`` belong together. The pools are in one order for all tasks of a balancer.
    """

    builder_call = "limit"
    held = "function"

    pools: tuple[ResourcePool, ...]
    amounts: tuple[float, ...]

    @property
    def _name(self) -> str:
        """The name in events."""
        return ", ".join(pool.name for pool in self.pools)

    def enter(self, call: Call) -> Permit | PendingPermit | LimitExceeded:
        """Let a call through, or put it in the queue of the first resource that is short."""
        calls = tuple(Call(clock=call.clock, priority=call.priority, cost=amount) for amount in self.amounts)
        pending = PendingOfSeveral(self.pools, calls, [pool.arrival(call.clock) for pool in self.pools])
        got = pending.take(None)
        return pending if got is None else got

    def facts(self) -> Facts:
        """As ``Policy.facts``."""
        return Facts(waits=True)

    def awaited(self) -> str:
        """As ``Policy.awaited``."""
        return f"its turn at {', '.join(map(repr, self.pools))}"
