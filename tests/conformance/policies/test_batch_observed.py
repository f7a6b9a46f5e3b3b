"""Batch: what observers get of the calls that join, and of the call that is made for all."""

from __future__ import annotations

from typing import Any

from conformance.harness import World
from returns.result import Success

from rio_chain import Batch, Event, Task, each

LONG = 10_000


async def test_who_joins_and_what_is_sent(world: World) -> None:
    seen: list[Event] = []
    asked = []

    async def fetch_many(keys: list[int]) -> list[Any]:
        asked.append(keys)
        if len(asked) == 1:
            raise OSError
        return [LookupError() if key == 2 else key for key in keys]

    user = Task(fetch_many).retry(1, backoff=None).batch(Batch(size=3, wait=LONG, scope="shared"))
    async with world.balancer(observers=[seen.append]) as balancer:
        children = [world.start(lambda key=key: balancer.arun(user(key))) for key in (1, 2, 3)]
        outcomes = [await child.result() for child in children]
    assert [type(outcome.result) is Success for outcome in outcomes] == [True, False, True]
    kinds = [event.kind for event in seen]
    runs = {event.run for event in seen if event.kind == "request_started"}
    joined = [event for event in seen if event.kind == "batch_joined"]
    [sent] = [event for event in seen if event.kind == "batch_sent"]
    assert len(joined) == 2
    assert (sent.size, set(sent.runs), sent.task, sent.policy) == (3, runs, "fetch_many", "batch")
    assert len({event.run for event in joined}) == 2
    attempts = [event for event in seen if event.kind in ("attempt_started", "attempt_ended")]
    assert [(event.kind, event.attempt, event.status) for event in attempts] == [
        ("attempt_started", 1, None),
        ("attempt_ended", 1, "failed"),
        ("attempt_started", 2, None),
        ("attempt_ended", 2, "succeeded"),
    ]
    assert {event.run for event in attempts} == {sent.run}
    assert kinds.index("batch_sent") < kinds.index("attempt_started")
    finished = {event.run: event.status for event in seen if event.kind == "finished"}
    assert sorted(map(str, finished.values())) == ["failed", "succeeded", "succeeded"]
    assert set(finished) == runs
    assert kinds.count("request_ended") == 3


async def test_of_items_of_one_run(world: World) -> None:
    seen: list[Event] = []

    async def fetch_many(keys: list[int]) -> list[int]:
        return keys

    page = each(Task(fetch_many).batch(Batch(size=3, wait=LONG)), limit=3)
    async with world.balancer(observers=[seen.append]) as balancer:
        assert (await balancer.arun(page([1, 2, 3]))).result == Success([1, 2, 3])
    [sent] = [event for event in seen if event.kind == "batch_sent"]
    assert (sent.size, sent.runs) == (3, (sent.run,))
    assert sorted(event.item for event in seen if event.kind == "finished" and event.item is not None) == [0, 1, 2]
    assert sum(event.kind == "attempt_started" for event in seen) == 1


async def test_a_stream_has_the_call_once(world: World) -> None:
    async def fetch_many(keys: list[int]) -> list[int]:
        return keys

    page = each(Task(fetch_many).batch(Batch(size=3, wait=LONG)), limit=3)
    async with world.balancer() as balancer:
        kinds = [event.kind async for event in balancer.stream(page([1, 2, 3]))]
    assert kinds.count("started") == 1
    assert kinds[-1] == "ended"
