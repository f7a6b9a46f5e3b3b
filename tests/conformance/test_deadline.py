"""Deadlines: one instant for a whole run, its waiting included, and for what it calls."""

from __future__ import annotations

import pytest
from conformance.harness import World
from returns.result import Success

from rio_chain import Deadline, DeadlineExceeded, Task, TaskTimedOut, remaining


class Backend:
    def __init__(self, world: World) -> None:
        self.world = world
        self.calls = 0
        self.ended = 0
        self.left: list[float] = []

    async def fetch(self, x: object) -> object:
        self.calls += 1
        try:
            await self.world.pause(10_000)
        finally:
            self.ended += 1
        return x

    async def ask(self, x: object) -> object:
        self.calls += 1
        self.left.append(remaining())
        return x


@pytest.fixture
def backend(world: World) -> Backend:
    return Backend(world)


async def test_a_deadline_that_passes_while_running(world: World, backend: Backend) -> None:
    chain = (
        Task(backend.ask) >> Task(backend.fetch).retry(3, backoff=None).or_else("never") >> Task(backend.ask).named("c")
    )
    outcome = await world.run(chain(7), deadline=world.short)
    error = outcome.result.failure()
    assert type(error) is DeadlineExceeded
    assert str(error) == "the deadline passed while running"
    assert [r.status for r in outcome] == ["succeeded", "timed_out", "skipped"]
    assert (backend.calls, backend.ended) == (2, 1)
    assert world.short - 1 <= outcome.elapsed + outcome.queued


@pytest.mark.parametrize("late", [0, Deadline.after(0), Deadline(-1.0)])
async def test_a_deadline_that_is_over_calls_nothing(world: World, backend: Backend, late: object) -> None:
    outcome = await world.run((Task(backend.ask) >> Task(backend.ask).named("b"))(7), deadline=late)
    error = outcome.result.failure()
    assert type(error) is DeadlineExceeded
    assert error.where in {"before it began", "in the queue"}
    assert backend.calls == 0
    assert [r.status for r in outcome] == ["skipped", "skipped"]
    assert [r.attempts for r in outcome] == [0, 0]


async def test_a_deadline_that_passes_in_the_queue(world: World, backend: Backend) -> None:
    async with world.balancer(workers=1) as balancer:
        running = world.start(lambda: balancer.arun(Task(backend.fetch)(1)))
        await world.until(lambda: backend.calls)
        outcome = await balancer.arun(Task(backend.ask)(7), deadline=20)
        error = outcome.result.failure()
        assert type(error) is DeadlineExceeded
        assert str(error) == "the deadline passed in the queue"
        assert outcome.only.status == "skipped"
        assert (outcome.elapsed, backend.left) == (0, [])
        assert outcome.queued >= 19
        assert balancer.stats().queued == 0
        running.stop()
        await running.ended()


async def test_a_queue_timeout_limits_the_waiting_alone(world: World, backend: Backend) -> None:
    async def takes(x: int) -> int:
        await world.pause(40)
        return x

    async with world.balancer(workers=1) as balancer:
        assert (await balancer.arun(Task(takes)(7), queue_timeout=1_000)).result == Success(7)
        assert (await balancer.arun(Task(takes)(7), queue_timeout=0)).result == Success(7), "it did not have to wait"
        running = world.start(lambda: balancer.arun(Task(backend.fetch)(1)))
        await world.until(lambda: backend.calls)
        for terms in ({"queue_timeout": 20}, {"queue_timeout": 0}, {"queue_timeout": 20, "deadline": 10_000}):
            outcome = await balancer.arun(Task(backend.ask)(7), **terms)
            assert type(outcome.result.failure()) is DeadlineExceeded
        ticket = balancer.post(Task(backend.ask)(7), queue_timeout=20)
        assert type((await ticket).result.failure()) is DeadlineExceeded
        assert backend.left == []
        running.stop()
        await running.ended()


async def test_remaining_counts_down_to_the_earliest_limit(world: World, backend: Backend) -> None:
    chain = (Task(backend.ask).timeout(5_000) >> Task(backend.ask).named("b")).timeout(20_000) >> Task(
        backend.ask
    ).named("c")
    await world.run(chain(7), deadline=100_000)
    first, second, third = backend.left
    assert 1_000 < first <= 5_000
    assert 15_000 < second <= 20_000
    assert 90_000 < third <= 100_000.001
    assert remaining() == float("inf")


async def test_a_nested_run_inherits_the_deadline(world: World, backend: Backend) -> None:
    async def nested(x: object) -> object:
        inner = await Task(backend.ask)(x)
        return inner.unwrap()

    await world.run(Task(nested).timeout(5_000)(7))
    assert 1_000 < backend.left[0] <= 5_000


async def test_a_nested_run_takes_the_smaller_deadline(world: World, backend: Backend) -> None:
    async def nested(x: object) -> object:
        return (await Task(backend.fetch).timeout(10)(x)).result.failure()

    outcome = await world.run(Task(nested)(7), deadline=5_000)
    assert type(outcome.unwrap()) is TaskTimedOut


async def test_the_deadline_of_the_outer_run_ends_the_inner_one(world: World, backend: Backend) -> None:
    async def nested(x: object) -> object:
        return (await Task(backend.fetch).timeout(5_000)(x)).result

    outcome = await world.run(Task(nested)(7), deadline=world.short)
    assert type(outcome.result.failure()) is DeadlineExceeded
    assert (backend.calls, backend.ended) == (1, 1)


async def test_a_returned_request_is_under_the_same_limits(world: World, backend: Backend) -> None:
    async def chosen(x: object) -> object:
        return (Task(backend.ask) >> Task(backend.fetch).retry(3, backoff=None).or_else(0))(x)

    outcome = await world.run(Task(chosen).timeout(world.short)(7))
    assert type(outcome.result.failure()) is TaskTimedOut
    assert outcome.only.status == "timed_out"
    assert all(left <= world.short for left in backend.left)
    assert backend.calls - len(backend.left) == backend.ended <= 1
    assert backend.ended == 1 or not world.virtual


@pytest.mark.real_time
async def test_a_blocking_run_inside_of_a_sync_body_inherits_too(world: World, backend: Backend) -> None:
    world.not_virtual("a sync function runs on the loop, where a blocking run is refused")

    def nested(x: object) -> object:
        return Task(backend.ask)(x).run().unwrap()

    outcome = await world.run(Task(nested).timeout(5_000)(7))
    assert outcome.result == Success(7)
    assert backend.left[0] <= 5_000


async def test_a_deadline_made_on_the_way_in(world: World, backend: Backend) -> None:
    await world.run(Task(backend.ask)(7), deadline=Deadline.after(5_000))
    assert 1_000 < backend.left[0] <= 5_000.001
