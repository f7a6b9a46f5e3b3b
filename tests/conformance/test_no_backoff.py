"""no_backoff: requests that begin in its block retry at once, and no others do."""

from __future__ import annotations

from conformance.harness import World

from rio_chain import Backoff, Balancer, Task
from rio_chain.testing import Script, no_backoff

LONG = 20_000
"""Milliseconds; no test may wait so long."""


def chain(script: Script, base: float = LONG) -> Task[[int], str]:
    return Task(script).retry(2, backoff=Backoff(base=base, factor=1, cap=base, jitter="none"))  # type: ignore[return-value]


def flaky() -> Script:
    return Script().then_raises(OSError).then_raises(OSError).then("x")


async def test_a_retry_in_the_block_does_not_wait(world: World) -> None:
    with no_backoff():
        outcome = await world.run(chain(flaky())(1))
    assert outcome.unwrap() == "x"
    assert outcome.elapsed < LONG / 2


async def test_what_a_server_asks_for_is_not_waited_for_either(world: World) -> None:
    class Busy(Exception):
        retry_after = 20.0

    script = Script().then_raises(Busy).then("x")
    with no_backoff():
        outcome = await world.run(Task(script).retry(1, retry_after=lambda error: error.retry_after)(1))
    assert outcome.unwrap() == "x"
    assert outcome.elapsed < LONG / 2


async def test_it_holds_for_a_request_that_was_posted_inside_and_goes_on_outside(world: World) -> None:
    async with world.balancer() as balancer:
        gate = world.gate()

        async def first(x: int) -> str:
            await gate.passed()
            raise OSError

        with no_backoff():
            ticket = balancer.post(Task(first).retry(1, backoff=Backoff(base=LONG, jitter="none")).or_else("over")(1))
        gate.open()
        outcome = await ticket
    assert outcome.unwrap() == "over"
    assert outcome["first"].attempts == 2
    assert outcome.elapsed < LONG / 2


async def test_a_request_beside_the_block_waits_as_ever(world: World) -> None:
    async with world.balancer() as balancer:
        await _beside(world, balancer)


async def _beside(world: World, balancer: Balancer) -> None:
    ticket = balancer.post(chain(flaky(), base=20)(1))
    with no_backoff():
        outcome = await world.run(chain(flaky())(1))
    assert outcome.unwrap() == "x"
    assert world.about((await ticket).elapsed, 40)


async def test_after_the_block_retries_wait_again(world: World) -> None:
    with no_backoff():
        pass
    outcome = await world.run(chain(flaky(), base=20)(1))
    assert world.about(outcome.elapsed, 40)
