"""A limit of the user's own: it lets calls in, refuses them or lets them wait, and learns how each ended."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from conformance.harness import World

from rio_chain import Call, CallbackFailed, CircuitOpen, Gate, PendingPermit, Permit, Request, Task, each


class NotingPermit(Permit):
    def __init__(self, log: list[str]) -> None:
        self.log = log

    def succeeded(self, value: Any, /) -> None:
        self.log.append(f"succeeded {value}")

    def failed(self, error: Any, /) -> None:
        self.log.append(f"failed {error}")

    def dropped(self) -> None:
        self.log.append("dropped")


class Later(PendingPermit):
    def __init__(self, log: list[str]) -> None:
        super().__init__()
        self.log = log

    def quit(self) -> None:
        self.state = "gone"
        self.log.append("quit")


class Door(Gate):
    key = staticmethod(lambda value: value % 2)

    def __init__(self, answer: Callable[[list[str]], Any]) -> None:
        self.answer = answer
        self.log: list[str] = []
        self.turns: list[Later] = []

    def enter(self, call: Call) -> Any:
        self.log.append(f"enter {call.key}")
        assert call.clock() > -1e12
        got = self.answer(self.log)
        if isinstance(got, Later):
            self.turns.append(got)
        return got


async def test_a_gate_lets_calls_in_and_learns_how_each_ended(world: World) -> None:
    door = Door(NotingPermit)

    async def even(value: int) -> int:
        await world.pause(1)
        if value % 2:
            raise OSError("odd")
        return value

    chain = Task(even).limit(door)
    assert (await world.run(chain(2))).unwrap() == 2
    assert isinstance((await world.run(chain(3))).result.failure(), OSError)
    assert door.log == ["enter 0", "succeeded 2", "enter 1", "failed odd"]


async def test_a_limit_around_a_gate_drops_the_call(world: World) -> None:
    door = Door(NotingPermit)

    async def hang(_: int) -> None:
        await world.pause(30_000)

    outcome = await world.run(Task(hang).limit(door).timeout(world.short)(2))
    assert outcome[0].status == "timed_out"
    assert door.log == ["enter 0", "dropped"]


@pytest.mark.parametrize("method", ["limit", "breaker"])
async def test_a_gate_refuses_without_a_call(world: World, method: str) -> None:
    door = Door(lambda _: CircuitOpen("closed for today"))
    calls: list[int] = []
    chain = getattr(Task(calls.append).inline(), method)(door).retry(3, backoff=None)
    outcome = await world.run(chain(2))
    assert str(outcome.result.failure()) == "closed for today"
    assert (outcome[0].status, outcome[0].attempts, calls) == ("failed", 0, [])
    assert door.log == ["enter 0"]


async def test_a_gate_makes_wait_and_a_limit_ends_the_waiting(world: World) -> None:
    door = Door(Later)
    outcome = await world.run(Task(abs).inline().limit(door).timeout(world.short)(2))
    assert (outcome[0].status, outcome[0].attempts) == ("timed_out", 0)
    assert door.log == ["enter 0", "quit"]


async def test_a_turn_that_is_granted_goes_on(world: World) -> None:
    door = Door(Later)

    async def let_in(_: int) -> None:
        await world.until(lambda: bool(door.turns))
        turn = door.turns[0]
        turn.permit, turn.state = NotingPermit(door.log), "granted"
        turn.tell()

    chain = Task(abs).inline().limit(door) & Task(let_in)
    assert (await world.run(chain(2))).unwrap() == (2, None)
    assert door.log == ["enter 0", "succeeded 2"]


@pytest.mark.parametrize("method", ["limit", "breaker"])
async def test_an_error_in_a_gate_names_it(world: World, method: str) -> None:
    def broken(_: object) -> Any:
        raise ZeroDivisionError

    guarded = getattr(Task(abs).inline(), method)(Door(broken))
    outcome = await world.run(guarded.retry(2, backoff=None)(2))
    error = outcome.result.failure()
    assert isinstance(error, CallbackFailed)
    assert (error.role, error.callback) == (method, "enter")
    assert isinstance(error.error, ZeroDivisionError)


@pytest.mark.parametrize("gives", [None, True, Permit])
async def test_a_gate_that_returns_something_else_says_what_it_must_return(world: World, gives: Any) -> None:
    calls: list[int] = []
    outcome = await world.run(Task(calls.append).inline().limit(Door(lambda _: gives)).retry(2, backoff=None)(2))
    error = outcome.result.failure()
    assert isinstance(error, CallbackFailed)
    assert str(error.error).startswith("`Door.enter` must return a Permit, a PendingPermit or an exception; got ")
    assert (outcome.only.attempts, calls) == (0, [])


class Notes(Gate):
    """It lets all calls in, and keeps what it is asked."""

    def __init__(self) -> None:
        self.asked: list[Call] = []

    def enter(self, call: Call) -> Permit:
        self.asked.append(call)
        return Permit()


@pytest.mark.parametrize("method", ["limit", "breaker"])
async def test_a_gate_is_asked_with_a_call(world: World, method: str) -> None:
    gate = Notes()
    async with world.balancer() as balancer:
        urgent = getattr(Task(abs).inline(), method)(gate)(-2)
        await balancer.arun(urgent, priority=5)
        await balancer.post(urgent, priority=-1.5)
        await balancer.arun(urgent)
    assert [(call.key, call.priority) for call in gate.asked] == [(None, 5), (None, -1.5), (None, 0)]
    with pytest.raises(AttributeError):
        gate.asked[0].priority = 7  # type: ignore[misc]


async def test_the_clock_of_a_call_goes_on_with_its_executor(world: World) -> None:
    gate = Notes()

    async def wait(_: int) -> None:
        await world.pause(20)

    await world.run((Task(wait).limit(gate) >> Task(lambda _: 1).inline().limit(gate))(1))
    first, then = gate.asked
    assert first.clock() - then.clock() == pytest.approx(0, abs=1)  # seconds, and one clock


async def test_a_request_inside_another_has_the_priority_of_that(world: World) -> None:
    gate = Notes()
    inner = Task(abs).inline().limit(gate)

    async def awaits(x: int) -> int:
        return (await inner(x)).unwrap()

    def gives(x: int) -> Request[int]:
        return inner(x)

    async with world.balancer() as balancer:
        for task in (Task(awaits), Task(gives).inline(), Task(lambda x: [x]).inline() >> each(inner)):
            await balancer.arun(task(3), priority=4)
        await balancer.arun((inner & inner.replica(2, after=None))(3), priority=6)
    assert [call.priority for call in gate.asked] == [4, 4, 4, 6, 6]
    gate.asked.clear()
    await world.run(Task(awaits)(3))
    assert [call.priority for call in gate.asked] == [0]


async def test_a_balancer_inside_a_request_gives_its_own_priority(world: World) -> None:
    gate = Notes()
    inner = Task(abs).inline().limit(gate)
    async with world.balancer() as balancer, world.balancer() as other:

        async def posts(x: int) -> int:
            return (await other.arun(inner(x), priority=1)).unwrap()

        await balancer.arun(Task(posts)(3), priority=9)
    assert [call.priority for call in gate.asked] == [1]
