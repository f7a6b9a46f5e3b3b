"""A Plan numbers, names and validates; it is data and can travel."""

import pickle
import sys
from typing import Any

import pytest

from rio_chain import Chain, ChainDefinitionError, Plan, Task, fan_out, settle
from rio_chain.chain._nodes import FanOutNode, Seq
from rio_chain.chain._plan import PlannedBridge, compile_plan


def travelled(thing: Any) -> Any:
    return pickle.loads(pickle.dumps(thing))  # noqa: S301 - our own


def fetch_user(x: Any) -> Any:
    return x


def orders(x: Any) -> Any:
    return x


def nearby(x: Any) -> Any:
    return x


def order_query(x: Any) -> Any:
    return x


def to_location(x: Any) -> Any:
    return x


def render(x: Any) -> Any:
    return x


user, order, near = Task(fetch_user), Task(orders), Task(nearby)
page = user >> ((order_query >> order) & (to_location >> near.or_else([]))) >> render


def names(chain: Chain[..., Any]) -> list[str]:
    return [task.name for task in chain.plan().tasks]


class TestOrder:
    def test_tasks_are_left_to_right_branch_by_branch(self) -> None:
        assert names(page) == ["fetch_user", "orders", "nearby"]
        assert [task.index for task in page.plan().tasks] == [0, 1, 2]

    def test_a_primary_is_before_its_fallback(self) -> None:
        assert names((user | order) >> near) == ["fetch_user", "orders", "nearby"]

    def test_handlers_and_constants_are_no_tasks(self) -> None:
        assert names(user.or_else(render) >> order.or_else(0)) == ["fetch_user", "orders"]


class TestNames:
    def test_the_same_task_twice_is_numbered(self) -> None:
        assert names(user >> order >> user) == ["fetch_user#1", "orders", "fetch_user#2"]

    def test_a_name_by_hand_is_kept_and_others_give_way(self) -> None:
        assert names(user >> order.named("nearby") >> near) == ["fetch_user", "nearby", "nearby#1"]
        assert names(user >> user.named("fetch_user#1") >> user) == ["fetch_user#2", "fetch_user#1", "fetch_user#3"]

    def test_the_name_of_a_chain_counts_as_given(self) -> None:
        assert names((user >> order).named("orders")) == ["fetch_user", "orders#1"]

    def test_all_names_differ(self) -> None:
        chain = user >> user.named("a") >> (user & user) >> Task(orders) >> order.named("fetch_user")
        assert len(set(names(chain))) == len(names(chain))


class TestBridges:
    def test_the_tasks_around_a_bridge(self) -> None:
        assert page.plan().bridges == (
            PlannedBridge("order_query", "fetch_user", "orders"),
            PlannedBridge("to_location", "fetch_user", "nearby"),
            PlannedBridge("render", "(orders & nearby)", "output"),
        )

    def test_at_the_ends_are_input_and_output(self) -> None:
        assert (order_query >> user >> render).plan().bridges == (
            PlannedBridge("order_query", "input", "fetch_user"),
            PlannedBridge("render", "fetch_user", "output"),
        )

    def test_two_in_a_row_share_their_tasks(self) -> None:
        chain = user >> order_query >> to_location >> near
        assert chain.plan().bridges == (
            PlannedBridge("order_query", "fetch_user", "nearby"),
            PlannedBridge("to_location", "fetch_user", "nearby"),
        )

    def test_inside_of_a_scope_the_outside_is_seen(self) -> None:
        chain = user >> (render >> order >> order_query).timeout(5) >> near
        assert chain.plan().bridges == (
            PlannedBridge("render", "fetch_user", "orders"),
            PlannedBridge("order_query", "orders", "nearby"),
        )

    def test_numbered_names_are_used_and_bridges_numbered_too(self) -> None:
        chain = user >> render >> user >> render >> (order | near) >> to_location
        assert chain.plan().bridges == (
            PlannedBridge("render#1", "fetch_user#1", "fetch_user#2"),
            PlannedBridge("render#2", "fetch_user#2", "(orders | nearby)"),
            PlannedBridge("to_location", "(orders | nearby)", "output"),
        )

    def test_a_bridge_gives_way_to_a_task_of_its_name(self) -> None:
        chain = user >> orders >> order
        assert [bridge.name for bridge in chain.plan().bridges] == ["orders#1"]


def test_edges() -> None:
    assert set(page.plan().edges) == {
        ("fetch_user", "order_query"),
        ("fetch_user", "to_location"),
        ("order_query", "orders"),
        ("to_location", "nearby"),
        ("orders", "render"),
        ("nearby", "render"),
    }
    assert user.plan().edges == ()
    assert set((user >> (order | near)).plan().edges) == {("fetch_user", "orders"), ("fetch_user", "nearby")}


class TestTitle:
    @pytest.mark.parametrize(
        ("chain", "title"),
        [
            (user.timeout(5).retry(1), "fetch_user"),
            (user >> (order & near) >> render, "fetch_user >> (orders & nearby) >> render"),
            (user & (order >> near), "fetch_user & (orders >> nearby)"),
            ((user | order) >> near, "(fetch_user | orders) >> nearby"),
            (user.or_else([]), "fetch_user | []"),
            (user.or_else(render), "fetch_user | render"),
            (settle(user, order), "settle(fetch_user, orders)"),
            (fan_out(a=user, b=order), "fan_out(a=fetch_user, b=orders)"),
            (user >> (order >> near).named("rest"), "fetch_user >> rest"),
        ],
    )
    def test_is_short_source_without_policies(self, chain: Chain[..., Any], title: str) -> None:
        assert chain.plan().title == title

    def test_is_cut(self) -> None:
        title = fan_out(*[user] * 50).plan().title
        assert len(title) == 80
        assert title.endswith("...")

    def test_is_inert(self) -> None:
        chain = fan_out(**{"\x1b[2J\n": user.named("a\nb")})
        assert chain.plan().title == r"fan_out(\x1b[2J\n=a\nb)"


class TestPlan:
    def test_is_made_once(self) -> None:
        assert page.plan() is page.plan()

    def test_is_equal_by_content_and_travels_without_its_programs(self) -> None:
        plan = page.plan()
        again: Plan = travelled(plan)
        assert again == plan
        assert hash(again) == hash(plan)
        assert (again.tasks, again.bridges, again.title) == (plan.tasks, plan.bridges, plan.title)
        plan.programs["x"] = object()
        assert travelled(plan).programs == {}

    def test_compiling_a_root_again_changes_nothing(self) -> None:
        assert compile_plan(page.plan().root) == page.plan()

    def test_an_empty_one_is_refused(self) -> None:
        for node in (Seq(()), FanOutNode(())):
            with pytest.raises(ChainDefinitionError, match="at least one task"):
                compile_plan(node)

    def test_compiling_grows_with_the_nodes_and_no_faster(self) -> None:
        def calls(n: int) -> int:
            chain: Chain[..., Any] = user
            for _ in range(n):
                chain = chain >> order >> render
            counted = 0

            def count(*_: object) -> None:
                nonlocal counted
                counted += 1

            sys.setprofile(count)
            try:
                compile_plan(chain.node)
            finally:
                sys.setprofile(None)
            return counted

        assert calls(800) < 8.2 * calls(100)
