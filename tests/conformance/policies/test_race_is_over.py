"""Nothing begins in a race, hedge or fan-out that is decided: the winner's place goes to none of the losers."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from attrs import define, field
from conformance.harness import World

from rio_chain import (
    Backoff,
    Call,
    Chain,
    Gate,
    Limit,
    PendingPermit,
    Permit,
    SingleFlight,
    Task,
    each,
    expand,
    fan_out,
    quorum,
    race,
)

AnyChain = Chain[..., Any]
MANY = 8


@define(eq=False)
class Turns:
    """Functions whose calls end one after the other, in the order in which they began; ``fails``: with an error.

    The first does not end before the second has begun, however busy the machine is.
    """

    world: World
    fails: bool
    calls: list[Any] = field(factory=list)
    _lock: threading.Lock = field(factory=threading.Lock)

    def _begin(self, x: Any) -> int:
        with self._lock:
            self.calls.append(x)
            return len(self.calls)

    def _answer(self, x: Any) -> Any:
        if self.fails:
            raise OSError
        return x

    def blocking(self, x: Any) -> Any:
        number = self._begin(x)
        while len(self.calls) < 2:
            self.world.block(1)
        self.world.block(4 + 6 * number)
        return self._answer(x)

    async def waiting(self, x: Any) -> Any:
        number = self._begin(x)
        while len(self.calls) < 2:
            await self.world.pause(1)
        await self.world.pause(4 + 6 * number)
        return self._answer(x)


class Slots(Gate):
    """A Limit of two, written by hand."""

    def __init__(self) -> None:
        self.free, self.line, self.lock = 2, list[Any](), threading.Lock()

    def enter(self, call: Call) -> Permit | PendingPermit:
        with self.lock:
            if self.free:
                self.free -= 1
                return Slot(self)
            self.line.append(InLine(self))
            return self.line[-1]

    def back(self) -> None:
        with self.lock:
            turn = self.line.pop(0) if self.line else None
            if turn is None:
                self.free += 1
            else:
                turn.permit, turn.state = Slot(self), "granted"
        if turn is not None:
            turn.tell()


class Slot(Permit):
    __slots__ = ("slots",)

    def __init__(self, slots: Slots) -> None:
        self.slots = slots

    def dropped(self) -> None:
        self.slots.back()

    def succeeded(self, value: Any, /) -> None:
        self.slots.back()

    def failed(self, error: Any, /) -> None:
        self.slots.back()


class InLine(PendingPermit):
    def __init__(self, slots: Slots) -> None:
        super().__init__()
        self.slots = slots

    def quit(self) -> None:
        with self.slots.lock:
            granted = self.state == "granted"
            if not granted:
                self.slots.line.remove(self)
            self.state = "gone"
        if granted:
            self.slots.back()


Shape = Callable[[AnyChain], AnyChain]
WON: dict[str, Shape] = {
    "race": lambda task: race(*[task] * MANY),
    "replica": lambda task: task.replica(MANY),
    "staggered": lambda task: task.replica(MANY, after=1),
    "one after the other": lambda task: task.replica(MANY, after=None, pick=quorum(2)),
    "need": lambda task: fan_out(*[task] * MANY, need=1),
    "layers": lambda task: race(*[task.timeout(5_000).or_else(0, on=KeyError).retry(1) for _ in range(MANY)]),
    "of hedges": lambda task: race(*[task.replica(2)] * (MANY // 2)),
    "of fan-outs": lambda task: race(*[fan_out(task, task, need=1)] * (MANY // 2)),
    "of one branch": lambda task: race(*[fan_out(task) for _ in range(MANY)]),
    "of requests": lambda task: race(*[Task(gives(task)).inline() for _ in range(MANY)]),
    "of items": lambda task: race(*[Task(lambda x: [x]).inline() >> each(task) for _ in range(MANY)]),
    "items, ended by a value": lambda task: (
        Task(copies).inline() >> each(task, limit=MANY, ordered=False, take=lambda _: False)
    ),
    "items, ended by a failure": lambda task: (
        Task(copies).inline() >> each(task.accept(lambda _: False), limit=MANY, ordered=False, on_error="stop")
    ),
}
LOST: dict[str, Shape] = {
    "fan-out": lambda task: fan_out(*[task] * MANY),
    "fan-out by name": lambda task: fan_out(**{f"b{k}": task for k in range(MANY)}),
    "need": lambda task: fan_out(*[task] * MANY, need=MANY),
    "timed out": lambda task: fan_out(*[task.timeout(5_000) for _ in range(MANY)]),
    "refused by a retry": lambda task: fan_out(*[task.retry(1, on=KeyError)] * MANY),
    "of fan-outs": lambda task: fan_out(*[fan_out(task, task)] * (MANY // 2)),
    "items": lambda task: Task(lambda x: [x] * MANY).inline() >> each(task, limit=MANY),
    "work that leads to work": lambda task: expand(Task(copies).inline() >> each(task, limit=MANY), more=lambda _: ()),
}


def gives(task: AnyChain) -> Any:
    def request(x: Any) -> Any:
        return task(x)

    return request


def copies(x: Any) -> list[Any]:
    return [x] * MANY


@pytest.mark.real_time
@pytest.mark.parametrize("kind", ["blocking", "waiting"])
@pytest.mark.parametrize("limited", [Limit, Slots], ids=["limit", "gate"])
@pytest.mark.parametrize("shape", [*WON, *(f"{name}, lost" for name in LOST)])
async def test_nothing_begins_once_it_is_decided(world: World, kind: str, limited: Any, shape: str) -> None:
    if world.mode == "virtual" and kind == "blocking":
        world.not_virtual("its sync functions run one after the other")
    lost = shape.endswith(", lost")
    turns = Turns(world, fails=lost)
    limit = limited(2) if limited is Limit else limited()
    task = Task(getattr(turns, kind)).limit(limit)
    chain = LOST[shape.removesuffix(", lost")](task) if lost else WON[shape](task)
    async with world.balancer(workers=2) as balancer:
        outcome = await balancer.arun(chain(7))
        assert (type(outcome.result.swap().value_or(None)) is OSError) is lost
        await world.pause(5)
        assert len(turns.calls) == 2, "and no third one"
    await world.until(lambda: limit.free == 2 if isinstance(limit, Slots) else limit.running == 0)


async def test_in_virtual_time_as_well(world: World) -> None:
    for shape in WON.values():
        turns, limit = Turns(world, fails=False), Limit(2)
        assert (await world.run(shape(Task(turns.waiting).limit(limit))(7))).result.value_or(None) is not None
        assert (len(turns.calls), limit.running, limit.waiting) == (2, 0, 0)


async def test_a_place_is_given_back_at_once_where_the_branch_goes_on(world: World) -> None:
    limit = Limit(1)
    order: list[str] = []

    async def first(x: Any) -> Any:
        order.append("first")
        return x

    async def second(x: Any) -> Any:
        await world.until(lambda: order.count("first") == 2)
        order.append("second")
        return x

    chain = Task(first).limit(limit) >> Task(second)
    assert (await world.run((chain & chain)(7))).unwrap() == (7, 7)
    assert order == ["first", "first", "second", "second"]


async def test_a_place_is_given_back_at_once_where_a_retry_rests(world: World) -> None:
    limit = Limit(1)
    order: list[str] = []

    async def flaky(x: Any) -> Any:
        await world.until(lambda: limit.waiting == 1 or "other" in order)
        order.append("flaky")
        if order.count("flaky") == 1:
            raise OSError
        return x

    async def other(x: Any) -> Any:
        order.append("other")
        return x

    rests = Task(flaky).limit(limit).retry(1, backoff=Backoff(base=40, cap=40, jitter="none"))
    follows = Task(slowly(world)) >> Task(other).limit(limit)
    assert (await world.run((rests & follows)(7))).unwrap() == (7, 7)
    assert order == ["flaky", "other", "flaky"]


def slowly(world: World) -> Any:
    async def wait(x: Any) -> Any:
        await world.pause(5)
        return x

    return wait


async def test_those_of_other_requests_get_the_place(world: World) -> None:
    limit = Limit(1)
    done: list[int] = []

    async def fetch(x: int) -> int:
        await world.pause(1)
        done.append(x)
        return x

    task = Task(fetch).limit(limit)
    outcomes = await world.together(
        lambda: world.run(race(*[task] * 4)(1)), lambda: world.run(task(2)), lambda: world.run(race(*[task] * 4)(3))
    )
    assert [outcome.unwrap() for outcome in outcomes] == [1, 2, 3]
    assert sorted(done) == [1, 2, 3]
    assert (limit.running, limit.waiting) == (0, 0)


async def test_a_follower_of_a_flight_does_not_lead_when_its_leader_has_failed_the_fan_out(world: World) -> None:
    flights, calls = SingleFlight(), list[int]()

    async def hangs(x: int) -> None:
        calls.append(x)
        await world.pause(10_000)

    branch = Task(hangs).single_flight(flights).timeout(world.short)
    later = Task(hangs).single_flight(flights)
    assert (await world.run((branch & later & later)(7))).result.swap().value_or(None) is not None
    assert calls == [7]
