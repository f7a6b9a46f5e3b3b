"""On a loop of the user's own, no task, no slot and no alarm is left, however a run ends."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from leaks.baseline import Bodies, is_idle, nothing_left
from leaks.loops import LOOPS, Loop, eventually_here, one_of
from waiting import eventually

from rio_chain import Balancer, Request, Task, TaskTimedOut, TicketCancelled, settle
from rio_chain.executors._loop_deadlines import deadlines_of

Run = Callable[[Request[Any]], Awaitable[Any]]


@pytest.fixture(params=LOOPS)
def loop(request: pytest.FixtureRequest) -> Loop:
    return LOOPS[request.param]


async def every_ending(loop: Loop, run: Run, body: Bodies) -> None:
    sync, stays, astays = Task(body.answer), Task(body.stay), Task(body.astay)
    assert (await run((sync >> (Task(body.aanswer) & sync))(1))).unwrap() == (1, 1)
    failed = await run((Task(body.afail) & astays).retry(2, backoff=None)(1))
    assert isinstance(failed.result.failure(), ValueError)
    late = await run(settle(astays, stays).timeout(10)(1))
    assert isinstance(late.result.failure(), TaskTimedOut)
    with pytest.raises(SystemExit):
        await run((astays & Task(body.quit))(1))
    while body.begun.acquire(blocking=False):
        pass
    await loop.cancelled_when(lambda: run((astays & (sync >> astays))(1)), one_of(body.begun))
    await loop.cancelled_when(lambda: run(stays(1)), one_of(body.begun))
    body.open.set()


def test_a_bare_request_leaves_no_task(loop: Loop, body: Bodies) -> None:
    async def main() -> None:
        before = loop.living()
        await every_ending(loop, awaited, body)
        assert loop.living() == before

    loop.run(main)


async def awaited(request: Request[Any]) -> Any:
    return await request


def test_arun_leaves_no_task_and_no_slot(loop: Loop, body: Bodies) -> None:
    async def main() -> None:
        before = loop.living()
        async with Balancer(workers=2, max_abandoned=9) as balancer:
            await every_ending(loop, balancer.arun, body)
            await eventually_here(lambda: is_idle(balancer))
        assert loop.living() == before

    with nothing_left():
        loop.run(main)


def test_arun_that_waits_in_the_line_leaves_no_task_and_no_slot(loop: Loop, body: Bodies) -> None:
    async def main() -> None:
        before = loop.living()
        async with Balancer(workers=1) as balancer:
            staying = Task(body.astay)(1)
            await loop.together(
                lambda: loop.cancelled_when(lambda: balancer.arun(staying), lambda: balancer.stats().queued == 1),
                lambda: loop.cancelled_when(lambda: balancer.arun(staying), lambda: balancer.stats().queued == 1),
            )
            await eventually_here(lambda: is_idle(balancer))
            late = []

            async def too_late() -> None:
                await eventually_here(lambda: balancer.stats().running == 1)
                late.append(await balancer.arun(Task(body.aanswer)(1), queue_timeout=5))

            await loop.cancelled_when(
                lambda: loop.together(lambda: balancer.arun(staying), too_late), lambda: bool(late)
            )
            assert late[0].only.status == "skipped"
            await eventually_here(lambda: is_idle(balancer))
        assert loop.living() == before

    loop.run(main)


def test_post_leaves_no_task_and_no_slot(loop: Loop, body: Bodies) -> None:
    async def main() -> None:
        before = loop.living()
        async with Balancer(workers=2, max_abandoned=9) as balancer:

            async def post_it(request: Request[Any]) -> Any:
                ticket = balancer.post(request)
                try:
                    return await ticket
                finally:
                    ticket.cancel()

            await every_ending(loop, post_it, body)
            queued = [balancer.post(Task(body.astay)(n), queue_timeout=t) for n in range(20) for t in (None, 30_000)]
            for ticket in queued:
                ticket.cancel()
            for ticket in queued:
                assert isinstance((await ticket).result.failure(), TicketCancelled)
            await eventually_here(lambda: is_idle(balancer))
        assert loop.living() == before

    with nothing_left():
        loop.run(main)


def test_aclose_answers_all_and_leaves_nothing(loop: Loop, body: Bodies) -> None:
    async def main() -> None:
        before = loop.living()
        async with Balancer(workers=2) as balancer:
            tickets = [balancer.post(chain(1)) for chain in (Task(body.astay), Task(body.stay), Task(body.answer))]
            tickets += [balancer.post(Task(body.answer)(1), queue_timeout=30_000)]
            await balancer.aclose(grace=0)
            assert all(ticket.done for ticket in tickets)
            assert all(isinstance(ticket.wait().result.failure(), TicketCancelled) for ticket in tickets)
            assert loop.living() == before
        body.open.set()

    with nothing_left():
        loop.run(main)


def test_a_module_level_balancer_leaves_nothing_of_the_loop_it_was_used_on(loop: Loop, body: Bodies) -> None:
    async def main() -> None:
        assert (await balancer.arun(Task(body.aanswer)(1))).unwrap() == 1
        balancer.post(Task(body.astay)(1))
        await loop.cancelled_when(lambda: balancer.arun(Task(body.astay)(1)), one_of(body.begun))

    with nothing_left():
        balancer = Balancer(workers=2)
        loop.run(main)
        assert is_idle(balancer)
        balancer.close()


def test_the_reaper_keeps_no_more_alarms_than_there_were_runs_at_once(body: Bodies) -> None:
    async def main() -> None:
        request = (Task(body.aanswer).timeout(10_000) >> Task(body.aanswer).timeout(9_000)).timeout(8_000)(1)
        for _ in range(30):
            await asyncio.gather(*(awaited(request) for _ in range(20)))
        reaper = deadlines_of(asyncio.get_running_loop())
        assert len(reaper.free) <= 20
        assert len(reaper._deadlines) <= 3 * 20 + 64
        assert all(alarm.slot is None for alarm in reaper.free)

    asyncio.run(main())


def test_the_thread_kernel_keeps_no_more_limits_than_there_were_strands_at_once(body: Bodies) -> None:
    request = (Task(body.answer).timeout(10_000) & Task(body.answer).timeout(9_000)).timeout(8_000)(1)
    with Balancer("thread", workers=4) as balancer:
        for _ in range(200):
            balancer.run(request)
        kernel = balancer._host.runtime._kernel  # type: ignore[union-attr]
        assert len(kernel.limits) <= 4 * 3
        assert all(limit.strand is None for limit in kernel.limits)
        eventually(lambda: not kernel.strands)
