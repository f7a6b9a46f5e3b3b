""".using: which node is meant, and what is refused. How it runs: ``tests/conformance/test_using.py``."""

import re
from typing import Any

import pytest

from rio_chain import (
    Cache,
    ChainDefinitionError,
    SingleFlight,
    Task,
    choose,
    each,
    expand,
    fan_out,
    race,
    reduce,
    settle,
    star,
    when,
)


def fetch(x: Any) -> Any:
    return x


def length(x: Any) -> Any:
    return x


def render(x: Any, user: Any) -> Any:
    return x, user


def pair(x: Any, y: Any) -> Any:
    return x, y


user: Any = Task(fetch)
other: Any = Task(length)
use: Any = Task(render).using(user=user)

NOT_THERE = "which is not in this chain: give the same Task or Chain that the chain contains"
TWICE = "which is ambiguous: it occurs 2 times upstream"
NOT_SURE = (
    "which may have no value at that point: it must come before it on every path, not in a branch that may fail or be "
    "skipped, and not behind a cache"
)


def refused(chain: Any, why: str) -> None:
    """When the chain is planned and when it is called; and the chain is printed."""
    text = f"`render` uses `user=`, {why}. The chain: {chain!r}"
    for make in (chain.plan, lambda: chain(1)):
        with pytest.raises(ChainDefinitionError) as caught:
            make()
        assert str(caught.value) == text


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda: use, NOT_THERE),
        (lambda: other >> use, NOT_THERE),
        (lambda: Task(fetch) >> use, NOT_THERE),
        (lambda: use >> user, NOT_SURE),
        (lambda: other >> (use & user), NOT_SURE),
        (lambda: other >> (user & use), NOT_SURE),
        (lambda: user >> user >> use, TWICE),
        (lambda: (user & user) >> use, TWICE),
        (lambda: user >> (other & (user >> other)) >> use, TWICE),
        (lambda: race(user, other) >> use, NOT_SURE),
        (lambda: other.replica(2, to=[user]) >> use, NOT_SURE),
        (lambda: settle(user, other) >> use, NOT_SURE),
        (lambda: fan_out(user, other, need=1) >> use, NOT_SURE),
        (lambda: user.or_else(0) >> use, NOT_SURE),
        (lambda: (user >> other).or_else(0) >> use, NOT_SURE),
        (lambda: other.or_else(user) >> use, NOT_SURE),
        (lambda: (user >> other).or_else(use), NOT_SURE),
        (lambda: choose(when(int, user), otherwise=other) >> use, NOT_SURE),
        (lambda: choose(when(int, user), otherwise=user) >> use, NOT_SURE),
        (lambda: choose(when(int, user), otherwise=use), NOT_SURE),
        (lambda: (user >> other).cache(Cache(ttl=1)) >> use, NOT_SURE),
        (lambda: (user >> other).single_flight(SingleFlight()) >> use, NOT_SURE),
        (lambda: each(user) >> use, NOT_SURE),
        (lambda: expand(user) >> use, NOT_SURE),
        (lambda: each(use) >> user, NOT_SURE),
    ],
)
def test_what_may_not_have_succeeded_is_refused(make: Any, why: str) -> None:
    refused(make(), why)


@pytest.mark.parametrize(
    ("make", "source"),
    [
        (lambda: user >> use, "fetch"),
        (lambda: user.timeout(5).retry(2).cache(Cache(ttl=1)) >> use, "fetch"),
        (lambda: user.named("u") >> use, "u"),
        (lambda: (user >> other).named("both") >> use, "fetch"),
        (lambda: (user >> other).timeout(5).retry(1) >> use, "fetch"),
        (lambda: (user & other) >> use, "fetch"),
        (lambda: fan_out(a=other, b=(other >> user).timeout(5)) >> use, "fetch"),
        (lambda: user >> (other & use), "fetch"),
        (lambda: user >> choose(when(int, use), otherwise=other), "fetch"),
        (lambda: user >> race(use, other), "fetch"),
        (lambda: user >> other.or_else(use), "fetch"),
        (lambda: user >> each(use), "fetch"),
        (lambda: each(user >> use), "fetch"),
        (lambda: race(user >> use, other), "fetch"),
        (lambda: user.replica(2) >> use, "fetch"),
        (lambda: (user >> other >> use).cache(Cache(ttl=1)), "fetch"),
    ],
)
def test_what_has_surely_succeeded_is_found(make: Any, source: str) -> None:
    plan = make().plan()
    assert plan.uses == ((source, "user", "render"),)
    assert (source, "render") in plan.edges


def test_longer_sources() -> None:
    for source in (user >> other, user.or_else(0), user & other, race(user, other), each(user), settle(user, other)):
        task: Any = Task(render).using(user=source)
        assert (source >> length >> task).plan().uses
        assert (source.timeout(5) >> length >> task).plan().uses
        refused(Task(fetch) >> task, NOT_SURE if source == user >> other else NOT_THERE)
    folded = each(user) >> reduce(pair)
    task = Task(render).using(user=folded)
    assert (folded >> length >> task).plan().uses


def test_a_row_is_found_inside_a_longer_one() -> None:
    task: Any = Task(render).using(user=user >> other)
    third = Task(str)
    for chain in (
        user >> other >> third >> task,
        third >> user >> other >> task,
        (third >> user) >> (other >> third) >> task,
    ):
        assert chain.plan().uses == (("length", "user", "render"),)
    refused(user >> third >> other >> task, NOT_SURE)


def test_two_of_one_function_are_not_mixed_up() -> None:
    a, b = Task(fetch), Task(fetch)
    chain = a >> b >> Task(render).using(user=b)
    assert chain.plan().uses == (("fetch#2", "user", "render"),)
    assert (a >> b >> Task(render).using(user=a)).plan().uses == (("fetch#1", "user", "render"),)


def test_what_is_known_of_the_function() -> None:
    def check(write: Any, text: str) -> None:
        with pytest.raises(ChainDefinitionError, match=re.escape(text)):
            write()

    task: Any = Task(render)
    check(task.using, "`.using` needs at least one keyword, as in .using(user=user)")
    check(lambda: task.using(nobody=user), "`render(x, user)` takes no keyword argument `nobody`, which `.using(n")
    check(lambda: task.using(usr=user), ", which `.using(usr=...)` gives it; did you mean `.using(user=...)`?")
    check(lambda: task.using(usr=user, user=user), "takes no keyword argument `usr`, which `.using(usr=...)` gives it")
    check(
        lambda: task.using(user=fetch), "`.using(user=...)` takes the Task or Chain that gives the value; got the fun"
    )
    check(lambda: task.using(user=user(1)), "got a Request; write the chain without its arguments")
    check(lambda: use.using(user=other), "`user=` is given to `.using` of `render` twice")
    check(
        lambda: Task(lambda a, b, c: a).using(a=user),
        "`>>` passes one value, and `lambda(a, b, c)` needs more than that and what `.using` gives: b, c",
    )
    check(lambda: Task(lambda a, /, b: a).using(a=user), "takes no keyword argument `a`, which `.using(a=...)`")
    check(
        lambda: Task(star(render)).using(user=user),
        "`.using` fills parameters by name, and `render` gets all its arguments from one value",
    )
    with pytest.raises(AttributeError, match=re.escape("`.using` belongs to the Task: write it before the policies")):
        _ = task.timeout(5).using


def test_it_is_not_a_task_of_two_values() -> None:
    with pytest.raises(ChainDefinitionError):
        (user >> use)(1, 2)
    assert (user >> use)(1).run().unwrap() == (1, 1)
    assert repr(user >> use.timeout(5)) == "Task(fetch) >> Task(render).using(user=fetch).timeout(5)"
