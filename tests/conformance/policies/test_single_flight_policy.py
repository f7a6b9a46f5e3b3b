"""Single flight: of several callers that ask for the same at the same time, one calls, and all get its answer."""

from __future__ import annotations

from typing import Any

import pytest
from conformance.harness import Child, Gate, World
from conformance.policies.backends import HANG, backend
from returns.result import Failure, Success

from rio_chain import Chain, SingleFlight, Task, TaskTimedOut


class Held:
    """Calls that answer, one after the other, when their gate is opened."""

    def __init__(self, world: World, *answers: Any) -> None:
        self.answers = answers
        self.gates = [world.gate() for _ in answers]
        self.calls: list[Any] = []

    async def fetch(self, x: Any) -> Any:
        number = len(self.calls)
        self.calls.append(x)
        gate: Gate = self.gates[number]
        await gate.passed()
        answer = self.answers[number]
        if isinstance(answer, BaseException):
            raise answer
        return answer


def waiting(flights: SingleFlight) -> int:
    return int(repr(flights).split(", ")[1].split()[0])


async def crowd(world: World, held: Held, chain: Chain[..., Any], flights: SingleFlight, many: int) -> list[Child]:
    """A leader and its followers, in order."""
    children = [world.start(lambda: world.run(chain(7)))]
    await world.until(lambda: held.calls)
    for k in range(1, many):
        children.append(world.start(lambda: world.run(chain(7))))
        await world.until(lambda k=k: waiting(flights) == k)
    return children


async def test_one_call_for_all_that_ask_meanwhile(world: World) -> None:
    value = object()
    held, flights = Held(world, value), SingleFlight()
    children = await crowd(world, held, Task(held.fetch).single_flight(flights), flights, 4)
    held.gates[0].open()
    outcomes = [await child.result() for child in children]
    assert all(outcome.unwrap() is value for outcome in outcomes)
    assert [outcome.only.attempts for outcome in outcomes] == [1, 0, 0, 0]
    assert all(outcome.only.status == "succeeded" for outcome in outcomes)
    assert held.calls == [7]


async def test_who_comes_later_calls_anew(world: World) -> None:
    back = backend(world, (1, "a"), (1, "b"))
    chain = Task(back.fetch).single_flight(SingleFlight())
    assert [(await world.run(chain(7))).unwrap() for _ in range(2)] == ["a", "b"]


async def test_each_key_for_itself(world: World) -> None:
    back = backend(world, (20, "a"))
    by_input = Task(back.fetch).single_flight(SingleFlight())
    await world.together(*[lambda x=x: world.run(by_input(x)) for x in ("x", "X")])
    assert len(back.calls) == 2
    by_key = Task(back.fetch).single_flight(flights := SingleFlight(key=str.lower))
    child = world.start(lambda: world.run(by_key("x")))
    await world.until(lambda: len(back.calls) == 3)
    await world.run(by_key("X"))
    await child.result()
    assert len(back.calls) == 3
    assert "0 in flight" in repr(flights)


@pytest.mark.parametrize("raised", [True, False])
async def test_an_error_is_shared_but_not_kept(world: World, raised: bool) -> None:
    error: Any = OSError("x")
    held, flights = Held(world, error if raised else Failure(error), "later"), SingleFlight()
    chain = Task(held.fetch).single_flight(flights)
    children = await crowd(world, held, chain, flights, 3)
    held.gates[0].open()
    outcomes = [await child.result() for child in children]
    assert all(outcome.result.failure() is error for outcome in outcomes)
    assert [(o.only.status, o.only.attempts, o.only.errors) for o in outcomes[1:]] == [("failed", 0, (error,))] * 2
    held.gates[1].open()
    assert (await world.run(chain(7))).result == Success("later")


async def test_a_caller_that_stops_waiting_does_no_harm(world: World) -> None:
    held, flights = Held(world, "a"), SingleFlight()
    children = await crowd(world, held, Task(held.fetch).single_flight(flights), flights, 4)
    children[2].stop()
    assert (await children[2].ended()).cancelled
    await world.until(lambda: waiting(flights) == 2)
    held.gates[0].open()
    assert [(await children[k].result()).unwrap() for k in (0, 1, 3)] == ["a"] * 3
    assert held.calls == [7]


async def test_one_whose_time_is_over_does_no_harm(world: World) -> None:
    held, flights = Held(world, "a"), SingleFlight()
    chain = Task(held.fetch).single_flight(flights)
    children = await crowd(world, held, chain, flights, 2)
    outcome = await world.run(chain.timeout(world.short)(7))
    assert type(outcome.result.failure()) is TaskTimedOut
    assert (outcome.only.attempts, outcome.only.status) == (0, "timed_out")
    held.gates[0].open()
    assert [(await child.result()).unwrap() for child in children] == ["a"] * 2


async def test_when_the_leader_is_cancelled_the_next_calls_anew(world: World) -> None:
    held, flights = Held(world, "a", "b"), SingleFlight()
    children = await crowd(world, held, Task(held.fetch).single_flight(flights), flights, 4)
    children[0].stop()
    await world.until(lambda: len(held.calls) == 2)
    held.gates[1].open()
    outcomes = [await child.result() for child in children[1:]]
    assert [outcome.unwrap() for outcome in outcomes] == ["b"] * 3
    assert [outcome.only.attempts for outcome in outcomes] == [1, 0, 0]
    assert (await children[0].ended()).cancelled


async def test_when_the_leader_is_out_of_time_the_next_calls_anew(world: World) -> None:
    held, flights = Held(world, "a", "b"), SingleFlight()
    chain = Task(held.fetch).single_flight(flights)
    leader = world.start(lambda: world.run(chain.timeout(100)(7)))
    await world.until(lambda: held.calls)
    follower = world.start(lambda: world.run(chain(7)))
    await world.until(lambda: waiting(flights) == 1)
    assert type((await leader.result()).result.failure()) is TaskTimedOut
    await world.until(lambda: len(held.calls) == 2)
    held.gates[1].open()
    assert (await follower.result()).result == Success("b")


async def test_a_limit_inside_is_the_leaders_error_and_shared(world: World) -> None:
    back, flights = backend(world, (HANG, "a")), SingleFlight()
    chain = Task(back.fetch).timeout(2 * world.short).single_flight(flights)
    outcomes = await world.together(*[lambda: world.run(chain(7)) for _ in range(3)])
    assert [type(outcome.result.failure()) for outcome in outcomes] == [TaskTimedOut] * 3
    assert len(back.calls) == 1


async def test_cancelling_all_leaves_nothing_behind(world: World) -> None:
    held, flights = Held(world, "a", "b", "c", "d"), SingleFlight()
    children = await crowd(world, held, Task(held.fetch).single_flight(flights), flights, 3)
    for child in reversed(children):
        child.stop()
    for child in children:
        await child.ended()
    await world.until(lambda: repr(flights) == "<SingleFlight by the input: 0 in flight, 0 follow>")


async def test_around_a_retry_all_share_the_last_attempt(world: World) -> None:
    back = backend(world, (20, OSError("x")), (20, "a"))
    chain = Task(back.fetch).retry(3, backoff=None).single_flight(SingleFlight())
    child = world.start(lambda: world.run(chain(7)))
    await world.until(lambda: back.calls)
    assert (await world.run(chain(7))).result == Success("a")
    assert (await child.result()).result == Success("a")
    assert len(back.calls) == 2
