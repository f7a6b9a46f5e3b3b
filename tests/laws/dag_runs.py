"""Random DAGs on every executor, and what is compared of a run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import virtual_loops
from hypothesis import assume, note
from hypothesis import strategies as st
from laws.dag_memory import Memory, Unsure
from laws.dag_model import Played, played
from laws.dag_parts import Part
from laws.dag_values import RECORD, Record, Val, said

from rio_chain import Balancer, Chain, Outcome

INPUT = Val(7)

Ran = tuple[Outcome[Any], Record]


async def ran(chain: Chain[..., Any]) -> Ran:
    RECORD.set(record := Record())
    return await chain(INPUT), record


def on_asyncio(chain: Chain[..., Any]) -> Ran:
    return virtual_loops.on_asyncio(ran, chain)


def on_trio(chain: Chain[..., Any]) -> Ran:
    return virtual_loops.on_trio(ran, chain)


def on_threads(chain: Chain[..., Any]) -> Ran:
    RECORD.set(record := Record())
    with Balancer("thread", workers=1) as balancer:
        outcome = balancer.run(chain(INPUT))
    assert balancer.stats().abandoned == 0
    return outcome, record


virtual = st.sampled_from([on_asyncio, on_trio])
Run = Callable[[Chain[..., Any]], Ran]


def played_by(outcome: Outcome[Any]) -> Played:
    tasks = [(str(r.status), r.attempts, dict(r.counts)) for r in outcome]
    return Played(said(outcome.result), outcome.elapsed, tasks)


def sure(part: Part, *, timeless: bool = False) -> tuple[Played, Memory]:
    """What the model says; an example about which it can say nothing is none."""
    note(repr(part))
    try:
        return played(part, INPUT, timeless=timeless)
    except Unsure:
        assume(condition=False)
        raise
