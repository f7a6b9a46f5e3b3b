"""Prepares a request for a run: the program for a runtime, and the input."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rio_chain.chain._request import Request
from rio_chain.engine._instructions import Args, Program
from rio_chain.engine._journal_program import journaled_program
from rio_chain.engine._program import program_of
from rio_chain.engine._runtime_protocol import Lane, Runtime
from rio_chain.errors import UsageError


def program_for(request: Request[Any], rt: Runtime, journal: object = None) -> tuple[Program, Any]:
    """The program that runs a request on a runtime, and its input. ``journal``: None for a run without one."""
    plan, args, kwargs = request.given
    if rt.policies is not None:
        plan = rt.policies.plan(plan)
    if plan.lanes:
        check_lanes(request, rt.lanes)
    spread = len(args) != 1 or bool(kwargs)
    if journal is not None:
        program = journaled_program(plan, direct=rt.direct, places=rt.places, spread=spread)
        return program, Args(args, dict(kwargs)) if spread else args[0]
    found: Program | None = plan.programs.get((rt.direct, rt.places, spread))
    program = found or program_of(plan, direct=rt.direct, places=rt.places, spread=spread)
    return program, Args(args, dict(kwargs)) if spread else args[0]


def check_journal(rt: Runtime) -> None:
    """Refuse a journal where the runtime sends its calls to a cluster.

    Raises:
        UsageError: it does.
    """
    if rt.remote is not None:
        raise UsageError(
            "a run with a journal can't run on a cluster; run it with executor='asyncio', 'trio' or 'thread'"
        )


def check_request(request: Request[Any], rt: Runtime, journal: object = None) -> None:
    """Refuse a request that the runtime can't run, before anything of it does. ``journal``: None for one without.

    Raises:
        UsageError: it needs a lane that is not there, or has a journal and would run on a cluster.
        ChainDefinitionError, NotPicklable: a part of it can't run on a cluster.
    """
    plan = request.given[0]
    if rt.remote is not None:
        if journal is not None:
            check_journal(rt)
        rt.remote.check(plan)
    if plan.lanes:
        check_lanes(request, rt.lanes)


def check_lanes(request: Request[Any], lanes: Mapping[str, Lane]) -> None:
    """Refuse a request that needs a lane which the balancer does not have.

    Raises:
        UsageError: the text names the task, the lane, and what to write.
    """
    for lane, task in request.given[0].lanes.items():
        if lane not in lanes:
            have = f"; this one has {', '.join(map(repr, lanes))}" if lanes else ""
            raise UsageError(
                f"task {task} runs in lane {lane!r}, and only a balancer with that lane can run it: "
                f"Balancer(lanes={{{lane!r}: n}}), where n is the number of processes{have}"
            )
