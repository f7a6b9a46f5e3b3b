"""``fair=`` and ``shed=`` of a Balancer, on every executor."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from conformance.harness import Gate, World
from conformance.policies.backends import HANG
from returns.result import Success

from rio_chain import Balancer, CallbackFailed, ChainDefinitionError, QueueFull, Request, RequestShed, Task


class Held:
    """Calls that wait until the gate opens, in the order in which they began."""

    def __init__(self, world: World) -> None:
        self.gate: Gate = world.gate()
        self.order: list[Any] = []

    async def fetch(self, name: Any) -> Any:
        self.order.append(name)
        await self.gate.passed()
        return name


async def line(world: World, balancer: Balancer, held: Held, named: list[Any], **options: Any) -> list[Any]:
    """Post requests that wait behind one that holds the only slot: the tickets, with that of the first."""
    task = Task(held.fetch)
    tickets = [balancer.post(task("first"))]
    await world.until(lambda: held.order)
    for name in named:
        own = {key: value(name) for key, value in options.items()}
        tickets.append(balancer.post(task(name), **own))
    return tickets


def tenant(name: str) -> str:
    return name[0]


async def test_the_first_request_of_b_does_not_wait_for_the_backlog_of_a(world: World) -> None:
    held = Held(world)
    async with world.balancer(workers=1, fair=True) as balancer:
        tickets = await line(world, balancer, held, ["a1", "a2", "a3", "a4", "b1", "b2", "c1"], tenant=tenant)
        held.gate.open()
        for ticket in tickets:
            assert (await ticket).ok
    assert held.order[:4] == ["first", "a1", "b1", "c1"]
    assert [name for name in held.order if name[0] == "a"] == ["a1", "a2", "a3", "a4"], "in order within a tenant"


async def test_weights(world: World) -> None:
    held = Held(world)
    named = [f"{who}{k}" for who in "gab" for k in range(9)]
    async with world.balancer(workers=1, fair={"g": 3}) as balancer:
        tickets = await line(world, balancer, held, named, tenant=tenant)
        held.gate.open()
        for ticket in tickets:
            assert (await ticket).ok
    if world.virtual:  # all take no time, so each start is charged with the same
        assert sorted(name[0] for name in held.order[1:11]) == list("aabbgggggg")


async def test_priority_comes_before_shares(world: World) -> None:
    held = Held(world)
    async with world.balancer(workers=1, fair=True) as balancer:
        tickets = await line(
            world,
            balancer,
            held,
            ["a1", "b1", "a9", "a8"],
            tenant=tenant,
            priority=lambda name: 1 if int(name[1]) > 5 else 0,
        )
        held.gate.open()
        for ticket in tickets:
            await ticket
    assert held.order == ["first", "a9", "a8", "a1", "b1"]


async def test_slot_time_counts_and_not_starts(world: World) -> None:
    if not world.virtual:
        pytest.skip("times are exact only in virtual time")
    order: list[str] = []

    async def fetch(name: str) -> None:
        order.append(name)
        await world.pause(100 if name[0] == "a" else 1)

    async with world.balancer(workers=1, fair=True) as balancer:
        tickets = [balancer.post(Task(fetch)(f"{who}{k}"), tenant=who) for k in range(150) for who in "ab"]
        await tickets[0]
        await world.until(lambda: "a1" in order)
        await balancer.aclose(grace=0)
    assert 90 <= sum(name[0] == "b" for name in order[: order.index("a1")]) <= 110


async def test_run_arun_map_and_stream_have_tenants(world: World) -> None:
    async def fetch(x: int) -> int:
        return x

    async with world.balancer(workers=2, fair=True) as balancer:
        assert (await balancer.arun(Task(fetch)(1), tenant="a")).unwrap() == 1
        assert [o.unwrap() async for o in balancer.amap(Task(fetch), range(20), tenant="b")] == list(range(20))
        assert [e.kind async for e in balancer.stream(Task(fetch)(1), tenant="c")][-1] == "ended"
        assert (balancer.stats().running, balancer.stats().succeeded) == (0, 22)
        assert not balancer._admission.fair._charges  # type: ignore[attr-defined]


async def test_a_map_of_one_tenant_leaves_room_for_another(world: World) -> None:
    order: list[Any] = []

    async def fetch(x: Any) -> Any:
        order.append(x)
        await world.pause(1)
        return x

    async with world.balancer(workers=1, fair=True) as balancer:
        reader = balancer.amap(Task(fetch), range(200), tenant="a")
        await anext(reader)
        assert (await balancer.arun(Task(fetch)("b"), tenant="b")).ok
        assert len(order) < 40
        await reader.aclose()  # type: ignore[attr-defined]


async def test_cancelled_requests_leave_no_trace(world: World) -> None:
    held = Held(world)
    async with world.balancer(workers=1, fair=True) as balancer:
        tickets = await line(world, balancer, held, ["a1", "a2", "b1", "b2"], tenant=tenant)
        tickets[1].cancel()
        tickets[4].cancel()
        held.gate.open()
        outcomes = [await ticket for ticket in tickets]
        assert [outcome.ok for outcome in outcomes] == [True, False, True, True, False]
        stats = balancer.stats()
        assert (stats.running, stats.queued, stats.cancelled) == (0, 0, 2)


# --- shed -------------------------------------------------------------------------------------------------------


def priority(name: str) -> int:
    return int(name[1])


async def ended(tickets: list[Any]) -> dict[str, Any]:
    """What became of each request, by its name."""
    found = {}
    for ticket in tickets:
        outcome = await ticket
        found[ticket.request.given[1][0]] = "done" if outcome.ok else type(outcome.result.failure()).__name__
    return found


async def test_the_lowest_is_shed(world: World) -> None:
    held = Held(world)
    async with world.balancer(workers=1, buffer=2, shed="lowest") as balancer:
        tickets = await line(world, balancer, held, ["a1", "b0", "c5"], priority=priority)
        with pytest.raises(QueueFull):
            balancer.post(Task(held.fetch)("d0"), priority=0)
        held.gate.open()
        assert await ended(tickets) == {"first": "done", "a1": "done", "b0": "RequestShed", "c5": "done"}
        assert (balancer.stats().shed, balancer.stats().rejected) == (1, 1)
    assert held.order == ["first", "c5", "a1"]


async def test_the_oldest_is_shed(world: World) -> None:
    held = Held(world)
    async with world.balancer(workers=1, buffer=2, shed="oldest") as balancer:
        tickets = await line(world, balancer, held, ["a9", "b0", "c0", "d0"], priority=priority)
        held.gate.open()
        shed = [name for name, end in (await ended(tickets)).items() if end == "RequestShed"]
    assert shed == ["a9", "b0"]


async def test_what_is_worth_least_is_shed(world: World) -> None:
    held = Held(world)

    def worth(request: Request[Any]) -> float:
        return {"a": 3.0, "b": 1.0, "c": 2.0, "f": 0.0}[request.given[1][0][0]]

    async with world.balancer(workers=1, buffer=1, shed=worth) as balancer:
        tickets = await line(world, balancer, held, ["b0", "c0", "a0"])
        held.gate.open()
        assert await ended(tickets) == {"first": "done", "b0": "RequestShed", "c0": "RequestShed", "a0": "done"}


async def test_an_arun_that_waits_is_shed_and_gets_its_outcome(world: World) -> None:
    held = Held(world)
    async with world.balancer(workers=1, buffer=1, shed="lowest") as balancer:
        tickets = await line(world, balancer, held, [])
        child = world.start(lambda: balancer.arun(Task(held.fetch)("low"), priority=-1))
        await world.until(lambda: balancer.stats().queued == 1)
        other = world.start(lambda: balancer.arun(Task(held.fetch)("high"), priority=1))
        outcome = await child.result()
        error = outcome.result.failure()
        assert type(error) is RequestShed
        assert (outcome.only.status, outcome.only.attempts) == ("skipped", 0)
        third = await balancer.arun(Task(held.fetch)("lower"), priority=-2)  # the one that comes is the one to go
        assert type(third.result.failure()) is RequestShed
        held.gate.open()
        assert (await other.result()).result == Success("high")
        for ticket in tickets:
            await ticket


async def test_it_is_never_retried(world: World) -> None:
    held = Held(world)
    async with world.balancer(workers=1, buffer=0, shed="lowest") as balancer:
        tickets = await line(world, balancer, held, [])
        outcome = await balancer.arun(Task(held.fetch).retry(3, backoff=None)("x"))
        assert type(outcome.result.failure()) is RequestShed
        assert outcome.only.attempts == 0
        held.gate.open()
        for ticket in tickets:
            await ticket


async def test_with_shares_the_tenant_with_the_longest_line_is_shed(world: World) -> None:
    held = Held(world)
    async with world.balancer(workers=1, buffer=4, shed="lowest", fair=True) as balancer:
        tickets = await line(world, balancer, held, ["a1", "a2", "a3", "a4", "b1", "c1"], tenant=tenant)
        held.gate.open()
        found = await ended(tickets)
    assert [name for name, end in found.items() if end == "RequestShed"] == ["a3", "a4"]


async def test_items_of_a_map_are_never_shed(world: World) -> None:
    async def fetch(x: int) -> int:
        await world.pause(1)
        return x

    async with world.balancer(workers=2, buffer=1, shed="oldest") as balancer:
        reader = balancer.amap(Task(fetch), range(30))
        first = await anext(reader)
        others = await world.together(*[lambda: balancer.arun(Task(fetch)(7)) for _ in range(6)])
        assert any(type(o.result.swap().value_or(None)) is RequestShed for o in others) or not world.virtual
        assert [first.unwrap(), *[o.unwrap() async for o in reader]] == list(range(30))


async def test_what_can_not_be_done_in_time_is_not_begun(world: World) -> None:
    begun: list[int] = []

    async def fetch(k: int) -> int:
        begun.append(k)
        await world.pause(30)
        return k

    task = Task(fetch)
    async with world.balancer(workers=1, shed_late=True) as balancer:
        for k in range(6):
            assert (await balancer.arun(task(k), deadline=HANG)).ok
        outcome = await balancer.arun(task(99), deadline=5)
        error = outcome.result.failure()
        assert type(error) is RequestShed
        assert "which is more than its deadline leaves" in str(error)
        assert 99 not in begun
        assert (await balancer.arun(task(6))).ok, "without a deadline nothing is late"
        assert balancer.stats().shed == 1


async def test_a_request_that_waited_too_long_is_not_begun(world: World) -> None:
    if not world.virtual:
        pytest.skip("times are exact only in virtual time")
    begun: list[int] = []

    async def fetch(k: int) -> int:
        begun.append(k)
        await world.pause(30)
        return k

    async with world.balancer(workers=1, shed_late=True) as balancer:
        for k in range(6):
            await balancer.arun(Task(fetch)(k))
        tickets = [balancer.post(Task(fetch)(10 + k), deadline=70) for k in range(4)]
        ends = [await ticket for ticket in tickets]
    assert [outcome.ok for outcome in ends] == [True, True, False, False]
    assert begun[6:] == [10, 11], "the third would have 10 ms"
    assert type(ends[2].result.failure()) is RequestShed


async def test_one_is_tried_again_after_the_backend_was_slow(world: World) -> None:
    if not world.virtual:
        pytest.skip("times are exact only in virtual time")
    takes = [100.0]

    async def fetch(k: int) -> int:
        await world.pause(takes[0])
        return k

    async with world.balancer(workers=1, shed_late=True) as balancer:
        for k in range(6):
            await balancer.arun(Task(fetch)(k))
        takes[0] = 1.0
        ends = []
        for k in range(400):
            ends.append((await balancer.arun(Task(fetch)(k), deadline=50)).ok)
            await world.pause(30)
    assert not ends[0]
    assert all(ends[300:])


@pytest.mark.parametrize(
    ("shed", "error"), [(lambda _: 1 / 0, ZeroDivisionError), (lambda _: float("nan"), ValueError), (str, ValueError)]
)
async def test_a_worth_that_is_none_is_the_error_of_that_function(
    world: World, shed: Callable[[Any], Any], error: type[Exception]
) -> None:
    async def fetch(x: int) -> int:
        return x

    async with world.balancer(shed=shed) as balancer:
        with pytest.raises(CallbackFailed) as caught:
            await balancer.arun(Task(fetch)(1))
        assert caught.value.role == "shed"
        assert type(caught.value.error) is error
        assert balancer.stats().running == 0


async def test_a_tenant_without_shares_or_that_can_not_be_hashed_is_refused(world: World) -> None:
    async def fetch(x: int) -> int:
        return x

    async with world.balancer() as plain, world.balancer(fair=True) as fair:
        with pytest.raises(ChainDefinitionError, match=r"`tenant` needs a balancer that shares its slots"):
            await plain.arun(Task(fetch)(1), tenant="a")
        with pytest.raises(ChainDefinitionError, match=r"`tenant` must be hashable, such as a str"):
            await fair.arun(Task(fetch)(1), tenant=[])
