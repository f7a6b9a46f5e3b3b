"""What a function may return, and what the next one gets of it."""

# ruff: noqa: PLW0108 - a lambda that returns what another function gives is what is looked at

from __future__ import annotations

import pytest
from conformance.harness import World
from returns.result import Failure, Success

from rio_chain import BridgeFailed, Task, fan_out, star


async def double(x: int) -> int:
    return 2 * x


async def test_values_flow_from_task_to_task(world: World) -> None:
    outcome = await world.run((Task(double) >> Task(double).named("again"))(3))
    assert outcome.result == Success(12)
    assert [r.result for r in outcome] == [Success(6), Success(12)]
    assert [r.attempts for r in outcome] == [1, 1]


@pytest.mark.real_time
async def test_sync_and_async_functions_mix(world: World) -> None:
    chain = Task(double) >> Task(str) >> (lambda text: text + "!") >> Task(len).inline()
    outcome = await world.run(chain(50))
    assert outcome.result == Success(4)
    assert [r.status for r in outcome] == ["succeeded"] * 3


async def test_a_returned_success_is_opened(world: World) -> None:
    async def wrapped(x: int) -> Success[int]:
        return Success(x + 1)

    outcome = await world.run((Task(wrapped) >> (lambda x: Success(x * 10)) >> Task(double))(1))
    assert outcome.result == Success(40)
    assert outcome["wrapped"].result == Success(2)


@pytest.mark.real_time
async def test_a_sync_function_may_return_results_too(world: World) -> None:
    outcome = await world.run((Task(lambda x: Success(x)).named("yes") >> Task(lambda x: Failure(x)).named("no"))(7))
    assert outcome.result == Failure(7)
    assert [r.status for r in outcome] == ["succeeded", "failed"]


@pytest.mark.parametrize("error", ["a word", 404, None, ValueError("an exception")])
async def test_a_returned_failure_is_a_failed_attempt(world: World, error: object) -> None:
    calls = []

    async def refuse(x: int) -> Failure[object]:
        calls.append(x)
        return Failure(error)

    outcome = await world.run((Task(refuse).retry(1, backoff=None) >> Task(double))(1))
    assert outcome.result == Failure(error)
    assert len(calls) == outcome["refuse"].attempts == 2
    assert outcome["refuse"].errors == (error, error)
    assert outcome["double"].status == "skipped"


async def test_none_is_a_value(world: World) -> None:
    async def nothing(_: object) -> None:
        return None

    outcome = await world.run((Task(nothing) >> (lambda x: x) >> Task(nothing).named("again"))(None))
    assert outcome.result == Success(None)
    assert [r.status for r in outcome] == ["succeeded", "succeeded"]


@pytest.mark.real_time
async def test_a_lambda_that_returns_a_coroutine_is_awaited(world: World) -> None:
    outcome = await world.run((Task(lambda x: double(x)).named("lazy") >> (lambda x: double(x)) >> Task(double))(1))
    assert outcome.result == Success(8)


async def test_an_inline_function_that_returns_a_coroutine_is_awaited(world: World) -> None:
    outcome = await world.run(Task(lambda x: double(x)).named("lazy").inline()(1))
    assert outcome.result == Success(2)


async def test_a_coroutine_that_gives_a_result_is_opened(world: World) -> None:
    async def refuse(_: int) -> Failure[str]:
        return Failure("no")

    outcome = await world.run(Task(lambda x: refuse(x)).named("lazy").inline()(1))
    assert outcome.result == Failure("no")


async def test_a_function_that_returns_a_request_has_it_run(world: World) -> None:
    inner = Task(double) >> Task(double).named("again")

    async def chosen(x: int) -> object:
        return inner(x)

    outcome = await world.run((Task(chosen) >> Task(double))(1))
    assert outcome.result == Success(8)
    assert outcome["chosen"].result == Success(4)


async def test_a_nested_request_that_fails_fails_as_itself(world: World) -> None:
    calls = []

    async def broken(x: int) -> int:
        calls.append(x)
        raise KeyError(x)

    async def chosen(x: int) -> object:
        return Task(broken)(x)

    outcome = await world.run(Task(chosen).retry(1, backoff=None)(5))
    assert type(outcome.result.failure()) is KeyError
    assert calls == [5, 5]
    assert outcome.only.attempts == 2


async def test_a_bridge_may_choose_a_request(world: World) -> None:
    async def broken(_: int) -> int:
        raise KeyError("inner")

    outcome = await world.run((Task(double) >> (lambda x: Task(double)(x)) >> Task(double).named("last"))(1))
    assert outcome.result == Success(8)
    outcome = await world.run((Task(double) >> (lambda x: Task(broken)(x)) >> Task(double).named("last"))(1))
    assert type(outcome.result.failure()) is KeyError, "reported as itself: not the bridge failed"
    assert outcome["last"].status == "skipped"


async def test_an_async_bridge(world: World) -> None:
    async def plus_one(x: int) -> int:
        await world.pause(1)
        return x + 1

    outcome = await world.run((plus_one >> Task(double) >> plus_one)(1))
    assert outcome.result == Success(5)


async def test_a_bridge_that_returns_a_failure_has_failed(world: World) -> None:
    outcome = await world.run((Task(double) >> (lambda _: Failure("no")) >> Task(double).named("last"))(1))
    error = outcome.result.failure()
    assert type(error) is BridgeFailed
    assert error.error == "no"


async def test_a_bridge_of_several_values(world: World) -> None:
    async def three(x: int) -> tuple[int, int, int]:
        return x, x + 1, x + 2

    outcome = await world.run((Task(three) >> star(lambda a, b, c: [c, b, a]) >> Task(sum).inline())(1))
    assert outcome.result == Success(6)
    chain = fan_out(Task(double), Task(three)) >> star(lambda a, b: (a, *b))
    assert (await world.run(chain(1))).result == Success((2, 1, 2, 3))


async def test_a_request_runs_any_number_of_times(world: World) -> None:
    calls = []

    async def flaky(x: int) -> int:
        calls.append(x)
        if len(calls) % 2:
            raise OSError("once more")
        return x

    request = (Task(flaky).retry(1, backoff=None) >> (lambda x: x + 1))(1)
    outcomes = [await world.run(request) for _ in range(3)]
    assert [o.result for o in outcomes] == [Success(2)] * 3
    assert [o["flaky"].attempts for o in outcomes] == [2, 2, 2], "retries are counted in a run, not in the request"


async def test_arguments_of_every_kind_reach_the_first_task(world: World) -> None:
    async def spread(*args: int, **kwargs: int) -> object:
        return args, kwargs

    assert (await world.run(Task(spread)(1, 2, c=3))).result == Success(((1, 2), {"c": 3}))
    assert (await world.run(Task(spread)())).result == Success(((), {}))
    both = Task(spread) & Task(spread)
    assert (await world.run(both(1, c=3))).result == Success((((1,), {"c": 3}),) * 2)
