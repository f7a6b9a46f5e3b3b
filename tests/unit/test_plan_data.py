"""Plan.to_dict(): a plan as plain data that every JSON writer takes."""

import json
import math
from functools import partial
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rio_chain import (
    Backoff,
    Breaker,
    Budget,
    Cache,
    Chain,
    Chaos,
    Gate,
    Limit,
    Quantile,
    SingleFlight,
    Task,
    at_least,
    best,
    choose,
    each,
    expand,
    fan_out,
    first,
    quorum,
    race,
    reduce,
    settle,
    star,
    when,
)


def f(x: Any) -> Any:
    return x


async def g(x: Any) -> Any:
    return x


def used(x: Any, user: Any) -> Any:
    return x, user


def both(error: object, x: Any) -> Any:
    return error, x


def is_good(x: Any) -> bool:
    return bool(x)


def add(total: Any, x: Any) -> Any:
    return total + x


def pages(x: Any) -> Any:
    yield x


class Always(Gate):
    def enter(self, call: Any) -> Any:
        raise NotImplementedError


class Last:
    """A chooser of one's own."""

    ask = None
    least = 1

    def good(self, mark: Any, /) -> bool:
        raise NotImplementedError

    def decide(self, arrived: Any, *, left: int, now: float) -> Any:
        raise NotImplementedError


AnyChain = Chain[..., Any]
HERE = __name__
F, G = Task(f), Task(g)


def data(chain: AnyChain) -> dict[str, Any]:
    """The data of a chain, as it comes out of JSON."""
    found = chain.plan().to_dict()
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    return found


def root(chain: AnyChain) -> dict[str, Any]:
    found: dict[str, Any] = data(chain)["root"]
    return found


def test_the_whole() -> None:
    user = F.timeout(100)
    chain = user >> add_one >> (G & Task(used).named("both").using(user=user))
    assert data(chain) == {
        "version": 1,
        "title": "f >> add_one >> (g & both)",
        "tasks": [
            task(0, "f", f"{HERE}.f"),
            task(1, "g", f"{HERE}.g") | {"async": True},
            task(2, "both", f"{HERE}.used"),
        ],
        "bridges": [
            {
                "name": "add_one",
                "before": "f",
                "after": "(g & both)",
                "function": f"{HERE}.add_one",
                "async": False,
                "generator": False,
            }
        ],
        "edges": [["f", "add_one"], ["add_one", "g"], ["add_one", "both"], ["f", "both"]],
        "uses": [{"from": "f", "to": "both", "keyword": "user"}],
        "root": {
            "kind": "steps",
            "steps": [
                {"kind": "timeout", "limit_ms": 100.0, "inner": {"kind": "task", "index": 0, "name": "f"}},
                {"kind": "bridge", "index": 0, "name": "add_one"},
                {
                    "kind": "fan_out",
                    "keys": None,
                    "need": None,
                    "time_limit_ms": None,
                    "branches": [
                        {"kind": "task", "index": 1, "name": "g"},
                        {"kind": "task", "index": 2, "name": "both"},
                    ],
                },
            ],
        },
    }


def add_one(x: Any) -> Any:
    return x + 1


def task(index: int, name: str, function: str) -> dict[str, Any]:
    return {
        "index": index,
        "name": name,
        "function": function,
        "async": False,
        "generator": False,
        "inline": False,
        "lane": None,
        "resources": {},
    }


class TestFunctions:
    @pytest.mark.parametrize(
        ("fn", "name"),
        [
            (len, "len"),
            (str.upper, "str.upper"),
            ("x".join, "str.join"),
            (math.sqrt, "math.sqrt"),
            (partial(add, 1), f"{HERE}.add"),
            (star(is_good), f"star({HERE}.is_good)"),
            (reduce(add, initial=object()), f"reduce({HERE}.add)"),
            (Always().__eq__, "object.__eq__"),
            (F.named, "rio_chain.dsl._task.Task.named"),
            (lambda x: x, f"{HERE}.TestFunctions.<lambda>"),
        ],
    )
    def test_go_by_their_qualified_names(self, fn: Any, name: str) -> None:
        assert data(Task(fn))["tasks"][0]["function"] == name

    def test_objects_go_by_their_class(self) -> None:
        class Fetch:
            def __call__(self, x: Any) -> Any:
                return x

        name = f"{HERE}.TestFunctions.test_objects_go_by_their_class.<locals>.Fetch"
        assert data(Task(Fetch()))["tasks"][0]["function"] == name
        assert data(Task(Fetch().__call__))["tasks"][0]["function"] == f"{name}.__call__"

    def test_how_they_are_called(self) -> None:
        [generator, _] = data(Task(pages) >> each(F.inline()))["tasks"]
        assert generator["generator"]
        assert data(F.inline())["tasks"][0]["inline"]
        assert data(F.lane("cpu"))["tasks"][0]["lane"] == "cpu"


class TestNodes:
    @pytest.mark.parametrize(
        ("chain", "fields"),
        [
            (F.named("x") >> f, {"kind": "steps"}),
            ((F & F).named("x"), {"kind": "named", "name": "x"}),
            (fan_out(a=F, b=G, need=1), {"kind": "fan_out", "keys": ["a", "b"], "need": 1}),
            (settle(F), {"kind": "settle", "keys": None, "need": None}),
            (settle(F, time_limit=300), {"kind": "settle", "time_limit_ms": 300.0}),
            (race(F, G), {"kind": "race", "calls": 2, "after_ms": 0.0, "after": None}),
            (F.replica(3, after=20, to=[G]), {"kind": "replica", "calls": 3, "after_ms": 20.0, "after": None}),
            (F.replica(2, after=None), {"kind": "replica", "calls": 2, "after_ms": None, "after": None}),
            (
                F.replica(2, after=Quantile(0.9)),
                {"after_ms": None, "after": {"kind": "quantile", "q": 0.9, "warmup": 20, "window": 1000}},
            ),
            (F.replica(2), {"pick": {"kind": "first", "accept": None}}),
            (F.replica(2, pick=first(is_good)), {"pick": {"kind": "first", "accept": f"{HERE}.is_good"}}),
            (
                F.replica(2, pick=best(f, within=50)),
                {"pick": {"kind": "best", "score": f"{HERE}.f", "within_ms": 50.0, "enough": None}},
            ),
            (F.replica(3, pick=quorum(2, by=f)), {"pick": {"kind": "quorum", "k": 2, "by": f"{HERE}.f"}}),
            (F.replica(2, pick=Last()), {"pick": {"kind": "chooser", "type": f"{HERE}.Last"}}),
            (F.or_else([1]), {"on": ["Exception"], "fallback": {"kind": "constant", "shown": "[1]"}}),
            (
                F.or_else(g, on=(OSError, json.JSONDecodeError)),
                {
                    "on": ["OSError", "json.decoder.JSONDecodeError"],
                    "fallback": {"kind": "handler", "function": f"{HERE}.g", "async": True},
                },
            ),
            (
                F.or_else(both),
                {"fallback": {"kind": "handler", "function": f"{HERE}.both", "async": False, "input": True}},
            ),
            (
                F.or_else(G, on=is_good),
                {"on": f"{HERE}.is_good", "fallback": {"kind": "task", "index": 1, "name": "g"}},
            ),
            (each(F), {"kind": "each", "limit": 10, "ordered": True, "on_error": "raise", "time_limit_ms": None}),
            (each(F, time_limit=5, on_timeout="keep"), {"time_limit_ms": 5.0, "on_timeout": "keep"}),
            (
                each(F, limit=2, ordered=False, on_error=at_least(3)),
                {"limit": 2, "ordered": False, "on_error": {"at_least": 3}},
            ),
            (
                expand(F, depth=2, more=f, key=is_good, on_error="drop", on_limit="stop"),
                {
                    "kind": "expand",
                    "limit": 10,
                    "depth": 2,
                    "total": 10_000,
                    "more": f"{HERE}.f",
                    "key": f"{HERE}.is_good",
                    "on_error": "drop",
                    "on_limit": "stop",
                },
            ),
            (expand(F), {"depth": None, "more": None, "key": None}),
            (
                choose(when(is_good, F), when((int, Limit), G), when(Always, F), otherwise=G),
                {
                    "kind": "choose",
                    "tests": [
                        {"function": f"{HERE}.is_good"},
                        {"classes": ["int", "rio_chain.policies._limit.Limit"]},
                        {"classes": [f"{HERE}.Always"]},
                    ],
                },
            ),
        ],
    )
    def test_say_what_they_were_made_with(self, chain: AnyChain, fields: dict[str, Any]) -> None:
        assert {**root(chain), **fields} == root(chain)

    def test_hold_their_parts_in_plan_order(self) -> None:
        inside = choose(when(int, F >> f), otherwise=each(G | expand(F))) >> (F & f_then_g).timeout(5)
        names: list[str] = []

        def visit(node: Any) -> None:
            if isinstance(node, list):
                for part in node:
                    visit(part)
            elif isinstance(node, dict):
                names.extend([node["name"]] if node["kind"] == "task" else [])
                for key in ("inner", "steps", "primary", "fallback", "branches"):
                    visit(node.get(key))

        visit(root(inside))
        assert names == [t.name for t in inside.plan().tasks]


f_then_g = f >> G


class TestPolicies:
    @pytest.mark.parametrize(
        ("chain", "fields"),
        [
            (F.timeout(0.07), {"kind": "timeout", "limit_ms": 0.07}),
            (F.timeout(70), {"kind": "timeout", "limit_ms": 70.0}),
            (F.timeout(1e300), {"kind": "timeout", "limit_ms": 1e300}),
            (
                F.retry(2),
                {
                    "kind": "retry",
                    "retries": 2,
                    "on": ["Exception"],
                    "backoff": {"kind": "backoff", "base_ms": 50.0, "factor": 2.0, "cap_ms": 1000.0, "jitter": "full"},
                    "accept": None,
                    "retry_after": None,
                },
            ),
            (F.retry(2, on=is_good, backoff=None, accept=f), {"on": f"{HERE}.is_good", "backoff": None}),
            (
                F.retry(2, backoff=Backoff(max_retry_after=60_000)),
                {
                    "backoff": {
                        "kind": "backoff",
                        "base_ms": 50.0,
                        "factor": 2.0,
                        "cap_ms": 1000.0,
                        "jitter": "full",
                        "max_retry_after_ms": 60_000.0,
                    }
                },
            ),
            (
                F.retry(2, backoff=lambda _: 1.0),
                {"backoff": {"kind": "wait", "function": f"{HERE}.TestPolicies.<lambda>"}},
            ),
            (
                F.retry(2, on={OSError: Backoff(base=1, factor=1, cap=1, jitter="none"), ValueError: None}),
                {
                    "on": ["OSError", "ValueError"],
                    "backoff": [
                        {"kind": "backoff", "base_ms": 1.0, "factor": 1.0, "cap_ms": 1.0, "jitter": "none"},
                        None,
                    ],
                },
            ),
            (F.retry(10**5000), {"retries": None}),
            (F.accept(is_good), {"kind": "accept", "predicate": f"{HERE}.is_good"}),
            (
                F.breaker(Breaker(3, open_for=500, on=OSError)),
                {"kind": "breaker", "failures": 3, "open_for_ms": 500.0, "on": ["OSError"], "name": None},
            ),
            (
                F.breaker(Breaker(ratio=0.5, window=700, min_calls=4, name="x")),
                {"kind": "breaker", "ratio": 0.5, "window_ms": 700.0, "min_calls": 4, "name": "x"},
            ),
            (
                F.limit(Limit(10)),
                {"kind": "limit", "concurrency": 10, "interval_ms": None, "burst": None, "wait_ms": None, "key": None},
            ),
            (
                F.limit(Limit(rate=100, burst=3, wait=0, key=f)),
                {"concurrency": None, "interval_ms": 10.0, "burst": 3, "wait_ms": 0.0, "key": f"{HERE}.f"},
            ),
            (F.limit(Always()), {"kind": "gate", "call": "limit", "type": f"{HERE}.Always"}),
            (F.breaker(Always()), {"kind": "gate", "call": "breaker", "type": f"{HERE}.Always"}),
            (F.budget(Budget(0.1)), {"kind": "budget", "ratio": 0.1, "floor": 3}),
            (F.cache(Cache(1000)), {"kind": "cache", "ttl_ms": 1000.0, "size": 1000, "key": None}),
            (F.single_flight(SingleFlight(key=f)), {"kind": "single_flight", "key": f"{HERE}.f"}),
            (
                F.chaos(Chaos(0.1, latency=20, error=OSError("secret"))),
                {"kind": "chaos", "rate": 0.1, "latency_ms": 20.0, "error": "OSError", "seed": 0},
            ),
            (F.chaos(Chaos(1, error=OSError)), {"rate": 1.0, "latency_ms": 0.0, "error": "OSError"}),
        ],
    )
    def test_say_what_they_were_made_with(self, chain: AnyChain, fields: dict[str, Any]) -> None:
        found = root(chain)
        assert {**found, **fields} == found
        assert found["inner"] == {"kind": "task", "index": 0, "name": "f"}

    def test_their_state_is_not_in_it(self) -> None:
        breaker, chaos, cache = Breaker(1), Chaos(1, latency=1), Cache(1000)
        chain = F.breaker(breaker).chaos(chaos).cache(cache)
        before = data(chain)
        breaker.open()
        chaos.off()
        chain(1).run()
        assert data(chain) == before


class TestAlways:
    def test_arguments_and_constants_are_not_in_it(self) -> None:
        assert root(F.or_else("\x1b[31m"))["fallback"] == {"kind": "constant", "shown": "'\\x1b[31m'"}
        assert "hidden" not in json.dumps(data(Task(partial(add, "hidden"))))
        assert len(root(F.or_else("x" * 10_000))["fallback"]["shown"]) < 100

    def test_a_long_row(self) -> None:
        chain: AnyChain = F
        for _ in range(9_999):
            chain = chain >> G
        found = chain.plan().to_dict()
        assert len(json.loads(json.dumps(found, allow_nan=False))["root"]["steps"]) == 10_000

    @pytest.mark.parametrize(
        "around",
        [
            lambda chain: chain.timeout(5),
            lambda chain: chain | F,
            lambda chain: F | chain,
            lambda chain: G & chain,
            each,
            lambda chain: choose(when(int, chain)),
            lambda chain: f >> (chain >> f).timeout(5),
        ],
    )
    def test_a_deep_nest(self, around: Any) -> None:
        chain: AnyChain = F
        for _ in range(150):
            chain = around(chain)
        json.dumps(chain.plan().to_dict(), allow_nan=False)

    def test_hundreds_of_policies(self) -> None:
        chain: AnyChain = F
        for _ in range(200):
            chain = chain.timeout(5)
        found, depth = root(chain), 0
        while "inner" in found:
            found, depth = found["inner"], depth + 1
        assert depth == 200


tasks = st.sampled_from([F, G])


def wider(inner: st.SearchStrategy[AnyChain]) -> st.SearchStrategy[AnyChain]:
    limits = st.integers(1, 12)
    errors = st.sampled_from(["raise", "keep", "drop", at_least(2)])
    return st.one_of(
        st.builds(lambda a, b: a >> b, inner, inner),
        st.builds(lambda a, b: a | b, inner, inner),
        st.builds(lambda a, b: fan_out(a, b, need=1), inner, inner),
        st.builds(lambda a, n: a.replica(n, after=None), inner, limits),
        st.builds(lambda a, ms: a.timeout(ms), inner, st.floats(0.001, 1e9)),
        st.builds(lambda a, n, e: each(a, limit=n, on_error=e), inner, limits, errors),
        st.builds(lambda a, n: expand(a, total=n, depth=n), inner, limits),
        st.builds(lambda a, b: choose(when(int, a), otherwise=b), inner, inner),
        st.builds(lambda a, b: a >> f >> b >> Task(used).using(user=a), inner, inner),
    )


@settings(deadline=None, max_examples=60)
@given(st.recursive(tasks, wider, max_leaves=5), st.recursive(tasks, wider, max_leaves=5))
def test_equal_plans_give_equal_data(a: AnyChain, b: AnyChain) -> None:
    try:
        one, other = a.plan(), b.plan()
    except Exception:  # noqa: BLE001 - what is used must be upstream just once
        return
    assert json.dumps(one.to_dict(), allow_nan=False)
    assert one.to_dict() == a.plan().to_dict()
    assert (one == other) == (one.to_dict() == other.to_dict())
