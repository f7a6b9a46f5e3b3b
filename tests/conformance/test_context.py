"""The context variables of whoever runs or posts a request are read by all that runs in it."""

from __future__ import annotations

from contextvars import ContextVar

import pytest
from conformance.harness import World
from returns.result import Success

from rio_chain import Task

who: ContextVar[str] = ContextVar("who", default="nobody")


@pytest.mark.real_time
async def test_all_that_runs_reads_the_context_of_the_caller(world: World) -> None:
    seen = []

    async def body(x: int) -> int:
        seen.append(("async", who.get()))
        if len(seen) < 3:
            raise OSError
        return x

    def sync(x: int) -> int:
        seen.append(("sync", who.get()))
        return x

    def note(kind: str) -> object:
        def bridge(x: object) -> object:
            seen.append((kind, who.get()))
            return x

        return bridge

    async def async_bridge(x: int) -> int:
        seen.append(("async bridge", who.get()))
        return x

    def accept(_: object) -> bool:
        seen.append(("accept", who.get()))
        return True

    def on(_: object) -> bool:
        seen.append(("on", who.get()))
        return True

    async def fails(_: object) -> None:
        raise OSError

    branch = Task(body).named("b1") & Task(sync).named("b2") & Task(sync).inline().named("b3")
    chain = (
        Task(body).retry(3, on=on, accept=accept, backoff=None)
        >> note("bridge")
        >> async_bridge
        >> Task(sync).retry(1)
        >> branch
        >> note("after")
        >> Task(fails).or_else(note("handler"))
    )
    token = who.set("caller")
    try:
        outcome = await world.run(chain(7), priority=1)
    finally:
        who.reset(token)
    assert outcome["fails"].status == "failed"
    kinds = [kind for kind, _ in seen]
    assert {"async", "sync", "bridge", "async bridge", "accept", "on", "after", "handler"} == set(kinds)
    assert kinds.count("async") == 3
    assert kinds.count("sync") == 3
    assert {name for _, name in seen} == {"caller"}


async def test_a_ticket_runs_in_the_context_of_its_post(world: World) -> None:
    async def ask(_: object) -> str:
        await world.pause(1)
        return who.get()

    async with world.balancer(workers=1) as balancer:
        tickets = []
        for name in ("ann", "bob", "eve"):
            token = who.set(name)
            tickets.append(balancer.post(Task(ask)(7)))
            who.reset(token)
        assert [(await ticket).unwrap() for ticket in tickets] == ["ann", "bob", "eve"]


async def test_one_request_does_not_write_into_the_context_of_another(world: World) -> None:
    async def write(name: str) -> str:
        who.set(name)
        await world.pause(1)
        return who.get()

    async with world.balancer() as balancer:
        tickets = [balancer.post(Task(write)(name)) for name in ("ann", "bob")]
        assert [(await ticket).unwrap() for ticket in tickets] == ["ann", "bob"]
    assert who.get() == "nobody"


async def test_branches_do_not_write_into_each_others_context(world: World) -> None:
    async def write(name: str) -> str:
        who.set(name)
        await world.pause(1)
        return who.get()

    chain = ((lambda _: "ann") >> Task(write).named("a")) & ((lambda _: "bob") >> Task(write).named("b"))
    outcome = await world.run(chain(7))
    assert outcome.result == Success(("ann", "bob"))
    assert who.get() == "nobody"


async def test_a_nested_request_reads_it_too(world: World) -> None:
    async def ask(_: object) -> str:
        return who.get()

    async def chosen(x: object) -> object:
        return Task(ask)(x)

    token = who.set("caller")
    try:
        assert (await world.run(Task(chosen)(7))).result == Success("caller")
    finally:
        who.reset(token)
