"""Odd orders are named, each with the code that does what was meant; what is in order is left alone."""

from typing import Any

import pytest

from rio_chain import (
    Abandoned,
    Breaker,
    Budget,
    Cache,
    Chain,
    Chaos,
    CircuitOpen,
    Limit,
    SingleFlight,
    Task,
    TaskTimedOut,
    at_least,
    choose,
    each,
    expand,
    fan_out,
    race,
    settle,
    when,
)


def f(x: Any) -> Any:
    return x


def g(x: Any) -> Any:
    return x


async def user(x: Any) -> Any:
    return x


def is_good(x: Any) -> bool:
    return bool(x)


def pages(x: Any) -> Any:
    yield x


def uses(x: Any, u: Any = None) -> Any:
    return x, u


AnyChain = Chain[..., Any]
F, G, U = Task(f), Task(g), Task(user)
breaker, budget, cache = Breaker(), Budget(), Cache(1000)
chaos, flights, limit, short = Chaos(0.5, latency=10), SingleFlight(), Limit(10), Limit(10, wait=5)
one, two, refusing, paced = Limit(1), Limit(2), Limit(1, wait=0), Limit(rate=1)


NAMES = {
    **globals(),
    "at_least": at_least,
    "Abandoned": Abandoned,
    "CircuitOpen": CircuitOpen,
    "TaskTimedOut": TaskTimedOut,
}


def read(code: str) -> AnyChain:
    found: AnyChain = eval(code, NAMES)  # noqa: S307 - codes are written as users write them
    return found


def codes(chain: AnyChain) -> list[str]:
    return [finding.code for finding in chain.lint()]


ODD = [
    ("breaker-inside-timeout", "Task(f).breaker(breaker).timeout(100)", "Task(f).timeout(100).breaker(breaker)"),
    (
        "breaker-inside-timeout",
        "Task(f).breaker(breaker).retry(3).timeout(500)",
        "Task(f).timeout(125).breaker(breaker).retry(3).timeout(500)",
    ),
    (
        "breaker-inside-timeout",
        "(Task(f).breaker(breaker) >> Task(g)).timeout(80)",
        "Task(f).timeout(40).breaker(breaker)",
    ),
    ("breaker-outside-retry", "Task(f).retry(3).breaker(breaker)", "Task(f).breaker(breaker).retry(3)"),
    (
        "breaker-outside-retry",
        "Task(f).timeout(5).retry(3).or_else(1).breaker(breaker)",
        "Task(f).timeout(5).breaker(breaker).retry(3).or_else(1)",
    ),
    ("limit-outside-timeout", "Task(f).timeout(100).limit(limit)", "Task(f).limit(limit).timeout(100)"),
    (
        "limit-outside-timeout",
        "Task(f).timeout(100).retry(1).timeout(500).limit(limit)",
        "Task(f).timeout(100).retry(1).limit(limit).timeout(500)",
    ),
    ("limit-inside-retry", "Task(f).limit(one).timeout(100).retry(3)", "Task(f).limit(limit).timeout(100)"),
    (
        "limit-inside-retry",
        "Task(f).timeout(100).limit(two).breaker(breaker).retry(3).timeout(5000)",
        "Task(f).timeout(100).limit(limit).breaker(breaker).retry(1).timeout(5000)",
    ),
    (
        "limit-inside-retry",
        "(Task(user) >> Task(f).limit(two).timeout(100)).retry(3)",
        "(Task(user) >> Task(f).limit(limit).timeout(100)).retry(1)",
    ),
    ("limit-inside-retry", "each(Task(f).timeout(5)).limit(one).retry(1)", "each(Task(f).timeout(5)).limit(limit)"),
    ("retry-never-runs", "Task(f).or_else([]).retry(3)", "Task(f).retry(3).or_else([])"),
    ("retry-never-runs", "Task(f).or_else(1).named('x').retry(3)", "Task(f).retry(3).or_else(1).named('x')"),
    (
        "retry-never-runs",
        "settle(Task(f), Task(g)).named('x').retry(3).timeout(50)",
        "settle(Task(f).retry(3), Task(g).retry(3)).named('x').timeout(50)",
    ),
    (
        "retry-never-runs",
        "each(Task(f) >> Task(g), on_error='keep').retry(2)",
        "each((Task(f) >> Task(g)).retry(2), on_error='keep')",
    ),
    ("retry-never-runs", "each(Task(f), on_error='drop').retry(2)", "each(Task(f).retry(2), on_error='drop')"),
    (
        "retry-never-runs",
        "expand(Task(f), limit=2, on_error='drop').retry(2)",
        "expand(Task(f).retry(2), limit=2, on_error='drop')",
    ),
    ("fallback-never-used", "settle(Task(f), Task(g)) | Task(user)", "settle(Task(f), Task(g))"),
    ("fallback-never-used", "settle(Task(f), Task(g)).or_else(1)", "settle(Task(f), Task(g))"),
    ("on-error-never-used", "each(Task(f).or_else(0), on_error='drop')", "each(Task(f).or_else(0))"),
    ("on-error-never-used", "each(Task(f).or_else(0), drop=OSError)", "each(Task(f).or_else(0))"),
    ("on-error-never-used", "expand(Task(f).or_else(0), drop=OSError)", "expand(Task(f).or_else(0))"),
    ("retry-never-runs", "each(Task(f), on_error='stop').retry(2)", "each(Task(f).retry(2), on_error='stop')"),
    (
        "time-limit-never-reached",
        "each(Task(f), time_limit=300, on_timeout='keep').timeout(200)",
        "each(Task(f), time_limit=180, on_timeout='keep').timeout(200)",
    ),
    (
        "time-limit-never-reached",
        "settle(Task(f), time_limit=5).timeout(5)",
        "settle(Task(f), time_limit=4).timeout(5)",
    ),
    (
        "on-error-never-used",
        "expand(settle(Task(f)), on_error='keep').timeout(5)",
        "expand(settle(Task(f))).timeout(5)",
    ),
    (
        "branch-never-chosen",
        "choose(when(int, Task(f)), when(bool, Task(g)))",
        "choose(when(bool, Task(g)), when(int, Task(f)))",
    ),
    (
        "branch-never-chosen",
        "choose(when((int, str), Task(f)), when(list, Task(user)), when((str, bool), Task(g)), otherwise=Task(f))",
        "choose(when((str, bool), Task(g)), when((int, str), Task(f)), when(list, Task(user)), otherwise=Task(f))",
    ),
    ("branch-never-chosen", "choose(when(is_good, Task(f)), when(is_good, Task(g)))", "choose(when(is_good, Task(f)))"),
    ("branch-never-chosen", "choose(when(int, Task(f)), when((int,), Task(g)))", "choose(when(int, Task(f)))"),
    ("branch-never-chosen", "choose(when(object, Task(f)), otherwise=Task(g))", "choose(when(object, Task(f)))"),
    ("fallback-never-used", "Task(f).or_else([]).or_else(1)", "Task(f).or_else([])"),
    ("fallback-never-used", "Task(f).or_else([]) | Task(g)", "Task(f).or_else([])"),
    ("accept-outside-retry", "Task(f).retry(2).accept(is_good)", "Task(f).accept(is_good).retry(2)"),
    ("accept-outside-replica", "Task(f).replica(2).accept(is_good)", "Task(f).accept(is_good).replica(2)"),
    ("cache-inside-retry", "Task(f).cache(cache).retry(2)", "Task(f).retry(2).cache(cache)"),
    ("chaos-not-innermost", "Task(f).timeout(5).chaos(chaos)", "Task(f).chaos(chaos).timeout(5)"),
    ("budget-without-extras", "Task(f).budget(budget).retry(2)", "Task(f).retry(2).budget(budget)"),
    ("budget-without-extras", "Task(f).budget(budget)", "Task(f)"),
    ("timeout-below-1-ms", "Task(f).timeout(0.25)", "Task(f).timeout(250)"),
    ("timeout-below-1-ms", "(Task(f) >> Task(g)).timeout(0.5).retry(2)", "(Task(f) >> Task(g)).timeout(500).retry(2)"),
    ("timeout-unreachable", "Task(f).timeout(500).timeout(100)", "Task(f).timeout(100)"),
    ("timeout-unreachable", "Task(f).timeout(100).timeout(100)", "Task(f).timeout(100)"),
    ("timeout-unreachable", "Task(f).timeout(500).or_else(1).timeout(100)", "Task(f).or_else(1).timeout(100)"),
    (
        "timeout-unreachable",
        "Task(f).timeout(600).retry(1, backoff=None).timeout(100)",
        "Task(f).timeout(100).retry(1, backoff=None).timeout(600)",
    ),
    ("timeout-unreachable", "(Task(f).timeout(500) >> Task(g)).timeout(100)", "Task(f)"),
    (
        "retries-do-not-fit",
        "Task(f).timeout(200).retry(5, backoff=None).timeout(500)",
        "Task(f).timeout(200).retry(2, backoff=None).timeout(500)",
    ),
    (
        "retries-do-not-fit",
        "Task(f).timeout(200).retry(1).timeout(230)",
        "Task(f).timeout(200).retry(1).timeout(450)",
    ),
    ("retries-multiply", "Task(f).retry(3).retry(2)", "Task(f).retry(2)"),
    ("retries-multiply", "(Task(f).retry(3) >> Task(g)).retry(2)", "Task(f).retry(3).budget(budget)"),
    ("retry-never-matches", "Task(f).retry(2, on=CircuitOpen)", "Task(f)"),
    ("retry-never-matches", "Task(f).retry(2, on={CircuitOpen: None, Abandoned: None})", "Task(f)"),
    ("hedge-too-late", "Task(f).timeout(100).replica(2, after=200)", "Task(f).timeout(100).replica(2, after=50)"),
    ("hedge-too-late", "Task(f).replica(2, after=100).timeout(100)", "Task(f).replica(2, after=50).timeout(100)"),
    (
        "hedge-too-late",
        "Task(f).replica(2, after=100, to=[Task(g)]).timeout(100)",
        "Task(f).replica(after=50, to=[Task(g)]).timeout(100)",
    ),
    (
        "timeout-not-retried",
        "Task(f).timeout(100).retry(3, on=ConnectionError)",
        "Task(f).timeout(100).retry(3, on=(ConnectionError, TaskTimedOut))",
    ),
    (
        "timeout-not-retried",
        "(Task(f).timeout(50) >> Task(g)).named('x').retry(2, on=(KeyError, IndexError)).or_else([])",
        "(Task(f).timeout(50) >> Task(g)).named('x').retry(2, on=(KeyError, IndexError, TaskTimedOut)).or_else([])",
    ),
    (
        "timeout-not-retried",
        "Task(f).timeout(100).breaker(breaker).retry(3, on={IndexError: None, KeyError: None})",
        "Task(f).timeout(100).breaker(breaker).retry(3, on={IndexError: None, KeyError: None, TaskTimedOut: None})",
    ),
    (
        "timeout-not-retried",
        "Task(f).retry(1).timeout(100).retry(3, on=ConnectionError, accept=is_good)",
        "Task(f).retry(1).timeout(100).retry(3, on=(ConnectionError, TaskTimedOut), accept=is_good)",
    ),
    (
        "timeout-not-retried",
        "(Task(f).timeout(100) & Task(g)).retry(1, on=KeyError)",
        "(Task(f).timeout(100) & Task(g)).retry(1, on=(KeyError, TaskTimedOut))",
    ),
    (
        "timeout-not-retried",
        "Task(f).timeout(100).or_else([], on=KeyError).retry(1, on=KeyError)",
        "Task(f).timeout(100).or_else([], on=KeyError).retry(1, on=(KeyError, TaskTimedOut))",
    ),
    (
        "timeout-not-retried",
        "(Task(f) | Task(g).timeout(5)).retry(1, on=KeyError)",
        "(Task(f) | Task(g).timeout(5)).retry(1, on=(KeyError, TaskTimedOut))",
    ),
    (
        "timeout-not-retried",
        "each(Task(f).timeout(5)).retry(1, on=KeyError)",
        "each(Task(f).timeout(5)).retry(1, on=(KeyError, TaskTimedOut))",
    ),
    (
        "timeout-not-retried",
        "Task(f).timeout(5).replica(2).retry(1, on=KeyError)",
        "Task(f).timeout(5).replica(2).retry(1, on=(KeyError, TaskTimedOut))",
    ),
    (
        "timeout-ends-hedge",
        "Task(f).timeout(100).replica(2, on=KeyError)",
        "Task(f).timeout(100).replica(2, on=(KeyError, TaskTimedOut))",
    ),
    (
        "timeout-ends-hedge",
        "Task(f).timeout(g).replica(2, after=20, on=(KeyError, IndexError)).timeout(500)",
        "Task(f).timeout(g).replica(2, after=20, on=(KeyError, IndexError, TaskTimedOut)).timeout(500)",
    ),
    (
        "timeout-ends-hedge",
        "Task(f).replica(to=[Task(g).timeout(5)], on=KeyError)",
        "Task(f).replica(to=[Task(g).timeout(5)], on=(KeyError, TaskTimedOut))",
    ),
    ("hedge-in-place", "Task(f).inline().replica(2)", "Task(f).replica(2)"),
    (
        "shared-first-task",
        "(Task(user) >> Task(f)) & (Task(user) >> f >> Task(g))",
        "Task(user) >> (Task(f) & (f >> Task(g)))",
    ),
    (
        "shared-first-task",
        "fan_out(a=Task(user) >> Task(f), b=Task(user) >> Task(g))",
        "Task(user) >> fan_out(a=Task(f), b=Task(g))",
    ),
    (
        "shared-first-task",
        "settle(Task(user) >> Task(f), Task(user), Task(g))",
        "settle(Task(user).single_flight(flights) >> Task(f), Task(user).single_flight(flights), Task(g))",
    ),
    (
        "shared-first-task",
        "(Task(user) >> f) & (Task(user) >> g)",
        "(Task(user).single_flight(flights) >> f) & (Task(user).single_flight(flights) >> g)",
    ),
    (
        "shared-first-task",
        "fan_out(Task(user) >> Task(f), Task(user) >> Task(g), need=1)",
        "Task(user) >> fan_out(Task(f), Task(g), need=1)",
    ),
    (
        "shared-first-task",
        "(Task(pages) >> each(Task(f)) >> Task(f)) & (Task(pages) >> each(Task(f)) >> Task(g))",
        "Task(pages) >> each(Task(f)) >> (Task(f) & Task(g))",
    ),
    (
        "shared-first-task",
        "(Task(pages) >> each(Task(f))) & (Task(pages) >> each(Task(f)) >> Task(g))",
        (
            "(\n    (Task(pages) >> each(Task(f))).single_flight(flights)\n"
            "    & ((Task(pages) >> each(Task(f))).single_flight(flights) >> Task(g))\n)"
        ),
    ),
    ("timeout-unreachable", "each(Task(f).timeout(500), limit=3).timeout(100)", "Task(f)"),
    ("timeout-unreachable", "choose(when(int, Task(f).timeout(500))).timeout(100)", "Task(f)"),
    ("breaker-inside-timeout", "expand(Task(f).breaker(breaker)).timeout(80)", "Task(f).timeout(40).breaker(breaker)"),
    ("retries-multiply", "each(Task(f).retry(3)).retry(2)", "Task(f).retry(3).budget(budget)"),
]


@pytest.mark.parametrize(("code", "written", "better"), ODD)
def test_an_odd_order_is_named_with_the_better_one(code: str, written: str, better: str) -> None:
    findings = [finding for finding in read(written).lint() if finding.code == code]
    [finding] = findings
    assert finding.better == better
    assert code not in codes(read(better))


FINE = [
    "Task(f)",
    "Task(f).timeout(100).retry(3)",
    "Task(f).timeout(80).replica(2, after=20).or_else([])",
    (
        "Task(f).chaos(chaos).timeout(100).limit(limit).breaker(breaker).replica(2, after=20).retry(2).budget(budget)"
        ".single_flight(flights).cache(cache).or_else([]).timeout(5000)"
    ),
    "Task(f).limit(limit).timeout(100)",
    "Task(f).timeout(100).limit(short)",
    "Task(f).limit(limit)",
    "Task(f).limit(one).retry(3)",
    "Task(f).limit(two).timeout(100).retry(1)",
    "Task(f).limit(refusing).timeout(100).retry(3)",
    "Task(f).limit(paced).timeout(100).retry(3)",
    "Task(f).limit(one).retry(3).timeout(5000)",
    "Task(user).limit(one).timeout(100).retry(3)",
    "Task(f).inline().limit(one).timeout(100).retry(3)",
    "Task(f).lane('cpu').limit(one).timeout(100).retry(3)",
    "Task(f).timeout(100).retry(3).limit(one).timeout(5000)",
    "Task(f).or_else([], on=OSError).retry(3)",
    "Task(f).or_else(is_good).retry(3)",
    "Task(f).or_else(is_good).or_else([])",
    "(Task(f) | Task(g)).retry(3)",
    "Task(f).or_else([]).timeout(10).retry(3)",
    "Task(f).or_else([]).retry(3, accept=is_good)",
    "Task(f).timeout(100).retry(2, backoff=None).timeout(300)",
    "Task(f).retry(3).timeout(500)",
    "Task(f).timeout(200).retry(1, backoff=None).timeout(200.5)",
    "Task(f).retry(3).budget(budget).retry(2)",
    "Task(f).retry(0).retry(2)",
    "Task(f).retry(2, on=(CircuitOpen, OSError))",
    "Task(f).timeout(100).retry(2, on=TimeoutError)",
    "Task(f).timeout(100).retry(2, on=OSError)",
    "Task(f).timeout(100).retry(2, on=(KeyError, TaskTimedOut))",
    "Task(f).timeout(100).retry(2, on={KeyError: None, Exception: None})",
    "Task(f).timeout(100).retry(2, on=is_good)",
    "Task(f).timeout(100).retry(0, on=KeyError)",
    "Task(f).retry(2, on=KeyError).timeout(5000)",
    "Task(f).timeout(100).or_else([], on=TimeoutError).retry(2, on=KeyError)",
    "Task(f).timeout(100).or_else([], on=is_good).retry(2, on=KeyError)",
    "settle(Task(f).timeout(5), Task(g)).retry(2, on=KeyError, accept=is_good)",
    "each(Task(f).timeout(5), on_error='keep').retry(2, on=KeyError, accept=is_good)",
    "each(Task(f).timeout(5), on_error=at_least(1)).retry(2, on=KeyError)",
    "Task(f).replica(2, after=None).timeout(100)",
    "Task(f).inline().retry(2)",
    "Task(user) >> (Task(f) & Task(g))",
    "Task(user) & Task(user)",
    "(f >> Task(g)) & (f >> Task(user))",
    "race(Task(user) >> Task(f), Task(user) >> Task(g))",
    "(Task(f) >> Task(g)).chaos(chaos)",
    "Task(f).retry(2).cache(cache)",
    "Task(f).accept(is_good).retry(2)",
    "each(Task(f).timeout(5))",
    "each(Task(f).timeout(5).retry(2)).timeout(200)",
    "each(Task(f)).retry(2)",
    "each(Task(f), on_error='keep').retry(2, accept=is_good)",
    "each(Task(f), on_error='keep').timeout(5).retry(2)",
    "each(Task(f), on_error=at_least(2)).retry(2)",
    "each(Task(f), on_error='drop').or_else([])",
    "each(Task(f).or_else(0), on_error=at_least(2))",
    "settle(Task(f), Task(g)).timeout(5).retry(2)",
    "settle(Task(f), Task(g)).timeout(5).or_else(1)",
    "fan_out(Task(f), Task(g), need=1).retry(2)",
    "expand(Task(f).or_else([])).retry(2)",
    "choose(when(bool, Task(f)), when(int, Task(g)), otherwise=Task(f))",
    "choose(when(is_good, Task(f)), when(int, Task(g)))",
    "choose(when(int, Task(f)), when((int, str), Task(g)))",
    "(Task(pages) >> each(Task(f))).retry(2)",
    "Task(pages) >> each(Task(f).retry(2)).timeout(5000).or_else([])",
    "Task(pages) >> each(Task(f), on_error='keep')",
    "(Task(pages) >> each(Task(f))) & (Task(pages) >> each(Task(g)))",
    "choose(when(int, Task(user) >> Task(f)), otherwise=Task(user) >> Task(g))",
]


@pytest.mark.parametrize("written", FINE)
def test_what_is_in_order_is_left_alone(written: str) -> None:
    assert read(written).lint() == ()


class TestWhere:
    def test_names_the_tasks_as_the_outcome_does(self) -> None:
        odd = F.timeout(500).timeout(100)
        assert [finding.where for finding in (odd >> f >> odd).lint()] == [("f#1",), ("f#2",)]

    def test_finds_it_in_every_corner(self) -> None:
        odd = G.timeout(500).timeout(100)
        for chain in (F >> odd, F & odd, settle(F, odd), F | odd, race(F, odd), F.replica(to=[odd]), odd.or_else(f)):
            [finding] = chain.lint()
            assert (finding.code, finding.where) == ("timeout-unreachable", ("g",))

    def test_finds_it_where_the_values_decide(self) -> None:
        odd = G.timeout(500).timeout(100)
        for chain in (each(odd), expand(odd), choose(when(int, F), otherwise=odd), fan_out(F, odd, need=1)):
            [finding] = (U >> chain).lint()
            assert (finding.code, finding.where) == ("timeout-unreachable", ("g",))

    def test_what_is_used_further_down_is_in_nobodys_way(self) -> None:
        odd = U.or_else([]).retry(3)
        [finding] = (odd >> F >> Task(uses).using(u=odd)).lint()
        assert (finding.code, finding.better) == ("retry-never-runs", "Task(user).retry(3).or_else([])")
        branch = F >> Task(uses).using(u=F)
        [finding] = (U >> (branch & (F >> G))).lint()
        assert finding.better == "Task(f) >> (Task(uses).using(u=f) & Task(g))"

    def test_tasks_that_use_different_values_are_different(self) -> None:
        many = U >> G >> ((Task(uses).using(u=U) >> F) & (Task(uses).using(u=G) >> F))
        assert many.lint() == ()

    def test_classes_that_refuse_to_say_are_left_alone(self) -> None:
        class Silent(type):
            def __subclasscheck__(cls, _: type) -> bool:
                raise RuntimeError

        class Quiet(metaclass=Silent):
            pass

        assert choose(when(Quiet, F), when(int, G)).lint() == ()

    def test_what_runs_in_place_is_not_late(self) -> None:
        assert codes(F.inline().replica(2, after=20)) == ["hedge-in-place"]
        assert codes(F.inline().retry(9).timeout(50)) == ["retries-do-not-fit"], "the waits between take time"

    def test_knows_what_is_around_a_fallback(self) -> None:
        fallback = G.timeout(500)
        assert codes((F | fallback).timeout(100)) == ["timeout-unreachable"]
        assert codes(F.timeout(100) | fallback) == []

    def test_says_nothing_twice(self) -> None:
        odd = F.retry(1).retry(1).retry(1)
        assert len(odd.lint()) == len(set(odd.lint()))


def test_a_finding_prints_as_text() -> None:
    [finding] = F.or_else([]).retry(3).lint()
    assert str(finding) == (
        "retry-never-runs at f: the fallback always answers, so the retry around it never runs\n"
        "  better: Task(f).retry(3).or_else([])"
    )


def test_a_chain_is_never_changed() -> None:
    chain = F.breaker(breaker).timeout(100)
    before = (chain.node, repr(chain))
    chain.lint()
    assert (chain.node, repr(chain)) == before


def test_a_long_chain_is_looked_at_in_one_go() -> None:
    chain: AnyChain = F
    for _ in range(3_000):
        chain = chain >> G.timeout(5)
    assert (chain >> fan_out(F)).lint() == ()


def test_the_first_delay_of_a_list_may_be_too_late() -> None:
    found = read("Task(f).timeout(100).replica(3, after=[200, 10])").lint()
    assert [(finding.code, finding.better) for finding in found] == [
        ("hedge-too-late", "Task(f).timeout(100).replica(3, after=50)")
    ]


@pytest.mark.parametrize(
    "code",
    [
        "Task(f).timeout(100).limit(limit).timeout(g)",
        "Task(f).timeout(g).breaker(breaker).timeout(500)",
        "Task(f).limit(one).timeout(g)",
    ],
)
def test_a_timeout_by_input_is_a_timeout(code: str) -> None:
    assert codes(read(code)) == []
