"""A slot that is granted at the very instant of the deadline comes too late; in virtual time, on both loops."""

from __future__ import annotations

from typing import Any

import pytest
from laws.queue_model import SECOND, sleep
from virtual_loops import on_asyncio, on_trio

from rio_chain import Balancer, DeadlineExceeded, Task

UNIT = 7.8125  # milliseconds, which all clocks here add up exactly
TICKS = SECOND // 128


@pytest.mark.parametrize("loop", [on_asyncio, on_trio])
@pytest.mark.parametrize(
    "terms", [{"deadline": UNIT}, {"queue_timeout": UNIT}, {"deadline": UNIT, "queue_timeout": 9e9}]
)
@pytest.mark.parametrize("steps", [[TICKS], [TICKS // 2, TICKS // 2]], ids=["timer set first", "timer set last"])
@pytest.mark.parametrize("many", [1, 300])
def test_it_comes_too_late_and_those_behind_lose_nothing_by_it(
    loop: Any, terms: dict[str, float], steps: list[int], many: int
) -> None:
    called: list[str] = []

    async def holds(name: str) -> None:
        called.append(name)
        for ticks in steps:
            await sleep(ticks)

    async def main() -> None:
        async with Balancer(workers=1) as balancer:
            holder = balancer.post(Task(holds)("holder"))
            late = [balancer.post(Task(holds)("late"), **terms, priority=1) for _ in range(many)]
            behind = balancer.post(Task(holds)("behind"), deadline=9e9)
            assert (await behind).queued == UNIT, "the slot was free in that instant"
            for ticket in late:
                outcome = await ticket
                error = outcome.result.failure()
                assert (type(error), error.where) == (DeadlineExceeded, "in the queue")
                assert (outcome.only.status, outcome.only.attempts, outcome.queued) == ("skipped", 0, UNIT)
            assert (await holder).unwrap() is None
            stats = balancer.stats()
            assert (stats.running, stats.queued, stats.done) == (0, 0, 2)

    loop(main)
    assert called == ["holder", "behind"]
