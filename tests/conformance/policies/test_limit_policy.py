"""Limits: how many at once, how many in a time, in what order, and that no place is ever lost."""

from __future__ import annotations

from typing import Any

import pytest
from conformance.harness import World
from conformance.policies.backends import HANG, backend
from returns.result import Failure, Success

from rio_chain import Limit, LimitExceeded, Task, TaskTimedOut, TicketCancelled


async def test_so_many_at_once_and_the_others_in_turn(world: World) -> None:
    limit = Limit(2)
    back = backend(world, (5, "a"))
    chain = Task(back.fetch).limit(limit)
    outcomes = await world.together(*[lambda k=k: world.run(chain(k)) for k in range(6)])
    assert all(outcome.result == Success("a") for outcome in outcomes)
    assert back.most == 2
    assert (limit.running, limit.waiting) == (0, 0)
    if world.virtual:
        assert back.started(0, 0, 5, 5, 10, 10)


async def test_first_come_first_served(world: World) -> None:
    limit = Limit(1)
    go = world.gate()
    order = []

    async def fetch(k: int) -> None:
        order.append(k)
        await go.passed()

    chain = Task(fetch).limit(limit)
    children = [world.start(lambda: world.run(chain(0)))]
    await world.until(lambda: order)
    for k in range(1, 6):
        children.append(world.start(lambda k=k: world.run(chain(k))))
        await world.until(lambda k=k: limit.waiting == k)
    go.open()
    for child in children:
        await child.result()
    assert order == [0, 1, 2, 3, 4, 5]


async def test_a_rate(world: World) -> None:
    back = backend(world, (0, "a"))
    chain = Task(back.fetch).limit(Limit(rate=1, per=20, burst=1))
    await world.together(*[lambda k=k: world.run(chain(k)) for k in range(4)])
    assert sorted(back.starts) == back.starts
    assert back.started(0, 20, 40, 60)


async def test_a_burst(world: World) -> None:
    back = backend(world, (0, "a"))
    chain = Task(back.fetch).limit(Limit(rate=1, per=20, burst=3))
    await world.together(*[lambda k=k: world.run(chain(k)) for k in range(5)])
    assert back.started(0, 0, 0, 20, 40)


async def test_a_rate_and_a_concurrency(world: World) -> None:
    back = backend(world, (30, "a"))
    chain = Task(back.fetch).limit(Limit(1, rate=1, per=10, burst=1))
    await world.together(*[lambda k=k: world.run(chain(k)) for k in range(3)])
    assert back.started(0, 30, 60)
    assert back.most == 1


async def test_each_key_for_itself(world: World) -> None:
    limit = Limit(1, key=lambda x: x[0])
    back = backend(world, (10, "a"))
    chain = Task(back.fetch).limit(limit)
    await world.together(*[lambda x=x: world.run(chain(x)) for x in ("a1", "a2", "b1")])
    assert back.most == 2 if world.virtual else back.most <= 2
    if world.virtual:
        assert back.started(0, 0, 10)


# --- refusals ---------------------------------------------------------------------------------------------------


async def test_no_patience_is_refused_at_once(world: World) -> None:
    limit = Limit(1, wait=0)
    back = backend(world, (HANG, "a"), (0, "b"))
    chain = Task(back.fetch).limit(limit)
    first = world.start(lambda: world.run(chain(1)))
    await world.until(lambda: back.calls)
    outcome = await world.run(chain.retry(5, backoff=None)(2))
    error = outcome.result.failure()
    assert type(error) is LimitExceeded
    assert (outcome.only.status, outcome.only.attempts, outcome.only.errors) == ("failed", 0, (error,))
    first.stop()
    await first.ended()
    await world.until(lambda: limit.running == 0)
    assert (await world.run(chain(3))).result == Success("b")


async def test_patience_has_an_end(world: World) -> None:
    limit = Limit(1, wait=20)
    back = backend(world, (HANG, "a"))
    chain = Task(back.fetch).limit(limit)
    first = world.start(lambda: world.run(chain(1)))
    await world.until(lambda: back.calls)
    outcome = await world.run(chain(2))
    assert type(outcome.result.failure()) is LimitExceeded
    assert world.about(outcome.elapsed, 20)
    assert limit.waiting == 0
    first.stop()
    await first.ended()


async def test_a_token_that_would_come_too_late_is_refused_at_once(world: World) -> None:
    back = backend(world, (0, "a"))
    chain = Task(back.fetch).limit(Limit(rate=1, per=60_000, burst=1, wait=5_000))
    assert (await world.run(chain(1))).result == Success("a")
    outcome = await world.run(chain(2))
    error = outcome.result.failure()
    assert type(error) is LimitExceeded
    assert outcome.elapsed < 4_000
    assert 50 < error.retry_after <= 60


async def test_a_timeout_around_it_limits_the_waiting_too(world: World) -> None:
    limit = Limit(1)
    back = backend(world, (HANG, "a"))
    first = world.start(lambda: world.run(Task(back.fetch).limit(limit)(1)))
    await world.until(lambda: back.calls)
    outcome = await world.run(Task(back.fetch).limit(limit).timeout(world.short)(2))
    assert type(outcome.result.failure()) is TaskTimedOut
    assert (outcome.only.status, outcome.only.attempts) == ("timed_out", 0)
    assert limit.waiting == 0
    first.stop()
    await first.ended()


async def test_a_timeout_inside_does_not(world: World) -> None:
    limit = Limit(1)
    back = backend(world, (world.short, "a"), (1, "b"))
    chain = Task(back.fetch).timeout(3 * world.short).limit(limit)
    first = world.start(lambda: world.run(chain(1)))
    await world.until(lambda: back.calls)
    outcome = await world.run(chain(2))
    assert outcome.result == Success("b")
    assert outcome.only.elapsed < outcome.elapsed or not world.virtual, "a call that waits in line has not started"
    await first.result()


# --- nothing is lost --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["success", "failure", "timeout", "cancel", "deadline", "error value", "outer limit"])
async def test_a_place_is_given_back_however_the_call_ends(world: World, end: str) -> None:
    limit = Limit(1)
    reply: dict[str, tuple[float, Any]] = {
        "success": (1, "a"), "failure": (1, OSError("x")), "error value": (1, Failure("x")),
    }  # fmt: skip
    back = backend(world, reply.get(end, (HANG, "a")), (0, "next"))
    chain = Task(back.fetch).limit(limit)
    if end == "timeout":
        await world.run_until_begun(lambda: Task(back.fetch).timeout(world.short).limit(limit)(1), lambda: back.calls)
    elif end == "outer limit":
        around = chain >> Task(str).inline()
        await world.run_until_begun(lambda: around.timeout(world.short)(1), lambda: back.calls)
    elif end == "deadline":
        await world.run_until_begun(lambda: chain(1), lambda: back.calls, deadline=lambda: world.short)
    elif end == "cancel":
        child = world.start(lambda: world.run(chain(1)))
        await world.until(lambda: back.calls)
        child.stop()
        await child.ended()
    else:
        await world.run(chain(1))
    await world.until(lambda: limit.running == 0)
    assert (await world.run(chain.timeout(5_000)(2))).result == Success("next")


async def test_by_a_ticket_that_is_cancelled_and_by_close(world: World) -> None:
    limit = Limit(1)
    back = backend(world, (HANG, "a"))
    chain = Task(back.fetch).limit(limit)
    async with world.balancer(workers=5) as balancer:
        first = balancer.post(chain(1))
        await world.until(lambda: back.calls)
        second = balancer.post(chain(2))
        await world.until(lambda: limit.waiting == 1)
        first.cancel()
        assert type((await first).result.failure()) is TicketCancelled
        await world.until(lambda: len(back.calls) == 2)
        third = balancer.post(chain(3))
        await world.until(lambda: limit.waiting == 1)
        await balancer.aclose(grace=0)
        assert type((await second).result.failure()) is TicketCancelled
        assert type((await third).result.failure()) is TicketCancelled
    assert (limit.running, limit.waiting) == (0, 0)


@pytest.mark.parametrize("how", ["cancel", "limit"])
async def test_a_call_that_leaves_the_queue_passes_its_turn_on(world: World, how: str) -> None:
    limit = Limit(1)
    go = world.gate()
    order = []

    async def fetch(k: int) -> int:
        order.append(k)
        await go.passed()
        return k

    chain = Task(fetch).limit(limit)
    first = world.start(lambda: world.run(chain(1)))
    await world.until(lambda: order)
    second = world.start(lambda: world.run((chain if how == "cancel" else chain.timeout(60))(2)))
    await world.until(lambda: limit.waiting == 1)
    third = world.start(lambda: world.run(chain(3)))
    await world.until(lambda: limit.waiting == 2)
    if how == "cancel":
        second.stop()
    await second.ended()
    assert limit.waiting == 1
    go.open()
    assert (await first.result()).result == Success(1)
    assert (await third.result()).result == Success(3)
    assert order == [1, 3]


async def test_leaving_at_the_moment_of_the_hand_over(world: World) -> None:
    limit = Limit(1)
    back = backend(world, (2, "a"))
    chain = Task(back.fetch).limit(limit)
    for round_ in range(10):
        children = [world.start(lambda k=k: world.run(chain(k))) for k in range(4)]
        await world.pause(2 if round_ % 2 else 1.9)
        children[1].stop()
        for child in children:
            await child.ended()
        assert all(child.error is None for child in children)
        await world.until(lambda: (limit.running, limit.waiting) == (0, 0))
    assert back.most == 1


async def test_an_expiring_token_is_passed_on(world: World) -> None:
    limit = Limit(rate=1, per=30, burst=1)
    back = backend(world, (0, "a"))
    chain = Task(back.fetch).limit(limit)
    await world.run(chain(0))
    leaves = world.start(lambda: world.run(chain.timeout(10)(1)))
    await world.until(lambda: limit.waiting == 1)
    stays = world.start(lambda: world.run(chain(2)))
    await leaves.ended()
    assert (await stays.result()).result == Success("a")
    assert back.started(0, 30)
