"""A random DAG that is cancelled at a random instant leaves nothing running, and every task has a status."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from functools import partial
from math import inf
from typing import Any, get_args

import trio
import trio.testing
import virtual_loops
from attrs import frozen
from conformance.harness import pause
from hypothesis import given, note, settings
from hypothesis import strategies as st
from laws.dag_parts import ALL, Part, chain_of, named_tasks, parts
from laws.dag_runs import INPUT
from laws.dag_uses import using
from laws.dag_values import RECORD, Async, Gather, Record, Sync, Val, mixed
from waiting import eventually

from rio_chain import Balancer, Outcome, Task, each, expand
from rio_chain.executors._trio import tasks
from rio_chain.results._task_record import Status


@frozen
class Stream:
    """A generator of items, which says whether it was closed."""

    n: int

    async def __call__(self, value: Any, /) -> AsyncIterator[Val]:
        record = RECORD.get()
        record.open_generators += 1
        try:
            for i in range(self.n + 1):
                await pause(1.1)
                yield Val(mixed(value, i), None)
        finally:
            record.open_generators -= 1


@frozen
class PlainStream:
    """The same, not async."""

    n: int

    def __call__(self, value: Any, /) -> Iterator[Val]:
        record = RECORD.get()
        record.open_generators += 1
        try:
            for i in range(self.n + 1):
                yield Val(mixed(value, i), None)
        finally:
            record.open_generators -= 1


@frozen
class More:
    """What a piece of work asks for."""

    n: int

    def __call__(self, value: Any, /) -> list[Val]:
        return [Val(mixed(value, i), None) for i in range(mixed("more", value) % (self.n + 1))]


def streamed(stream: Callable[[int], Any], part: Part, inner: Any) -> Any:
    source = Task(stream(part.n)).named(f"s{part.number}")
    return source >> each(inner, limit=1 + part.ms % 3) >> Gather(0)


def expanded(part: Part, inner: Any) -> Any:
    return expand(inner, limit=2, total=6, more=More(part.n), key=mixed, on_limit="stop") >> Gather(0)


EXTRA: dict[str, Callable[..., Any]] = {
    "stream": partial(streamed, Stream),
    "plain": partial(streamed, PlainStream),
    "expand": expanded,
    "hedge": lambda part, inner: inner.replica(2, after=3 + 2 * part.n),
    "rest": lambda part, inner: inner.retry(part.n),
}


@frozen
class Slow(Sync):
    """A sync body that takes a while."""

    def __call__(self, value: Any, /, **used: Any) -> Val:
        with self.call(value, used) as (ms, end):
            time.sleep(ms / 1000)
            return end()


def check(outcome: Outcome[Any] | None, record: Record, unheard: float = 0) -> None:
    """What holds after every run, however it ended. ``unheard``: calls that may have been cancelled on their way."""
    assert record.running == 0
    assert record.open_generators == 0
    for response in outcome or ():
        assert response.status in get_args(Status), response
        assert response.attempts or response.status == "skipped", response
        if response.name.startswith("t"):
            assert 0 <= response.attempts - record.calls[int(response.name[1:])] <= unheard, response


# --- in virtual time --------------------------------------------------------------------------------------------


async def by_balancer(kind: str, chain: Any, how: str, at: float) -> Outcome[Any]:
    async with Balancer(kind) as balancer:
        if how == "deadline":
            return await balancer.arun(chain(INPUT), deadline=at)
        ticket = balancer.post(chain(INPUT))
        await pause(at)
        ticket.cancel()
        outcome: Outcome[Any] = await ticket
        return outcome


async def quiet(record: Record) -> None:
    events = len(record.events)
    await pause(500)
    assert len(record.events) == events, "something ran on"


async def stopped_on_asyncio(chain: Any, how: str, at: float) -> None:
    RECORD.set(record := Record())
    outcome: Outcome[Any] | None = None
    if how == "outer":
        with suppress(TimeoutError):
            async with asyncio.timeout(at / 1000):
                outcome = await chain(INPUT)
    else:
        outcome = await by_balancer("asyncio", chain, how, at)
    check(outcome, record)
    assert asyncio.all_tasks() == {asyncio.current_task()}
    await quiet(record)


async def stopped_on_trio(chain: Any, how: str, at: float) -> None:
    RECORD.set(record := Record())
    outcome: Outcome[Any] | None = None
    before = len(tasks())
    if how == "outer":
        with trio.move_on_after(at / 1000):
            outcome = await chain(INPUT)
    else:
        outcome = await by_balancer("trio", chain, how, at)
    check(outcome, record)
    assert len(tasks()) == before
    await quiet(record)


recipes = using(parts((*ALL, "stream", "expand", "hedge", "rest")))
instants = st.floats(0.01, 60)


def slow_to_leave(task: int, ms: int, faults: int) -> Async:
    return Async(task, ms, faults, tidy=task % 3)


@settings(deadline=None, max_examples=400)
@given(recipes, st.sampled_from(["outer", "ticket", "deadline"]), instants, st.booleans())
def test_a_cancelled_dag_leaves_nothing_running(part: Part, how: str, at: float, on_trio: bool) -> None:
    note(repr(part))
    chain = chain_of(part, named_tasks(slow_to_leave), **EXTRA)
    if on_trio:
        virtual_loops.on_trio(stopped_on_trio, chain, how, at)
    else:
        virtual_loops.on_asyncio(stopped_on_asyncio, chain, how, at)


# --- on threads -------------------------------------------------------------------------------------------------


def real(task: int, ms: int, faults: int) -> Any:
    return (Slow if task % 2 else Async)(task, ms % 3, faults)


@settings(deadline=None, max_examples=60)
@given(using(parts((*ALL, "plain", "expand", "hedge"))), st.booleans(), st.floats(0.01, 8))
def test_threads_come_to_rest_as_well(part: Part, by_ticket: bool, at: float) -> None:
    note(repr(part))
    chain = chain_of(part, named_tasks(real), **EXTRA)
    RECORD.set(record := Record())
    with Balancer("thread", workers=2, max_abandoned=1_000) as balancer:
        if by_ticket:
            ticket = balancer.post(chain(INPUT))
            time.sleep(at / 1000)
            ticket.cancel()
            outcome = ticket.wait()
        else:
            outcome = balancer.run(chain(INPUT), deadline=at)
        stats = balancer.stats
        eventually(lambda: stats().abandoned == stats().running == 0)
    eventually(lambda: record.running == 0)
    eventually(lambda: record.open_generators == 0)
    check(outcome, record, unheard=inf)  # to the thread that would have run them
