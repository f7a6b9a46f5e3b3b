"""with_backends: the same plan over other functions."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from rio_chain import (
    Breaker,
    Budget,
    Cache,
    ChainDefinitionError,
    Chaos,
    CircuitOpen,
    FanOut,
    Limit,
    Quantile,
    SingleFlight,
    Task,
    each,
    fan_out,
    settle,
    star,
)
from rio_chain.chain._nodes import RaceNode, Scope, walk
from rio_chain.policies._shared_state import Shared
from rio_chain.simulation import simulate
from rio_chain.testing import LatencyModel, Script, VirtualExecutor


async def fetch_user(user_id: int, tries: int = 1) -> str:
    raise NotImplementedError


def fetch_orders(query: str) -> list[int]:
    raise NotImplementedError


def render(orders: list[int], user: str) -> str:
    raise NotImplementedError


def both(orders: list[int], user: str) -> str:
    raise NotImplementedError


def ids(text: str) -> Iterator[int]:
    raise NotImplementedError
    yield 1


user = Task(fetch_user).timeout(1000).retry(2, backoff=None)
orders = Task(fetch_orders)
page = user >> str.upper >> orders >> Task(render).using(user=user)


def shape(chain: Any) -> tuple[Any, ...]:
    """All that a plan says, but for the functions and their kind."""
    plan = chain.plan()
    return (
        str(chain),
        [task.name for task in plan.tasks],
        [task.call.origin for task in plan.tasks],
        plan.edges,
        plan.title,
        str(chain.mermaid()),
        chain.explain().replace("(async)", "(sync)"),
        chain.lint(),
    )


def test_the_plan_is_the_same_but_for_the_functions() -> None:
    script = Script().always("x")
    assert shape(page.with_backends({"fetch_user": script, "fetch_orders": script, "render": script})) == shape(page)
    assert page.with_backends({"fetch_user": script}) == page.with_backends({"fetch_user": script})
    assert page.with_backends({"fetch_user": script}) != page


def test_the_chain_that_it_was_made_from_stays_as_it_was() -> None:
    before = shape(page), page.plan().tasks[0].call.fn
    page.with_backends({"fetch_user": Script().always("x")})
    assert (shape(page), page.plan().tasks[0].call.fn) == before
    assert page.plan().tasks[0].call.fn is fetch_user


def test_using_gives_a_replaced_function_what_the_other_one_got() -> None:
    rendered = Script().always("html")
    backends = {
        "fetch_user": lambda user_id: f"user {user_id}",
        "fetch_orders": lambda query: [query],
        "render": rendered,
    }
    assert page.with_backends(backends)(42).run().unwrap() == "html"
    [call] = rendered.calls
    assert (call.args, call.kwargs) == ((["USER 42"],), {"user": "user 42"})


def test_using_of_a_longer_chain_finds_it_with_other_functions_in_it() -> None:
    two = Task(fetch_user) >> Task(fetch_orders)
    chain = two >> len >> Task(render).using(user=two)
    given = Script().always("done")
    backends = {"fetch_user": Script().always("q"), "fetch_orders": Script().always([7]), "render": given}
    assert chain.with_backends(backends)(1).run().unwrap() == "done"
    assert given.calls[0].kwargs == {"user": [7]}


def test_origins_are_kept_so_that_a_task_still_means_its_place() -> None:
    replaced = page.with_backends({"fetch_user": lambda user_id: "ada", "fetch_orders": lambda q: [1]})
    longer = replaced >> Task(render).named("again").using(user=user)
    script = Script().always("x")
    again = longer.with_backends({"render": Script().always([2]), "again": script})
    assert again(1).run().unwrap() == "x"
    assert script.calls[0].kwargs == {"user": "ada"}


def test_a_part_that_has_no_plan_of_its_own_can_be_given_backends() -> None:
    part = Task(render).using(user=user).with_backends({"render": lambda orders, user: f"{user}: {orders}"})
    whole = Task(fetch_user).with_backends({"fetch_user": lambda user_id: "u"})
    assert (whole >> orders.with_backends({"fetch_orders": lambda q: [q]})).plan().tasks
    chain = (user >> orders >> part).with_backends({"fetch_user": lambda user_id: "u", "fetch_orders": lambda q: [q]})
    assert chain(1).run().unwrap() == "u: ['u']"


def test_star_spreads_its_tuple_over_the_replaced_function() -> None:
    chain = (orders & Task(len)) >> Task(star(both))
    script = Script().always("both")
    assert chain.with_backends({"both": script, "fetch_orders": Script().always([1])})("abc").run().unwrap() == "both"
    assert script.calls[0].args == ([1], 3)


def test_a_name_that_occurs_twice_means_both_and_a_number_the_one() -> None:
    twice = settle(orders, orders)
    assert [r.unwrap() for r in twice.with_backends({"fetch_orders": lambda q: [9]})("q").run().unwrap()] == [[9], [9]]
    one = twice.with_backends({"fetch_orders": lambda q: [1], "fetch_orders#2": lambda q: [2]})
    assert [r.unwrap() for r in one("q").run().unwrap()] == [[1], [2]]


def test_a_name_given_by_hand_is_the_name() -> None:
    chain = fan_out(a=orders.named("a"), b=orders.named("b")).with_backends({"a": lambda q: 1, "b": lambda q: 2})
    assert chain("q").run().unwrap() == {"a": 1, "b": 2}


def test_all_places_of_tasks_are_found() -> None:
    chain = (
        Task(ids)
        >> each(Task(fetch_user).replica(2, after=5000, to=[Task(fetch_user).named("mirror")]).or_else(Task(str.lower)))
        >> len
    )
    backends = {
        "ids": lambda text: [int(one) for one in text.split()],
        "fetch_user": Script().then_raises(OSError).forever(),
        "mirror": Script().then_raises(OSError).forever(),
        "lower": Script().always("fallback"),
    }
    outcome = chain.with_backends(backends)("1 2 3").run()
    assert outcome.unwrap() == 3
    assert outcome["lower"].counts == {"succeeded": 3}


def test_its_type_and_its_arguments_are_kept() -> None:
    script = Script().always([1])
    assert isinstance(orders.with_backends({"fetch_orders": script}), Task)
    wide = (orders & orders.named("other")).with_backends({"other": script})
    assert isinstance(wide, FanOut)
    assert len((wide & orders.named("third")).plan().tasks) == 3
    with pytest.raises(ChainDefinitionError, match=r"this chain begins with `fetch_user\(user_id, tries=1\)`"):
        page.with_backends({"fetch_user": script})(1, 2, 3)  # type: ignore[call-arg]


def test_a_replaced_function_needs_no_lane() -> None:
    lane = Task(len).lane("cpu").with_backends({"len": lambda text: 5})
    assert lane("x").run().unwrap() == 5
    assert lane.plan().lanes == {}


def test_a_plain_function_in_the_place_of_an_inline_one_is_inline() -> None:
    task = Task(len).inline()
    assert task.with_backends({"len": lambda text: 5}).plan().tasks[0].call.inline
    assert not task.with_backends({"len": Script().always(5)}).plan().tasks[0].call.inline


def policies_of(chain: Any) -> list[Any]:
    """The policies in it, and the quantiles of its hedges."""
    nodes = list(walk(chain.plan().root))
    quantiles = [node.after for node in nodes if isinstance(node, RaceNode) and isinstance(node.after, Quantile)]
    return [node.policy for node in nodes if isinstance(node, Scope)] + quantiles


def test_a_breaker_that_one_test_has_opened_is_closed_for_the_next() -> None:
    breaker = Breaker(failures=1)
    chain = orders.breaker(breaker)
    broken = chain.with_backends({"fetch_orders": Script().then_raises(OSError).forever()})
    assert isinstance(broken("q").run().result.failure(), OSError)
    assert isinstance(broken("q").run().result.failure(), CircuitOpen), "within one chain it does what it does"
    assert chain.with_backends({"fetch_orders": lambda q: [1]})("q").run().unwrap() == [1]
    assert breaker.state == "closed", "the real one has learned nothing"


def test_all_policies_with_a_state_are_fresh_or_shared() -> None:
    quantile = Quantile(warmup=1)
    chain = (
        orders.replica(2, after=quantile)
        .chaos(Chaos(0.0, error=OSError))
        .limit(Limit(1))
        .breaker(Breaker())
        .retry(1)
        .budget(Budget())
        .single_flight(SingleFlight())
        .cache(Cache(60_000))
    )
    backends = {"fetch_orders": Script().always([1])}
    before, fresh = policies_of(chain), policies_of(chain.with_backends(backends))
    stateful = [i for i, policy in enumerate(before) if isinstance(policy, Shared)]
    assert len(stateful) == 7
    assert [type(policy) for policy in fresh] == [type(policy) for policy in before]
    assert [i for i, policy in enumerate(fresh) if policy is not before[i]] == stateful
    shared = policies_of(chain.with_backends(backends, fresh=False))
    assert all(one is other for one, other in zip(shared, before, strict=True))


def test_policies_are_shared_where_that_is_asked_for() -> None:
    chain = orders.breaker(Breaker(failures=1))
    chain.with_backends({"fetch_orders": Script().then_raises(OSError)}, fresh=False)("q").run()
    refused = chain.with_backends({"fetch_orders": Script().always([1])}, fresh=False)("q").run()
    assert isinstance(refused.result.failure(), CircuitOpen)
    for wrong in (1, None, "no"):
        with pytest.raises(ChainDefinitionError, match="`fresh` must be True or False"):
            chain.with_backends({"fetch_orders": len}, fresh=wrong)  # type: ignore[arg-type]


def test_what_two_tasks_share_they_still_share() -> None:
    breaker = Breaker(failures=1)
    chain = user.breaker(breaker).or_else("nobody") >> orders.breaker(breaker)
    scripted = chain.with_backends({"fetch_user": Script().then_raises(OSError).forever(), "fetch_orders": len})
    one, other = (policy for policy in policies_of(scripted) if isinstance(policy, Breaker))
    assert one is other is not breaker
    assert isinstance(scripted(1).run()["fetch_orders"].result.failure(), CircuitOpen)


def test_what_is_used_further_down_may_have_policies_with_a_state() -> None:
    both_steps = (user.breaker(Breaker()) >> str.upper >> Task(str).cache(Cache(60_000))).limit(Limit(5))
    chain = both_steps >> orders.breaker(Breaker()) >> Task(render).using(user=both_steps)
    backends = {"fetch_user": lambda user_id: "ada", "fetch_orders": lambda q: [1], "render": lambda o, user: (o, user)}
    assert chain.with_backends(backends)(1).run().unwrap() == ([1], "ADA")
    assert chain.with_backends(backends)(1).run(executor=VirtualExecutor(fresh=True)).unwrap() == ([1], "ADA")
    simulation = simulate(chain, {**backends, "str": lambda x: x}, requests=3)
    assert simulation.failures == {}


def test_a_long_line_of_values_that_use_each_other_takes_no_time() -> None:
    def add(x: int, a: int = 0, b: int = 0) -> int:
        return x + a + b

    last: Any = Task(add).named("0").breaker(Breaker())
    before, chain = last, last
    for n in range(1, 40):
        step = Task(add).using(a=last, b=before).named(str(n)) if n > 1 else Task(add).named("1")
        before, last, chain = last, step, chain >> step
    assert len(chain.with_backends({"0": lambda x: 0}).plan().tasks) == 40


def test_functions_can_be_replaced_again() -> None:
    first = page.with_backends({"fetch_user": Script().then_raises(OSError)})
    again = first.with_backends(
        {"fetch_user": lambda user_id: "b", "fetch_orders": lambda q: 1, "render": lambda orders, user: user}
    )
    assert again(1).run().unwrap() == "b"
    assert str(again) == str(page)


def test_models_draw_each_in_a_row_of_its_own() -> None:
    model = LatencyModel.uniform(1, 9).returning("x")
    chain = fan_out(orders.named("a"), orders.named("b"))

    def delays(seed: int) -> list[float]:
        plan = chain.with_backends({"a": model, "b": model}, seed=seed).plan()
        fns: list[Any] = [task.call.fn for task in plan.tasks]
        return [fn.fn._next("", 0.0).delay for fn in fns]

    assert delays(1) == delays(1)
    assert delays(1) != delays(2)
    assert len(set(delays(1))) == 2


def test_a_chain_over_scripts_can_be_pickled() -> None:
    chain = orders.with_backends({"fetch_orders": Script().always([1])})
    assert pickle.loads(pickle.dumps(chain))("q").run().unwrap() == [1]  # noqa: S301


WRONG: list[tuple[Callable[[], object], str]] = [
    (lambda: page.with_backends({"fetch_usr": len}), "'fetch_usr' is not a task of this chain; its tasks are fetch"),
    (lambda: page.with_backends({"upper": len}), "'upper' is a bridge, which runs as it is"),
    (lambda: page.with_backends({"fetch_user#1": len}), "'fetch_user#1' is not a task"),
    (lambda: page.with_backends({}), "`with_backends` takes a dict of task names"),
    (lambda: page.with_backends([("fetch_user", len)]), "`with_backends` takes a dict of task names"),  # type: ignore[arg-type]
    (lambda: page.with_backends({1: len}), "got 1 for a name"),  # type: ignore[dict-item]
    (lambda: page.with_backends({"fetch_user": 5}), "give a Script, a LatencyModel or a function.*; got 5"),  # type: ignore[dict-item]
    (lambda: page.with_backends({"fetch_user": Script}), "got the class `Script`: make one"),
    (lambda: page.with_backends({"fetch_user": orders}), "fetch_user"),
    (lambda: page.with_backends({"fetch_user": lambda: 5}), r"`lambda\(\)` can't be called as `fetch_user` is"),
    (lambda: page.with_backends({"render": lambda orders: 5}), "unexpected keyword argument 'user'"),
    (lambda: page.with_backends({"fetch_orders": ids}), "`fetch_orders` must return one value"),
    (lambda: page.with_backends({"fetch_user": len}, seed=1.5), "`seed` must be a whole number"),  # type: ignore[arg-type]
]  # fmt: skip


@pytest.mark.parametrize(("write", "text"), WRONG, ids=[text for _, text in WRONG])
def test_what_can_not_be_meant_is_refused(write: Callable[[], object], text: str) -> None:
    with pytest.raises(ChainDefinitionError, match=text):
        write()
