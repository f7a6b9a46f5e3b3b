"""What a chain looks like: as source, as an indented tree, as a Mermaid flowchart."""

import re
from datetime import timedelta
from textwrap import dedent
from typing import Any

import pytest

from rio_chain import Backoff, Chain, Task, fan_out, settle, star
from rio_chain.show.source import ms


def fetch_user(user_id: int) -> int:
    return user_id


async def fetch_orders(query: Any) -> Any:
    return query


def fetch_shops(place: Any) -> Any:
    return place


def order_query(user: Any) -> Any:
    return user


async def to_location(user: Any) -> Any:
    return user


def render(found: Any) -> Any:
    return found


def is_good(value: Any) -> bool:
    return bool(value)


user = Task(fetch_user).timeout(100).retry(3)
orders = Task(fetch_orders).timeout(200)
nearby = Task(fetch_shops).timeout(80)
page = user >> ((order_query >> orders) & (to_location >> nearby.or_else([]))) >> render
A, B, C = Task(fetch_user), Task(fetch_orders), Task(fetch_shops)


class TestSource:
    @pytest.mark.parametrize(
        "text",
        [
            "Task(fetch_user)",
            "Task(fetch_user).named('user').inline()",
            "Task(fetch_user).timeout(100).retry(3)",
            "Task(fetch_user).retry(3).timeout(0.5)",
            "Task(fetch_user).retry(2, on=OSError, backoff=None, accept=is_good)",
            "Task(fetch_user).retry(2, on=(OSError,))",
            "Task(fetch_user).retry(2, on=(OSError, ValueError))",
            "Task(fetch_user).retry(2, backoff=Backoff(base=10, factor=3, cap=90, jitter='none'))",
            "Task(fetch_user) >> order_query >> Task(fetch_orders)",
            "order_query >> Task(fetch_user)",
            "order_query >> (render >> Task(fetch_user)) >> render",
            "order_query >> (render >> (to_location >> Task(fetch_user)))",
            "(Task(fetch_user) >> Task(fetch_orders)).timeout(5)",
            "(Task(fetch_user) >> Task(fetch_orders)).named('both') >> render",
            "Task(fetch_user) & Task(fetch_orders) & Task(fetch_shops)",
            "Task(fetch_user) & (Task(fetch_orders) & Task(fetch_shops))",
            "fan_out(Task(fetch_user) & Task(fetch_orders), Task(fetch_shops))",
            "fan_out(Task(fetch_user))",
            "fan_out(user=Task(fetch_user), rest=Task(fetch_orders) >> render)",
            "fan_out(**{'a b': Task(fetch_user)})",
            "settle(Task(fetch_user), Task(fetch_orders)) >> star(max)",
            "(Task(fetch_user) & Task(fetch_orders)) >> star(max)",
            "(Task(fetch_user) >> render) & Task(fetch_orders)",
            "Task(fetch_user) | Task(fetch_orders) | Task(fetch_shops)",
            "Task(fetch_user) | (Task(fetch_orders) | Task(fetch_shops))",
            "(Task(fetch_user) | Task(fetch_orders)) >> render",
            "(Task(fetch_user) & Task(fetch_orders)) | Task(fetch_shops)",
            "(Task(fetch_user) | Task(fetch_orders)) & Task(fetch_shops)",
            "Task(fetch_user).or_else([]).timeout(5)",
            "Task(fetch_user).or_else(render)",
            "Task(fetch_user).or_else({'a': (1, None)})",
            "(Task(fetch_user) >> render).or_else('x')",
        ],
    )
    def test_is_the_code_that_builds_it(self, text: str) -> None:
        names = {**globals(), "max": max}
        chain = eval(text, names)  # noqa: S307 - the promise is that it evaluates
        assert repr(chain) == text
        assert eval(repr(chain), names) == chain  # noqa: S307

    def test_one_step_a_line_where_it_is_long(self) -> None:
        assert repr(page) == dedent("""\
            (
                Task(fetch_user).timeout(100).retry(3)
                >> ((order_query >> Task(fetch_orders).timeout(200)) & (to_location >> Task(fetch_shops).timeout(80).or_else([])))
                >> render
            )""")  # noqa: E501 - one step a line, however long
        assert eval(repr(page)) == page  # noqa: S307

    def test_one_branch_a_line_too(self) -> None:
        wide = user & orders & nearby & A
        assert repr(wide).splitlines()[1:3] == [
            "    Task(fetch_user).timeout(100).retry(3)",
            "    & Task(fetch_orders).timeout(200)",
        ]
        assert eval(repr(wide)) == wide  # noqa: S307

    @pytest.mark.parametrize(
        ("duration", "text"),
        [(100, "100"), (0.1, "0.1"), (1e6, "1000000"), (1 / 3, "0.3333333333333333"), (timedelta(days=1), "86400000")],
    )
    def test_durations_are_milliseconds_that_come_back(self, duration: Any, text: str) -> None:
        assert repr(A.timeout(duration)) == f"Task(fetch_user).timeout({text})"

    def test_seconds_that_no_milliseconds_give_are_still_shown(self) -> None:
        assert float(ms(0.1)) == 100

    def test_a_constant_that_cannot_be_shown(self) -> None:
        class Broken:
            def __repr__(self) -> str:
                raise RuntimeError

        assert repr(A.or_else(Broken())) == "Task(fetch_user).or_else(<Broken>)"


class TestExplain:
    def test_shows_the_onion_from_outside_in(self) -> None:
        assert A.timeout(100).retry(3).timeout(500).explain() == dedent("""\
            timeout 500 ms
              retry up to 3 times, backoff 50 ms x2 up to 1000 ms, full jitter
                timeout 100 ms
                  task fetch_user (sync)""")

    def test_the_page(self) -> None:
        assert page.explain() == dedent("""\
            in order
              retry up to 3 times, backoff 50 ms x2 up to 1000 ms, full jitter
                timeout 100 ms
                  task fetch_user (sync)
              together, on the same input, giving a tuple
                in order
                  bridge order_query
                  timeout 200 ms
                    task fetch_orders (async)
                in order
                  bridge to_location (async)
                  when that fails, something else
                    timeout 80 ms
                      task fetch_shops (sync)
                    else the constant []
              bridge render""")

    def test_the_rest(self) -> None:
        chain = fan_out(a=A.inline() >> A, b=settle(A, B)).named("both") >> (
            A | B.retry(1, on=OSError, backoff=None, accept=is_good)
        ).or_else(render)
        assert chain.explain() == dedent("""\
            in order
              both:
                together, on the same input, giving a dict
                  a: in order
                    task fetch_user#1 (sync, inline)
                    task fetch_user#2 (sync)
                  b: together, on the same input, giving a tuple of Results
                    task fetch_user#3 (sync)
                    task fetch_orders#1 (async)
              when that fails, something else
                when that fails, something else
                  task fetch_user#4 (sync)
                  else retry once, at once, on OSError, unless accepted by is_good
                    task fetch_orders#2 (async)
                else render(error)""")

    def test_shows_itself_at_a_prompt(self) -> None:
        assert repr(page.explain()) == str(page.explain())


class TestMermaid:
    def test_the_page(self) -> None:
        assert page.mermaid() == dedent("""\
            flowchart LR
              input(("input"))
              n0["fetch_user<br/>timeout 100 ms<br/>retry up to 3 times, backoff 50 ms x2 up to 1000 ms, full jitter"]
              n1(["order_query"])
              n2["fetch_orders<br/>timeout 200 ms"]
              n3(["to_location"])
              n4["fetch_shops<br/>timeout 80 ms"]
              n5[/"#91;#93;"/]
              n6{{"tuple"}}
              n7(["render"])
              output(("output"))
              n1 --> n2
              n4 -. fails .-> n5
              n3 --> n4
              n2 --> n6
              n4 --> n6
              n5 --> n6
              n0 --> n1
              n0 --> n3
              n6 --> n7
              input --> n0
              n7 --> output""")

    def test_a_policy_around_several_tasks_is_a_frame(self) -> None:
        lines = (A >> (B | render).named("rest")).timeout(5).mermaid().splitlines()
        assert [line.strip() for line in lines if "subgraph" in line] == [
            'subgraph f0["timeout 5 ms"]',
            'subgraph f2["rest"]',
        ]
        assert lines.count("  end") + lines.count("    end") == 2

    def test_a_notebook_gets_a_diagram(self) -> None:
        assert page.mermaid()._repr_mimebundle_() == {  # type: ignore[attr-defined]
            "text/vnd.mermaid": str(page.mermaid()),
            "text/plain": str(page.mermaid()),
        }


HOSTILE = 'x"]; click n0 "javascript:alert(1)"\n</script><b>\x1b[31m`\u202e&amp;{{%%'


def hostile_chain() -> Chain[..., Any]:
    def task(x: Any) -> Any:
        return x

    def bridge(x: Any) -> Any:
        return x

    class Bad(Exception):
        pass

    task.__name__ = bridge.__name__ = Bad.__name__ = HOSTILE
    inner = Task(task).retry(1, on=Bad, accept=bridge).or_else(HOSTILE) >> bridge
    return fan_out(**{HOSTILE: inner, "b": Task(bridge).named(HOSTILE).or_else(bridge)}).named("all " + HOSTILE)


class TestInert:
    def test_text_is_one_line_a_part_of_printable_ascii(self) -> None:
        chain = hostile_chain()
        plan = chain.plan()
        texts = [repr(chain), *chain.explain().split("\n"), plan.title, *(task.name for task in plan.tasks)]
        texts += [*chain.mermaid().split("\n"), *(bridge.after for bridge in plan.bridges), repr(chain(1))]
        assert [text for text in texts if not re.fullmatch(r"[ -~]*", text)] == []
        assert len(chain.explain().splitlines()) == 11

    def test_a_diagram_holds_no_markup_but_its_own(self) -> None:
        for line in hostile_chain().mermaid().splitlines():
            for label in re.findall(r'"(.*)"', line):
                assert re.fullmatch(r"([A-Za-z0-9_ .,:=()/-]|#\d+;|<br/>)*", label)
        assert "click n0 #34;javascript" in hostile_chain().mermaid()

    def test_source_holds_a_strange_function_name_as_an_identifier(self) -> None:
        assert "Task(x____click_n0__javascript" in repr(hostile_chain())

    def test_a_lambda_has_a_name(self) -> None:
        assert repr(Task(lambda x: x)) == "Task(lambda)"
        assert star(lambda x, y: x + y) is not None
        assert repr(A >> star(lambda x: x)) == "Task(fetch_user) >> star(lambda)"


def test_the_default_backoff_is_not_repeated() -> None:
    assert repr(A.retry(3, backoff=Backoff())) == "Task(fetch_user).retry(3)"
    assert repr(settle(A, B)) == "settle(Task(fetch_user), Task(fetch_orders))"
