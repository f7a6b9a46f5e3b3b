"""What a chain looks like: as source, as an indented tree, as a Mermaid flowchart."""

import re
from datetime import timedelta
from textwrap import dedent
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rio_chain import (
    Backoff,
    Call,
    Chain,
    Gate,
    Permit,
    Task,
    at_least,
    choose,
    each,
    expand,
    fan_out,
    reduce,
    settle,
    star,
    when,
)
from rio_chain.chain._source import ms


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


def add(total: Any, value: Any) -> Any:
    return total + value


def links(page: Any) -> Any:
    return page


def pages(place: Any) -> Any:
    yield place


def greet(orders: Any, user: Any = None, other: Any = None) -> Any:
    return orders, user, other


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
            "each(Task(fetch_user))",
            "each(Task(fetch_user) >> render, limit=3, ordered=False, on_error='keep')",
            "each(Task(fetch_user).retry(2), on_error=at_least(2)).timeout(5)",
            "each(each(Task(fetch_user)), limit=1)",
            "Task(pages) >> each(Task(fetch_user), on_error='drop') >> reduce(add)",
            "pages >> each(Task(fetch_user)) >> reduce(add, initial=[0, 'x'])",
            "expand(Task(fetch_user))",
            (
                "expand(Task(fetch_user), limit=2, depth=3, total=9, more=links, key=is_good, on_error='drop', "
                "on_limit='stop')"
            ),
            "choose(when(is_good, Task(fetch_user)))",
            "choose(when(int, Task(fetch_user)), when((str, float), Task(fetch_orders) >> render))",
            "choose(when((int,), Task(fetch_user)), otherwise=Task(fetch_orders) | Task(fetch_shops))",
            "(choose(when(int, Task(fetch_user))) & each(Task(fetch_user))) >> star(greet)",
            "fan_out(Task(fetch_user), Task(fetch_orders), Task(fetch_shops), need=2)",
            "fan_out(user=Task(fetch_user), shops=Task(fetch_shops), need=1)",
            "fan_out(Task(fetch_user), Task(fetch_orders), need=1) & Task(fetch_shops)",
            "fan_out(**{'class': Task(fetch_user), 'b': Task(fetch_orders)}, need=1)",
        ],
    )
    def test_is_the_code_that_builds_it(self, text: str) -> None:
        names = {**globals(), "max": max}
        chain = eval(text, names)  # noqa: S307 - the promise is that it evaluates
        assert repr(chain) == text
        assert eval(repr(chain), names) == chain  # noqa: S307

    def test_what_a_task_uses_goes_by_its_name(self) -> None:
        polite, both = Task(greet), (A & C).named("the two")
        pair = A >> render
        for chain, last in [
            (A.timeout(5) >> polite.using(user=A), "Task(greet).using(user=fetch_user)"),
            (
                A.named("who is it") >> polite.named("hi").using(user=A),
                "Task(greet).named('hi').using(user=fetch_user)",
            ),
            (both >> polite.inline().using(user=both), "Task(greet).inline().using(user=the_two)"),
            (both >> polite.using(user=A, other=C), "Task(greet).using(user=fetch_user, other=fetch_shops)"),
            (pair >> polite.using(user=pair), "Task(greet).using(user=Task(fetch_user) >> render)"),
        ]:
            assert f">> {last}" in repr(chain)
            assert f">> {last}).timeout(5)" in repr(chain.timeout(5))

    def test_what_is_used_stays_short(self) -> None:
        long = A >> fan_out(A, B, C) >> render
        assert repr(Task(greet).using(user=long)) == "Task(greet).using(user=...)"

    def test_a_repr_that_names_its_sources_evaluates(self) -> None:
        names = {**globals(), "fetch_user": A}
        chain = eval("fetch_user >> Task(greet).using(user=fetch_user)", names)  # noqa: S307
        assert chain == A >> Task(greet).using(user=A)

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

    def test_what_a_fallback_gets(self) -> None:
        def instead(error: object, user_id: int) -> object:
            return error, user_id

        chain = Task(fetch_user) | instead
        assert str(chain.explain()).splitlines()[-1] == "  else instead(error, input)"
        assert "instead(error, input)" in str(chain.mermaid())
        assert "instead(error, input)" in str(chain.svg())
        assert repr(chain) == "Task(fetch_user).or_else(instead)"

    def test_what_the_values_decide(self) -> None:
        chain = (
            Task(pages)
            >> each(A.timeout(5), limit=3, ordered=False, on_error=at_least(2))
            >> reduce(add)
            >> choose(
                when(is_good, each(A, on_error="keep")),
                when((int, str), expand(C, depth=3, more=links, key=is_good, on_error="drop", on_limit="stop")),
                otherwise=B,
            )
            >> fan_out(A, B, need=1)
            >> expand(C)
        )
        assert chain.explain() == dedent("""\
            in order
              task pages (sync generator)
              each item, at most 3 at once, as they come, failures dropped, at least 2 must succeed
                timeout 5 ms
                  task fetch_user#1 (sync)
              bridge add
              by the value, the first of these that fits
                if is_good: each item, at most 10 at once, in order, failures kept
                  task fetch_user#2 (sync)
                if int or str: each item and the items it leads to, at most 10 at once, at most 3 deep, 10000 in all, \
more by links, identified by is_good, failures dropped, the rest left out
                  task fetch_shops#1 (sync)
                otherwise: task fetch_orders#1 (async)
              together, on the same input, until 1 of 2 have succeeded, giving a tuple
                task fetch_user#3 (sync)
                task fetch_orders#2 (async)
              each item and the items it leads to, at most 10 at once, 10000 in all
                task fetch_shops#2 (sync)""")

    def test_what_is_used_is_named_as_in_the_outcome(self) -> None:
        first = A.timeout(5)
        both = (B & C).named("both")
        chain = first >> Task(fetch_user) >> both >> Task(greet).using(user=first, other=both)
        assert chain.explain() == dedent("""\
            in order
              timeout 5 ms
                task fetch_user#1 (sync)
              task fetch_user#2 (sync)
              both:
                together, on the same input, giving a tuple
                  task fetch_orders (async)
                  task fetch_shops (sync)
              task greet (sync), using user=fetch_user#1, other=both""")

    @pytest.mark.parametrize("call", ["limit", "breaker"])
    def test_a_gate_that_cannot_be_shown_goes_by_its_class(self, call: str) -> None:
        class Broken(Gate):
            def enter(self, call: Call) -> Permit:
                raise NotImplementedError

            def __str__(self) -> str:
                raise RuntimeError

            __repr__ = __str__

        chain = getattr(A, call)(Broken())
        assert chain.explain().splitlines()[0] == f"{call} by Broken"
        assert f"<title>{call} by Broken</title>" in chain.svg()
        assert f"{call} by Broken" in chain.mermaid()
        assert chain.plan().root.policy.awaited().startswith("its turn at <Broken instance at 0x")

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

    def test_what_the_values_decide(self) -> None:
        chain = A.timeout(5).retry(1) >> choose(
            when(int, each(C >> render)), otherwise=expand(B, depth=3) >> fan_out(A, C, need=1)
        )
        assert chain.mermaid() == dedent("""\
            flowchart LR
              input(("input"))
              n0["fetch_user#35;1<br/>timeout 5 ms<br/>retry once, backoff 50 ms x2 up to 1000 ms, full jitter"]
              n1{"choose"}
              subgraph f2["each item, at most 10 at once, in order"]
                n3["fetch_shops#35;1"]
                n4(["render"])
              end
              subgraph f5["each item and the items it leads to, at most 10 at once, at most 3 deep, 10000 in all"]
                n6["fetch_orders"]
              end
              n7["fetch_user#35;2"]
              n8["fetch_shops#35;2"]
              n9{{"1 of 2: tuple"}}
              output(("output"))
              n3 --> n4
              n1 -- "if int" --> n3
              n7 --> n9
              n8 --> n9
              n6 --> n7
              n6 --> n8
              n1 -- "otherwise" --> n6
              n0 --> n1
              input --> n0
              n4 --> output
              n9 --> output""")

    def test_what_is_used_is_an_arrow_with_its_name(self) -> None:
        user, both = A.timeout(5), B & C
        for inner in (user, user.named("x"), user.replica(2)):
            chain = inner >> both >> Task(greet).using(user=user, other=both)
            lines = [line.strip() for line in chain.mermaid().splitlines()]
            boxes = {line.partition("[")[2]: line[:2] for line in lines if line.startswith("n")}
            start = next(id_ for text, id_ in boxes.items() if text.startswith('"fetch_user'))
            [join] = [line[:2] for line in lines if line.endswith('{{"tuple"}}')]
            end = boxes['"greet"]']
            assert [line for line in lines if " -- " in line] == [
                f'{start} -- "user" --> {end}',
                f'{join} -- "other" --> {end}',
            ]

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


def hostile_choice() -> Chain[..., Any]:
    def task(x: Any, **_: Any) -> Any:
        return x

    class Bad:
        pass

    task.__name__ = Bad.__name__ = HOSTILE
    first = Task(task).named(HOSTILE)
    last = Task(task).using(**{HOSTILE: first})
    return first >> choose(when(Bad, expand(last, more=task, key=task)), when((Bad, int), Task(task)))


class TestInert:
    @pytest.mark.parametrize(("chain", "lines"), [(hostile_chain(), 11), (hostile_choice(), 6)])
    def test_text_is_one_line_a_part_of_printable_ascii(self, chain: Chain[..., Any], lines: int) -> None:
        plan = chain.plan()
        texts = [
            *repr(chain).splitlines(),
            *chain.explain().split("\n"),
            plan.title,
            *(task.name for task in plan.tasks),
        ]
        texts += [*chain.mermaid().split("\n"), *(bridge.after for bridge in plan.bridges), repr(chain(1))]
        assert [text for text in texts if not re.fullmatch(r"[ -~]*", text)] == []
        assert len(chain.explain().splitlines()) == lines

    @pytest.mark.parametrize("chain", [hostile_chain(), hostile_choice()])
    def test_a_diagram_holds_no_markup_but_its_own(self, chain: Chain[..., Any]) -> None:
        for line in chain.mermaid().splitlines():
            for label in re.findall(r'"(.*)"', line):
                assert re.fullmatch(r"([A-Za-z0-9_ .,:=()/-]|#\d+;|<br/>)*", label)
        assert "click n0 #34;javascript" in chain.mermaid()

    def test_a_diagram_never_looks_like_a_style(self) -> None:
        drawn = A.named("style x:y#z").or_else("a: b:c").mermaid()
        assert '["style x#58;y#35;z"]' in drawn
        assert "#39;a: b#58;c#39;" in drawn

    def test_source_holds_a_strange_function_name_as_an_identifier(self) -> None:
        assert "Task(x____click_n0__javascript" in repr(hostile_chain())

    def test_a_lambda_has_a_name(self) -> None:
        assert repr(Task(lambda x: x)) == "Task(lambda)"
        assert star(lambda x, y: x + y) is not None
        assert repr(A >> star(lambda x: x)) == "Task(fetch_user) >> star(lambda)"


def test_the_default_backoff_is_not_repeated() -> None:
    assert repr(A.retry(3, backoff=Backoff())) == "Task(fetch_user).retry(3)"
    assert repr(settle(A, B)) == "settle(Task(fetch_user), Task(fetch_orders))"


tasks = st.sampled_from([A, B, C.inline(), A.timeout(5)])
errors = st.sampled_from(["raise", "keep", "drop", at_least(2)])
tests = st.sampled_from([is_good, int, (str, int), (list,)])


def wider(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    small = st.integers(1, 12)
    return st.one_of(
        st.builds(lambda a, b: a >> b, inner, inner),
        st.builds(lambda a, b: a & b, inner, inner),
        st.builds(lambda a, b: a | b, inner, inner),
        st.builds(lambda a, n: a.retry(n), inner, small),
        st.builds(lambda a, b: settle(a, b) >> reduce(add, initial=0), inner, inner),
        st.builds(lambda a, b, c: fan_out(a, b, c, need=2), inner, inner, inner),
        st.builds(lambda a, b: fan_out(a=a, b=b, need=1), inner, inner),
        st.builds(lambda a, n, o, e: each(a, limit=n, ordered=o, on_error=e), inner, small, st.booleans(), errors),
        st.builds(lambda a, n, e: Task(pages) >> each(a, limit=n, on_error=e), inner, small, errors),
        st.builds(lambda a, n, e: expand(a, depth=n, total=n, more=links, on_error=e), inner, small, errors),
        st.builds(lambda t, a: choose(when(t, a)), tests, inner),
        st.builds(lambda t, a, u, b: choose(when(t, a), when(u, b), otherwise=a), tests, inner, tests, inner),
    )


@settings(deadline=None)
@given(st.recursive(tasks, wider, max_leaves=6))
def test_whatever_the_values_decide_the_repr_builds_it(chain: Chain[..., Any]) -> None:
    assert eval(repr(chain)) == chain  # noqa: S307
    for finding in chain.lint():
        if "budget" not in finding.better and "flights" not in finding.better:
            assert repr(eval(finding.better)) == finding.better  # noqa: S307


@settings(deadline=None)
@given(st.recursive(tasks, wider, max_leaves=4), st.recursive(tasks, wider, max_leaves=4))
def test_what_is_used_is_transparent(source: Chain[..., Any], between: Chain[..., Any]) -> None:
    """Of two chains one of which uses what is in it everything looks the same but that."""
    source = (Task(render) & source).named("x")
    plain = source >> between >> Task(greet)
    using = source >> between >> Task(greet).using(user=source)
    assert using.explain() == plain.explain() + ", using user=x"
    arrows = [line for line in using.mermaid().splitlines() if '-- "user" -->' not in line]
    assert "\n".join(arrows) == plain.mermaid()
    assert using.bounds() == plain.bounds()
    assert [finding.code for finding in using.lint()] == [finding.code for finding in plain.lint()]
    assert (using.plan().title, using.plan().to_dict()["root"]) == (plain.plan().title, plain.plan().to_dict()["root"])
