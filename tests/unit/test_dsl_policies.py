"""Every policy call describes; what has state goes by name in the repr and is compared by identity."""

import math
import pickle
from datetime import timedelta
from textwrap import dedent
from typing import Any

import pytest

from rio_chain import (
    Backoff,
    Breaker,
    Budget,
    Cache,
    Chain,
    ChainDefinitionError,
    Chaos,
    Limit,
    Quantile,
    SingleFlight,
    Task,
    best,
    fan_out,
    first,
    quorum,
    race,
)
from rio_chain.chain._nodes import Constant, Node, OrElse, RaceNode, Scope, TaskNode, heads, walk
from rio_chain.policies import Accept, Retry


def f(x: Any) -> Any:
    return x


async def g(x: Any) -> Any:
    return x


def is_good(x: Any) -> bool:
    return bool(x)


def server_says(error: Any) -> float | None:
    return None


F, G = Task(f), Task(g)
breaker, budget, cache = Breaker(), Budget(), Cache(1000)
chaos, flights, limit, quantile = Chaos(0.5, latency=10), SingleFlight(), Limit(10), Quantile()


def race_in(chain: Chain[..., Any]) -> RaceNode:
    found = next(node for node in walk(chain.node) if isinstance(node, RaceNode))
    assert found == next(node for node in walk(chain.plan().root) if isinstance(node, RaceNode))
    return found


class TestReplica:
    def test_is_a_race_of_one_branch(self) -> None:
        assert F.replica(2, after=20).node == RaceNode((F.node,), 2, 0.02, first(), hedge=True)
        assert F.replica(3).node == RaceNode((F.node,), 3, 0.0, first(), hedge=True)

    def test_the_delay(self) -> None:
        assert race_in(F.replica(2, after=timedelta(seconds=1))).after == 1.0
        assert race_in(F.replica(2, after=None)).after == math.inf
        assert race_in(F.replica(2, after=quantile)).after is quantile

    def test_other_places_are_chains_or_functions(self) -> None:
        chain = F.replica(to=[G.timeout(5), g, f])
        found = race_in(chain)
        assert found.count == 4
        assert [task.name for task in chain.plan().tasks] == ["f#1", "g#1", "g#2", "f#2"]
        assert isinstance(found.branches[2], TaskNode)
        assert found.branches[2].is_async
        assert race_in(F.replica(5, to=(G,))).count == 5

    def test_every_place_gets_the_arguments(self) -> None:
        assert [head.name for head in heads(F.replica(to=[G]).node)] == ["f", "g"]

    def test_the_chooser(self) -> None:
        assert race_in(F.replica(3, pick=quorum(2))).pick == quorum(2)
        assert race_in(F.replica(3, pick=best(len, within=10))).pick.least == 1

    def test_tasks_are_there_once_however_often_they_are_called(self) -> None:
        assert [task.name for task in (F.replica(7) >> F).plan().tasks] == ["f#1", "f#2"]


class TestRace:
    def test_is_a_race_that_begins_at_once(self) -> None:
        assert race(F, G, pick=quorum(2)).node == RaceNode((F.node, G.node), 2, 0.0, quorum(2), hedge=False)

    def test_brackets_around_shifts_make_no_difference(self) -> None:
        assert race(F >> (G >> F), G) == race((F >> G) >> F, G)
        assert hash(race(F >> (G >> F), G)) == hash(race((F >> G) >> F, G))

    def test_its_title_edges_and_bridges(self) -> None:
        plan = (F >> race(f >> G, F) >> f).plan()
        assert plan.title == "f >> race(f >> g, f) >> f"
        bridges = [bridge.name for bridge in plan.bridges]
        assert ("f#1", bridges[0]) in plan.edges
        assert (bridges[0], "g") in plan.edges
        assert ("f#1", "f#2") in plan.edges
        assert {("g", bridges[1]), ("f#2", bridges[1])} <= set(plan.edges)
        assert [(bridge.before, bridge.after) for bridge in plan.bridges] == [
            ("f#1", "g"),
            ("(g or f#2)", "output"),
        ]

    def test_a_hedge_of_one_chain_is_not_in_the_title(self) -> None:
        assert (F.replica(2) >> G).plan().title == "f >> g"
        assert F.replica(to=[G]).plan().title == "replica(f, g)"


class TestScopes:
    @pytest.mark.parametrize(
        ("chain", "policy"),
        [
            (F.breaker(breaker), breaker),
            (F.limit(limit), limit),
            (F.budget(budget), budget),
            (F.cache(cache), cache),
            (F.single_flight(flights), flights),
            (F.chaos(chaos), chaos),
        ],
    )
    def test_carry_the_very_object(self, chain: Chain[..., Any], policy: Any) -> None:
        assert type(chain) is Chain
        assert isinstance(chain.node, Scope)
        assert chain.node.policy is policy
        root = chain.plan().root
        assert isinstance(root, Scope)
        assert root.policy is policy

    def test_state_compares_by_identity(self) -> None:
        assert F.breaker(breaker) == F.breaker(breaker)
        assert hash(F.breaker(breaker)) == hash(F.breaker(breaker))
        assert F.breaker(breaker) != F.breaker(Breaker())

    def test_a_chain_with_state_does_not_travel(self) -> None:
        with pytest.raises(ChainDefinitionError, match="can't be pickled"):
            pickle.dumps(F.breaker(breaker))

    def test_accept(self) -> None:
        assert F.accept(is_good).node == Scope(Accept(is_good), F.node)
        assert hash(F.accept(is_good)) == hash(F.accept(is_good))

    def test_policies_of_all_kinds_can_be_around_anything(self) -> None:
        several = (F >> (F & G)).limit(limit).breaker(breaker)
        assert len(several.plan().tasks) == 3


class TestOrElse:
    def test_for_some_errors(self) -> None:
        assert F.or_else(1, on=OSError).node == OrElse(F.node, Constant(1), OSError)
        assert F.or_else(G, on=(OSError, KeyError)).node == OrElse(F.node, G.node, (OSError, KeyError))
        assert F.or_else(1, on=is_good) != F.or_else(1)
        assert F.or_else(G) == (F | G)


class TestRetry:
    def test_a_backoff_for_each_class(self) -> None:
        chain = F.retry(2, on={OSError: Backoff(base=5), ValueError: None})
        assert repr(chain) == (
            "Task(f).retry(2, on={OSError: Backoff(base=5, factor=2, cap=1000, jitter='full'), ValueError: None})"
        )
        assert hash(chain) == hash(F.retry(2, on={OSError: Backoff(base=5), ValueError: None}))

    def test_a_wait_from_elsewhere(self) -> None:
        assert repr(F.retry(2, backoff=server_says)) == "Task(f).retry(2, backoff=server_says)"

    def test_what_the_server_says(self) -> None:
        chain = F.retry(2, retry_after=server_says)
        assert isinstance(chain.node, Scope)
        assert isinstance(chain.node.policy, Retry)
        assert chain.node.policy.retry_after is server_says


class TestSource:
    @pytest.mark.parametrize(
        "text",
        [
            "Task(f).replica(2)",
            "Task(f).timeout(80).replica(2, after=20)",
            "Task(f).replica(3, after=None, pick=quorum(2))",
            "Task(f).replica(2, after=quantile)",
            "Task(f).replica(after=5, to=[Task(g)])",
            "Task(f).replica(4, to=[Task(g), Task(f) >> is_good])",
            "(Task(f) >> Task(g)).replica(2, pick=first(accept=is_good))",
            "Task(f).replica(2, pick=best(len, within=10, enough=3))",
            "race(Task(f), Task(g))",
            "race(Task(f) >> Task(g), Task(g), pick=quorum(2, by=len))",
            "race(Task(f), Task(g)).timeout(5) >> Task(f)",
            "Task(f).accept(is_good)",
            "Task(f).chaos(chaos).timeout(100).breaker(breaker).retry(3)",
            "Task(f).limit(limit).budget(budget).cache(cache).single_flight(flights)",
            "(Task(f) & Task(g)).limit(limit)",
            "Task(f).or_else(1, on=OSError)",
            "Task(f).or_else(is_good, on=(OSError, ValueError))",
            "Task(f).or_else(Task(g) >> Task(f), on=is_good)",
            "(Task(f) >> Task(g)).or_else(Task(g), on=OSError) | Task(f)",
            "Task(f).retry(2, retry_after=server_says)",
            "Task(f).retry(2, backoff=Backoff(base=5, factor=2, cap=1000, jitter='decorrelated'))",
            "fan_out(a=Task(f).replica(2), b=Task(g))",
        ],
    )
    def test_is_the_code_that_builds_it(self, text: str) -> None:
        chain = eval(text)  # noqa: S307 - the promise is that it evaluates
        assert repr(chain) == text
        assert eval(repr(chain)) == chain  # noqa: S307

    def test_a_chooser_of_ones_own_goes_by_the_name_of_its_class(self) -> None:
        class Cheapest(type(first())):  # type: ignore[misc]
            pass

        assert repr(F.replica(2, pick=Cheapest())).startswith("Task(f).replica(2, pick=")


class TestExplain:
    def test_the_whole_onion(self) -> None:
        chain = (
            F.chaos(chaos)
            .timeout(100)
            .limit(limit)
            .breaker(breaker)
            .accept(is_good)
            .replica(2, after=20)
            .retry(1, backoff=None, retry_after=server_says)
            .budget(budget)
            .single_flight(flights)
            .cache(cache)
            .or_else([], on=OSError)
        )
        assert chain.explain() == dedent(f"""\
            when that fails with OSError, something else
              {cache}
                {flights}
                  {budget}
                    retry once, at once, or as server_says says
                      up to 2 calls, the next after 20 ms: the first answer wins
                        only answers that is_good accepts
                          {breaker}
                            {limit}
                              timeout 100 ms
                                {chaos}
                                  task f (sync)
              else the constant []""")

    def test_races(self) -> None:
        assert race(F, G, pick=quorum(2)).explain() == dedent("""\
            together, on the same input: what 2 agree on wins
              task f (sync)
              task g (async)""")
        assert F.replica(3, after=None, to=[G]).explain() == dedent("""\
            up to 3 calls, the next when one has failed: the first answer wins
              task f (sync)
              or task g (async)""")
        assert F.replica(2).explain().startswith("up to 2 calls, all at once: ")
        assert F.replica(2, after=quantile).explain().startswith("up to 2 calls, the next after the p95 of latencies: ")


class TestMermaid:
    def test_a_hedge_of_one_chain_is_in_its_box(self) -> None:
        text = F.timeout(5).replica(2, after=20).breaker(breaker).mermaid()
        hedge = "up to 2 calls, the next after 20 ms: the first answer wins"
        assert f'n0["f<br/>timeout 5 ms<br/>{hedge}<br/>breaker' in text
        assert "subgraph" not in text

    def test_a_race_ends_where_one_has_won(self) -> None:
        text = race(F, G).mermaid()
        assert 'n2{{"together, on the same input: the first answer wins"}}' in text
        assert text.endswith("n0 --> n2\n  n1 --> n2\n  input --> n0\n  input --> n1\n  n2 --> output")

    def test_a_fallback_says_for_what(self) -> None:
        assert '-. "fails with OSError" .->' in F.or_else(1, on=OSError).mermaid()


def test_nothing_is_changed_by_any_of_them() -> None:
    before = F.node
    node: Node = before
    for chain in (F.replica(2), F.accept(is_good), F.cache(cache), fan_out(F).limit(limit)):
        node = chain.node
        assert node is not before
    assert F.node is before
