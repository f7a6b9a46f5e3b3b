"""An object of another event loop is a mistake of the program: one call, and a note that says what to do."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest
from conformance.harness import World
from returns.result import Failure

from rio_chain import Backoff, Breaker, BridgeFailed, Task, current_attempt, each
from rio_chain.policies._wrong_loop_errors import ADVICE

CLOSED = "Event loop is closed"
FOREIGN = "<asyncio.locks.Lock object at 0x7f> is bound to a different event loop"


class Calls:
    """A body that raises, sync or async, and counts its calls."""

    def __init__(self, make: Callable[[], BaseException]) -> None:
        self.make = make
        self.calls = 0

    async def fetch(self, x: object) -> object:
        return self.get(x)

    def get(self, _: object) -> object:
        self.calls += 1
        raise self.make()


def notes(error: Any) -> list[str]:
    return getattr(error, "__notes__", [])


@pytest.mark.parametrize("text", [CLOSED, FOREIGN, "Task <T> got Future <F> attached to a different loop"])
@pytest.mark.parametrize(
    "on",
    [Exception, RuntimeError, {RuntimeError: None}, lambda _: True],
    ids=["all", "a class", "a table", "a function"],
)
@pytest.mark.real_time
async def test_it_is_called_once_and_the_error_says_what_to_do(world: World, text: str, on: Any) -> None:
    for name in ("fetch", "get"):
        body = Calls(lambda: RuntimeError(text))
        outcome = await world.run(Task(getattr(body, name)).retry(3, on=on, backoff=Backoff(base=1))(7))
        assert (body.calls, outcome.only.attempts, str(outcome.result.failure())) == (1, 1, text)
        assert notes(outcome.result.failure()) == [ADVICE]
        assert outcome.summary().endswith(ADVICE)


async def test_a_real_lock_of_another_loop(world: World) -> None:
    lock = asyncio.Lock()
    calls = []

    async def hold() -> None:
        await lock.acquire()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(lock.acquire(), 0.001)

    thread = threading.Thread(target=lambda: asyncio.run(hold()))
    thread.start()
    thread.join()

    async def fetch(_: int) -> None:
        calls.append(1)
        await lock.acquire()

    outcome = await world.run(Task(fetch).retry(3, backoff=None)(7))
    assert isinstance(outcome.result.failure(), RuntimeError)
    assert len(calls) == 1


async def test_a_library_that_wraps_it(world: World) -> None:
    class ConnectError(Exception):
        pass

    def wrapped() -> Exception:
        error = ConnectError("could not connect")
        error.__cause__ = RuntimeError(CLOSED)
        return error

    for make in (wrapped, lambda: ExceptionGroup("two", [ValueError(), RuntimeError(FOREIGN)])):
        body = Calls(make)
        outcome = await world.run(Task(body.fetch).retry(3, backoff=None)(7))
        assert (body.calls, notes(outcome.result.failure())) == (1, [ADVICE])


@pytest.mark.real_time
async def test_a_shared_error_gets_one_note(world: World) -> None:
    shared = RuntimeError(CLOSED)
    body = Calls(lambda: shared)
    for _ in range(3):
        await world.run(Task(body.fetch)(7))
        await world.run(each(Task(body.get).retry(1), on_error="keep")([1, 2]))
    assert notes(shared) == [ADVICE]


@pytest.mark.real_time
async def test_a_returned_failure_and_a_bridge(world: World) -> None:
    def returned(_: int) -> Failure[RuntimeError]:
        return Failure(RuntimeError(CLOSED))

    outcome = await world.run(Task(returned).retry(3)(7))
    assert (outcome.only.attempts, notes(outcome.result.failure())) == (1, [ADVICE])
    body = Calls(lambda: RuntimeError(CLOSED))
    outcome = await world.run((Task(str).inline() >> body.fetch >> Task(str))(7))
    error = outcome.result.failure()
    assert (type(error), notes(error.error)) == (BridgeFailed, [ADVICE])


@pytest.mark.parametrize("after", [None, 1000])
async def test_no_further_replica_is_started(world: World, after: float | None) -> None:
    body = Calls(lambda: RuntimeError(FOREIGN))
    outcome = await world.run(Task(body.fetch).replica(3, after=after)(7))
    assert (str(outcome.result.failure()), body.calls) == (FOREIGN, 1)
    assert outcome.elapsed < 900


async def test_a_replica_that_runs_already_may_still_win(world: World) -> None:
    begun: list[int] = []

    async def fetch(x: int) -> int:
        begun.append(x)
        if current_attempt().replica == 0:
            await world.until(lambda: len(begun) == 2)
            raise RuntimeError(FOREIGN)
        await world.pause(10)
        return x

    assert (await world.run(Task(fetch).replica(2)(7))).unwrap() == 7


async def test_another_target_is_tried(world: World) -> None:
    body = Calls(lambda: RuntimeError(CLOSED))

    async def other(x: int) -> int:
        return x

    outcome = await world.run(Task(body.fetch).replica(2, after=None, to=[other])(7))
    assert outcome.unwrap() == 7
    assert (await world.run(Task(body.fetch).retry(3).or_else("none")(7))).unwrap() == "none"


async def test_it_is_no_failure_of_the_backend(world: World) -> None:
    breaker = Breaker(1)
    body = Calls(lambda: RuntimeError(CLOSED))
    await world.run(Task(body.fetch).breaker(breaker)(7))
    assert breaker.state == "closed"


async def test_errors_that_only_look_like_it_are_retried(world: World) -> None:
    class Response(Exception):
        """Its text comes from a server."""

    def in_a_handler() -> Exception:
        error = ConnectionError("reset")
        error.__context__ = RuntimeError("no running event loop")  # it asked for the loop first
        return error

    for make in (lambda: Response(CLOSED), in_a_handler, lambda: RuntimeError("the loop of retries")):
        body = Calls(make)
        outcome = await world.run(Task(body.fetch).retry(2, backoff=None)(7))
        assert (body.calls, notes(outcome.result.failure())) == (3, [])
