"""Observers: what they begin themselves, what is added twice, what keeps them, and what is rarely reported."""

from __future__ import annotations

import gc
import weakref
from collections.abc import AsyncIterator, Iterator
from contextvars import ContextVar, copy_context
from typing import Any

import pytest
from conformance.harness import World

from rio_chain import Breaker, Event, Request, Task, add_observer, current_attempt, each, race
from rio_chain.observers import Observer, unobserved

inside: ContextVar[str] = ContextVar("inside_an_attempt", default="nothing")


class Seen:
    """An observer that keeps what it is called with."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def __call__(self, event: Event) -> None:
        self.events.append(event)

    def take(self, event: Event) -> None:
        """The same as a method."""
        self.events.append(event)

    def kinds(self) -> list[str]:
        return [event.kind for event in self.events]

    def of(self, kind: str) -> list[Event]:
        return [event for event in self.events if event.kind == kind]


async def echo(x: object) -> object:
    return x


# --- what an observer begins ---------------------------------------------------------------------------------------


async def test_what_begins_in_a_copy_of_the_context_of_an_observer_is_not_observed(world: World) -> None:
    """As a task does that an observer starts."""
    seen, contexts = Seen(), list[Any]()

    def starts(event: Event) -> None:
        seen(event)
        contexts.append(copy_context())

    async with world.balancer(observers=[starts]) as balancer:
        await balancer.arun(Task(echo)(1))
        before = list(seen.events)
        for context in list(contexts):
            assert (await context.run(balancer.post, Task(echo)(2))).unwrap() == 2
        assert seen.events == before
        await balancer.arun(Task(echo)(3))
    assert len(seen.of("request_ended")) == 2


async def test_a_breaker_that_such_a_task_changes_is_not_reported(world: World) -> None:
    breaker, contexts = Breaker(name="own"), list[Any]()
    with add_observer(lambda _: contexts.append(copy_context())):
        await world.run(Task(echo)(1))
    seen = Seen()
    with add_observer(seen):
        contexts[0].run(breaker.open)
        assert not [event for event in seen.of("breaker_changed") if event.policy == "own"]
        breaker.close()
    assert [event.reason for event in seen.of("breaker_changed") if event.policy == "own"] == ["closed"]


async def test_what_begins_in_an_unobserved_block_is_not_observed(world: World) -> None:
    seen = Seen()
    async with world.balancer(observers=[seen]) as balancer:
        with unobserved():
            ticket = balancer.post((Task(echo) >> Task(echo).named("b"))(1))
        assert (await ticket).unwrap() == 1
        assert not seen.events
        await balancer.arun(Task(echo)(1))
    assert seen.kinds().count("request_started") == 1


# --- the same observer twice ---------------------------------------------------------------------------------------


async def test_an_observer_gets_each_event_once_wherever_it_was_added(world: World) -> None:
    for pick in (lambda seen: seen, lambda seen: seen.take, lambda seen: seen.events.append):
        seen = Seen()
        async with world.balancer(observers=[pick(seen), pick(seen)]) as balancer:
            with add_observer(pick(seen)) as remove, add_observer(pick(seen), errors=True):
                await balancer.arun(Task(echo).named("once")(1))
                remove()
                await balancer.arun(Task(echo).named("once")(1))
            await balancer.arun(Task(echo).named("once")(1))
        mine = [event for event in seen.events if event.chain == "once"]
        assert len({(event.run, event.kind, event.task) for event in mine}) == len(mine)
        assert [event.kind for event in mine].count("request_ended") == 3


class Alike(Seen):
    """Two of them are equal, and still two."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Alike)

    __hash__ = None  # type: ignore[assignment]


async def test_two_observers_that_are_equal_are_both_called(world: World) -> None:
    first, second = Alike(), Alike()
    async with world.balancer(observers=[first]) as balancer:
        with add_observer(second):
            await balancer.arun(Task(echo)(1))
    assert len(first.of("request_ended")) == 1
    assert second.of("request_ended")


async def test_an_observer_that_did_not_ask_for_values_gets_no_event_about_one(world: World) -> None:
    plain, full = Seen(), Seen()

    async def nothing(_: object) -> None: ...

    chain = (Task(echo).named("a") & Task(nothing).named("b")) >> each(Task(echo).named("c"))
    async with world.balancer(observers=[plain, Observer(full, values=True)]) as balancer:
        await balancer.arun(chain(1))
        async for _ in balancer.stream(chain(1), values=True):
            pass
    assert not plain.of("value")
    assert [event.branch for event in full.of("value")] != []
    assert [event for event in full.kinds() if event != "value"] == plain.kinds()


# --- what keeps an observer ------------------------------------------------------------------------------------------


async def test_an_answered_ticket_and_a_stream_that_was_read_keep_no_observer(world: World) -> None:
    contexts: list[Any] = []  # as a task has that a body starts, and that lives on

    async def fails(_: object) -> None:
        contexts.append(copy_context())
        raise OSError

    async def hedged(x: object) -> object:
        contexts.append(copy_context())
        await world.pause(1 if current_attempt().replica else 5_000)
        return x

    chains = [
        Task(echo) >> Task(echo).named("b"),
        Task(fails).retry(1, backoff=None),
        Task(hedged).replica(2, after=1),
        each(Task(echo)),
    ]
    async with world.balancer() as balancer:
        for chain in chains:
            for streamed in (False, True):
                seen = Seen()
                gone = weakref.ref(seen)
                remove = add_observer(seen)
                kept: Any
                if streamed:
                    kept = balancer.stream(chain([1]))
                    async for _ in kept:
                        pass
                else:
                    kept = balancer.post(chain([1]))
                    await kept
                remove()
                assert seen.of("request_ended")
                del seen, remove
                gc.collect()
                if gone() is not None:  # a strand may be about to end
                    await world.until(lambda gone=gone: gc.collect() * 0 == 0 and gone() is None)
                assert kept.outcome is not None


async def test_a_ticket_that_was_cancelled_in_the_queue_keeps_no_observer(world: World) -> None:
    begun, leave = world.gate(), world.gate()

    async def held(x: object) -> object:
        begun.open()
        await leave.passed()
        return x

    async with world.balancer(workers=1) as balancer:
        first = balancer.post(Task(held)(1))
        await begun.passed()
        seen = Seen()
        gone = weakref.ref(seen)
        with add_observer(seen):
            ticket = balancer.post(Task(echo)(2))
        ticket.cancel()
        assert not (await ticket).ok
        assert [event.kind for event in seen.events] == ["request_queued", "request_ended"]
        del seen
        gc.collect()
        assert gone() is None
        leave.open()
        await first


# --- what is reported ------------------------------------------------------------------------------------------------


class Final(BaseException):
    """Of a user's own making."""


@pytest.mark.real_time
@pytest.mark.parametrize("error", [SystemExit(3), Final("words")], ids=["SystemExit", "Final"])
@pytest.mark.parametrize("kind", ["async", "sync", "inline"])
async def test_a_body_that_ends_more_than_its_run_has_failed(world: World, error: BaseException, kind: str) -> None:
    async def dies_async(_: object) -> None:
        raise error

    def dies(_: object) -> None:
        raise error

    task = {"async": Task(dies_async), "sync": Task(dies), "inline": Task(dies).inline()}[kind].named("dies")
    seen, name = Seen(), type(error).__name__
    async with world.balancer(observers=[seen]) as balancer:
        child = await world.start(lambda: balancer.arun((Task(echo) >> task)(1))).ended()
        assert child.error is error
        stats = balancer.stats()
    assert [(event.status, event.error) for event in seen.of("attempt_ended")][1:] == [("failed", name)]
    assert [(event.status, event.error) for event in seen.of("request_ended")] == [("failed", name)]
    assert (stats.failed, stats.cancelled, stats.done) == (1, 0, 1)


async def test_calls_of_a_race_beside_the_first_say_which_that_is(world: World) -> None:
    seen = Seen()

    async def slow(x: object) -> object:
        await world.pause(30)
        return x

    left = Task(slow).named("left") >> Task(echo).named("left two")
    right = Task(echo).named("right") >> Task(slow).named("right two")
    elsewhere = Task(echo).named("here").replica(2, to=[Task(echo).named("there")])
    async with world.balancer(observers=[seen]) as balancer:
        await balancer.arun(race(left, right)(1))
        await balancer.arun(elsewhere(1))
        await balancer.arun(Task(slow).named("same").replica(2)(1))
    beside = {(event.task, event.replica): event.beside for event in seen.of("attempt_started")}
    assert beside["left", 0] is beside["here", 0] is beside["same", 0] is None
    assert beside["right", 1] == "left"
    assert beside.get(("right two", 1), "left") == "left"
    assert beside.get(("there", 1), "here") == "here"
    assert beside["same", 1] == "same"
    assert {event.beside for event in seen.events if event.kind != "attempt_started"} == {None}


async def test_a_request_that_a_function_returns_counts_for_the_chain_of_its_run(world: World) -> None:
    seen = Seen()
    inner = Task(echo).named("inside").named("inner chain")

    def bridge(x: object) -> Request[object]:
        return (Task(echo).named("of bridge") >> Task(echo).named("last"))(x)

    async with world.balancer(observers=[seen]) as balancer:
        await balancer.arun((Task(inner.__call__).named("outer") >> bridge >> Task(echo).named("z")).named("page")(1))
    assert len(seen.of("attempt_ended")) == 5
    assert {event.chain for event in seen.events} == {"page"}


@pytest.mark.real_time
async def test_the_body_of_a_generator_runs_in_the_context_of_its_attempt(world: World) -> None:
    found: list[str] = []
    tokens: dict[Any, Any] = {}

    def attach(event: Event) -> None:
        key = event.run, event.task, event.item
        if event.kind == "attempt_started":
            tokens[key] = inside.set(f"{event.task} {event.attempt}")
        elif event.kind == "attempt_ended":
            inside.reset(tokens.pop(key))

    def plain(number: int) -> Iterator[int]:
        for one in range(number):
            found.append(inside.get())
            yield one
        found.append(inside.get())

    async def asynchronous(number: int) -> AsyncIterator[int]:
        for one in range(number):
            found.append(inside.get())
            await world.pause(1)
            found.append(inside.get())
            yield one

    async with world.balancer(observers=[attach]) as balancer:
        outcome = await balancer.arun((Task(plain).named("a") >> each(Task(echo).named("b")))(2))
        assert outcome.unwrap() == [0, 1]
        assert found == ["a 1"] * 3
        found.clear()
        outcome = await balancer.arun((Task(asynchronous).named("c") >> each(Task(echo).named("b")))(2))
        assert outcome.unwrap() == [0, 1]
        assert found == ["c 1"] * 4
    assert not tokens
    assert inside.get() == "nothing"
