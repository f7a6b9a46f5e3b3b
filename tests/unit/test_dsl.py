"""Task, Chain, FanOut and their operators describe; every call gives a new, equal-by-content, immutable object."""

import asyncio
import pickle
import sys
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import attrs
import pytest

from rio_chain import Backoff, Chain, ChainDefinitionError, FanOut, Request, Task, fan_out, settle, star
from rio_chain.chain._nodes import Bridge, Constant, FanOutNode, Handler, Node, OrElse, Scope, Seq, TaskNode
from rio_chain.policies import DEFAULT_BACKOFF, Retry, Timeout


def travelled(thing: Any) -> Any:
    return pickle.loads(pickle.dumps(thing))  # noqa: S301 - our own


def f(x: Any) -> Any:
    return x


def g(x: Any) -> Any:
    return x


def h(x: Any) -> Any:
    return x


def pair(x: Any, y: Any) -> Any:
    return x, y


async def later(x: Any) -> Any:
    return x


def fetch_user(user_id: int, *, verbose: bool = False) -> int:
    return user_id + verbose


F, G, H = Task(f), Task(g), Task(h)


def kinds(chain: Chain[..., Any]) -> str:
    """The tree without what is in its leaves."""

    def of(node: Node) -> str:
        if isinstance(node, (TaskNode, Bridge)):
            return node.name
        if isinstance(node, Seq):
            return f"Seq({', '.join(map(of, node.steps))})"
        assert isinstance(node, FanOutNode)
        return f"FanOut({', '.join(map(of, node.branches))})"

    return of(chain.plan().root)


class TestTask:
    def test_holds_the_function_and_its_kind(self) -> None:
        assert F.node == TaskNode(f, "f", is_async=False)
        assert Task(later).node == TaskNode(later, "later", is_async=True)

    def test_is_a_decorator(self) -> None:
        @Task
        def double(x: int) -> int:
            return 2 * x

        assert isinstance(double, Task)
        assert repr(double) == "Task(double)"

    def test_policy_calls_give_a_chain_and_keep_the_origin(self) -> None:
        limited = F.timeout(100).retry(3)
        assert type(limited) is Chain
        assert isinstance(limited.node, Scope)
        assert isinstance(limited.node.inner, Scope)
        assert limited.node.inner.inner is F.node

    def test_an_origin_survives_pickling_and_stays_outside_equality(self) -> None:
        again = travelled(F.timeout(5))
        assert [task.call.origin for task in again.plan().tasks] == [F.node.origin]  # type: ignore[union-attr]
        assert Task(f) == F
        assert Task(f).node.origin != F.node.origin  # type: ignore[union-attr]

    def test_named_and_inline_give_a_task(self) -> None:
        named = F.named("user").inline()
        assert type(named) is Task
        assert named.node == TaskNode(f, "user", is_async=False, inline=True, explicit=True)
        assert F.node == TaskNode(f, "f", is_async=False)

    def test_a_second_name_replaces_the_first(self) -> None:
        assert F.named("a").named("b") == F.named("b")
        assert (F >> G).named("a").named("b") == (F >> G).named("b")


class TestThen:
    def test_brackets_make_no_difference(self) -> None:
        assert (F >> G) >> H == F >> (G >> H)
        assert hash((F >> G) >> H) == hash(F >> (G >> H))
        assert kinds(F >> (G >> H)) == "Seq(f, g, h)"

    def test_functions_on_either_side_are_bridges(self) -> None:
        chain = f >> G >> h
        assert kinds(chain) == "Seq(f, g, h)"
        assert [type(step) for step in chain.plan().root.steps] == [Bridge, TaskNode, Bridge]  # type: ignore[union-attr]

    def test_then_is_the_same(self) -> None:
        assert F.then(g).then(H) == F >> g >> H

    def test_a_policy_stops_the_flattening(self) -> None:
        assert (F >> G).timeout(5) >> H != F >> (G >> H).timeout(5)

    def test_an_operand_is_never_changed(self) -> None:
        before = F >> G
        _ = before >> H, before.timeout(1), before & H, before | H, before.named("x")
        assert before == F >> G

    def test_a_builtin_without_a_signature_is_taken(self) -> None:
        assert kinds(F >> print >> Task(int)) == "Seq(f, print, int)"


class TestFanOut:
    def test_and_extends_to_the_right_and_nests_in_brackets(self) -> None:
        assert kinds((F & G) & H) == "FanOut(f, g, h)"
        assert kinds(F & (G & H)) == "FanOut(f, FanOut(g, h))"
        assert isinstance((F & G) & H, FanOut)

    def test_fan_out_is_the_same_as_and(self) -> None:
        assert fan_out(F, G, H) == F & G & H
        assert fan_out(F & G, H) != F & G & H
        assert fan_out(F, G) & H == F & G & H

    def test_one_branch_still_gives_a_tuple(self) -> None:
        assert kinds(fan_out(F)) == "FanOut(f)"

    def test_keywords_are_kept_in_order(self) -> None:
        assert fan_out(b=F, a=G).node == FanOutNode((F.node, G.node), keys=("b", "a"))
        assert kinds(fan_out(b=F, a=G) & H) == "FanOut(FanOut(f, g), h)"

    def test_settle_says_so(self) -> None:
        assert settle(F, G).node == FanOutNode((F.node, G.node), settle=True)
        assert settle(F, G) != F & G
        assert kinds(settle(F, G) & H) == "FanOut(FanOut(f, g), h)"

    def test_a_policy_or_a_name_closes_it(self) -> None:
        assert len((F & G).timeout(5).plan().tasks) == 2
        assert ((F & G).timeout(5) & H).node.branches[1] == H.node  # type: ignore[union-attr]
        assert type((F & G).named("both")) is Chain

    def test_shift_binds_tighter_than_and(self) -> None:
        assert (F >> G & H) == (F >> G) & H


class TestOrElse:
    def test_the_three_kinds_of_fallback(self) -> None:
        assert (F | G).node == OrElse(F.node, G.node)
        assert (F | g).node == OrElse(F.node, Handler(g, "g", is_async=False))
        assert F.or_else(later).node == OrElse(F.node, Handler(later, "later", is_async=True))
        assert F.or_else([]).node == OrElse(F.node, Constant([]))
        assert F.or_else(None) == F | None

    def test_a_chain_with_an_unhashable_constant_has_a_hash(self) -> None:
        assert hash(F.or_else([])) == hash(F.or_else([]))


class TestPolicies:
    def test_timeout_takes_milliseconds_or_a_timedelta(self) -> None:
        assert F.timeout(100).node == Scope(Timeout(0.1), F.node)
        assert F.timeout(timedelta(seconds=2)).node == Scope(Timeout(2.0), F.node)

    def test_retry_keeps_its_arguments(self) -> None:
        assert F.retry(3).node == Scope(Retry(3, Exception, DEFAULT_BACKOFF, None), F.node)
        written = F.retry(2, on=(OSError, ValueError), backoff=None, accept=bool)
        assert written.node == Scope(Retry(2, (OSError, ValueError), None, bool), F.node)
        assert F.retry(0, on=callable, backoff=Backoff(base=1)).node.policy.retries == 0  # type: ignore[union-attr]

    def test_order_is_meaning(self) -> None:
        assert F.timeout(100).retry(3) != F.retry(3).timeout(100)


class TestStar:
    def test_spreads_keeps_name_and_kind(self) -> None:
        async def both(x: int, y: int) -> int:
            return x + y

        assert star(pair)((1, 2)) == (1, 2)
        assert (F & G >> star(pair) >> F).plan().tasks[0].name == "f#1"
        chain = (F & G) >> star(both)
        assert chain.plan().bridges[0].name == "both"
        assert chain.plan().root.steps[1].is_async  # type: ignore[union-attr]

    def test_can_be_pickled(self) -> None:
        assert travelled(star(pair)) == star(pair)


class TestRequest:
    def test_calling_binds_and_runs_nothing(self) -> None:
        request = Task(fetch_user)(42, verbose=True)
        assert isinstance(request, Request)
        assert (request.args, request.kwargs) == ((42,), {"verbose": True})
        assert repr(request) == "<Request of fetch_user: await it, or call .run() or .arun()>"

    def test_the_whole_signature_of_the_first_function_is_kept(self) -> None:
        chain = (Task(fetch_user).retry(2) >> g).timeout(5)
        assert chain(user_id=3, verbose=True).kwargs == {"user_id": 3, "verbose": True}

    def test_a_bridge_may_come_first(self) -> None:
        assert (pair >> F)(1, 2).args == (1, 2)

    def test_arguments_that_all_branches_take_are_fine(self) -> None:
        both = Task(fetch_user) & Task(fetch_user)
        assert both(1, verbose=True).kwargs == {"verbose": True}

    def test_a_keyword_called_self_is_the_users(self) -> None:
        def about(self: str) -> str:
            return self

        assert Task(about)(self="x").kwargs == {"self": "x"}


class TestImmutability:
    @pytest.mark.parametrize("chain", [F, F >> G, F & G])
    def test_nothing_can_be_set(self, chain: Chain[..., Any]) -> None:
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            chain.node = G.node  # type: ignore[misc]
        with pytest.raises((AttributeError, TypeError)):
            chain.other = 1  # type: ignore[attr-defined]
        assert not hasattr(chain, "__dict__")

    def test_equality_is_that_of_plans(self) -> None:
        assert Task(f) != Task(g)
        assert Task(f) != f
        assert {Task(f), Task(f), Task(g)} == {F, G}


class TestSize:
    """10,000 nodes, however bracketed, stay clear of every recursion limit."""

    @staticmethod
    def left(n: int) -> Chain[..., Any]:
        chain: Chain[..., Any] = F
        for _ in range(n // 2):
            chain = chain >> G >> f
        return chain

    @staticmethod
    def right(n: int) -> Chain[..., Any]:
        chain: Chain[..., Any] = F
        for _ in range(n // 2):
            chain = g >> (F >> chain)
        return chain

    @pytest.mark.parametrize("build", [left, right])
    def test_long(self, build: Callable[[int], Chain[..., Any]]) -> None:
        chain = build(10_000)
        assert len(chain.plan().tasks) == 5_001
        assert travelled(chain) == chain == build(10_000)
        assert hash(chain) == hash(build(10_000))
        assert len(repr(chain).splitlines()) == 10_003
        assert len(chain.explain().splitlines()) == 10_002
        assert chain(1).args == (1,)

    def test_wide(self) -> None:
        chain = F & G
        for _ in range(3_000):
            chain = chain & H  # type: ignore[assignment]
        assert len(chain.plan().tasks) == 3_002
        assert len(chain.plan().title) == 80
        assert chain(1).args == (1,)

    def test_nested_too_deeply_is_said_kindly(self) -> None:
        chain: Chain[..., Any] = F
        for _ in range(sys.getrecursionlimit()):
            chain = chain.timeout(5)
        with pytest.raises(ChainDefinitionError, match="nested too deeply"):
            chain.plan()


def test_two_requests_are_two_runs_also_for_gather() -> None:
    calls: list[int] = []
    chain = Task(calls.append)

    async def together() -> None:
        await asyncio.gather(chain(1), chain(1), chain({}))

    asyncio.run(together())
    assert sorted(map(str, calls)) == ["1", "1", "{}"]
