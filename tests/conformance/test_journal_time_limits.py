"""``time_limit=`` in a run with a journal: the next run has what had come, and calls what had not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from conformance.harness import World
from conformance.policies.backends import HANG
from returns.result import Success

from rio_chain import Chain, Journal, Outcome, Task, TaskTimedOut, each, fan_out, settle


class Backend:
    """Its functions with the names in ``hanging`` do not answer. ``end`` fails while something hangs."""

    def __init__(self, world: World, *hanging: str) -> None:
        self.world, self.hanging = world, set(hanging)
        self.calls: list[str] = []
        self.ended_with: Any = None

    async def fetch(self, name: str) -> str:
        self.calls.append(name)
        if name in self.hanging:
            await self.world.pause(HANG)
        return name.upper()

    def task(self, name: str) -> Chain[[Any], str]:
        async def call(_: Any) -> str:
            return await self.fetch(name)

        call.__qualname__ = name
        return Task(call).named(name)

    async def end(self, value: Any) -> Any:
        self.ended_with = value
        if self.hanging:
            raise OSError
        return value

    async def twice(self, chain: Any, value: Any, journal: Journal) -> Outcome[Any]:
        """Run it while some hang, then while none does. The calls that are kept are those of the second run."""
        whole = (chain >> Task(self.end))(value)
        first = await self.world.run(whole, journal=journal, run_id="one")
        assert not first.ok
        self.hanging.clear()
        self.calls.clear()
        return await self.world.run(whole, journal=journal, run_id="one")


@pytest.fixture
def limit(world: World) -> float:
    """Long enough for some commits, also on a busy machine."""
    return 2 * world.short


async def given(names: list[str]) -> list[str]:
    return names


async def test_items_that_came_in_time_are_recalled(world: World, tmp_path: Path, limit: float) -> None:
    backend = Backend(world, "slow", "slower")
    names = ["a", "slow", "b", "slower", "c"]
    chain = Task(given) >> each(Task(backend.fetch), limit=5, time_limit=limit, on_timeout="keep")
    with Journal(tmp_path / "runs.db") as journal:
        outcome = await backend.twice(chain, names, journal)
    assert outcome.unwrap() == ["A", "SLOW", "B", "SLOWER", "C"]
    assert sorted(backend.calls) == ["slow", "slower"]


async def test_without_keep_the_items_are_recalled_too(world: World, tmp_path: Path, limit: float) -> None:
    backend = Backend(world, "slow")
    chain = Task(given) >> each(Task(backend.fetch), time_limit=limit)
    with Journal(tmp_path / "runs.db") as journal:
        outcome = await backend.twice(chain, ["a", "slow", "b"], journal)
    assert outcome.unwrap() == ["A", "SLOW", "B"]
    assert backend.calls == ["slow"]
    assert backend.ended_with == ["A", "SLOW", "B"]


async def test_branches_of_a_settle_that_came_in_time_are_recalled(world: World, tmp_path: Path, limit: float) -> None:
    backend = Backend(world, "slow")
    chain = settle(backend.task("a"), backend.task("slow"), backend.task("b"), time_limit=limit)
    with Journal(tmp_path / "runs.db") as journal:
        whole = (chain >> Task(backend.end))("x")
        first = await world.run(whole, journal=journal, run_id="one")
        assert not first.ok
        a, slow, b = backend.ended_with
        assert (a, b) == (Success("A"), Success("B"))
        assert type(slow.failure()) is TaskTimedOut
        outcome = await backend.twice(chain, "x", journal)
    assert outcome.unwrap() == (Success("A"), Success("SLOW"), Success("B"))
    assert backend.calls == ["slow"]


async def test_a_fan_out_that_had_enough_by_then_is_recalled_as_a_whole(
    world: World, tmp_path: Path, limit: float
) -> None:
    backend = Backend(world, "slow")
    chain = fan_out(a=backend.task("a"), slow=backend.task("slow"), need=1, time_limit=limit)
    with Journal(tmp_path / "runs.db") as journal:
        outcome = await backend.twice(chain, "x", journal)
    assert outcome.unwrap() == {"a": "A"}
    assert backend.calls == []


async def test_a_fan_out_with_too_few_by_then_is_called_again(world: World, tmp_path: Path, limit: float) -> None:
    backend = Backend(world, "slow")
    chain = fan_out(backend.task("a"), backend.task("slow"), need=2, time_limit=limit)
    with Journal(tmp_path / "runs.db") as journal:
        outcome = await backend.twice(chain, "x", journal)
    assert outcome.unwrap() == ("A", "SLOW")
    assert sorted(backend.calls) == ["a", "slow"], "nothing counts in a race that is not decided"


async def test_a_run_that_has_succeeded_without_some_items_comes_back_so(
    world: World, tmp_path: Path, limit: float
) -> None:
    backend = Backend(world, "slow")
    request = (Task(given) >> each(Task(backend.fetch), time_limit=limit, on_timeout="keep"))(["a", "slow"])
    with Journal(tmp_path / "runs.db") as journal:
        first = await world.run(request, journal=journal, run_id="one")
        backend.hanging.clear()
        again = await world.run(request, journal=journal, run_id="one")
    assert first.unwrap() == again.unwrap() == ["A"]
    assert again["fetch"].counts == first["fetch"].counts == {"succeeded": 1, "timed_out": 1}
    assert sorted(backend.calls) == ["a", "slow"]
