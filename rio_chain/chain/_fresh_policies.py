"""A copy of a chain with new policies, for simulations and tests that must not touch the state of the real ones."""

from __future__ import annotations

from typing import Any

from attrs import evolve

from rio_chain.chain._nodes import Node, RaceNode, Scope, TaskNode, flat, parts, with_parts
from rio_chain.chain._plan import Plan, compile_plan
from rio_chain.policies import Quantile
from rio_chain.policies._policy import Policy
from rio_chain.policies._shared_state import made_after, next_number


class FreshPolicies:
    """Replaces the policies that keep a state by new ones. Policies that shared one object share one new object.

    Args:
        old_only: replace only policies that were made before this object.
    """

    def __init__(self, *, old_only: bool = False) -> None:
        self._before = next_number() if old_only else None
        self._known: dict[int, tuple[object, Any]] = {}  # by id; the real policy is kept so that its id is not reused
        self._sources: dict[int, tuple[Node, Node]] = {}
        self._plans: dict[int, tuple[Plan, Plan]] = {}

    def node(self, node: Node) -> Node:
        """A copy of the node with new policies."""
        if isinstance(node, TaskNode) and node.uses:  # a source is identified by its policies, too
            return evolve(node, uses=tuple(evolve(use, source=self._source(use.source)) for use in node.uses))
        node = with_parts(node, tuple(self.node(part) for part in parts(node)))
        if isinstance(node, Scope):
            return Scope(self._fresh(node.policy), node.inner)
        quantile = node.after if isinstance(node, RaceNode) and isinstance(node.after, Quantile) else None
        return node if quantile is None else evolve(node, after=self._fresh(quantile))

    def plan(self, plan: Plan) -> Plan:
        """A copy of the plan with new policies. The same plan gives the same copy each time."""
        known = self._plans.get(id(plan))
        if known is None:
            known = self._plans.setdefault(id(plan), (plan, compile_plan(self.node(flat(plan.root)))))
        return known[1]

    def _source(self, source: Node) -> Node:
        """A copy of a chain that a task uses. Several tasks may use one chain, so each is copied once."""
        known = self._sources.get(id(source))
        if known is None:
            known = self._sources[id(source)] = source, self.node(source)
        return known[1]

    def _fresh(self, given: Policy | Quantile) -> Any:
        if isinstance(given, Policy) and given.members:
            return given.together(tuple(self._fresh(member) for member in given.members))
        if self._before is not None and made_after(self._before, given):
            return given
        known = self._known.get(id(given))
        if known is None:
            known = self._known.setdefault(id(given), (given, given.fresh()))
        return known[1]
