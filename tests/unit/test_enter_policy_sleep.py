"""The wait before a policy lets a call in ends by a timer or by a wake; when both come at once, no timer is left."""

from __future__ import annotations

import pytest
import trio
import trio.lowlevel
import trio.testing

from rio_chain import Task
from rio_chain.engine._current_run import INF, Run, Strand
from rio_chain.engine._enter_policy import wait_at_most
from rio_chain.executors._trio import TrioRuntime
from rio_chain.executors._worker_pool import WorkerPool


@pytest.mark.trio
async def test_an_alarm_that_goes_off_as_the_wake_comes_interrupts_nothing_later(
    mock_clock: trio.testing.MockClock,
) -> None:
    rt = TrioRuntime(WorkerPool(1, 1, "nap"))
    slot = rt.slot()
    strand = Strand(Run(Task(len).plan()), rt, slot, INF)
    waiter = rt.waiter()

    async def wake() -> None:
        await trio.testing.wait_all_tasks_blocked()
        waiter.wake()
        mock_clock.jump(2)  # trio looks at its deadlines before it runs the woken task

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wake)
        await wait_at_most(strand, waiter, 1.0)
        await trio.lowlevel.checkpoint()
        slot.release()
