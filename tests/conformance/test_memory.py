"""What a run leaves behind when its Outcome is gone: nothing, also without the collector."""

from __future__ import annotations

import gc
import traceback
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import pytest
from conformance.harness import World, pause
from returns.result import Failure

from rio_chain import (
    Backoff,
    Breaker,
    Budget,
    Cache,
    Chain,
    Chaos,
    Limit,
    SingleFlight,
    Task,
    at_least,
    best,
    choose,
    each,
    expand,
    fan_out,
    first,
    quorum,
    race,
    reduce,
    settle,
    when,
)


class Value:
    """An argument that is large."""


class Down(Exception):
    """What a backend fails with."""


class Stops(BaseException):
    """What ends a run as a cancellation would."""


async def answers(x: Any) -> Any:
    return x


async def answers_late(x: Any) -> Any:
    await pause(5)
    return x


async def hangs(_: Any) -> None:
    await pause(2_000)


async def fails(_: Any) -> Any:
    raise Down


async def fails_late(_: Any) -> Any:
    await pause(2)
    raise Down


def fails_sync(_: Any) -> Any:
    raise Down


async def fails_while_handling(x: Any) -> Any:
    try:
        return fails_sync(x)
    except Down as error:
        raise OSError("b") from error


async def fails_in_a_group(x: Any) -> Any:
    raise ExceptionGroup("several", [Down(x), OSError()])


async def returns_a_failure(x: Any) -> Any:
    try:
        return fails_sync(x)
    except Down as error:
        return Failure(error)


async def unwraps(x: Any) -> Any:
    return (await Task(fails)(x)).unwrap()


def nests(x: Any) -> Any:
    return Task(fails)(x)


async def stops(_: Any) -> Any:
    raise Stops


def refuses(_: Any) -> bool:
    return False


def breaks(_: Any) -> Any:
    raise Down


def three(x: Any) -> list[Any]:
    return [x, x, x]


def yields(x: Any) -> Iterator[Any]:
    yield x
    raise Down


def of_one_limit() -> Chain[[Any], Any]:
    one = Limit(1)
    return Task(answers_late).limit(one) & Task(fails_late).limit(one)


def of_one_flight() -> Chain[[Any], Any]:
    flights = SingleFlight(key=id)
    return settle(Task(fails_late).single_flight(flights), Task(fails_late).single_flight(flights))


CHAINS: dict[str, Callable[[], Chain[[Any], Any]]] = {
    "answers": lambda: Task(answers),
    "fails": lambda: Task(fails),
    "fails late": lambda: Task(fails_late),
    "fails on a thread": lambda: Task(fails_sync),
    "fails in place": lambda: Task(fails_sync).inline(),
    "fails while handling": lambda: Task(fails_while_handling),
    "fails in a group": lambda: Task(fails_in_a_group),
    "returns a failure": lambda: Task(returns_a_failure),
    "stops": lambda: Task(stops),
    "nested": lambda: Task(nests),
    "retry": lambda: Task(fails).retry(2, backoff=Backoff(base=1, cap=2)),
    "retry on a thread": lambda: Task(fails_sync).retry(2, backoff=None),
    "timeout": lambda: Task(hangs).timeout(5),
    "timeout around two": lambda: (Task(answers) >> Task(hangs)).timeout(5),
    "bridge": lambda: Task(answers) >> breaks >> Task(answers),
    "accept": lambda: Task(answers).accept(refuses).retry(1, backoff=None),
    "accept breaks": lambda: Task(answers).accept(breaks),
    "on breaks": lambda: Task(fails).retry(1, on=breaks),
    "fallback": lambda: Task(fails) | Task(fails),
    "fallback breaks": lambda: Task(fails) | breaks,
    "fan-out": lambda: Task(hangs) & Task(fails_late),
    "fan-out timeout": lambda: (Task(hangs) & Task(hangs)).timeout(5),
    "settle": lambda: settle(Task(answers), Task(fails), Task(fails_sync)),
    "need": lambda: fan_out(Task(hangs), Task(fails), Task(answers), need=1),
    "need fails": lambda: fan_out(Task(answers), Task(fails), Task(fails_late), need=2),
    "race": lambda: race(Task(answers), Task(hangs), Task(fails)),
    "race fails": lambda: race(Task(fails), Task(fails_late)),
    "replica": lambda: Task(answers_late).replica(2, after=1),
    "replica timeout": lambda: Task(hangs).replica(2, after=1).timeout(5),
    "replica refuses": lambda: Task(answers).replica(2, pick=first(refuses)),
    "quorum": lambda: Task(answers).replica(3, pick=quorum(2)),
    "best breaks": lambda: Task(answers).replica(2, pick=best(breaks, within=1)),
    "each": lambda: Task(three) >> each(Task(fails)),
    "each keeps": lambda: Task(three) >> each(Task(fails_sync), on_error="keep"),
    "each drops": lambda: Task(three) >> each(Task(fails), on_error="drop"),
    "each at least": lambda: Task(three) >> each(Task(fails), on_error=at_least(1)),
    "each timeout": lambda: (Task(three) >> each(Task(hangs))).timeout(5),
    "each of a generator": lambda: Task(yields) >> each(Task(answers)),
    "reduce": lambda: Task(three) >> each(Task(answers)) >> reduce(lambda _, x: breaks(x)),
    "expand": lambda: expand(Task(fails), key=id),
    "choose": lambda: choose(when(breaks, Task(answers)), otherwise=Task(answers)),
    "breaker": lambda: Task(fails).breaker(Breaker()),
    "limit": of_one_limit,
    "limit refuses": lambda: Task(answers).limit(Limit(rate=1e-9, wait=0)).retry(1),
    "budget": lambda: Task(fails).retry(2, backoff=None).budget(Budget(0.2, floor=1)),
    "cache": lambda: Task(fails).cache(Cache(1_000, key=id)),
    "flights": of_one_flight,
    "chaos": lambda: Task(answers).chaos(Chaos(1, error=Down)),
}


@contextmanager
def collector_off() -> Iterator[None]:
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


async def run_once(world: World, chain: Chain[[Any], Any]) -> weakref.ref[Value]:
    """Run it and look at the Outcome, which is in a variable of this frame, as in users' code."""
    value = Value()
    try:
        outcome = await world.run(chain(value))
    except Stops:
        return weakref.ref(value)
    assert outcome.summary()
    assert [response.errors for response in outcome]
    return weakref.ref(value)


@pytest.mark.real_time
@pytest.mark.parametrize("kind", CHAINS)
async def test_when_the_outcome_is_gone_so_is_the_argument(world: World, kind: str) -> None:
    chain = CHAINS[kind]()
    await run_once(world, chain)  # makes what is kept for the next run
    await pause(1)
    with collector_off():
        ref = await run_once(world, chain)
        await world.until(lambda: ref() is None)


@pytest.mark.real_time
@pytest.mark.parametrize("kind", CHAINS)
async def test_a_run_leaves_no_cycle(world: World, kind: str) -> None:
    chain = CHAINS[kind]()
    await run_once(world, chain)
    await pause(1)
    with collector_off():
        ref = await run_once(world, chain)
        await world.until(lambda: ref() is None)
        await pause(5)  # what ends after it has ended
        gc.set_debug(gc.DEBUG_SAVEALL)
        try:
            gc.collect()
            left = [found for found in gc.garbage if is_of_a_run(found)]
        finally:
            gc.set_debug(0)
            gc.garbage.clear()
    assert left == []


def is_of_a_run(found: object) -> bool:
    """Whether it is an error, a frame, or one of our objects."""
    return isinstance(found, (BaseException, FrameType, Value)) or type(found).__module__.startswith("rio_chain.engine")


@pytest.mark.real_time
@pytest.mark.parametrize("fn", [fails_sync, fails_while_handling, unwraps])
async def test_an_outcome_keeps_the_places_of_its_error_and_no_arguments(world: World, fn: Callable[..., Any]) -> None:
    value = Value()
    ref = weakref.ref(value)
    with collector_off():
        outcome = await world.run(Task(fn)(value))
        del value
        await world.until(lambda: ref() is None)
    error = outcome.result.failure()
    names = [entry.name for entry in traceback.extract_tb(error.__traceback__)]
    assert names[0] == fn.__name__, "it begins in the user's function"
    assert f"in {fn.__name__}\n" in "".join(traceback.format_exception(error))
