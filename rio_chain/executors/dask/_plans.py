"""What is made of a plan that runs on a cluster. The plan keeps it, so that it is made once."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from rio_chain.chain._nodes import Piece, TaskNode, walk
from rio_chain.chain._pieces import cut, pieces
from rio_chain.chain._resources import together
from rio_chain.executors.dask._messages import plan_bytes
from rio_chain.executors.dask._service import SentPlan

if TYPE_CHECKING:
    from rio_chain.chain._plan import Plan

CUT, SENT, WAITS, NEEDS = "cut", "sent", "waits", "needs"
"""Under which names the plan keeps it."""


class CutPlans:
    """Cuts the plans that run on a host; see ``PlanChanges``."""

    def plan(self, plan: Plan) -> Plan:
        """The plan with its pieces marked: the same one each time."""
        found: Plan | None = plan.programs.get(CUT)
        return plan.programs.setdefault(CUT, cut(plan)) if found is None else found


def sent_plan(plan: Plan) -> SentPlan:
    """A plan as it travels: pickled once, and cut where it arrives.

    Raises:
        NotPicklable: a part of it can't be.
    """
    found: SentPlan | None = plan.programs.get(SENT)
    if found is not None:
        return found
    kept: SentPlan = plan.programs.setdefault(SENT, SentPlan(new_token(), plan_bytes(plan)))
    return kept


def waiting_pieces(plan: Plan) -> tuple[bool, ...]:
    """For each piece of a plan that was cut: whether it has an async function. The last one is for ``ASKED``."""
    found: tuple[bool, ...] | None = plan.programs.get(WAITS)
    if found is not None:
        return found
    kept: tuple[bool, ...] = plan.programs.setdefault(WAITS, (*map(_waits, pieces(plan)), False))
    return kept


def resources_of(plan: Plan) -> tuple[dict[str, float], ...]:
    """For each piece of a plan that was cut: what a worker must have for it. The last one is for ``ASKED``."""
    found: tuple[dict[str, float], ...] | None = plan.programs.get(NEEDS)
    if found is not None:
        return found
    tasks = ([node.resources for node in walk(one.inner) if isinstance(node, TaskNode)] for one in pieces(plan))
    kept: tuple[dict[str, float], ...] = plan.programs.setdefault(NEEDS, (*map(together, tasks), dict[str, float]()))
    return kept


def _waits(piece: Piece) -> bool:
    nodes = [getattr(node, "fallback", node) for node in walk(piece.inner)]
    return any(getattr(node, "is_async", False) for node in (*walk(piece.inner), *nodes))


def new_token() -> str:
    """One that no other process makes."""
    return os.urandom(12).hex()
