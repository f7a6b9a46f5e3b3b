"""Details of the engine: what an outcome names, what is refused the second time, and what a cancel reaches."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from conformance.harness import World

from rio_chain import (
    Backoff,
    BridgeFailed,
    Cache,
    Call,
    Gate,
    Limit,
    Permit,
    Task,
    TaskTimedOut,
    TicketCancelled,
    each,
    settle,
)


async def test_a_limit_around_several_names_the_chain_or_the_part_of_it(world: World) -> None:
    async def hangs(_: int) -> None:
        await world.pause(10_000)

    part = Task(hangs) >> Task(hangs).named("second")
    for chain, name in (
        (part.timeout(world.short), "hangs >> second"),
        (part.timeout(world.short) >> Task(hangs).named("third"), "hangs .. second"),
        (Task(hangs).timeout(world.short) >> Task(hangs).named("third"), "hangs"),
    ):
        error = (await world.run(chain(1))).result.failure()
        assert type(error) is TaskTimedOut
        assert str(error).startswith(f"`{name}` did not answer within")


async def test_a_task_between_two_attempts_is_not_over_wherever_it_is(world: World) -> None:
    calls: list[int] = []

    async def fails(x: int) -> int:
        calls.append(x)
        raise OSError("again")

    async def same(x: int) -> int:
        return x

    chain = (
        Task(same)
        >> Task(same).named("two")
        >> Task(fails).retry(1, backoff=Backoff(base=5_000, cap=5_000, jitter="none"))
    )
    async with world.balancer() as balancer:
        ticket = balancer.post(chain(1))
        await world.until(lambda: calls)
        await world.pause(5)
        ticket.cancel()
        outcome = await ticket
    assert type(outcome.result.failure()) is TicketCancelled
    assert [response.status for response in outcome] == ["succeeded", "succeeded", "cancelled"]


async def test_a_cancel_is_heard_in_the_line_of_a_rate(world: World) -> None:
    begun: list[int] = []

    async def same(x: int) -> int:
        begun.append(x)
        return x

    chain = Task(same).limit(Limit(rate=1, per=20_000))
    async with world.balancer() as balancer:
        assert (await balancer.arun(chain(1))).unwrap() == 1
        ticket, began = balancer.post(chain(2)), world.now()
        await world.until(lambda: balancer.stats().running)
        await world.pause(5)
        ticket.cancel()
        assert type((await ticket).result.failure()) is TicketCancelled
        assert world.now() - began < 10_000
    assert begun == [1]


async def test_what_follows_a_failure_in_a_settled_branch_says_why_it_did_not_run(world: World) -> None:
    error = OSError("a")

    async def fails(_: int) -> int:
        raise error

    async def same(x: int) -> int:
        return x

    outcome = await world.run(settle(Task(fails) >> Task(same).named("after"), Task(same))(1))
    response = outcome["after"]
    assert (response.status, response.result.failure().cause) == ("skipped", error)


class Open(Gate):
    """It has no key."""

    def enter(self, call: Call) -> Permit:
        assert call.key is None
        return Let()


class Let(Permit):
    def succeeded(self, value: Any, /) -> None: ...

    def failed(self, error: Any, /) -> None: ...

    def dropped(self) -> None: ...


async def test_a_gate_needs_no_key(world: World) -> None:
    async def same(x: int) -> int:
        return x

    assert (await world.run(Task(same).limit(Open())(7))).unwrap() == 7


async def test_the_users_key_gets_the_input_alone_also_where_earlier_answers_are_used(world: World) -> None:
    keys: list[Any] = []

    async def name(x: int) -> str:
        return f"n{x}"

    async def shows(x: str, who: str) -> str:
        return f"{x}/{who}"

    def key(x: str) -> str:
        keys.append(x)
        return x

    user = Task(name)
    chain = user >> Task(shows).using(who=user).cache(Cache(60_000, key=key))
    assert (await world.run(chain(1))).unwrap() == "n1/n1"
    assert keys == ["n1"]


async def test_an_async_generator_that_was_read_to_its_end_is_refused(world: World) -> None:
    async def source() -> AsyncIterator[int]:
        yield 1

    async def same(x: int) -> int:
        return x

    read = source()
    assert [x async for x in read] == [1]
    error = (await world.run(each(Task(same))(read))).result.failure()
    assert type(error) is BridgeFailed
    assert "was read before" in str(error)


@pytest.mark.real_time
@pytest.mark.parametrize("retried", [False, True])
async def test_what_can_be_read_only_once_is_not_read_again_by_a_retry(world: World, retried: bool) -> None:
    calls: list[int] = []

    async def fails(x: int) -> int:
        calls.append(x)
        raise OSError("x")

    chain = each(Task(fails), limit=1)
    outcome = await world.run((chain.retry(2, backoff=None) if retried else chain)(iter([1, 2, 3])))
    error = outcome.result.failure()
    assert type(error) is (BridgeFailed if retried else OSError)
    assert ("can be read only once" in str(error)) == retried
    assert calls == [1]


async def test_what_is_used_later_comes_from_the_replica_that_won(world: World) -> None:
    calls: list[str] = []

    async def user(x: int) -> str:
        calls.append(name := f"u{len(calls) + 1}")
        await world.pause(1 if name == "u1" else world.short / 5)
        return f"{name}/{x}"

    async def orders(name: str) -> str:
        await world.pause(world.short if name == "u1/7" else 10_000)
        return f"orders of {name}"

    async def page(found: str, who: str) -> tuple[str, str]:
        return found, who

    who = Task(user)
    chain = (who >> Task(orders)).replica(2) >> Task(page).using(who=who)
    assert (await world.run(chain(7))).unwrap() == ("orders of u1/7", "u1/7")
    assert calls == ["u1", "u2"]
