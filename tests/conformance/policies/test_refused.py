"""Answers that ``accept`` has refused are closed when what is around goes on without them; the last one stays open."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from conformance.harness import World
from returns.result import Success

from rio_chain import (
    Cache,
    CallbackFailed,
    Chain,
    NotAccepted,
    SingleFlight,
    Task,
    TaskTimedOut,
    at_least,
    each,
    fan_out,
    first,
    race,
    settle,
)


class Answer:
    """A response that holds a connection until it is closed."""

    closed = 0

    def __init__(self, number: int, world: World) -> None:
        self.number = number
        self.world = world

    async def aclose(self) -> None:
        await self.world.pause(1)
        self.closed += 1


class Plain(Answer):
    """One that is closed without waiting."""

    aclose = None  # type: ignore[assignment]

    def close(self) -> None:
        self.closed += 1


class Backend:
    """Gives one answer after the other."""

    def __init__(self, world: World, kind: type[Answer] = Answer) -> None:
        self.world = world
        self.kind = kind
        self.answers: list[Answer] = []

    async def fetch(self, _: Any) -> Answer:
        answer = self.kind(len(self.answers) + 1, self.world)
        self.answers.append(answer)
        return answer

    def closed(self) -> list[int]:
        return [answer.closed for answer in self.answers]


def third(answer: Answer) -> bool:
    return answer.number >= 3


def never(_: Answer) -> bool:
    return False


def breaks(_: Answer) -> bool:
    raise LookupError


@pytest.mark.parametrize("kind", [Answer, Plain])
async def test_a_retry_closes_what_it_goes_on_without(world: World, kind: type[Answer]) -> None:
    for policies in (
        lambda task: task.retry(3, accept=third, backoff=None),
        lambda task: task.accept(third).retry(3, backoff=None),
        lambda task: (task.accept(third) >> (lambda x: x)).timeout(5_000).retry(3, backoff=None),
        lambda task: Task(lambda x: task.accept(third)(x)).inline().retry(3, backoff=None),  # noqa: PLW0108
    ):
        backend = Backend(world, kind)
        outcome = await world.run(policies(Task(backend.fetch))(1))
        assert outcome.unwrap() is backend.answers[2]
        assert backend.closed() == [1, 1, 0]


@pytest.mark.parametrize("kind", [Answer, Plain])
async def test_the_last_one_stays_open_for_the_reader_of_the_failure(world: World, kind: type[Answer]) -> None:
    backend = Backend(world, kind)
    outcome = await world.run(Task(backend.fetch).accept(never).retry(2, backoff=None)(1))
    error = outcome.result.failure()
    assert isinstance(error, NotAccepted)
    assert error.value is backend.answers[-1]
    assert backend.closed() == [1, 1, 0]


async def test_it_is_closed_before_the_retry_rests(world: World) -> None:
    backend = Backend(world, Plain)

    async def fetch(x: Any) -> Answer:
        assert all(backend.closed())
        return await backend.fetch(x)

    outcome = await world.run(Task(fetch).accept(third).retry(2)(1))
    assert outcome.result.value_or(None) is backend.answers[2]


def with_itself(error: NotAccepted) -> object:
    return error.value


FALLBACKS: dict[str, Callable[[Chain[..., Any], World], Chain[..., Any]]] = {
    "a constant": lambda chain, _: chain.or_else([]),
    "a chain": lambda chain, _: chain | Task(str).inline(),
    "a function": lambda chain, _: chain | (lambda error: str(error)),  # noqa: PLW0108
    "a function of both": lambda chain, _: chain | (lambda error, x: (error, x)),
    "a function that raises": lambda chain, _: (chain | breaks).or_else(1),  # type: ignore[arg-type]
    "another policy": lambda chain, _: chain.timeout(5_000).retry(1, backoff=None).timeout(5_000).or_else(1),
    "one for this error": lambda chain, _: chain.or_else(1, on=NotAccepted),
}


@pytest.mark.parametrize("kind", [Answer, Plain])
@pytest.mark.parametrize("fallback", FALLBACKS)
async def test_a_fallback_closes_the_answer_that_it_replaces(world: World, kind: type[Answer], fallback: str) -> None:
    backend = Backend(world, kind)
    outcome = await world.run(FALLBACKS[fallback](Task(backend.fetch).accept(never), world)(1))
    assert isinstance(outcome.result, Success)
    assert backend.answers
    assert set(backend.closed()) == {1}


async def test_a_fallback_for_other_errors_leaves_it_open(world: World) -> None:
    backend = Backend(world)
    outcome = await world.run(Task(backend.fetch).accept(never).or_else(1, on=OSError)(1))
    assert outcome.result.failure().value is backend.answers[0]
    assert backend.closed() == [0]


class Wraps:
    """An answer of the user's own around that of a server."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer


class Translated(Exception):
    """An error of the user's own."""


async def raises_with_it(error: NotAccepted) -> object:
    raise Translated(error.value)


async def raises_itself(error: NotAccepted) -> object:
    raise error


@pytest.mark.parametrize(
    "handler",
    [
        with_itself,
        raises_with_it,
        raises_itself,
        lambda error: (1, error.value),
        lambda error: {"answer": error.value},
        lambda error: Wraps(error.value),
    ],
)
async def test_what_a_fallback_function_hands_on_stays_open(world: World, handler: Any) -> None:
    backend = Backend(world)
    seen: list[int] = []

    def looks(error: NotAccepted) -> object:
        seen.append(error.value.closed)
        return handler(error)

    for fallback in (handler, looks):
        await world.run(Task(backend.fetch).accept(never).or_else(fallback)(1))
    assert seen == [0], "it is open while the function looks at it"
    assert backend.closed() == [0, 0]


async def test_hedges_close_what_was_refused(world: World) -> None:
    for hedged in (
        lambda task: task.accept(third).replica(3, after=None),
        lambda task: task.replica(3, after=None, pick=first(third)),
        lambda task: race(task.accept(third), task.accept(third).named("b"), task.accept(third).named("c")),
        lambda task: fan_out(*(task.accept(third).named(name) for name in "abc"), need=1),
    ):
        backend = Backend(world)
        outcome = await world.run(hedged(Task(backend.fetch))(1))
        won = outcome.unwrap()
        assert (won[0] if isinstance(won, tuple) else won) is backend.answers[2]
        assert backend.closed() == [1, 1, 0]


async def test_when_no_hedge_wins_only_the_one_that_is_the_failure_stays_open(world: World) -> None:
    for hedged in (
        lambda task: task.accept(never).replica(3, after=None),
        lambda task: task.replica(3, after=None, pick=first(never)),
        lambda task: fan_out(task.accept(never), task.accept(never).named("b"), need=1),
    ):
        backend = Backend(world)
        outcome = await world.run(hedged(Task(backend.fetch))(1))
        value = outcome.result.failure().value
        assert all(answer.closed == (answer is not value) for answer in backend.answers)
        assert (await world.run(hedged(Task(backend.fetch)).or_else(None)(1))).result == Success(None)
        assert [answer.closed for answer in backend.answers if answer is not value] == [1] * (len(backend.answers) - 1)


async def test_items_that_are_dropped_are_closed_and_those_that_are_kept_are_not(world: World) -> None:
    for on_error, closed in (("drop", [1, 1, 1]), (at_least(1), [1, 1, 1]), ("keep", [0, 0, 0]), ("raise", [0])):
        backend = Backend(world)
        items = each(Task(backend.fetch).accept(never), on_error=on_error, limit=1)  # type: ignore[call-overload]
        chain = (lambda x: [x] * 3) >> items
        await world.run(chain(1))
        assert backend.closed() == closed
    backend = Backend(world)
    await world.run(settle(Task(backend.fetch).accept(never), Task(backend.fetch).named("b"))(1))
    assert backend.closed() == [0, 0], "their Results are handed on"


async def test_where_accept_itself_fails_nobody_gets_the_answer(world: World) -> None:
    backend = Backend(world)
    outcome = await world.run(Task(backend.fetch).accept(breaks).retry(2)(1))
    assert isinstance(outcome.result.failure(), CallbackFailed)
    assert backend.closed() == [1]


async def test_a_limit_holds_while_an_answer_is_closed(world: World) -> None:
    class Slow(Answer):
        async def aclose(self) -> None:
            await world.pause(2_000)

    backend = Backend(world, Slow)
    outcome = await world.run(Task(backend.fetch).accept(never).retry(9, backoff=None).timeout(20)(1))
    assert isinstance(outcome.result.failure(), TaskTimedOut)
    assert len(backend.answers) == 1
    assert outcome.elapsed < 1_000


async def test_what_others_may_hold_is_left_open(world: World) -> None:
    for shared in (
        lambda task: task.cache(Cache(1_000)).accept(never).retry(1, backoff=None).or_else(0),
        lambda task: task.single_flight(SingleFlight()).accept(never).retry(1, backoff=None).or_else(0),
        lambda task: (task.cache(Cache(1_000)) >> (lambda x: x)).accept(never).or_else(0),
        lambda task: task.accept(never).single_flight(SingleFlight()).or_else(0),
        lambda task: (task.cache(Cache(1_000)) >> (lambda x: x)).accept(never) | (lambda error: str(error)),  # noqa: PLW0108
    ):
        backend = Backend(world)
        assert isinstance((await world.run(shared(Task(backend.fetch))(1))).result, Success)
        assert set(backend.closed()) == {0}


async def test_what_is_kept_outside_of_the_refusal_is_still_closed(world: World) -> None:
    backend = Backend(world)
    chain = Task(backend.fetch).accept(third).retry(3, backoff=None).cache(Cache(1_000)).single_flight(SingleFlight())
    assert (await world.run(chain(1))).unwrap() is backend.answers[2]
    assert backend.closed() == [1, 1, 0]
