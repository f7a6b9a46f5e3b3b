"""Breakers: several probes, functions that decide, time windows, growing breaks, keys, counts."""

from __future__ import annotations

from typing import Any

import pytest
from conformance.harness import World
from conformance.policies.backends import backend
from returns.result import Failure, Success

from rio_chain import Breaker, CallbackFailed, CircuitOpen, Task, TaskTimedOut

DOWN = OSError("down")


def refuses(x: int) -> bool:
    raise LookupError(f"no idea about {x}")


async def errors_of(world: World, chain: Any, *inputs: Any) -> list[Any]:
    """The classes of the errors of calls, one after the other. None for a success."""
    outcomes = [await world.run(chain(x)) for x in inputs]
    return [None if isinstance(o.result, Success) else type(o.result.failure()) for o in outcomes]


# --- probes -----------------------------------------------------------------------------------------------------


async def test_so_many_probes_close_it_and_no_more_run_at_once(world: World) -> None:
    go, calls = world.gate(), []

    async def fetch(x: int) -> int:
        calls.append(x)
        if x == 0:
            raise DOWN
        await go.passed()
        return x

    chain = Task(fetch).breaker(breaker := Breaker(1, successes=2))
    await world.run(chain(0))
    breaker.half_open()
    probes = [world.start(lambda k=k: world.run(chain(k))) for k in (1, 2)]
    await world.until(lambda: len(calls) == 3)
    assert await errors_of(world, chain, 3) == [CircuitOpen]
    assert (breaker.stats().probes, len(calls)) == (2, 3)
    go.open()
    assert [(await probe.result()).result for probe in probes] == [Success(1), Success(2)]
    assert breaker.state == "closed"


async def test_one_success_of_two_leaves_it_half_open_and_one_failure_opens_it(world: World) -> None:
    back = backend(world, (0, DOWN), (0, "up"), (0, DOWN), (0, "up"), (0, "up"))
    chain = Task(back.fetch).breaker(breaker := Breaker(1, successes=2))
    await world.run(chain(7))
    breaker.half_open()
    await world.run(chain(7))
    assert (breaker.state, breaker.stats().successes) == ("half_open", 1)
    await world.run(chain(7))
    assert (breaker.state, breaker.stats().opened) == ("open", 2)
    breaker.half_open()
    assert breaker.stats().successes == 0, "the success before does not count any more"
    assert await errors_of(world, chain, 7, 7) == [None, None]
    assert (breaker.state, breaker.stats().opened) == ("closed", 0)


async def test_a_closed_breaker_that_is_made_half_open_lets_one_probe_decide(world: World) -> None:
    back = backend(world, (0, DOWN))
    chain = Task(back.fetch).breaker(breaker := Breaker(5))
    breaker.half_open()
    assert await errors_of(world, chain, 7, 7) == [OSError, CircuitOpen]


# --- what counts ------------------------------------------------------------------------------------------------


async def test_on_is_asked_about_each_error(world: World) -> None:
    back = backend(world, (0, KeyError("mine")), (0, OSError(2, "gone")), (0, OSError(1, "busy")))
    breaker = Breaker(1, on=lambda error: isinstance(error, OSError) and error.errno == 1)
    chain = Task(back.fetch).breaker(breaker)
    states = []
    for _ in range(3):
        await world.run(chain(7))
        states.append(breaker.state)
    assert states == ["closed", "closed", "open"]


async def test_an_on_that_raises_fails_the_run_and_counts_nothing(world: World) -> None:
    chain = Task(backend(world, (0, DOWN)).fetch).breaker(breaker := Breaker(1, on=refuses)).retry(3, backoff=None)
    error = (await world.run(chain(7))).result.failure()
    assert isinstance(error, CallbackFailed)
    assert (error.role, error.callback) == ("on", "refuses")
    assert breaker.state == "closed"
    breaker.half_open()
    await world.run(chain(7))
    assert (breaker.state, breaker.stats().probes) == ("half_open", 0), "its probe was given back"


@pytest.mark.parametrize("exclude", [FileNotFoundError, (FileNotFoundError,), lambda error: error.errno == 2])
async def test_excluded_errors_are_answers_of_the_backend(world: World, exclude: Any) -> None:
    back = backend(world, (0, OSError(1, "busy")), (0, FileNotFoundError(2, "no")), (0, OSError(1, "busy")))
    chain = Task(back.fetch).breaker(breaker := Breaker(2, on=OSError, exclude=exclude))
    await errors_of(world, chain, 7, 7, 7)
    assert (breaker.state, breaker.stats().failures) == ("closed", 1)


async def test_failures_in_a_time_count_with_successes_between_them(world: World) -> None:
    back = backend(world, (0, DOWN), (0, "up"), (0, DOWN), (0, DOWN))
    chain = Task(back.fetch).breaker(breaker := Breaker(3, within=100_000))
    await errors_of(world, chain, 7, 7, 7)
    assert (breaker.state, breaker.stats().failures) == ("closed", 2)
    await world.run(chain(7))
    assert breaker.state == "open"


async def test_failures_that_are_further_apart_do_not_open_it(world: World) -> None:
    back = backend(world, (0, DOWN))
    chain = Task(back.fetch).breaker(breaker := Breaker(2, within=20))
    for _ in range(3):
        await world.run(chain(7))
        await world.pause(21)
        assert (breaker.state, breaker.stats().failures) == ("closed", 0)


@pytest.mark.parametrize("rule", [{"failures": 2, "last": 3}, {"ratio": 0.6, "last": 3}])
async def test_failures_among_the_last_calls(world: World, rule: dict[str, Any]) -> None:
    answers: list[Any] = [DOWN, "up", "up", DOWN, "up", DOWN]
    chain = Task(backend(world, *[(0, answer) for answer in answers]).fetch).breaker(breaker := Breaker(**rule))
    await errors_of(world, chain, *range(5))
    assert (breaker.state, breaker.stats().calls, breaker.stats().failures) == ("closed", 3, 1)
    await world.run(chain(7))
    assert breaker.state == "open"


# --- how long it is open ----------------------------------------------------------------------------------------


async def test_the_break_grows_while_it_does_not_close(world: World) -> None:
    asked: list[Any] = []

    def grows(error: Any, times: int) -> float:
        asked.append((error, times))
        return 100_000.0 * 10**times

    chain = Task(backend(world, (0, DOWN), (0, DOWN), (0, "up"), (0, DOWN)).fetch).breaker(
        breaker := Breaker(1, open_for=grows)
    )
    lasts = []
    for _ in range(4):
        await world.run(chain(7))
        lasts.append(round(breaker.stats().opens_for, -5))
        breaker.half_open()
    assert lasts == [1_000_000, 10_000_000, 0, 1_000_000]
    assert asked == [(DOWN, 1), (DOWN, 2), (DOWN, 1)]


@pytest.mark.parametrize("gave", [-1, "soon", None, float("inf")])
async def test_an_open_for_that_fails_opens_it_for_the_default(world: World, gave: Any) -> None:
    def wrong(error: Any, times: int) -> Any:
        return gave

    chain = Task(backend(world, (0, DOWN)).fetch).breaker(breaker := Breaker(1, open_for=wrong))
    error = (await world.run(chain(7))).result.failure()
    assert isinstance(error, CallbackFailed)
    assert (error.role, error.callback) == ("open_for", "wrong")
    assert breaker.state == "open"
    assert 20_000 < breaker.stats().opens_for <= 30_000


async def test_what_opened_it_is_the_cause_of_its_refusals(world: World) -> None:
    chain = Task(backend(world, (0, DOWN)).fetch).breaker(breaker := Breaker(1))
    first = (await world.run(chain(7))).result.failure()
    for _ in range(2):
        refusal = (await world.run(chain(7))).result.failure()
        assert type(refusal) is CircuitOpen
        assert refusal.__cause__ is first is DOWN
    breaker.open()
    assert (await world.run(chain(7))).result.failure().__cause__ is None, "nobody knows why it was opened by hand"


async def test_an_error_value_is_no_cause(world: World) -> None:
    chain = Task(backend(world, (0, Failure("no"))).fetch).breaker(Breaker(1))
    await world.run(chain(7))
    assert (await world.run(chain(7))).result.failure().__cause__ is None


# --- keys -------------------------------------------------------------------------------------------------------


async def fetch_from(host: str) -> str:
    if host == "bad":
        raise DOWN
    return host


async def test_each_key_has_a_state_of_its_own(world: World) -> None:
    chain = Task(fetch_from).breaker(breaker := Breaker(2, key=lambda host: host))
    seen = await errors_of(world, chain, "bad", "bad", "good", "bad", "good")
    assert seen == [OSError, OSError, None, CircuitOpen, None]
    assert [breaker.state_of(host) for host in ("bad", "good", "unknown")] == ["open", "closed", "closed"]
    assert (breaker.stats(key="bad").refused, breaker.stats(key="good").refused) == (1, 0)
    breaker.close(key="bad")
    assert breaker.state_of("bad") == "closed"
    breaker.open(key="good", hold=True)
    assert await errors_of(world, chain, "good", "bad") == [CircuitOpen, OSError]


async def test_the_states_of_keys_are_bounded_and_open_ones_stay(world: World) -> None:
    chain = Task(fetch_from).breaker(breaker := Breaker(1, key=lambda host: host, keys=3, open_for=1_000_000))
    await errors_of(world, chain, "bad", *[f"good {k}" for k in range(20)])
    assert breaker.state_of("bad") == "open"
    assert "3 keys, 1 not closed" in repr(breaker)


async def test_a_key_that_is_not_used_is_forgotten(world: World) -> None:
    chain = Task(fetch_from).breaker(breaker := Breaker(3, key=lambda host: host, idle=20))
    await errors_of(world, chain, "bad", "bad")
    await world.pause(21)
    await errors_of(world, chain, "good")
    assert breaker.stats(key="bad").failures == 0
    assert "1 keys" in repr(breaker)


async def test_a_key_that_can_not_be_hashed_fails_the_run(world: World) -> None:
    chain = Task(fetch_from).breaker(Breaker(key=lambda host: [host]))
    error = (await world.run(chain("good"))).result.failure()
    assert isinstance(error, CallbackFailed)
    assert error.role == "key"


# --- in a run that ends while it asks ---------------------------------------------------------------------------


@pytest.mark.real_time
async def test_a_limit_ends_an_on_that_takes_too_long(world: World) -> None:
    world.not_virtual("a sync function takes no time")

    def slow(_: Any) -> bool:
        world.block(30)
        return True

    chain = Task(backend(world, (0, DOWN)).fetch).breaker(breaker := Breaker(1, on=slow)).timeout(10)
    breaker.half_open()
    got = await errors_of(world, chain, 7)
    if world.executor == "thread":  # a loop can't interrupt a function that it calls in place
        assert (got, breaker.state) == ([TaskTimedOut], "half_open")
    else:
        assert (got, breaker.state) == ([OSError], "open")
    assert breaker.stats().probes == 0, "its probe was given back"
