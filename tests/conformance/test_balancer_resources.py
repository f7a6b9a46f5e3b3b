"""``resources=`` of a Balancer, on every executor."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from conformance.harness import Gate, World
from conformance.policies.backends import HANG
from conformance.policies.stuck import Stuck
from returns.result import Success

from rio_chain import (
    Backoff,
    Balancer,
    Batch,
    Chain,
    Event,
    Request,
    Task,
    TaskTimedOut,
    Ticket,
    TicketCancelled,
    UsageError,
    each,
    fan_out,
)


class Held:
    """Calls that wait until the gate opens. It counts how many run at once."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.gate: Gate = world.gate()
        self.order: list[Any] = []
        self.running = self.most = 0

    async def fetch(self, name: Any) -> Any:
        self.order.append(name)
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await self.gate.passed()
            await self.world.pause(1)
        finally:
            self.running -= 1
        return name


def used(balancer: Balancer, name: str = "gpu") -> float:
    return balancer.stats().resources[name].used


def waiting(balancer: Balancer, name: str = "gpu") -> int:
    return balancer.stats().resources[name].waiting


def four_times(x: Any) -> list[Any]:
    return [x] * 4


def nesting(task: Callable[[Any], Request[Any]]) -> Task[[Any], Any]:
    """A task whose function returns a Request."""

    async def outer(x: Any) -> Request[Any]:
        return task(x)

    return Task(outer)


def queued(balancer: Balancer, calls: int) -> bool:
    return waiting(balancer) == calls


SHAPES: dict[str, Callable[[Task[[Any], Any]], Chain[[Any], Any]]] = {
    "alone": lambda task: task,
    "retry": lambda task: task.retry(2),
    "timeout": lambda task: task.timeout(HANG),
    "replica": lambda task: task.replica(3, after=0),
    "fan_out": lambda task: fan_out(task, task.named("b"), task.named("c")),
    "each": lambda task: four_times >> each(task, limit=4),
    "nested": nesting,
    "batch": lambda task: task.batch(Batch(3, wait=1)),
}


@pytest.mark.parametrize("shape", SHAPES)
async def test_no_more_run_at_once_than_there_are_resources_for(world: World, shape: str) -> None:
    held = Held(world)
    held.gate.open()
    chain = SHAPES[shape](Task(held.fetch).resources(gpu=1, memory="2GiB"))
    async with world.balancer(workers=10, resources={"gpu": 8, "memory": "5GB"}) as balancer:
        outcomes = await world.together(*[lambda k=k: balancer.arun(chain(k)) for k in range(6)])
        assert [outcome.error for outcome in outcomes] == [None] * 6
        assert held.most <= 2
        if shape != "batch":
            assert held.most == 2, "5 GB are enough for two"
        await world.until(lambda: not held.running)
        assert {use.used for use in balancer.stats().resources.values()} == {0.0}


async def test_a_call_that_waits_for_one_resource_holds_no_other(world: World) -> None:
    held, other = Held(world), Held(world)
    other.gate.open()
    async with world.balancer(workers=5, resources={"gpu": 1, "memory": 4}) as balancer:
        first = balancer.post(Task(held.fetch).resources(gpu=1)("first"))
        await world.until(lambda: held.order)
        both = balancer.post(Task(held.fetch).resources(memory=4, gpu=1)("both"))
        await world.until(lambda: waiting(balancer) == 1)
        assert used(balancer, "memory") == 0
        assert (await balancer.arun(Task(other.fetch).resources(memory=4)("memory"))).ok
        held.gate.open()
        assert (await first).ok
        assert (await both).ok


async def test_calls_with_different_needs_all_run_and_never_use_more_than_there_is(world: World) -> None:
    most = {"a": 0.0, "b": 0.0}

    async def fetch(x: int) -> int:
        for name, use in balancer.stats().resources.items():
            most[name] = max(most[name], use.used)
        await world.pause(x % 3)
        return x

    task = Task(fetch)
    tasks = [task.resources(a=1, b=2), task.resources(a=2), task.resources(b=3), task.resources(a=3, b=3)]
    async with world.balancer(workers=20, resources={"a": 3, "b": 3}) as balancer:
        outcomes = [o async for o in balancer.amap(lambda k: tasks[k % 4](k), range(80), as_completed=True)]
        assert [outcome.error for outcome in outcomes] == [None] * 80
        assert most == {"a": 3, "b": 3}
        assert {use.used for use in balancer.stats().resources.values()} == {0.0}


async def test_a_call_that_needs_much_is_not_overtaken_for_ever(world: World) -> None:
    held = Held(world)
    small, large = Task(held.fetch).resources(gpu=1), Task(held.fetch).resources(gpu=2)
    async with world.balancer(workers=30, resources={"gpu": 2}) as balancer:
        tickets: list[Ticket[Any]] = []
        posts = [(small, "a", 1, 0), (small, "b", 2, 0), (small, "c", 2, 1), (large, "large", 2, 2)]
        for task, name, begun, calls in posts:
            tickets.append(balancer.post(task(name)))
            await world.until(partial(queued, balancer, calls))
            await world.until(lambda begun=begun: len(held.order) == begun)
        tickets += [balancer.post(small("late")) for _ in range(9)]
        held.gate.open()
        for ticket in tickets:
            assert (await ticket).ok
    assert held.order[2:4] == ["c", "large"]


@pytest.mark.parametrize(("aging", "expected"), [(None, [2, 1, 0]), (1, [0, 1, 2])])
async def test_the_highest_priority_is_next_and_aging_counts(
    world: World, aging: float | None, expected: list[int]
) -> None:
    held = Held(world)
    task = Task(held.fetch).resources(gpu=1)
    async with world.balancer(workers=5, resources={"gpu": 1}, aging=aging) as balancer:
        tickets = [balancer.post(task("first"))]
        await world.until(lambda: held.order)
        for k in range(3):
            tickets.append(balancer.post(task(k), priority=k))
            await world.until(partial(queued, balancer, k + 1))
            await world.pause(10)
        held.gate.open()
        for ticket in tickets:
            assert (await ticket).ok
    assert held.order[1:] == expected


async def test_it_is_free_between_two_attempts(world: World) -> None:
    uses: list[float] = []

    async def fetch(x: int) -> int:
        uses.append(used(balancer))
        if len(uses) < 2:
            raise ValueError
        return x

    async def look() -> None:
        await world.until(lambda: len(uses) == 1)
        await world.until(lambda: used(balancer) == 0)

    async with world.balancer(resources={"gpu": 1}) as balancer:
        chain = Task(fetch).resources(gpu=0.5).retry(1, backoff=Backoff(base=30, jitter="none"))
        outcome, _ = await world.together(lambda: balancer.arun(chain(1)), look)
        assert outcome.result == Success(1)
        assert uses == [0.5, 0.5]


async def test_a_request_that_a_function_returns_runs_without_what_the_function_held(world: World) -> None:
    uses: list[float] = []

    async def inner(x: int) -> int:
        uses.append(used(balancer))
        return x

    task = Task(inner).resources(gpu=1)
    async with world.balancer(resources={"gpu": 1}) as balancer:
        outer = nesting(task).resources(gpu=1)
        assert (await balancer.arun(outer(1), deadline=HANG)).result == Success(1)
        hedged = outer.named("outer").replica(2, after=0)
        assert (await balancer.arun(hedged(2), deadline=HANG)).result == Success(2)
        assert set(uses) == {1.0}
        await world.until(lambda: used(balancer) == 0)


async def test_a_request_that_the_function_of_a_batch_returns_waits_as_well(world: World) -> None:
    uses: list[float] = []

    async def inner(many: list[int]) -> list[int]:
        uses.append(used(balancer))
        return many

    async with world.balancer(workers=10, resources={"gpu": 1}) as balancer:
        chain: Chain[[Any], Any] = nesting(Task(inner).resources(gpu=1)).batch(Batch(2, wait=1))
        outcomes = await world.together(*[lambda k=k: balancer.arun(chain(k)) for k in range(4)])
        assert [outcome.result for outcome in outcomes] == [Success(k) for k in range(4)]
        assert set(uses) == {1.0}


async def test_a_run_that_a_function_begins_itself_is_a_part_of_its_call(world: World) -> None:
    seen: list[float] = []

    async def inner(x: int) -> int:
        seen.append(used(balancer))
        return x

    task = Task(inner).resources(gpu=1)
    nested = nesting(task).named("nested")

    async def outer(x: int) -> Any:
        return (await task(x)).unwrap() + (await nested(x)).unwrap()

    async with world.balancer(resources={"gpu": 1}) as balancer:
        assert (await balancer.arun(Task(outer).resources(gpu=1)(1), deadline=HANG)).result == Success(2)
        assert seen == [1.0, 1.0], "the function has it all the time"
        assert used(balancer) == 0


@pytest.mark.real_time
async def test_an_abandoned_blocking_call_keeps_them_also_when_the_balancer_opens_again(world: World) -> None:
    world.not_virtual("a sync function is never abandoned there")
    stuck = Stuck()
    balancer = Balancer(world.executor, resources={"gpu": 1}, max_abandoned=5)
    try:
        async with balancer:
            task = Task(stuck).resources(gpu=1)
            assert type((await balancer.arun(task.timeout(world.short)(1))).result.failure()) is TaskTimedOut
            assert used(balancer) == 1
        async with balancer:
            ticket = balancer.post(task(2))
            await world.until(lambda: waiting(balancer) == 1)
            assert stuck.calls == [1]
            stuck.end()
            assert (await ticket).result == Success(2)
            assert stuck.most == 1
            await world.until(lambda: used(balancer) == 0)
    finally:
        stuck.end()


async def test_a_call_that_is_cancelled_or_late_while_it_waits_leaves_nothing(world: World) -> None:
    held = Held(world)
    task = Task(held.fetch).resources(gpu=1)
    async with world.balancer(workers=5, resources={"gpu": 1}) as balancer:
        first = balancer.post(task("first"))
        await world.until(lambda: held.order)
        gone = balancer.post(task("gone"))
        await world.until(lambda: waiting(balancer) == 1)
        gone.cancel()
        assert type((await gone).result.failure()) is TicketCancelled
        late = await balancer.arun(task.timeout(world.short)("late"))
        assert type(late.result.failure()) is TaskTimedOut
        assert late.only.attempts == 0
        assert waiting(balancer) == 0
        held.gate.open()
        assert (await first).ok
        assert held.order == ["first"]
        assert used(balancer) == 0


async def test_what_can_never_run_is_refused(world: World) -> None:
    async def fetch(x: int) -> int:
        return x

    train = Task(fetch).named("train")
    async with world.balancer(resources={"gpu": 1, "memory": 5}) as balancer:
        too_much = (
            r"task train needs gpu=2, and this balancer has only gpu=1, memory=5: write Balancer\(resources="
            r"\{'gpu': 2, 'memory': 5\}\), or more of gpu"
        )
        for request in (train.resources(gpu=2)(1), (Task(fetch) >> train.resources(gpu=2).retry(1))(1)):
            with pytest.raises(UsageError, match=too_much):
                balancer.post(request)
            with pytest.raises(UsageError, match=too_much):
                await balancer.arun(request)
        with pytest.raises(UsageError, match=too_much):
            [o async for o in balancer.amap(train.resources(gpu=2), [1])]
        with pytest.raises(UsageError, match=r"train needs tpu=1, .*\{'gpu': 1, 'memory': 5, 'tpu': 1\}\)"):
            balancer.post(train.resources(tpu=1)(1))
        nested = await balancer.arun(nesting(train.resources(gpu=2))(1))
        assert isinstance(nested.result.failure(), UsageError)

        def many(x: int) -> Any:
            yield x

        with pytest.raises(UsageError, match=r"task many is a generator function"):
            balancer.post((Task(many).resources(gpu=1) >> each(train, limit=2))(1))
        assert balancer.stats().running == 0
    async with world.balancer(resources={}) as none:
        with pytest.raises(UsageError, match=r"this balancer has no resources: write Balancer\(resources=\{'gpu': 2\}"):
            none.post(train.resources(gpu=2)(1))


async def test_without_resources_of_the_balancer_those_of_tasks_have_no_effect(world: World) -> None:
    held = Held(world)
    async with world.balancer(workers=5) as balancer:
        tickets = [balancer.post(Task(held.fetch).resources(gpu=1000)(k)) for k in range(3)]
        await world.until(lambda: held.running == 3)
        held.gate.open()
        for ticket in tickets:
            assert (await ticket).ok
        assert balancer.stats().resources == {}


async def test_two_balancers_have_resources_of_their_own(world: World) -> None:
    held = Held(world)
    task = Task(held.fetch).resources(gpu=1)
    request = task("same")
    async with world.balancer(resources={"gpu": 1}) as one, world.balancer(resources={"gpu": 2}) as two:
        tickets = [one.post(request), two.post(request), two.post(request)]
        await world.until(lambda: held.running == 3)
        assert (used(one), used(two)) == (1, 2)
        held.gate.open()
        for ticket in tickets:
            assert (await ticket).ok


async def test_observers_see_the_wait(world: World) -> None:
    held, events = Held(world), list[Event]()
    task = Task(held.fetch).named("train").resources(gpu=1, memory=1)
    async with world.balancer(workers=5, resources={"gpu": 1, "memory": 1}, observers=[events.append]) as balancer:
        tickets = [balancer.post(task(1)), balancer.post(task(2))]
        await world.until(lambda: waiting(balancer) == 1)
        held.gate.open()
        for ticket in tickets:
            assert (await ticket).ok
    (waited,) = [event for event in events if event.kind == "limit_waited"]
    assert (waited.task, waited.policy) == ("train", "gpu, memory")


async def test_a_close_ends_the_calls_that_wait(world: World) -> None:
    held = Held(world)
    task = Task(held.fetch).resources(gpu=1)
    async with world.balancer(workers=5, resources={"gpu": 1}) as balancer:
        tickets = [balancer.post(task(k)) for k in range(4)]
        await world.until(lambda: len(held.order) == 1)
        await world.until(partial(queued, balancer, 3))
        await balancer.aclose(grace=0)
        for ticket in tickets:
            assert type((await ticket).error) is TicketCancelled
    assert (held.running, used(balancer), waiting(balancer)) == (0, 0, 0)
