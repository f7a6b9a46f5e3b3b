"""Reads the table in docs/explanation/differences.md and measures every row of it."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from pathlib import Path

import pytest
import sniffio
import trio
from conformance.harness import World
from returns.result import Success

from rio_chain import Task, Ticket, fan_out
from rio_chain.executors._current_strand import current_strand

PAGE = Path(__file__).parents[2] / "docs" / "explanation" / "differences.md"


def table() -> dict[str, dict[str, str]]:
    """Per row, per executor: the word its cell begins with."""
    rows = [
        [cell.strip() for cell in line.strip().strip("|").split("|")]
        for line in PAGE.read_text().splitlines()
        if line.startswith("|")
    ]
    head, _, *body = rows
    words = [[row[0], *[re.match(r"`([^`]+)`", cell).group(1) for cell in row[1:]]] for row in body]
    return {row[0].replace("`", ""): dict(zip(head[1:], row[1:], strict=True)) for row in words}


Measure = Callable[[World], Awaitable[str]]
MEASURES: dict[str, Measure] = {}


def measures(row: str) -> Callable[[Measure], Measure]:
    def register(measure: Measure) -> Measure:
        MEASURES[row] = measure
        return measure

    return register


async def echo(x: object) -> object:
    return x


@measures("an async function that swallows its cancellation and waits again")
async def swallows(world: World) -> str:
    went = []

    async def deaf(_: object) -> None:
        try:
            await world.pause(10_000)
        except BaseException:  # noqa: BLE001 - what one must not do
            await world.pause(5)
            went.append("on")

    await world.run(Task(deaf).timeout(10)(7))
    return "waits" if went else "stopped"


@measures("where an async function runs")
async def where(world: World) -> str:
    threads = []

    async def note(x: object) -> object:
        threads.append(threading.get_ident())
        return x

    async with world.balancer() as one, world.balancer() as other:
        for balancer in (one, other):
            await balancer.arun(Task(note)(7))

            async def nested(x: object, balancer: object = balancer) -> object:
                return (await Task(note)(x)).unwrap()

            await balancer.arun(Task(nested)(7))
    first, in_first, second, in_second = threads
    assert (first, second) == (in_first, in_second)
    if world.native:
        return "caller" if {first, second} == {threading.get_ident()} else "elsewhere"
    assert threading.get_ident() not in threads
    return "shared loop" if first == second else "caller"


@measures("which library an async function sees")
async def library(world: World) -> str:
    async def ask(_: object) -> str:
        return sniffio.current_async_library()

    return (await world.run(Task(ask)(7))).unwrap()


@measures("what an async function gets when it is cancelled")
async def gets(world: World) -> str:
    got = []

    async def slow(_: object) -> None:
        try:
            await world.pause(10_000)
        except BaseException as exc:
            got.append(type(exc).__name__)
            raise

    await world.run(Task(slow).timeout(5)(7))
    return got[0]


@measures("a bridge that blocks longer than the timeout around it")
async def bridge_blocks(world: World) -> str:
    returned = []

    def bridge(x: object) -> object:
        world.block(40)
        returned.append(x)
        return x

    outcome = await world.run((Task(echo) >> bridge >> Task(echo).named("b")).timeout(10)(7))
    if type(outcome.result) is Success:
        return "no time"
    assert outcome["b"].status == "skipped"
    return "runs out" if returned else "abandoned"


@measures("an accept or on that blocks longer than the timeout around it")
async def predicate_blocks(world: World) -> str:
    returned = []

    def accept(_: object) -> bool:
        world.block(40)
        returned.append(1)
        return True

    outcome = await world.run(Task(echo).retry(1, accept=accept).timeout(10)(7))
    if type(outcome.result) is Success:
        return "no time"
    return "runs out" if returned else "abandoned"


name: ContextVar[str] = ContextVar("name", default="not set")


@measures("a context variable that an async function sets, in the next task")
async def context(world: World) -> str:
    async def write(x: object) -> object:
        name.set("set")
        return x

    async def read(_: object) -> str:
        return name.get()

    outcome = await world.run((Task(write) >> Task(read))(7))
    return "seen" if outcome.unwrap() == "set" else "not seen"


@measures("a deadline that passes while all threads are stuck in other calls")
async def all_stuck(world: World) -> str:
    go, began = threading.Event(), []

    def stuck(_: object) -> None:
        began.append(1)
        go.wait(0.02 if world.mode == "virtual" else 5)

    async with world.balancer(threads=1) as balancer:
        balancer.post(Task(stuck)(7))
        await world.until(lambda: began)
        ticket = balancer.post(Task(str)(7), deadline=10)
        for _ in range(40):
            if not ticket.done:
                await world.pause(5)
        when = "at once" if ticket.done else "later"
        go.set()
        if type((await ticket).result) is Success:
            return "never"
        assert type((await ticket).result.failure()).__name__ == "DeadlineExceeded"
        return when


@measures("the thread that calls a callback of on_done, when a request has ended")
async def calls_back(world: World) -> str:
    gate, threads = world.gate(), list[str]()

    async def waits(x: object) -> object:
        await gate.passed()
        return x

    async with world.balancer() as balancer:
        ticket = balancer.post(Task(waits)(7))
        ticket.on_done(lambda: threads.append(threading.current_thread().name))
        gate.open()
        await ticket
    return "worker" if "-worker-" in threads[0] else "loop"


@measures("where the last branch of a fan-out runs, in a context of its own everywhere")
async def last_branch(world: World) -> str:
    here = {"asyncio": asyncio.current_task, "trio": trio.lowlevel.current_task, "virtual": current_strand}
    tasks: list[object] = []

    async def note(_: object) -> None:
        tasks.append(here[sniffio.current_async_library()]())
        await world.pause(1)

    first, branches = Task(note).named("first"), [Task(note).named(name) for name in "abc"]
    await world.run((first >> fan_out(*branches))(7))
    own, *others = tasks
    assert len({*others}) == 3
    return "caller" if own in others else "own"


@measures("await of a chain whose functions don't wait")
async def others_have_their_turn(world: World) -> str:
    order = []

    async def several(x: object) -> None:
        name = object()
        for _ in range(3):
            await Task(echo)(x)
            order.append(name)

    await world.run((Task(several) & Task(several).named("other"))(7))
    return "goes on" if len({*order[:3]}) == 1 else "checkpoint"


@measures("the order in which requests start that get their slots together")
async def starts(world: World) -> str:
    """Posted by one body, so that also the loop of a driven balancer learns of all of them at once."""
    started: list[int] = []
    running: list[int] = []
    together = []

    def noted(n: int, stay: float) -> None:
        started.append(n)
        running.append(n)
        world.block(stay)
        together.append(len(running))
        running.remove(n)

    async with world.balancer(workers=10) as balancer:

        async def posts(stay: float) -> None:
            tickets.extend(balancer.post(Task(noted).inline()(n, stay)) for n in range(3))

        orders = set[tuple[int, ...]]()
        for stay in (10, *[0] * 40):  # in milliseconds; trio turns the order around in one of two rounds
            tickets: list[Ticket[None]] = []
            started.clear()
            await balancer.arun(Task(posts)(stay))
            for ticket in tickets:
                await ticket
            orders.add(tuple(started))
            if max(together) > 1:
                return "side by side"
    return "posted" if orders == {(0, 1, 2)} else "any"


@pytest.mark.real_time
@pytest.mark.parametrize("row", table())
async def test_the_table_tells_the_truth(world: World, row: str) -> None:
    assert row in MEASURES, "every row of the table is measured here"
    assert await MEASURES[row](world) == table()[row][world.executor]


@pytest.mark.parametrize("row", MEASURES)
async def test_every_difference_is_in_the_table(world: World, row: str) -> None:
    assert table()[row][world.executor]
