"""Replicas: delays that differ from call to call, errors that end a hedge, quantiles by key."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from conformance.harness import World
from conformance.policies.backends import HANG, backend
from returns.result import Success

from rio_chain import CallbackFailed, NotAccepted, Quantile, Task, TaskTimedOut, best

# --- when the next begins ---------------------------------------------------------------------------------------


def twice(number: int) -> float:
    return 10.0 * 2 ** (number - 1)


@pytest.mark.parametrize("after", [[10, 20, 40], (10, timedelta(milliseconds=20), 40), twice])
async def test_each_call_has_its_own_delay(world: World, after: Any) -> None:
    back = backend(world, (HANG, "a"), (HANG, "b"), (HANG, "c"), (1, "d"))
    assert (await world.run(Task(back.fetch).replica(4, after=after)(7))).result == Success("d")
    assert back.started(0, 10, 30, 70)


async def test_the_last_delay_of_a_list_counts_for_the_rest(world: World) -> None:
    back = backend(world, (HANG, "a"), (HANG, "b"), (HANG, "c"), (1, "d"))
    assert (await world.run(Task(back.fetch).replica(4, after=[5, 15])(7))).result == Success("d")
    assert back.started(0, 5, 20, 35)


async def test_a_delay_of_0_starts_a_call_at_once(world: World) -> None:
    back = backend(world, (HANG, "a"), (HANG, "b"), (1, "c"))
    assert (await world.run(Task(back.fetch).replica(3, after=[0, 20])(7))).result == Success("c")
    assert back.started(0, 0, 20)


@pytest.mark.parametrize("after", [[5, None], lambda number: 5 if number == 1 else None])
async def test_none_ends_the_hedges(world: World, after: Any) -> None:
    back = backend(world, (HANG, "a"), (world.short * 3, "b"), (1, "c"))
    outcome = await world.run(Task(back.fetch).replica(3, after=after)(7))
    assert outcome.result == Success("b")
    assert (len(back.calls), outcome.only.started) == (2, 2)


@pytest.mark.parametrize("after", [[5, None], lambda number: 5 if number == 1 else None])
async def test_a_failure_still_starts_the_next_call(world: World, after: Any) -> None:
    back = backend(world, (HANG, "a"), (1, OSError("b")), (1, "c"))
    assert (await world.run(Task(back.fetch).replica(3, after=after)(7))).result == Success("c")


async def test_the_function_gets_the_number_of_each_call(world: World) -> None:
    seen: list[int] = []

    def after(number: int) -> float:
        seen.append(number)
        return 60_000

    back = backend(world, (1, "a"))
    assert (await world.run(Task(back.fetch).replica(4, after=after)(7))).result == Success("a")
    assert seen == [1, 2, 3]


@pytest.mark.parametrize("gave", [-1, "soon", float("nan")])
async def test_a_function_that_gives_nonsense_is_a_callback_failure(world: World, gave: Any) -> None:
    def wrong(_: int) -> Any:
        return gave

    back = backend(world, (1, "a"))
    outcome = await world.run(Task(back.fetch).replica(2, after=wrong).retry(2)(7))
    error = outcome.result.failure()
    assert isinstance(error, CallbackFailed)
    assert (error.role, error.callback, len(back.calls)) == ("after", "wrong", 0)
    assert outcome.only.status in ("failed", "skipped")


# --- errors that end it -----------------------------------------------------------------------------------------


def is_busy(error: Any) -> bool:
    return str(error) == "busy"


@pytest.mark.parametrize("on", [OSError, (OSError, ValueError), lambda error: not isinstance(error, KeyError)])
async def test_an_error_that_is_not_named_ends_the_hedges(world: World, on: Any) -> None:
    back = backend(world, (1, OSError("busy")), (1, KeyError("no such user")), (1, "c"))
    outcome = await world.run(Task(back.fetch).replica(3, after=None, on=on)(7))
    assert str(outcome.result.failure()) == "'no such user'"
    assert [type(error) for error in outcome.only.errors] == [OSError, KeyError]
    assert (len(back.calls), outcome.only.status, outcome.only.winner) == (2, "failed", None)


async def test_the_calls_beside_it_are_cancelled_and_awaited(world: World) -> None:
    back = backend(world, (HANG, "a"), (world.short, KeyError("no")), (HANG, "c"))
    outcome = await world.run(Task(back.fetch).replica(4, after=[2, 1, None], on=OSError)(7))
    assert type(outcome.result.failure()) is KeyError
    assert back.ends == ["cancelled", "failed", "cancelled"]
    assert outcome.elapsed < 5_000


async def test_the_first_call_ends_those_beside_it(world: World) -> None:
    back = backend(world, (10, KeyError("no")), (HANG, "b"))
    outcome = await world.run(Task(back.fetch).replica(3, after=3, on=is_busy)(7))
    assert type(outcome.result.failure()) is KeyError
    assert "answered" not in back.ends


async def test_named_errors_do_not_end_it(world: World) -> None:
    back = backend(world, (1, OSError("busy")), (1, OSError("busy")), (1, "c"))
    assert (await world.run(Task(back.fetch).replica(3, after=None, on=is_busy)(7))).result == Success("c")
    back = backend(world, (1, OSError("busy")))
    outcome = await world.run(Task(back.fetch).replica(3, after=None, on=is_busy)(7))
    assert (str(outcome.result.failure()), len(back.calls)) == ("busy", 3)


async def test_a_timeout_inside_is_an_error_like_others(world: World) -> None:
    back = backend(world, (HANG, "a"), (1, "b"))
    chain = Task(back.fetch).timeout(world.short).replica(2, after=None, on=KeyError)
    assert type((await world.run(chain(7))).result.failure()) is TaskTimedOut
    chain = Task(back.fetch).timeout(world.short).replica(2, after=None, on=TaskTimedOut)
    assert (await world.run(chain(7))).result == Success("b")


async def test_a_retry_around_begins_anew(world: World) -> None:
    back = backend(world, (1, KeyError("no")), (1, OSError("busy")), (1, "c"))
    chain = Task(back.fetch).replica(2, after=None, on=OSError).retry(1, backoff=None)
    assert (await world.run(chain(7))).result == Success("c")
    assert len(back.calls) == 3


async def test_answers_that_have_come_before_are_chosen_from(world: World) -> None:
    back = backend(world, (1, "a"), (5, KeyError("no")), (HANG, "ccc"))
    chain = Task(back.fetch).replica(3, pick=best(len, within=60_000), on=OSError)
    assert (await world.run(chain(7))).result == Success("a")


async def test_an_answer_that_is_not_accepted_is_an_error_too(world: World) -> None:
    back = backend(world, (1, ""), (1, "b"))
    chain = Task(back.fetch).accept(bool).replica(2, after=None, on=OSError)
    assert type((await world.run(chain(7))).result.failure()) is NotAccepted


@pytest.mark.parametrize("first", [HANG, 1])
async def test_an_on_that_raises_ends_it(world: World, first: Any) -> None:
    answer: Any = "a" if first == HANG else OSError("busy")
    back = backend(world, (first, answer), (1, OSError("busy")), (1, "c"))
    chain = Task(back.fetch).replica(3, after=5, on=lambda _: 1 / 0)
    error = (await world.run(chain(7))).result.failure()
    assert isinstance(error, CallbackFailed)
    assert error.role == "on"
    assert len(back.calls) <= 2


# --- a quantile for each key ------------------------------------------------------------------------------------


async def test_each_key_has_its_own_latencies(world: World) -> None:
    late = Quantile(0.5, warmup=2, window=2, key=lambda host: host[0])

    async def fetch(host: str) -> str:
        await world.pause({"f": 1, "s": 20}[host[0]])
        return host

    chain = Task(fetch).replica(2, after=late)
    for host in ("fast", "slow", "fast", "slow"):
        assert (await world.run(chain(host))).unwrap() == host
    fast, slow, other = (late.state_of(key) for key in "fso")
    assert [state.answers for state in (fast, slow, other)] == [2, 2, 0]
    assert other.value is None
    assert fast.value is not None
    assert slow.value is not None
    if world.virtual:
        assert (fast.value, slow.value) == (pytest.approx(0.001), pytest.approx(0.02))
    assert fast.value < slow.value


async def test_the_hedge_of_a_key_begins_by_the_latency_of_that_key(world: World) -> None:
    late = Quantile(0.5, warmup=1, key=lambda x: x)
    late.add(0.01, key=1)
    late.add(60.0, key=2)
    back = backend(world, (HANG, "a"), (1, "b"))
    assert (await world.run(Task(back.fetch).replica(2, after=late)(1))).result == Success("b")
    assert back.started(0, 10)
    back = backend(world, (30, "a"), (1, "b"))
    assert (await world.run(Task(back.fetch).replica(2, after=late)(2))).result == Success("a")
    assert late.state_of(1).answers == late.state_of(2).answers == 2


async def test_its_keys_are_bounded(world: World) -> None:
    late = Quantile(warmup=1, key=lambda x: x, keys=3)
    chain = Task(str).inline().replica(2, after=late)
    for x in range(10):
        await world.run(chain(x))
    assert [late.state_of(x).answers for x in range(10)] == [0] * 7 + [1] * 3


async def test_a_key_that_raises_is_a_callback_failure(world: World) -> None:
    back = backend(world, (1, "a"))
    error = (await world.run(Task(back.fetch).replica(2, after=Quantile(key=lambda x: x / 0))(7))).result.failure()
    assert isinstance(error, CallbackFailed)
    assert (error.role, len(back.calls)) == ("key", 0)


async def test_a_key_of_several_arguments(world: World) -> None:
    late = Quantile(warmup=1, key=lambda a, *, b: (a, b))

    async def fetch(a: int, *, b: int) -> int:
        return a + b

    assert (await world.run(Task(fetch).replica(2, after=late)(1, b=2))).unwrap() == 3
    assert late.state_of((1, 2)).answers == 1
