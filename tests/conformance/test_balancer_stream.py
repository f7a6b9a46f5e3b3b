"""``balancer.stream``: the events of a request that waits for its turn and runs in a balancer."""

from __future__ import annotations

from typing import Any

import pytest
from conformance.harness import World

from rio_chain import (
    BalancerClosed,
    ChainDefinitionError,
    DeadlineExceeded,
    QueueFull,
    Task,
    UsageError,
    fan_out,
    remaining,
)


async def echo(x: Any) -> Any:
    return x


async def fails(_: Any) -> Any:
    raise OSError("no")


async def test_it_gives_the_events_and_the_outcome(world: World) -> None:
    async with world.balancer(workers=1) as balancer:
        stream = balancer.stream((Task(fails).retry(1, backoff=None) | Task(echo))(7))
        assert repr(stream).endswith(": not begun>")
        events = [event async for event in stream]
        assert [(event.kind, event.task) for event in events] == [
            ("started", "fails"),
            ("attempt_failed", "fails"),
            ("started", "fails"),
            ("attempt_failed", "fails"),
            ("finished", "fails"),
            ("started", "echo"),
            ("finished", "echo"),
            ("ended", None),
        ]
        assert stream.outcome.value == 7
        assert balancer.stats().done == 1
        with pytest.raises(UsageError, match="read only once"):
            _ = [event async for event in stream]


async def test_it_waits_for_its_turn_by_its_priority(world: World) -> None:
    gate = world.gate()
    order: list[str] = []

    async def waits(name: str) -> str:
        order.append(name)
        if name == "first":
            await gate.passed()
        return name

    async with world.balancer(workers=1) as balancer:
        first = balancer.post(Task(waits)("first"))
        await world.until(lambda: order == ["first"])

        async def read(name: str, priority: float) -> Any:
            stream = balancer.stream(Task(waits)(name), priority=priority)
            async for event in stream:
                order.append(event.kind)  # noqa: PERF401 - one by one, as they come
            return stream.outcome

        low = world.start(lambda: read("low", 0))
        await world.until(lambda: balancer.stats().queued == 1)
        high = world.start(lambda: read("high", 5))
        await world.until(lambda: balancer.stats().queued == 2)
        gate.open()
        outcome = await high.result()
        assert outcome.queued >= 0
        await low.result()
        await first
        assert [word for word in order if word in ("low", "high")] == ["high", "low"]


async def test_values_deadlines_and_what_is_refused(world: World) -> None:
    async def left(_: int) -> float:
        return remaining()

    async with world.balancer(workers=1, buffer=0) as balancer:
        chain = fan_out(left=Task(left), echo=Task(echo))
        found = {
            event.branch: event.value
            async for event in balancer.stream(chain(7), deadline=5_000, values=True)
            if event.kind == "value"
        }
        assert found["echo"] == 7
        assert 0 < found["left"] <= 5_000
        late = balancer.stream(Task(echo)(7), deadline=0)
        assert [event.kind async for event in late] == ["finished", "ended"]
        assert isinstance(late.outcome.error, DeadlineExceeded)
        for options in ({"deadline": -1}, {"priority": "high"}, {"values": 1}, {"on_full": "no"}):
            with pytest.raises(ChainDefinitionError):
                balancer.stream(Task(echo)(7), **options)
        gate = world.gate()

        async def waits(_: int) -> None:
            await gate.passed()

        running = balancer.post(Task(waits)(1))
        await world.until(lambda: balancer.stats().running == 1)
        full = balancer.stream(Task(echo)(7), on_full="reject")
        with pytest.raises(UsageError, match="the run has not begun"):
            _ = full.outcome
        with pytest.raises(QueueFull) as refused:
            _ = [event async for event in full]
        for _ in range(2):
            with pytest.raises(QueueFull) as again:
                _ = full.outcome
            assert str(again.value) == str(refused.value)
        assert repr(full).endswith(": not begun>")
        gate.open()
        await running
        await world.until(lambda: balancer.stats().running == 0)
        assert [event.kind async for event in full][-1] == "ended", "there is room now"
        assert full.outcome.value == 7
    closed = balancer.stream(Task(echo)(7))
    with pytest.raises(BalancerClosed):
        _ = [event async for event in closed]
    with pytest.raises(BalancerClosed):
        _ = closed.outcome


async def test_leaving_it_cancels_what_runs_and_what_waits(world: World) -> None:
    ended: list[str] = []

    async def slow(name: str) -> None:
        try:
            await world.pause(10_000)
        finally:
            ended.append(name)

    async with world.balancer(workers=1) as balancer:
        async with balancer.stream(Task(slow)("a")) as events:
            async for event in events:
                assert event.kind == "started"
                break
        assert ended == ["a"]
        assert events.outcome.only.status == "cancelled"
        await world.until(lambda: balancer.stats().running == 0)
        running = balancer.post(Task(slow)("b"))
        await world.until(lambda: balancer.stats().running == 1)
        waits = balancer.stream(Task(slow)("c"))

        async def read() -> None:
            async with waits:
                async for _ in waits:
                    pass

        reader = world.start(read)
        await world.until(lambda: balancer.stats().queued == 1)
        reader.stop()
        await reader.ended()
        await world.until(lambda: balancer.stats().queued == 0)
        assert waits.outcome.only.status == "skipped"
        running.cancel()
        await running
        assert ended == ["a", "b"]
