"""A blocking call that is abandoned keeps its place under a Limit or a Gate until it ends. Nothing else is kept."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conformance import lane_bodies
from conformance.harness import World
from conformance.policies.stuck import Stuck
from returns.result import Failure, Success

from rio_chain import (
    Breaker,
    Budget,
    Call,
    Chain,
    Gate,
    Limit,
    LimitExceeded,
    Permit,
    Request,
    SingleFlight,
    Task,
    TaskTimedOut,
    TicketCancelled,
    each,
    fan_out,
    race,
)

pytestmark = pytest.mark.real_time
NEVER = "a sync function is never abandoned there"


@pytest.fixture
def stuck() -> Any:
    found = Stuck()
    yield found
    found.end()


def quick(x: Any) -> Any:
    return x


async def test_its_place_is_free_when_it_has_ended(world: World, stuck: Stuck) -> None:
    world.not_virtual(NEVER)
    limit = Limit(1)
    chain = Task(stuck).timeout(world.short).limit(limit)
    assert type((await world.run(chain(1))).result.failure()) is TaskTimedOut
    assert limit.running == 1
    second = world.start(lambda: world.run(chain(2)))
    await world.until(lambda: limit.waiting == 1)
    assert stuck.calls == [1]
    stuck.end()
    assert (await second.result()).result == Success(2)
    assert stuck.most == 1
    await world.until(lambda: limit.running == 0)


async def test_so_many_at_once_however_many_are_abandoned(world: World, stuck: Stuck) -> None:
    world.not_virtual(NEVER)
    limit = Limit(2)
    chain = Task(stuck).limit(limit).timeout(world.short)
    outcomes = await world.together(*[lambda k=k: world.run(chain(k)) for k in range(6)])
    assert all(type(outcome.result.failure()) is TaskTimedOut for outcome in outcomes)
    assert sorted(outcome.only.attempts for outcome in outcomes) == [0, 0, 0, 0, 1, 1]
    assert (stuck.most, limit.running, limit.waiting) == (2, 2, 0)
    stuck.end()
    await world.until(lambda: limit.running == 0)


# --- retries ----------------------------------------------------------------------------------------------------


async def test_a_retry_that_waits_for_its_own_place_has_not_begun(world: World, stuck: Stuck) -> None:
    world.not_virtual(NEVER)
    outcome = await world.run(Task(stuck).limit(Limit(1)).timeout(world.short).retry(2, backoff=None)(7))
    assert type(outcome.result.failure()) is TaskTimedOut
    assert (outcome.only.status, outcome.only.attempts, len(outcome.only.errors)) == ("timed_out", 1, 3)
    assert stuck.calls == [7]


async def test_a_retry_begins_when_the_call_before_it_has_ended(world: World) -> None:
    world.not_virtual(NEVER)
    stuck, limit = Stuck(which=[0]), Limit(1)
    child = world.start(lambda: world.run(Task(stuck).timeout(world.short).limit(limit).retry(1, backoff=None)(7)))
    await world.until(lambda: limit.waiting == 1)
    stuck.end()
    outcome = await child.result()
    assert (outcome.result, outcome.only.attempts, stuck.most) == (Success(7), 2, 1)


async def test_more_places_are_a_way_out(world: World) -> None:
    world.not_virtual(NEVER)
    stuck = Stuck(which=[0])
    outcome = await world.run(Task(stuck).limit(Limit(2)).timeout(world.short).retry(3, backoff=None)(7))
    assert (outcome.result, outcome.only.attempts) == (Success(7), 2)
    stuck.end()


async def test_so_is_not_to_wait(world: World, stuck: Stuck) -> None:
    world.not_virtual(NEVER)
    outcome = await world.run(Task(stuck).limit(Limit(1, wait=0)).timeout(world.short).retry(3, backoff=None)(7))
    assert type(outcome.result.failure()) is LimitExceeded
    assert outcome.only.attempts == 1


# --- however it is abandoned --------------------------------------------------------------------------------------


ITEM = Task(lambda x: [x]).inline()
LEFT: dict[str, Callable[[Stuck, Limit, World], Chain[..., Any]]] = {
    "limit inside": lambda stuck, limit, world: Task(stuck).timeout(world.short).limit(limit),
    "limit outside": lambda stuck, limit, world: Task(stuck).limit(limit).timeout(world.short),
    "fallback": lambda stuck, limit, world: Task(stuck).timeout(world.short).or_else(7).limit(limit),
    "retry": lambda stuck, limit, world: Task(stuck).timeout(world.short).retry(1, backoff=None).limit(limit),
    "chain": lambda stuck, limit, world: (Task(quick).inline() >> Task(stuck)).limit(limit).timeout(world.short),
    "loser": lambda stuck, limit, world: race(Task(stuck).limit(limit), Task(world_after(stuck))),
    "race": lambda stuck, limit, world: race(Task(stuck), Task(world_after(stuck))).limit(limit),
    "hedge": lambda stuck, limit, world: Task(only_first(stuck)).replica(2, after=20).limit(limit),
    "fan-out": lambda stuck, limit, world: (Task(stuck).limit(limit) & Task(fails_after(stuck))),
    "need": lambda stuck, limit, world: fan_out(Task(stuck).limit(limit), Task(world_after(stuck)), need=1),
    "items": lambda stuck, limit, world: ITEM >> each(Task(stuck)).timeout(world.short).limit(limit),
    "item": lambda stuck, limit, world: ITEM >> each(Task(stuck).limit(limit).timeout(world.short)),
    "request": lambda stuck, limit, world: Task(gives(Task(stuck).timeout(world.short))).inline().limit(limit),
    "run in a body": lambda stuck, limit, world: Task(awaits(Task(stuck).timeout(world.short))).limit(limit),
}  # fmt: skip


def world_after(stuck: Stuck) -> Any:
    async def answers(x: Any) -> Any:
        await begun(stuck)
        return x

    return answers


def fails_after(stuck: Stuck) -> Any:
    async def fails(_: Any) -> None:
        await begun(stuck)
        raise OSError

    return fails


async def begun(stuck: Stuck) -> None:
    from conformance.harness import pause  # noqa: PLC0415 - on whichever loop it runs

    while not stuck.calls:
        await pause(1)


def only_first(stuck: Stuck) -> Any:
    def call(x: Any) -> Any:
        return stuck(x) if not stuck.calls else x

    return call


def gives(chain: Chain[..., Any]) -> Any:
    def made(x: Any) -> Request[Any]:
        return chain(x)

    return made


def awaits(chain: Chain[..., Any]) -> Any:
    async def body(x: Any) -> Any:
        return (await chain(x)).value_or(x)

    return body


@pytest.mark.parametrize("how", LEFT)
async def test_it_keeps_its_place_however_it_was_abandoned(world: World, stuck: Stuck, how: str) -> None:
    world.not_virtual(NEVER)
    limit = Limit(3)
    await world.run_until_begun(lambda: LEFT[how](stuck, limit, world)(7), lambda: stuck.calls)
    assert limit.running == 1
    stuck.end()
    await world.until(lambda: limit.running == 0)


async def test_by_a_cancelled_ticket_and_after_a_close(world: World, stuck: Stuck) -> None:
    world.not_virtual(NEVER)
    limit = Limit(3)
    async with world.balancer(workers=3) as balancer:
        tickets = [balancer.post(Task(stuck).limit(limit)(k)) for k in range(2)]
        await world.until(lambda: stuck.running == 2)
        tickets[0].cancel()
        assert type((await tickets[0]).result.failure()) is TicketCancelled
        assert limit.running == 2
        stuck.end(stuck.calls.index(0))
        await world.until(lambda: limit.running == 1)
        await balancer.aclose(grace=0)
        assert type((await tickets[1]).result.failure()) is TicketCancelled
    assert limit.running == 1
    stuck.end()
    await world.until(lambda: limit.running == 0)


async def test_of_several_the_last_one_gives_it_back(world: World, stuck: Stuck) -> None:
    world.not_virtual(NEVER)
    limit = Limit(1)
    chain = fan_out(Task(stuck), Task(stuck), Task(quick)).limit(limit).timeout(2 * world.short)
    assert type((await world.run(chain(7))).result.failure()) is TaskTimedOut
    assert (stuck.running, limit.running) == (2, 1)
    stuck.end(0)
    await world.until(lambda: stuck.running == 1)
    assert limit.running == 1
    stuck.end(1)
    await world.until(lambda: limit.running == 0)


async def test_each_limit_around_it_is_kept(world: World, stuck: Stuck) -> None:
    world.not_virtual(NEVER)
    inner, outer, before = Limit(1), Limit(2), Limit(1)
    chain = Task(quick).inline().limit(before) >> Task(stuck).limit(inner)
    await world.run(chain.timeout(world.short).limit(outer)(7))
    assert (before.running, inner.running, outer.running) == (0, 1, 1)
    stuck.end()
    await world.until(lambda: (inner.running, outer.running) == (0, 0))


# --- what is not kept -----------------------------------------------------------------------------------------


async def test_breakers_budgets_and_flights_are_as_if_it_had_ended(world: World, stuck: Stuck) -> None:
    world.not_virtual(NEVER)
    breaker, budget, flights = Breaker(1), Budget(0, floor=1), SingleFlight()
    chain = Task(stuck).timeout(world.short).breaker(breaker)
    outcome = await world.run(chain.retry(1, backoff=None).budget(budget).single_flight(flights)(7))
    assert outcome.only.attempts == 1
    assert (breaker.state, budget.executions, budget.extras) == ("open", 0, 0)
    assert repr(flights) == "<SingleFlight by the input: 0 in flight, 0 follow>"
    assert stuck.running == 1


async def test_an_async_function_has_ended_when_its_caller_goes_on(world: World) -> None:
    limit = Limit(1)

    async def hangs(_: Any) -> None:
        await world.pause(10_000)

    await world.run(Task(hangs).timeout(world.short).limit(limit)(7))
    assert limit.running == 0


async def test_a_process_that_is_killed_has_ended(world: World, tmp_path: Path) -> None:
    world.not_virtual("no process is started for it")
    limit = Limit(1)
    async with world.balancer(lanes={"cpu": 1}) as balancer:
        chain = Task(lane_bodies.stay).lane("cpu").limit(limit)
        ticket = balancer.post(chain(tmp_path / "note"))
        await world.until((tmp_path / "note").exists)
        ticket.cancel()
        await ticket
        assert limit.running == 0


# --- gates ------------------------------------------------------------------------------------------------------


class Door(Gate):
    """Lets all in, and writes down how they end. The last of them raises an error then."""

    def __init__(self) -> None:
        self.ends: list[Any] = []
        self.thread: threading.Thread | None = None

    def enter(self, call: Call) -> Permit:
        return Inside(self)


class Inside(Permit):
    __slots__ = ("door",)

    def __init__(self, door: Door) -> None:
        self.door = door

    def succeeded(self, value: Any, /) -> None:
        self.door.ends.append(value)

    def failed(self, error: Any, /) -> None:
        self.door.ends.append(type(error))
        self.door.thread = threading.current_thread()
        raise LookupError

    def dropped(self) -> None:
        self.door.ends.append("dropped")


async def test_a_gate_learns_how_it_ended_when_the_call_has_ended(
    world: World, stuck: Stuck, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.not_virtual(NEVER)
    hooked: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", hooked.append)
    door = Door()
    await world.run(Task(stuck).timeout(world.short).limit(door)(7))
    await world.run(Task(stuck).limit(door).timeout(world.short)(7))
    await world.run(Task(stuck).timeout(world.short).or_else("plan B").limit(door)(7))
    assert door.ends == []
    stuck.end()
    await world.until(lambda: len(door.ends) == 3)
    assert set(door.ends) == {TaskTimedOut, "dropped", "plan B"}
    await world.until(lambda: hooked)
    assert [args.exc_type for args in hooked] == [LookupError], "nobody waits there, so it is reported"


async def test_a_gate_of_calls_that_end_learns_it_at_once(world: World) -> None:
    door = Door()
    assert (await world.run(Task(quick).limit(door)(7))).result == Success(7)
    outcome = await world.run(Task(lambda _: Failure("x")).limit(door)(7))
    assert door.ends == [7, str]
    assert type(outcome.result.failure()) is LookupError, "an error of the gate is that of the call"
