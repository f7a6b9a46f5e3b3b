"""Scripted backends behave the same on every executor: what they answer, when, and what they note."""

from __future__ import annotations

from typing import Any

import pytest
from conformance.harness import World

from rio_chain import Backoff, Task, fan_out
from rio_chain.testing import LatencyModel, Script, ScriptEnded


async def fetch_user(user_id: int) -> str:
    raise NotImplementedError


def fetch_orders(query: str) -> list[int]:
    raise NotImplementedError


def calls_of(world: World, script: Script) -> list[tuple[Any, ...]]:
    """Its calls; with their times where time is virtual."""
    return [(call.args, call.status, *((call.began, call.ended) if world.virtual else ())) for call in script.calls]


def with_times(world: World, *calls: tuple[tuple[Any, ...], str, float, float]) -> list[tuple[Any, ...]]:
    return [call if world.virtual else call[:2] for call in calls]


async def test_a_chain_runs_over_scripts_in_the_place_of_its_functions(world: World) -> None:
    chain = (
        Task(fetch_user).retry(2, backoff=Backoff(base=10, factor=1, jitter="none")) >> str.upper >> Task(fetch_orders)
    )
    users = Script().delays(5, 3).then_raises(OSError).then("ada")
    orders = Script().then([1, 2], after=7)
    outcome = await world.run(chain.with_backends({"fetch_user": users, "fetch_orders": orders})(42))
    assert outcome.unwrap() == [1, 2]
    assert outcome["fetch_user"].attempts == 2
    assert calls_of(world, users) == with_times(world, ((42,), "failed", 0, 5), ((42,), "succeeded", 15, 18))
    assert calls_of(world, orders) == with_times(world, (("ADA",), "succeeded", 18, 25))
    assert users.calls[0].error is OSError
    assert [call.task for call in (*users.calls, *orders.calls)] == ["fetch_user", "fetch_user", "fetch_orders"]


async def test_a_call_that_is_cut_off_is_noted_as_cancelled(world: World) -> None:
    script = Script().then("late", after=10_000).then("in time")
    outcome = await world.run(Task(script).timeout(world.short).retry(1, backoff=None)(1))
    assert outcome.unwrap() == "in time"
    assert [call.status for call in script.calls] == ["cancelled", "succeeded"]
    cut_off = script.calls[0]
    assert cut_off.ended is not None
    assert world.about(cut_off.ended, world.short)


async def test_a_script_without_a_step_left_ends_the_run_past_all_retries_and_fallbacks(world: World) -> None:
    script = Script().then_raises(OSError)
    chain = Task(script).named("user").retry(5, backoff=None).or_else("hidden")
    with pytest.raises(ScriptEnded, match=r"the script of user has 1 step, and this is call 2"):
        await world.run(chain(1))
    assert len(script.calls) == 1


async def test_branches_share_the_steps_of_one_script(world: World) -> None:
    script = Script().delays(5, 5, 5).then("a").then("b").then("c")
    task = Task(script)
    outcome = await world.run(fan_out(task.named("x"), task.named("y"), task.named("z"))(0))
    assert sorted(outcome.unwrap()) == ["a", "b", "c"]
    assert sorted(call.task for call in script.calls) == ["x", "y", "z"]
    assert script.left == 0


async def test_a_model_gives_the_same_calls_for_the_same_seed(world: World) -> None:
    model = LatencyModel.uniform(1, 4).failing(0.3, OSError).returning("x")
    seen: list[list[str]] = []
    for _ in range(2):
        chain = Task(fetch_user).retry(9, backoff=None).with_backends({"fetch_user": model}, seed=3)
        outcomes = [await world.run(chain(i)) for i in range(4)]
        seen.append([span.status for outcome in outcomes for span in outcome.only.spans])
    assert seen[0] == seen[1]
    assert "failed" in seen[0]


async def test_time_goes_on_from_one_run_to_the_next(world: World) -> None:
    script = Script().always("x", after=5)
    for _ in range(2):
        await world.run(Task(script)(0))
        await world.pause(10)
    first, second = script.calls
    assert first.ended is not None
    assert world.about(second.began - first.ended, 10)
    script.reset()
    await world.run(Task(script)(0))
    assert len(script.calls) == 1
    assert not world.virtual or script.calls[0].began == 0
