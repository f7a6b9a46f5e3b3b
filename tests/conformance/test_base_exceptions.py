"""What a body raises that is no Exception ends its run and is raised as itself; loops, workers and others live on."""

from __future__ import annotations

import gc
import threading
from typing import NoReturn

import pytest
from conformance.harness import World
from returns.result import Success

from rio_chain import Task


class Final(BaseException):
    """Of a user's own making."""


async def echo(x: object) -> object:
    return x


def raiser(error: BaseException, kind: str, world: World) -> Task[..., NoReturn]:
    async def dies_async(_: object) -> NoReturn:
        await world.pause(1)
        raise error

    def dies(_: object) -> NoReturn:
        raise error

    return {"async": Task(dies_async), "sync": Task(dies), "inline": Task(dies).inline()}[kind].named("dies")


ERRORS = [SystemExit(3), Final("words"), KeyboardInterrupt()]
IDS = ["SystemExit", "Final", "KeyboardInterrupt"]


@pytest.mark.real_time
@pytest.mark.parametrize("kind", ["async", "sync", "inline"])
@pytest.mark.parametrize("error", ERRORS, ids=IDS)
@pytest.mark.parametrize("how", ["arun", "await", "run"])
async def test_it_is_raised_as_itself(world: World, error: BaseException, kind: str, how: str) -> None:
    calls = []

    def handler(error: object) -> None:
        calls.append(error)

    chain = raiser(error, kind, world).timeout(5_000).retry(3, on=BaseException, backoff=None).or_else(handler)
    request = (Task(echo) >> chain >> Task(echo).named("c"))(7)
    async with world.balancer() as balancer:
        if how == "arun":
            work = lambda: balancer.arun(request)  # noqa: E731
        elif how == "await":
            work = lambda: wait(balancer.post(request))  # noqa: E731
        else:
            work = lambda: world.run(request)  # noqa: E731
        child = await world.start(work).ended()
        assert child.error is error
        assert calls == []
        assert (await balancer.arun(Task(echo)(8))).result == Success(8), "the loop and its workers live on"
        assert (await balancer.arun(Task(str)(8))).result == Success("8")
        assert balancer.stats().running == 0


async def wait(ticket: object) -> object:
    return await ticket


@pytest.mark.real_time
@pytest.mark.parametrize("kind", ["async", "sync", "inline"])
@pytest.mark.parametrize("error", ERRORS[:2], ids=IDS[:2])
async def test_in_a_fan_out_the_others_are_awaited(world: World, error: BaseException, kind: str) -> None:
    began, ended = [], []

    async def slow(x: object) -> object:
        began.append(x)
        try:
            await world.pause(10_000)
        finally:
            await world.shielded(2)
            ended.append(x)
        return x

    async def after(x: object) -> object:
        while not began:
            await world.pause(1)
        return x

    chain = Task(slow) & (Task(after) >> raiser(error, kind, world))
    child = await world.start(lambda: world.run(chain(7))).ended()
    assert child.error is error
    assert began == ended == [7]


@pytest.mark.parametrize("error", ERRORS[:2], ids=IDS[:2])
async def test_no_other_request_notices(world: World, error: BaseException) -> None:
    gate = world.gate()

    async def waits(x: object) -> object:
        await gate.passed()
        return x

    async with world.balancer() as balancer:
        others = [balancer.post(Task(waits)(k)) for k in range(3)]
        bad = balancer.post(raiser(error, "async", world)(7))
        child = await world.start(lambda: wait(bad)).ended()
        assert child.error is error
        gate.open()
        assert [(await other).result for other in others] == [Success(0), Success(1), Success(2)]


@pytest.mark.parametrize("kind", [SystemExit, Final])
async def test_of_a_post_nobody_waits_for_it_goes_to_the_excepthook(
    world: World, kind: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    reported = []
    monkeypatch.setattr(threading, "excepthook", lambda args: reported.append(args.exc_type))

    async def dies(_: object) -> NoReturn:
        await world.pause(1)
        raise kind("last words")

    async with world.balancer() as balancer:
        balancer.post(Task(dies)(7))
        await world.until(lambda: balancer.stats().done == 1)

        def heard() -> bool:
            gc.collect()
            return bool(reported)

        await world.until(heard)
        assert reported == [kind]
        assert (await balancer.arun(Task(echo)(8))).result == Success(8)


async def test_of_a_post_that_is_waited_for_it_does_not(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    reported = []
    monkeypatch.setattr(threading, "excepthook", lambda args: reported.append(args.exc_value))
    async with world.balancer() as balancer:

        async def post_and_wait() -> None:
            with pytest.raises(Final):
                await balancer.post(raiser(Final(), "async", world)(7))

        await post_and_wait()
        gc.collect()
        assert reported == []


@pytest.mark.real_time
@pytest.mark.parametrize("kind", ["sync", "inline"])
@pytest.mark.parametrize(
    "error", [StopIteration("x"), StopAsyncIteration("x"), GeneratorExit()], ids=lambda e: type(e).__name__
)
async def test_errors_that_mean_something_to_coroutines(world: World, error: BaseException, kind: str) -> None:
    if isinstance(error, GeneratorExit):
        child = await world.start(lambda: world.run(raiser(error, kind, world)(7))).ended()
        assert child.error is error
        return
    outcome = await world.run(raiser(error, kind, world).retry(1, backoff=None)(7))
    assert outcome.result.failure() is error
    assert outcome.only.attempts == 2
    assert (await world.run(raiser(error, kind, world).or_else("fallback")(7))).result == Success("fallback")
