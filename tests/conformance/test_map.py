"""map and amap: order, priorities, what is read ahead, and what ends them. More of them are in ``test_balancer``."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from conformance.harness import World

from rio_chain import Outcome, Task, TicketCancelled


@pytest.mark.parametrize(("listed", "took"), [(True, 120), (False, 150)])
async def test_while_an_input_of_a_map_is_slow_those_of_a_list_go_on(
    world: World, *, listed: bool, took: float
) -> None:
    """Of 17 inputs the first takes 80 ms and the others 10; two at once."""

    async def body(x: int) -> int:
        await world.pause(10 if x else 80)
        return x

    inputs: Any = range(17) if listed else iter(range(17))
    async with world.balancer(workers=2) as balancer:
        began = world.now()
        outcomes = [outcome async for outcome in balancer.amap(Task(body), inputs)]
        assert [outcome.unwrap() for outcome in outcomes] == [*range(17)]
        assert world.about(world.now() - began, took)


async def test_a_request_of_higher_priority_goes_before_the_inputs_of_a_map(world: World) -> None:
    order: list[object] = []

    async def body(x: object) -> object:
        order.append(x)
        await world.pause(10)
        return x

    async with world.balancer(workers=1) as balancer:
        source = balancer.amap(Task(body), range(6), priority=1)
        assert (await anext(source)).unwrap() == 0
        await world.until(lambda: order[-1] == 1)
        high = balancer.post(Task(body)("high"), priority=2)
        low = balancer.post(Task(body)("low"))
        same = balancer.post(Task(body)("same"), priority=1)
        assert [outcome.unwrap() async for outcome in source] == [*range(1, 6)]
        for ticket in (high, low, same):
            await ticket
        assert order.index("high") == 2
        assert order.index("same") == 3, "it has waited, and the next input comes later"
        assert order[-1] == "low"
        stats = balancer.stats()
        assert (stats.done, stats.running, stats.queued) == (9, 0, 0)


@pytest.mark.parametrize("grace", [30_000, 0])
async def test_a_balancer_that_closes_answers_all_inputs_that_a_map_has_read(world: World, grace: float) -> None:
    async def body(x: int) -> int:
        await world.pause(5)
        return x

    async with world.balancer(workers=2) as balancer:
        source = balancer.amap(Task(body), range(8))
        assert (await anext(source)).unwrap() == 0
        await balancer.aclose(grace=grace)
        results = [outcome.result async for outcome in source]
        assert len(results) == 7
        if grace:
            assert [result.unwrap() for result in results] == [*range(1, 8)]
        else:
            assert isinstance(results[-1].failure(), TicketCancelled)
            assert not balancer.stats().running


class Stops(BaseException):
    """What ends a run as a cancellation would."""


async def read(source: AsyncIterator[Outcome[Any]], got: list[Any]) -> None:
    """Keep what comes, also where an error ends it."""
    async for outcome in source:
        got.append(outcome.result)  # noqa: PERF401 - a comprehension would lose it


@pytest.mark.parametrize("as_completed", [False, True])
async def test_a_base_exception_of_a_body_ends_a_map(world: World, *, as_completed: bool) -> None:
    begun: list[int] = []

    async def body(x: int) -> int:
        begun.append(x)
        await world.pause(5)
        if x == 3:
            raise Stops
        return x

    async with world.balancer(workers=2) as balancer:
        source = balancer.amap(Task(body), range(100), as_completed=as_completed)
        got: list[Any] = []
        with pytest.raises(Stops):
            await read(source, got)
        assert {0, 1} <= {result.unwrap() for result in got} <= {0, 1, 2, 4}
        await world.until(lambda: balancer.stats().running == 0)
        assert len(begun) < 20
        assert (await balancer.arun(Task(body)(0))).unwrap() == 0


async def test_inputs_that_wait_behind_others_end_with_the_run_around(world: World) -> None:
    got: list[Any] = []
    async with world.balancer(workers=1) as balancer:
        gate = world.gate()

        async def holds(_: object) -> None:
            await gate.passed()

        holder = balancer.post(Task(holds)(1))
        await world.until(lambda: balancer.stats().running == 1)

        async def maps(_: object) -> None:
            await read(balancer.amap(Task(str), range(4)), got)

        outcome = await world.run(Task(maps).timeout(20)(1))
        assert type(outcome.result.failure()).__name__ == "TaskTimedOut"
        await world.until(lambda: not balancer.stats().queued)
        assert balancer.stats().running == 1
        gate.open()
        await holder
    assert {type(result.failure()).__name__ for result in got} <= {"DeadlineExceeded"}


@pytest.mark.parametrize("as_completed", [False, True])
@pytest.mark.parametrize("progress", [False, True])
async def test_map_gives_each_input_with_its_outcome(
    world: World, *, as_completed: bool, progress: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rio_chain.inspect.live._screen.Shown.look", lambda _: None)

    async def body(x: str) -> int:
        await world.pause(len(x) % 3)
        return int(x)

    inputs = [f"{k}" if k % 4 else f"x{k}" for k in range(20)]
    options = {"as_completed": as_completed, "progress": progress}
    async with world.balancer(workers=3) as balancer:
        pairs = [pair async for pair in balancer.amap(Task(body), iter(inputs), with_input=True, **options)]
        assert sorted(x for x, _ in pairs) == sorted(inputs)
        if not as_completed:
            assert [x for x, _ in pairs] == inputs
        for x, outcome in pairs:
            assert outcome.ok == x.isdigit()
            if outcome.ok:
                assert outcome.value == int(x)
            else:
                assert x in str(outcome.error), "a failure is reported with what it failed for"
