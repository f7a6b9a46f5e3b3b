"""The Outcome of a Request that a task returned: ``response.nested``, also in pictures, tables and data."""

from __future__ import annotations

from typing import Any

import pytest
from conformance.harness import World

from rio_chain import Outcome, Request, Response, Skipped, Task, TaskTimedOut, each


async def upper(text: str) -> str:
    return text.upper()


async def fails(text: str) -> str:
    raise OSError(f"no {text}")


class Fetch:
    """Fails so many times, then answers."""

    def __init__(self, failures: int) -> None:
        self.left = failures

    async def __call__(self, text: str) -> str:
        if self.left:
            self.left -= 1
            raise OSError("busy")
        return text


def nested_of(response: Response) -> Outcome[Any]:
    nested = response.nested
    assert nested is not None
    return nested


async def test_the_outcome_of_a_request_that_a_task_returned(world: World) -> None:
    async def route(text: str) -> Request[str]:
        await world.pause(20)
        return (Task(Fetch(1)).named("fetch").retry(2, backoff=None) >> Task(upper))(text)

    outcome = await world.run((Task(route) >> Task(len).inline())("four"))
    assert outcome.value == 4
    assert [response.name for response in outcome] == ["route", "len"]
    assert outcome["len"].nested is None
    nested = nested_of(outcome["route"])
    assert (nested.value, nested.ok) == ("FOUR", True)
    assert [(r.name, r.status, r.attempts) for r in nested] == [("fetch", "succeeded", 2), ("upper", "succeeded", 1)]
    assert world.about(outcome["route"].nested_began, 20)
    assert nested.elapsed <= outcome.elapsed - 19
    assert 0 <= nested["fetch"].spans[0].began <= nested.elapsed


@pytest.mark.real_time
async def test_of_sync_functions_too(world: World) -> None:
    def route(text: str) -> Request[str]:
        return Task(str.upper)(text)

    outcome = await world.run((Task(route) & Task(route).inline())("four"))
    assert [nested_of(response).value for response in outcome] == ["FOUR", "FOUR"]


async def test_of_one_that_failed(world: World) -> None:
    async def route(text: str) -> Request[str]:
        return (Task(fails).retry(2, backoff=None) >> Task(upper))(text)

    outcome = await world.run(Task(route)("x"))
    nested = nested_of(outcome.only)
    assert nested.error is outcome.error
    assert [r.status for r in nested] == ["failed", "skipped"]
    assert (outcome.only.attempts, nested["fails"].attempts, nested["fails"].gave_up) == (1, 3, "exhausted")
    with pytest.raises(OSError, match="no x") as caught:
        outcome.unwrap()
    assert caught.value.__notes__ == [
        "3 attempts: OSError: no x; OSError: no x; OSError: no x (task fails; no retry is left)"
    ]


async def test_of_the_last_attempt(world: World) -> None:
    tries: list[str] = []

    async def route(text: str) -> Request[str]:
        tries.append(text)
        return Task(fails if len(tries) < 3 else upper)(text)

    outcome = await world.run(Task(route).retry(5, backoff=None)("x"))
    assert (outcome.value, outcome.only.attempts) == ("X", 3)
    assert [r.name for r in nested_of(outcome.only)] == ["upper"]

    async def first_only(text: str) -> Any:
        tries.append(text)
        if len(tries) > 1:
            raise ValueError(text)
        return Task(fails)(text)

    tries.clear()
    outcome = await world.run(Task(first_only).retry(1, backoff=None)("x"))
    assert isinstance(outcome.error, ValueError)
    assert outcome.only.nested is None


async def test_of_one_that_a_limit_interrupted(world: World) -> None:
    async def slow(_: str) -> str:
        await world.pause(10_000)
        return "late"

    async def route(text: str) -> Request[str]:
        return (Task(upper) >> Task(slow) >> Task(len))(text)

    outcome = await world.run(Task(route).timeout(world.short)("x"))
    assert isinstance(outcome.error, TaskTimedOut)
    nested = nested_of(outcome.only)
    assert nested.error is outcome.error
    assert [r.status for r in nested] == ["succeeded", "timed_out", "skipped"]
    skipped = nested["len"].error
    assert isinstance(skipped, Skipped)
    assert skipped.cause is outcome.error

    async def soon(_: str) -> str:
        await world.pause(1)
        raise OSError("no")

    beside = await world.run((Task(route) & Task(soon))("x"))
    assert [r.status for r in beside] == ["cancelled", "failed"]
    assert [r.status for r in nested_of(beside["route"])][1:] == ["cancelled", "skipped"]


async def test_of_nested_ones_of_items_and_of_hedges(world: World) -> None:
    async def inner(text: str) -> Request[str]:
        return Task(upper)(text)

    async def route(text: str) -> Request[str]:
        return Task(inner)(text)

    outcome = await world.run(Task(route)("x"))
    assert nested_of(nested_of(outcome["route"])["inner"])["upper"].result.unwrap() == "X"
    items = await world.run(each(Task(route))(["a", "b"]))
    assert [nested_of(item).value for item in items.only.items] == ["A", "B"]
    assert items.only.nested is None
    hedged = await world.run(Task(route).replica(2)("x"))
    assert nested_of(hedged.only).value == "X"


async def test_it_is_shown(world: World) -> None:
    async def fetch(text: str) -> str:
        return text

    async def joined(text: str, first: str) -> str:
        return text + first

    first = Task(fetch)

    async def route(text: str) -> Request[str]:
        await world.pause(30)
        return (first >> Task(fails).or_else(Task(upper)) >> Task(joined).using(first=first))(text)

    outcome = await world.run((Task(route) >> Task(str).inline())("x"))
    lines = [line.split()[0] for line in outcome.summary().splitlines()]
    assert lines == ["task", "route", "route/fetch", "route/fails", "route/upper", "route/joined", "str", "succeeded"]
    picture = str(outcome.svg())
    for text in ("route returned", ">fetch<", ">upper<"):
        assert text in picture
    assert picture.count("data-task=") == 2, "numbers are those of this plan alone"
    assert "route/fetch" in str(outcome.timeline())
    data = outcome.to_dict()
    assert [task["name"] for task in data["tasks"][0]["nested"]["tasks"]] == ["fetch", "fails", "upper", "joined"]
    assert "nested" not in data["tasks"][1]


async def test_requests_that_are_nested_deeply(world: World) -> None:
    async def down(x: int) -> Any:
        return chain(x - 1) if x else "end"

    chain = Task(down)
    outcome = await world.run(chain(150))
    assert outcome.unwrap() == "end"
    depth, here = 0, outcome.only.nested
    while here is not None:
        depth, here = depth + 1, here.only.nested
    assert depth == 150


async def test_events_of_a_request_in_an_item_name_the_item(world: World) -> None:
    async def route(text: str) -> Request[str]:
        return Task(upper)(text)

    async with world.balancer() as balancer:
        events = [event async for event in balancer.stream(each(Task(route))(["a", "b"]))]
    within = [(event.within, event.item) for event in events if event.task == "upper"]
    assert sorted(set(within)) == [(("route[0]",), None), (("route[1]",), None)]


async def test_a_request_of_an_async_function_is_run_wherever_it_may_be(world: World) -> None:
    async def resolve(text: str) -> Request[str]:
        return Task(upper)(text)

    async def of_error(error: Exception) -> Request[str]:
        assert str(error) == "no a"
        return Task(upper)("a")

    async def instead(error: Exception, text: str) -> Request[str]:
        assert str(error) == "no a"
        return Task(upper)(text)

    for chain in (
        Task(resolve) >> str.strip,
        resolve >> Task(str.strip).inline(),
        Task(str.strip).inline() >> resolve,
        Task(str.strip).inline().then(resolve),
        Task(fails) | of_error,
        Task(fails).or_else(instead),
        Task(fails).replica(to=[resolve], after=None),
    ):
        assert (await world.run(chain("a"))).value == "A", chain
