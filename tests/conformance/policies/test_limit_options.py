"""Limits by priority, by cost, several at once, with a bounded queue or a sliding window, and changed as they run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from conformance.harness import Gate, World
from conformance.policies.backends import HANG, backend
from returns.result import Success

from rio_chain import Balancer, CallbackFailed, Limit, LimitExceeded, Task, TaskTimedOut


async def in_line(
    world: World, limit: Limit, balancer: Balancer, priorities: list[int], *, pause: float = 0
) -> list[int]:
    """Requests that wait behind one that holds the limit; the order in which they then run, by their numbers."""
    go, order, started = world.gate(), list[int](), list[int]()

    async def fetch(k: int) -> None:
        started.append(k)
        if k < 0:
            await go.passed()
        else:
            order.append(k)

    chain = Task(fetch).limit(limit)
    tickets = [balancer.post(chain(-1), priority=0)]
    await world.until(lambda: started)
    for k, priority in enumerate(priorities):
        tickets.append(balancer.post(chain(k), priority=priority))
        await world.until(lambda k=k: limit.waiting == k + 1)
        if pause:
            await world.together(lambda: world.run(Task(backend(world, (pause, "a")).fetch)(0)))
    go.open()
    for ticket in tickets:
        await ticket
    return order


async def test_the_line_goes_by_priority_and_then_by_arrival(world: World) -> None:
    async with world.balancer(workers=30) as balancer:
        order = await in_line(world, Limit(1), balancer, [0, 0, 5, -1, 5, 100])
    assert order == [5, 2, 4, 0, 1, 3]


async def test_with_aging_a_call_that_waited_long_enough_is_first(world: World) -> None:
    if not world.virtual:
        pytest.skip("the order depends on milliseconds")
    async with world.balancer(workers=30) as balancer:
        order = await in_line(world, Limit(1, aging=10), balancer, [0, 1, 3, 0], pause=15)
    # it counts as having come 10 ms earlier for each step: 0, 15 - 10, 30 - 30, 45
    assert order == [0, 2, 1, 3]


class Weighed:
    """Calls of some weight that run until their gate opens, with the most weight that ran at once."""

    def __init__(self, world: World) -> None:
        self.go: list[Gate] = []
        self.world = world
        self.running = self.most = 0.0
        self.started: list[float] = []

    async def fetch(self, weight: float) -> float:
        self.running += weight
        self.most = max(self.most, self.running)
        self.started.append(weight)
        gate = self.world.gate()
        self.go.append(gate)
        await gate.passed()
        self.running -= weight
        return weight


async def test_calls_of_some_weight(world: World) -> None:
    work, limit = Weighed(world), Limit(16, cost=float)
    chain = Task(work.fetch).limit(limit)
    children = [world.start(lambda w=w: world.run(chain(w))) for w in (10,)]
    await world.until(lambda: work.started == [10])
    for w in (8, 1):
        children.append(world.start(lambda w=w: world.run(chain(w))))
        await world.until(lambda w=w: limit.waiting == (1 if w == 8 else 2))
    assert not limit.has_capacity(1)  # the one that waits for 8 is not overtaken by one that costs less
    work.go[0].open()
    await world.until(lambda: len(work.started) == 3)
    assert sorted(work.started) == [1, 8, 10]
    assert limit.has_capacity(7)
    assert not limit.has_capacity(7.5)
    for gate in work.go:
        gate.open()
    for child in children:
        assert (await child.result()).ok
    assert work.most <= 16
    assert (limit.running, limit.waiting) == (0, 0)


async def test_a_call_that_costs_more_than_the_whole_limit_is_refused_at_once(world: World) -> None:
    limit = Limit(16, rate=20, burst=12, cost=float)
    back = backend(world, (0, "a"))
    outcome = await world.run(Task(back.fetch).limit(limit)(14))
    error = outcome.result.failure()
    assert type(error) is LimitExceeded
    assert "this call costs 14, and the limit (" in str(error)
    assert not back.calls
    assert (await world.run(Task(back.fetch).limit(limit)(12))).ok


@pytest.mark.parametrize(
    ("cost", "error"),
    [
        (lambda _: -1, ValueError),
        (lambda _: float("nan"), ValueError),
        (lambda _: float("inf"), ValueError),
        (lambda _: "3", TypeError),
        (lambda _: None, TypeError),
        (lambda _: True, TypeError),
        (lambda _: 1 / 0, ZeroDivisionError),
    ],
)
@pytest.mark.parametrize("role", ["cost", "actual"])
async def test_a_cost_that_is_none_is_the_error_of_that_function(
    world: World, cost: Callable[[Any], Any], error: type[Exception], role: str
) -> None:
    limit = Limit(16, rate=1000, **{role: cost})
    back = backend(world, (0, "a"))
    failed = (await world.run(Task(back.fetch).limit(limit).retry(3, backoff=None)(1))).result.failure()
    assert type(failed) is CallbackFailed
    assert failed.role == role
    assert type(failed.error) is error
    assert len(back.calls) == (role == "actual")
    assert (limit.running, limit.waiting) == (0, 0)


async def test_an_estimate_is_corrected_by_the_answer(world: World) -> None:
    # 10 tokens; the estimate is 8, the answer says 2: 8 are left, so a second call begins at once
    limit = Limit(rate=10, per=100, cost=lambda _: 8, actual=int)
    back = backend(world, (0, 2))
    chain = Task(back.fetch).limit(limit)
    assert (await world.run(chain(1))).result == Success(2)
    assert (await world.run(chain(2))).result == Success(2)
    assert back.started(0, 0)


async def test_a_call_that_cost_more_than_estimated_delays_the_next(world: World) -> None:
    # 10 tokens; the estimate is 1, the answer says 20: 10 in debt, so the next waits for 11 new tokens
    limit = Limit(rate=10, per=100, cost=lambda _: 1, actual=int)
    back = backend(world, (0, 20))
    chain = Task(back.fetch).limit(limit)
    await world.run(chain(1))
    await world.run(chain(2))
    assert back.started(0, 110)


async def test_a_correction_lets_a_call_that_waits_begin_earlier(world: World) -> None:
    limit = Limit(rate=10, per=100, cost=lambda _: 10, actual=lambda _: 0)
    back = backend(world, (20, "a"))
    chain = Task(back.fetch).limit(limit)
    await world.together(lambda: world.run(chain(1)), lambda: world.run(chain(2)))
    assert back.started(0, 20)


async def test_a_failed_call_keeps_its_estimate(world: World) -> None:
    limit = Limit(rate=10, per=100, cost=lambda _: 10, actual=lambda _: 0)
    back = backend(world, (0, OSError()), (0, "a"))
    chain = Task(back.fetch).limit(limit)
    await world.run(chain(1))
    await world.run(chain(2))
    assert back.started(0, 100)


async def test_several_at_once_hold_nothing_while_they_wait(world: World) -> None:
    places, other = Limit(2), Limit(1)
    work = Weighed(world)
    both = Task(work.fetch).limit(other, places)
    first = world.start(lambda: world.run(Task(work.fetch).limit(other)(1)))
    await world.until(lambda: len(work.started) == 1)
    second = world.start(lambda: world.run(both(2)))
    await world.until(lambda: other.waiting == 1)
    assert (places.running, places.waiting) == (0, 0), "it waits for one, and does not hold the other"
    third = world.start(lambda: world.run(Task(work.fetch).limit(places)(3)))
    await world.until(lambda: len(work.started) == 2)
    work.go[0].open()
    await world.until(lambda: len(work.started) == 3)
    assert (places.running, other.running) == (2, 1)
    for gate in work.go:
        gate.open()
    for child in (first, second, third):
        assert (await child.result()).ok
    assert (places.running, other.running, places.waiting, other.waiting) == (0, 0, 0, 0)


async def test_several_at_once_in_either_order_end(world: World) -> None:
    a, b = Limit(1), Limit(1)
    back = backend(world, (1, "a"))
    chains = [Task(back.fetch).limit(a, b), Task(back.fetch).limit(b, a), Task(back.fetch).limit(b)]
    outcomes = await world.together(*[lambda k=k: world.run(chains[k % 3](k)) for k in range(12)])
    assert all(outcome.ok for outcome in outcomes)
    assert back.most == 1
    assert (a.running, b.running, a.waiting, b.waiting) == (0, 0, 0, 0)


async def test_tokens_of_several_are_given_back_by_a_call_that_has_to_wait(world: World) -> None:
    tokens, places = Limit(rate=1, per=HANG, burst=2), Limit(1)
    work = Weighed(world)
    chain = Task(work.fetch).limit(tokens, places)
    first = world.start(lambda: world.run(chain(1)))
    await world.until(lambda: work.started)
    second = world.start(lambda: world.run(chain(2)))
    await world.until(lambda: places.waiting == 1)
    assert tokens.has_capacity(), "its token is back"
    second.stop()
    await second.ended()
    assert tokens.has_capacity()
    work.go[0].open()
    await first.result()
    assert places.has_capacity()


async def test_one_of_several_refuses(world: World) -> None:
    tokens, places = Limit(rate=5, per=HANG), Limit(1, wait=0)
    back = backend(world, (HANG, "a"))
    chain = Task(back.fetch).limit(tokens, places)
    first = world.start(lambda: world.run(chain(1)))
    await world.until(lambda: back.calls)
    assert type((await world.run(chain(2))).result.failure()) is LimitExceeded
    assert tokens.has_capacity(4)
    first.stop()
    await first.ended()


async def test_a_timeout_ends_the_wait_for_several(world: World) -> None:
    a, b = Limit(3), Limit(1)
    back = backend(world, (HANG, "a"))
    first = world.start(lambda: world.run(Task(back.fetch).limit(b)(1)))
    await world.until(lambda: back.calls)
    outcome = await world.run(Task(back.fetch).limit(a, b).timeout(world.short)(2))
    assert type(outcome.result.failure()) is TaskTimedOut
    assert (a.running, a.waiting, b.waiting) == (0, 0, 0)
    first.stop()
    await first.ended()


async def test_costs_and_corrections_of_several_are_their_own(world: World) -> None:
    calls, tokens = Limit(rate=100, per=HANG), Limit(rate=100, per=HANG, cost=lambda _: 50, actual=int)
    back = backend(world, (0, 10))
    assert (await world.run(Task(back.fetch).limit(tokens, calls)(1))).ok
    assert calls.has_capacity(99)
    assert not calls.has_capacity(99.9)
    assert tokens.has_capacity(90)
    assert not tokens.has_capacity(91)


async def test_a_queue_of_some_length(world: World) -> None:
    limit = Limit(1, queue=1)
    back = backend(world, (HANG, "a"))
    chain = Task(back.fetch).limit(limit)
    children = []
    for k in range(2):
        children.append(world.start(lambda k=k: world.run(chain(k))))
        await world.until(lambda k=k: (limit.running, limit.waiting) == (1, k))
    error = (await world.run(chain(2))).result.failure()
    assert type(error) is LimitExceeded
    assert str(error) == "the limit of 1 at once is reached, and 1 calls wait already (queue=1)"
    for child in children:
        child.stop()
        await child.ended()
    assert (limit.running, limit.waiting) == (0, 0)


async def test_a_sliding_window(world: World) -> None:
    # a bucket would let a third begin after half of the time
    back = backend(world, (0, "a"))
    chain = Task(back.fetch).limit(Limit(rate=2, per=40, window="sliding"))
    await world.together(*[lambda k=k: world.run(chain(k)) for k in range(5)])
    assert back.started(0, 0, 40, 40, 80)


async def test_a_larger_limit_lets_those_that_wait_begin(world: World) -> None:
    work, limit = Weighed(world), Limit(1)
    chain = Task(work.fetch).limit(limit)
    children = [world.start(lambda k=k: world.run(chain(k))) for k in range(4)]
    await world.until(lambda: (limit.running, limit.waiting) == (1, 3))
    limit.update(concurrency=3)
    await world.until(lambda: len(work.started) == 3)
    assert (limit.running, limit.waiting) == (3, 1)
    limit.update(concurrency=1)
    work.go[0].open()
    await world.until(lambda: limit.running == 2)
    assert limit.waiting == 1, "a smaller limit ends no call, and lets none begin"
    limit.update(concurrency=None, rate=1000)
    await world.until(lambda: len(work.started) == 4)
    for gate in work.go:
        gate.open()
    for child in children:
        assert (await child.result()).ok


async def test_a_faster_rate_wakes_the_first_in_line(world: World) -> None:
    limit = Limit(rate=1, per=HANG, burst=1)
    back = backend(world, (0, "a"))
    chain = Task(back.fetch).limit(limit)
    await world.run(chain(0))
    child = world.start(lambda: world.run(chain(1)))
    await world.until(lambda: limit.waiting == 1)
    limit.update(per=10)
    assert (await child.result()).ok


async def test_a_call_that_waits_and_costs_too_much_after_a_change_is_refused(world: World) -> None:
    work, limit = Weighed(world), Limit(10, cost=float)
    chain = Task(work.fetch).limit(limit)
    first = world.start(lambda: world.run(chain(5)))
    await world.until(lambda: work.started)
    second = world.start(lambda: world.run(chain(8)))
    await world.until(lambda: limit.waiting == 1)
    limit.update(concurrency=7)
    outcome = await second.result()
    assert "this call costs 8" in str(outcome.result.failure())
    work.go[0].open()
    await first.result()


async def test_observers_are_told_of_the_wait_for_several(world: World) -> None:
    a, b = Limit(3), Limit(1)
    back = backend(world, (5, "a"))
    events: list[Any] = []
    async with world.balancer(observers=[events.append]) as balancer:
        chain = Task(back.fetch).limit(a, b)
        tickets = [balancer.post(chain(k)) for k in range(2)]
        for ticket in tickets:
            await ticket
    assert [e.kind for e in events if e.kind.startswith("limit")] == ["limit_waited"]
