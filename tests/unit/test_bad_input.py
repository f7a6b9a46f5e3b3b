"""What is written wrongly is refused where it is written: with the name, the rule, the value, and the right code."""

import asyncio
import functools
import pickle
import re
import warnings
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from typing import Any

import pytest
from refusals import refused

from rio_chain import Backoff, Chain, ChainDefinitionError, Task, each, fan_out, race, settle, star


async def fetch(user_id: int, *, verbose: bool = False) -> int:
    return user_id


def one(x: Any) -> Any:
    return x


def two(x: Any, y: Any) -> Any:
    return x, y


def none() -> int:
    return 1


def keyworded(x: Any, *, limit: int) -> Any:
    return x, limit


def generator() -> Iterator[int]:
    yield 1


def counting(n: int) -> Iterator[int]:
    yield from range(n)


async def async_generator() -> AsyncIterator[int]:
    yield 1


class Generating:
    def __call__(self) -> Iterator[int]:
        yield 1


task: Any = Task(one)  # wrong calls are the point here, and type checkers would refuse them
other: Any = Task(fetch)


DURATION = "`ms` must be a finite number of milliseconds (or a timedelta), more than 0; got "


@pytest.mark.parametrize(
    "ms", [-1, 0, float("nan"), float("inf"), True, "100", None, timedelta(0), timedelta(seconds=-1)]
)
def test_a_duration_that_is_none(ms: Any) -> None:
    refused(lambda: task.timeout(ms), DURATION)


@pytest.mark.parametrize("value", ["100", True])
def test_the_value_got_is_shown(value: object) -> None:
    refused(lambda: task.timeout(value), DURATION + repr(value))


@pytest.mark.parametrize("retries", [-1, 1.5, True, "3", None])
def test_retries(retries: Any) -> None:
    refused(lambda: task.retry(retries), f"`retries` must be a whole number, 0 or more; got {retries!r}")


ON = "`on` must be an exception class, a tuple of them, or a function of the error that returns True or False; got "


@pytest.mark.parametrize("on", [int, "OSError", (), (OSError, 3), None, OSError()])
def test_on(on: Any) -> None:
    refused(lambda: task.retry(1, on=on), ON)


def test_a_predicate_must_answer_at_once_and_take_the_one_thing() -> None:
    refused(lambda: task.retry(1, on=fetch), ON + "the async function `fetch`, which nothing awaits here")
    refused(lambda: task.retry(1, accept=two), "`two(x, y)` can't be called with just one argument")
    refused(
        lambda: task.retry(1, accept=3), "`accept` must be a function of the value that returns True or False; got 3"
    )


@pytest.mark.parametrize("backoff", [100, "full", Backoff])
def test_backoff(backoff: Any) -> None:
    refused(
        lambda: task.retry(1, backoff=backoff),
        "`backoff` must be a Backoff, such as Backoff(base=50), a tenacity wait, or None; got ",
    )


@pytest.mark.parametrize(
    ("keywords", "name"),
    [({"base": -1}, "base"), ({"cap": "1"}, "cap"), ({"factor": 0.5}, "factor"), ({"jitter": "some"}, "jitter")],
)
def test_a_backoff_that_is_none(keywords: dict[str, Any], name: str) -> None:
    refused(lambda: Backoff(**keywords), f"`{name}` must be ")


@pytest.mark.parametrize("name", ["", "  ", 3, None, b"x"])
def test_a_name_that_is_none(name: Any) -> None:
    refused(lambda: task.named(name), f"`name` must be a string that is not empty; got {name!r}")
    refused(lambda: (task >> one).named(name), "`name` must be a string that is not empty")


class TestTask:
    @pytest.mark.parametrize("value", [3, None, "fetch", [one]])
    def test_not_a_function(self, value: Any) -> None:
        refused(lambda: Task(value), f"`Task` takes a function; got {value!r}"[:40])

    def test_a_coroutine_in_place_of_the_function(self) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # "coroutine was never awaited": it must have been closed
            refused(lambda: Task(fetch(1)), "write Task(fetch), not Task(fetch(...))")  # type: ignore[arg-type]

    def test_something_to_await(self) -> None:
        loop = asyncio.new_event_loop()
        future: Any = loop.create_future()
        refused(lambda: Task(future), "which is an awaitable: write the function itself, without calling it")
        loop.close()

    def test_a_task_or_a_request(self) -> None:
        refused(lambda: Task(task), "`Task` takes a function; got a Task or Chain, which is used as it is: `a >> b`")
        refused(
            lambda: Task(task(1)),
            ".arun()>, which is an awaitable: write the function itself",
        )

    @pytest.mark.parametrize("fn", [generator, async_generator, functools.partial(generator), Generating()])
    def test_a_generator_function(self, fn: Any) -> None:
        text = "is a generator function: it yields many values and a chain needs one. Write `>> each(...)`"
        made = Task(fn)
        refused(made, text)
        refused(lambda: made >> Task(one), text)
        refused(lambda: made & task, text)
        refused(lambda: made.timeout(5), "the policy or operator around it must be around `")
        refused(lambda: made.or_else(0), text)
        refused(lambda: race(task, made), text)
        refused(made.plan, text)
        refused(lambda: each(Task(counting)), text)
        once = "is a generator function, and its values can be read only once: put the retry, or the other chain,"
        refused(lambda: made >> each(task).timeout(5).retry(2), once)
        refused(lambda: made >> (each(task) | task), once)
        assert (made >> each(task)).retry(2).plan()
        assert (made >> each(task).or_else([])).plan()
        assert (made.named("some") >> each(task).timeout(5)).plan()

    def test_a_generator(self) -> None:
        refused(lambda: Task(generator()), "a generator, as `generator` was called")  # type: ignore[arg-type]

    def test_inline_is_for_sync_functions(self) -> None:
        refused(other.inline, "`.inline()` is for sync functions; `fetch` is async and needs no thread")

    def test_an_empty_chain(self) -> None:
        refused(Chain, "a chain needs at least one task; begin with Task(fn)")


class TestThen:
    def test_what_is_right_of_the_arrow_is_no_function(self) -> None:
        refused(lambda: task >> 3, "`>>` takes a Task, a Chain or a function on its right; got 3")
        refused(lambda: task.then(None), "`>>` takes a Task, a Chain or a function on its right; got None")
        refused(lambda: task >> task(1), "got a Request: write the chain without its arguments")
        refused(lambda: task >> fetch(1), "a coroutine, as `fetch` was called: write Task(fetch), not Task(fetch(...))")
        refused(lambda: (task >> counting)(1), "`counting` is a generator function")

    def test_a_lambda_that_took_the_shift_with_it(self) -> None:
        bridge: Any = lambda user: user["id"] >> task  # noqa: E731 - the slip itself
        refused(lambda: bridge({"id": 3}), "got 3. In `lambda u: u.id >> orders` the `>>` belongs to the lambda: ")
        refused(lambda: bridge({"id": 3}), "write `(lambda u: u.id) >> orders`")

    def test_an_arity_that_cannot_fit(self) -> None:
        refused(
            lambda: task >> two,
            "`>>` passes one value, and `two(x, y)` can't be called with just one argument; "
            "to spread a tuple over its arguments write star(two)",
        )
        refused(lambda: task >> Task(two), "`two(x, y)` can't be called with just one argument")
        refused(lambda: task >> none, "`none()` can't be called with just one argument")
        refused(lambda: task >> keyworded, "`keyworded(x, *, limit)` can't be called with just one argument")
        refused(lambda: task >> (task & Task(two)), "`two(x, y)` can't be called with just one argument")
        refused(lambda: task >> (task | Task(two)).timeout(5), "`two(x, y)` can't be called with just one argument")
        refused(lambda: two >> (none >> task), "`none()` can't be called with just one argument")

    def test_a_star_for_another_number_of_branches(self) -> None:
        for fan in (task & task & task, task >> (task & task & task), settle(task, task, task)):
            refused(
                functools.partial(lambda fan: fan >> star(two), fan),
                "the fan-out on the left of `>>` gives 3 values, and `two(x, y)` can't take them",
            )
        assert fan_out(a=task, b=task) >> star(one)  # a dict is one value, whatever star makes of it


class TestFanOut:
    def test_an_operand_that_is_no_chain_hints_at_the_precedence(self) -> None:
        text = (
            "`&` takes Tasks and Chains; got the function `one`: write Task(one). `>>` binds tighter than `&`: "
            "`user >> a & b` is `(user >> a) & b`; you may want `user >> (a & b)`"
        )
        refused(lambda: task >> task & one, text)
        refused(lambda: one & task, text)
        refused(lambda: task & task & one, text)

    @pytest.mark.parametrize("make", [fan_out, settle])
    def test_calls(self, make: Any) -> None:
        refused(make, f"`{make.__name__}` needs at least one Task or Chain; got none")
        refused(lambda: make(task, 3), f"`{make.__name__}` takes Tasks and Chains; got 3")
        refused(lambda: make(task, one), "got the function `one`: write Task(one)")
        refused(
            lambda: make([task, task]),
            f"`{make.__name__}` takes Tasks and Chains; got a list: [Task(one), Task(one)]. "
            f"Pass them one by one, as in {make.__name__}(a, b); for a list write {make.__name__}(*chains)",
        )
        refused(lambda: make(task(1)), "got a Request; write the chain without its arguments")
        refused(lambda: make(fetch(1)), "a coroutine, as `fetch` was called")

    def test_several_chains_right_of_an_arrow(self) -> None:
        for several in ([task, task], (task, one)):
            refused(
                lambda several=several: task >> several,
                ". To call several with the same value write `a & b`, or fan_out(a, b)",
            )

    def test_branches_with_and_without_a_key(self) -> None:
        refused(lambda: fan_out(task, a=task), "`fan_out` takes branches either all with a key (a dict) or all without")

    def test_star(self) -> None:
        refused(lambda: star(3), "`star` takes a function; got 3")  # type: ignore[arg-type]


class TestOrElse:
    def test_what_is_no_fallback(self) -> None:
        rule = "`or_else` takes a Task, a Chain, a function of the error, or a constant; got "
        refused(lambda: task | task(1), rule + "a Request: write the chain without its arguments")
        refused(lambda: task.or_else(fetch(1)), rule + "a coroutine, as `fetch` was called")
        refused(
            lambda: task.or_else(OSError),
            rule + "the error class OSError. To handle only some errors, write .or_else(value, on=OSError)",
        )
        refused(lambda: task.or_else(generator), rule + "the generator function `generator`")
        refused(
            lambda: task.or_else(none),
            "`or_else` calls a function with the error, or with the error and the input, and `none()` takes neither",
        )

    def test_a_function_that_fits_neither_the_error_nor_the_error_and_the_input(self) -> None:
        def instead(error: Any, a: Any, b: Any) -> None:
            """Of too many."""

        def keyword(error: Any, *, x: Any) -> None:
            """Of a keyword."""

        calls = "`or_else` calls a function with the error, or with the error and the input, and "
        write = "; write def instead(error) or def instead(error, value)".replace("; ", ": ")
        with pytest.raises(ChainDefinitionError) as raised:
            task.or_else(instead)
        assert str(raised.value).startswith(calls + "`instead(error, a, b)` takes neither")
        assert str(raised.value).endswith(write)
        refused(lambda: task | keyword, calls + "`keyword(error, *, x)` takes neither")
        refused(lambda: Task(lambda: 1).or_else(lambda e, x: 1), calls + "`lambda(e, x)` takes neither")

    def test_one_whose_arguments_are_not_those_of_the_request(self) -> None:
        def fetch(user_id: int, lang: str = "en") -> None:
            """Of one or two."""

        def instead(error: Any, user_id: int) -> None:
            """Of one."""

        def all_of(error: Any, user_id: int, lang: str) -> None:
            """Of both."""

        chain = Task(fetch).or_else(instead)
        assert chain(1).args == (1,)
        refused(lambda: chain(1, "fr"), "`or_else` calls `instead(error, user_id)` with the error and the arguments of")
        refused(lambda: chain(user_id=1, lang="fr"), "`or_else` calls `instead(error, user_id)` with the error")
        chain = Task(fetch).or_else(all_of)
        assert chain(1, "fr").args == (1, "fr")
        refused(lambda: chain(1), "`or_else` calls `all_of(error, user_id, lang)` with the error and the arguments")
        refused(lambda: task >> chain, "`>>` passes one value, and the fallback `all_of(error, user_id, lang)` can't")


class TestNames:
    def test_of_two_different_parts_of_one_chain(self) -> None:
        text = (
            "`.named('x')` is used twice in one chain; a name that you give must be unique, "
            "unless it names one Task that occurs several times"
        )
        x, y = task.named("x"), Task(str).named("x")
        for write in (
            lambda: x >> one >> y,
            lambda: x & y,
            lambda: fan_out(a=x, b=y),
            lambda: settle(x, x, y),
            lambda: x | y.timeout(5),
            lambda: (x >> task).named("x"),
            lambda: (task >> x).timeout(5) >> Task(str).named("x"),
        ):
            refused(write, text)
        labelled = (x >> task).named("y")
        refused(lambda: labelled & labelled, "`.named('y')` is used twice in one chain")

    def test_of_one_task_that_occurs_several_times(self) -> None:
        x = task.named("x")
        for chain in (
            x >> one >> x,
            x & x,
            fan_out(a=x, b=x),
            settle(x.timeout(5), x),
            x | x.timeout(5),
            x >> Task(one).named("x"),  # as the source of such a chain writes it
            pickle.loads(pickle.dumps(x >> x)),  # noqa: S301 - our own bytes
        ):
            assert [planned.name for planned in chain.plan().tasks] == ["x#1", "x#2"]
        mixed = x >> Task(one).named("x#1") >> x >> Task(one)
        assert [planned.name for planned in mixed.plan().tasks] == ["x#2", "x#1", "x#3", "one"]

    def test_of_very_many(self) -> None:
        chain = task
        for i in range(200):
            chain = chain >> task.named(f"n{i}")
        chain.plan()
        assert [planned.name for planned in (chain >> task.named("n7")).plan().tasks if "n7#" in planned.name] == [
            "n7#1",
            "n7#2",
        ]
        twice = chain >> Task(str).named("n7")
        refused(twice.plan, "`.named('n7')` is used twice in one chain")


class TestWidth:
    def test_more_branches_than_may_run_at_once(self) -> None:
        for sign, write in {
            "fan_out": lambda n: fan_out(*[task] * n),
            "settle": lambda n: settle(*[task] * n),
            "race": lambda n: race(*[task] * n),
        }.items():
            assert len(write(1_000).plan().tasks) == 1_000
            refused(
                lambda write=write: write(1_001),
                f"`{sign}` runs all its branches at once, and takes at most 1,000; got 1,001; "
                "to call a chain for each of many items write each(chain, limit=10)",
            )
        refused(lambda: fan_out(**{f"k{i}": task for i in range(1_001)}), "`fan_out` runs all its branches at once")

    def test_more_calls_than_one_request_may_make(self) -> None:
        task.replica(1_000).plan()
        text = "`n` is the number of calls of one request, and must be at most 1,000; got "
        refused(lambda: task.replica(1_001, after=5), text + "1001")
        refused(lambda: task.replica(10**9), text + "1000000000")


class TestCalling:
    def test_arguments_that_do_not_fit(self) -> None:
        begins = (
            "this chain begins with `fetch(user_id, *, verbose=False)`, which can't be called with these arguments: "
        )
        chain = other.timeout(5) >> one
        refused(chain, begins + "missing a required argument: 'user_id'; got 0 positional")
        refused(lambda: chain(1, 2), begins + "too many positional arguments; got 2 positional")
        refused(
            lambda: chain(1, verbos=True),
            begins + "got an unexpected keyword argument 'verbos'; got 1 positional, verbos=",
        )

    def test_every_first_function_must_take_them(self) -> None:
        refused(lambda: (task & other)(1, verbose=True), "this chain begins with `one(x)`")
        refused(lambda: (task | other)(1, 2), "this chain begins with `one(x)`")
        refused(lambda: (two >> task)(1), "this chain begins with `two(x, y)`")
        refused(lambda: Task(keyworded)(1), "missing a required")

    def test_arguments_are_never_shown(self) -> None:
        with pytest.raises(ChainDefinitionError) as caught:
            task("secret", "secret")
        assert "secret" not in str(caught.value)

    def test_awaiting_or_running_what_was_not_called(self) -> None:
        async def forgotten() -> None:
            await task

        refused(
            lambda: forgotten().send(None),
            "call the chain first, as in `await page(42)`; this one begins with `one(x)`",
        )
        with pytest.raises(AttributeError, match=re.escape("call the chain first, as in `page(42).run()`")):
            task.run()
        with pytest.raises(AttributeError, match="'Task' object has no attribute 'runs'"):
            _ = task.runs
        assert not hasattr(task, "run")


def test_what_is_got_is_shown_inert() -> None:
    class Hostile:
        def __repr__(self) -> str:
            return "\x1b[2J\n<b>"

    refused(lambda: task >> Hostile(), r"got \x1b[2J\n<b>")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("hedge", "'Task' object has no attribute 'hedge'; write .replica(n, after=ms)"),
        ("fallback", "'Task' object has no attribute 'fallback'; write .or_else(value)"),
        ("retries", "'Task' object has no attribute 'retries'; write .retry(n)"),
        ("nothing_like_it", "'Task' object has no attribute 'nothing_like_it'"),
    ],
)
def test_a_method_that_has_another_name_in_other_libraries(name: str, text: str) -> None:
    with pytest.raises(AttributeError) as caught:
        getattr(task, name)
    assert str(caught.value) == text
