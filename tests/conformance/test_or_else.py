"""or_else: a Chain gets the same input, a function gets the error, anything else is a constant."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from functools import partial
from operator import attrgetter, itemgetter
from typing import Any

import pytest
from conformance.harness import World
from returns.result import Failure, Success

from rio_chain import BridgeFailed, Task, TaskTimedOut, each

MISSING = object()


async def broken(x: object) -> object:
    raise OSError(f"broken {x}")


async def echo(x: object) -> object:
    return x


async def test_a_chain_gets_the_same_input(world: World) -> None:
    chain = (Task(broken).retry(1, backoff=None) | (Task(echo) >> (lambda x: [x]))) >> Task(echo).named("after")
    outcome = await world.run(chain(7))
    assert outcome.result == Success([7])
    assert [r.status for r in outcome] == ["failed", "succeeded", "succeeded"]
    assert [r.attempts for r in outcome] == [2, 1, 1]


async def test_a_fallback_that_was_not_needed_is_skipped(world: World) -> None:
    outcome = await world.run((Task(echo) | Task(broken) | Task(broken).named("b"))(7))
    assert outcome.result == Success(7)
    assert [r.status for r in outcome] == ["succeeded", "skipped", "skipped"]
    assert outcome["broken"].result.failure().cause is None
    assert str(outcome["broken"].result.failure()) == "not needed"


async def test_the_last_of_several_fallbacks_answers(world: World) -> None:
    outcome = await world.run((Task(broken) | Task(broken).named("b") | 42)(7))
    assert outcome.result == Success(42)
    assert [r.status for r in outcome] == ["failed", "failed"]


async def test_when_all_fail_the_last_error_is_the_failure(world: World) -> None:
    async def worse(_: object) -> object:
        raise KeyError("worse")

    outcome = await world.run((Task(broken) | Task(worse))(7))
    assert type(outcome.result.failure()) is KeyError


async def test_a_function_gets_the_error(world: World) -> None:
    outcome = await world.run(Task(broken).or_else(lambda error: ("handled", str(error)))(7))
    assert outcome.result == Success(("handled", "broken 7"))

    async def handler(error: object) -> str:
        await world.pause(1)
        return f"async {error}"

    assert (await world.run(Task(broken).or_else(handler)(7))).result == Success("async broken 7")


async def test_a_function_gets_an_error_value_too(world: World) -> None:
    async def no(x: object) -> object:
        return Failure(("no", x))

    assert (await world.run(Task(no).or_else(lambda error: error[0])(7))).result == Success("no")


class NotFound(Exception):
    """What the error of a backend means."""


def translates(error: object) -> object:
    raise NotFound(str(error))


async def translates_async(error: object) -> object:
    raise NotFound(str(error))


async def returns_a_failure(error: object) -> object:
    return Failure(NotFound(str(error)))


def in_a_request(error: object) -> object:
    return Task(translates_async)(error)


TRANSLATIONS = [translates, translates_async, returns_a_failure, in_a_request]


@pytest.mark.parametrize("handler", TRANSLATIONS)
async def test_what_a_function_raises_is_the_failure_of_the_whole(world: World, handler: Any) -> None:
    outcome = await world.run((Task(broken).or_else(handler) >> Task(echo))(7))
    error = outcome.result.failure()
    assert type(error) is NotFound
    assert str(error) == "broken 7"
    assert type(outcome["broken"].result.failure()) is OSError, "the task failed with its own error"
    assert [r.status for r in outcome] == ["failed", "skipped"]
    assert outcome["echo"].result.failure().cause is error


@pytest.mark.parametrize("handler", TRANSLATIONS)
async def test_it_is_a_failure_like_any_other_to_what_is_around(world: World, handler: Any) -> None:
    calls = []

    async def fetch(x: object) -> None:
        calls.append(x)
        raise OSError

    chain = Task(fetch).or_else(handler)
    assert type((await world.run(chain.retry(3, backoff=None)(7))).result.failure()) is NotFound
    assert len(calls) == 4, "it is retried"
    await world.run(chain.retry(3, on=OSError, backoff=None)(7))
    assert len(calls) == 5, "but not as the error that it was made of"
    assert (await world.run(chain.or_else(8, on=NotFound)(7))).result == Success(8)
    assert type((await world.run((chain & Task(echo))(7))).result.failure()) is NotFound


async def test_a_function_may_raise_the_error_that_it_got(world: World) -> None:
    def again(error: Exception) -> None:
        raise error

    outcome = await world.run(Task(broken).or_else(again)(7))
    assert outcome.result.failure() is outcome.only.errors[0]


# --- the error and the input ----------------------------------------------------------------------------------------


async def test_a_function_of_two_gets_the_error_and_the_input(world: World) -> None:
    def instead(error: object, x: object) -> object:
        return str(error), x

    async def instead_async(error: object, x: object) -> object:
        await world.pause(1)
        return str(error), x

    for handler in (instead, instead_async, partial(lambda a, e, x: (str(e), x), None)):
        for chain in (
            Task(broken).or_else(handler),
            Task(broken) | handler,
            Task(broken).timeout(1_000).retry(1, backoff=None).or_else(handler),
            (lambda x: x) >> Task(broken).or_else(handler),
            (Task(echo) >> Task(broken)).or_else(handler),
        ):
            assert (await world.run(chain(7))).result == Success(("broken 7", 7))


async def test_the_input_is_what_the_part_before_was_called_with(world: World) -> None:
    chain = Task(echo) >> (lambda x: x * 2) >> (Task(echo) >> (lambda x: x + 1) >> Task(broken)).or_else(both)
    assert (await world.run(chain(7))).result == Success(("broken 15", 14))
    items = Task(echo) >> each(Task(broken).or_else(both))
    assert (await world.run(items([1, 2]))).result == Success([("broken 1", 1), ("broken 2", 2)])


def both(error: object, x: object) -> object:
    return str(error), x


async def test_several_arguments_of_a_request_are_the_input(world: World) -> None:
    async def fetch(user_id: int, lang: str = "en", *, verbose: bool = False) -> str:
        raise OSError(f"{user_id} {lang} {verbose}")

    def instead(error: object, user_id: int, lang: str = "de", *, verbose: bool = False) -> object:
        return str(error), user_id, lang, verbose

    chain = Task(fetch).or_else(instead)
    assert (await world.run(chain(7))).result == Success(("7 en False", 7, "de", False))
    assert (await world.run(chain(7, "fr"))).result == Success(("7 fr False", 7, "fr", False))
    assert (await world.run(chain(7, verbose=True))).result == Success(("7 en True", 7, "de", True))
    assert (await world.run(chain(user_id=7))).result == Success(("7 en False", 7, "de", False))


async def test_defaults_and_varargs_make_no_difference(world: World) -> None:
    def optional(error: object, other: object = "default") -> object:
        return str(error), other

    def any_number(*args: object) -> object:
        return tuple(map(str, args))

    def two_and_more(error: object, x: object, *rest: object) -> object:
        return str(error), x, rest

    assert (await world.run(Task(broken).or_else(optional)(7))).result == Success(("broken 7", "default"))
    assert (await world.run(Task(broken).or_else(any_number)(7))).result == Success(("broken 7",))
    assert (await world.run(Task(broken).or_else(two_and_more)(7))).result == Success(("broken 7", 7, ()))


async def test_a_function_of_two_may_raise_too(world: World) -> None:
    def instead(error: Exception, x: object) -> object:
        raise NotFound(x) from error

    outcome = await world.run(Task(broken).or_else(instead)(7))
    error = outcome.result.failure()
    assert (type(error), error.args) == (NotFound, (7,))
    assert error.__cause__ is outcome.only.errors[0]


@pytest.mark.parametrize("constant", [[], {}, set(), bytearray(b"x")], ids=lambda c: type(c).__name__)
async def test_a_constant_is_copied_at_each_use(world: World, constant: object) -> None:
    request = Task(broken).or_else(constant)(7)
    first, second = [(await world.run(request)).unwrap() for _ in range(2)]
    assert first == second == constant
    assert first is not second
    assert first is not constant


@dataclass
class Page:
    items: list[int] = field(default_factory=list)
    theme: object = MISSING


class Basket:
    def __init__(self) -> None:
        self.items: list[int] = []


@pytest.mark.parametrize("write", ["or_else", "|", "around two"])
@pytest.mark.parametrize(
    ("constant", "items"),
    [
        ({"items": []}, itemgetter("items")),
        ([[]], itemgetter(0)),
        (([],), itemgetter(0)),
        (deque([[]]), itemgetter(0)),
        ({"a": {"b": ([],)}}, lambda value: value["a"]["b"][0]),
        (Page(), attrgetter("items")),
        (Basket(), attrgetter("items")),
    ],
    ids=lambda given: type(given).__name__,
)
async def test_a_constant_is_copied_inside_as_well(world: World, constant: Any, items: Any, write: str) -> None:
    def add(value: Any) -> list[int]:
        items(value).append(7)
        return list(items(value))

    task, after = Task(broken), Task(add).inline()
    chain = {
        "or_else": lambda: task.or_else(constant) >> after,
        "|": lambda: (task | constant) >> after,
        "around two": lambda: (task >> Task(str)).or_else(constant) >> after,
    }[write]()
    assert [(await world.run(chain(7))).unwrap() for _ in range(3)] == [[7]] * 3
    assert items(constant) == []
    assert (await world.run(each(chain, limit=2)([1, 2, 3]))).unwrap() == [[7]] * 3


async def test_a_marker_in_a_constant_stays_the_same_object(world: World) -> None:
    assert (await world.run(Task(broken).or_else(MISSING)(7))).unwrap() is MISSING
    assert (await world.run(Task(broken).or_else({"theme": MISSING})(7))).unwrap()["theme"] is MISSING
    assert (await world.run(Task(broken).or_else(Page())(7))).unwrap().theme is MISSING


@pytest.mark.parametrize("constant", [None, 0, "text", (1, 2)])
async def test_other_constants_are_handed_on_as_they_are(world: World, constant: object) -> None:
    assert (await world.run(Task(broken).or_else(constant)(7))).unwrap() is constant


async def test_a_fallback_around_several_tasks(world: World) -> None:
    chain = (Task(echo) >> Task(broken) >> Task(echo).named("b")).or_else(str)
    outcome = await world.run(chain(7))
    assert outcome.result == Success("broken 7")
    assert [r.status for r in outcome] == ["succeeded", "failed", "skipped"]


async def test_a_fallback_for_a_bridge_that_failed(world: World) -> None:
    def bridge(_: object) -> None:
        raise ValueError

    chain = (Task(echo) >> bridge >> Task(echo).named("b")).or_else(lambda e: type(e).__name__) >> Task(echo).named("c")
    outcome = await world.run(chain(7))
    assert outcome.result == Success("BridgeFailed")
    assert [r.status for r in outcome] == ["succeeded", "skipped", "succeeded"]
    assert type(outcome["b"].result.failure()) is BridgeFailed


async def test_the_fallback_of_a_limit(world: World) -> None:
    async def slow(x: object) -> object:
        await world.pause(10_000)
        return x

    outcome = await world.run(Task(slow).timeout(10).or_else(Task(echo))(7))
    assert outcome.result == Success(7)
    assert [r.status for r in outcome] == ["timed_out", "succeeded"]
    assert type(outcome["slow"].result.failure()) is TaskTimedOut


async def test_a_limit_around_a_fallback_holds_for_both(world: World) -> None:
    async def slow(x: object) -> object:
        await world.pause(10_000)
        return x

    chain = Task(slow).timeout(10).or_else(Task(slow).named("b")).timeout(30)
    outcome = await world.run(chain(7))
    assert outcome.result.failure().ms == 30
    assert [r.status for r in outcome] == ["timed_out", "timed_out"] or not world.virtual
    assert world.about(outcome.elapsed, 30)


async def test_a_retry_around_a_fallback_tries_the_primary_again(world: World) -> None:
    calls = []

    async def primary(x: object) -> None:
        calls.append("primary")
        raise OSError

    async def second(x: object) -> object:
        calls.append("second")
        if len(calls) < 4:
            raise OSError
        return x

    outcome = await world.run((Task(primary) | Task(second)).retry(3, backoff=None)(7))
    assert outcome.result == Success(7)
    assert calls == ["primary", "second"] * 2
    assert [r.attempts for r in outcome] == [2, 2]
