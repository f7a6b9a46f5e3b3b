"""Pictures of chains and of runs: what they show, how they are shown in notebooks, and how they are saved."""

from __future__ import annotations

import linecache
import os
import pickle
import re
import time
from collections.abc import Callable
from functools import reduce
from itertools import pairwise
from pathlib import Path
from typing import Any, NoReturn
from xml.etree import ElementTree as ET

import pytest
from attrs import evolve
from returns.result import Failure

from rio_chain import (
    Balancer,
    Breaker,
    Chain,
    Outcome,
    Task,
    UsageError,
    choose,
    each,
    expand,
    fan_out,
    race,
    when,
)
from rio_chain.balancer import Histogram
from rio_chain.errors import BridgeFailed, Skipped
from rio_chain.inspect.pictures._balancer_picture import balancer_picture
from rio_chain.inspect.pictures._build_picture import picture
from rio_chain.inspect.pictures._paint_svg import paint
from rio_chain.inspect.pictures._status_marks import marks
from rio_chain.inspect.pictures._text_width import cut, width
from rio_chain.inspect.pictures._theme import STATES, TONES
from rio_chain.inspect.pictures._timeline import step
from rio_chain.inspect.pictures._timeline_rows import Timeline, timeline
from rio_chain.results._outcome import Failed
from rio_chain.results._task_record import ItemTotals, Log, TaskRecord, note_call
from rio_chain.testing import Script, run_virtual

SAVED = Path(__file__).parent / "pictures"


def ok(x: Any) -> Any:
    return x


def fetch_user(user_id: Any) -> Any:
    return user_id


def order_query(user: Any) -> Any:
    return user


def render(found: Any, user: Any = None) -> Any:
    return found, user


def is_good(value: Any) -> bool:
    return bool(value)


def named(name: str) -> Task[[Any], Any]:
    return Task(ok).named(name)


user = Task(fetch_user).timeout(100).retry(3)
orders, shops = named("orders"), named("shops")
page = (
    user
    >> (
        (order_query >> orders.timeout(200).retry(2).timeout(900)) & shops.timeout(80).replica(2, after=20).or_else([])
    ).breaker(Breaker())
    >> Task(render).using(user=user)
)


def a_run() -> Outcome[Any]:
    """The user was retried, the second shop won, the last task failed; it began at 10 s and waited 100 ms before."""
    log: Log = [None, (10.2, 10.35, "orders"), None, None]
    note_call(log, 0, 10.0, 10.05).failed(OSError("busy"))
    log[0].new_turn()
    note_call(log, 0, 10.1, 10.2).succeeded("user")
    hedged = log[2] = TaskRecord()
    hedged.called(10.2, 10.3)
    hedged.called(10.22, 10.3)
    hedged.call_records[1].replica = 1
    hedged.status, hedged.winner, hedged.started, hedged.value = "succeeded", 1, 2, "shops"
    hedged.call_records[1].status = "succeeded"
    note_call(log, 3, 10.35, 10.36).failed(error := ValueError("<no> template"))
    return Outcome(page.plan(), log, Failed(error), (9.9, 10.0, 10.4))


def a_run_with_items() -> Outcome[Any]:
    """Six items, of which one failed and one was slow; a fallback that was used, and one that was not; a timeout."""
    price = Script().then(1, after=4).then_raises(OSError("no price"), after=6).then(2, after=40).always(3, after=5)
    chain = (
        Task(Script().always([1, 2, 3, 4, 5, 6], after=10)).named("prices")
        >> (lambda prices: prices[:6])
        >> each(Task(price).named("price"), limit=2, on_error="keep")
        >> (
            Task(Script().always(0, after=50)).named("late").timeout(20).or_else(None)
            & Task(Script().always(1, after=5)).named("quick").or_else(None)
        )
    )
    return run_virtual(chain())


def a_balancer() -> str:
    with Balancer("thread", workers=2, buffer=10) as balancer:
        assert balancer.run(Task(len)("four")).unwrap() == 4
        stats = balancer.stats()
    stats = evolve(stats, waits=Histogram((0,)), runs=Histogram((0,)))  # which differ from run to run
    return paint(balancer_picture("Balancer thread", stats, workers=2, buffer=10))


PICTURES: dict[str, Callable[[], str]] = {
    "page": page.svg,
    "run": lambda: a_run().svg(),
    "timeline": lambda: a_run().timeline(),
    "items": lambda: a_run_with_items().svg(),
    "items_timeline": lambda: a_run_with_items().timeline(),
    "wrapped": lambda: reduce(lambda chain, i: chain >> named(f"step_{i}"), range(12), user).svg(),
    "balancer": a_balancer,
}


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_looks_as_it_did(name: str) -> None:
    """``RIO_PICTURES=new`` writes them anew; look at each in a browser before it is kept."""
    svg = PICTURES[name]()
    path = SAVED / f"{name}.svg"
    if os.environ.get("RIO_PICTURES") == "new":
        path.write_text(svg, encoding="utf-8")
    assert str(svg) == path.read_text(encoding="utf-8")


class TestPlan:
    def test_policies_are_on_their_task_in_order(self) -> None:
        box = next(b for b in picture(page.plan()).boxes if b.name == "orders")
        assert [badge.text for badge in box.badges] == ["timeout 200 ms", "retry 2", "timeout 900 ms"]
        assert box.rings == ("time", "again", "time")
        assert "task orders (sync)\ntimeout 200 ms\nretry up to 2 times" in box.full
        assert all(one.x < other.x for one, other in pairwise(box.badges[:2]))

    def test_a_policy_around_several_is_a_frame(self) -> None:
        [frame] = [b for b in picture(page.plan()).boxes if b.kind == "frame"]
        assert [badge.text for badge in frame.badges] == ["breaker"]

    def test_what_a_task_uses_has_a_line_of_its_own(self) -> None:
        [use] = [edge for edge in picture(page.plan()).edges if edge.line == "use"]
        assert use.label == "user"

    def test_every_construct_has_its_word(self) -> None:
        chain = (
            named("a")
            >> fan_out(x=named("b"), y=race(named("c"), named("d")))
            >> each(named("e"), limit=3)
            >> expand(named("f"))
            >> choose(when(is_good, named("g")), otherwise=named("h").inline())
            >> named("i").or_else(0).named("named")
            >> fan_out(named("j"), named("k"), need=1)
        )
        shown = picture(chain.plan())
        texts = {box.text for box in shown.boxes} | {edge.label for edge in shown.edges}
        texts |= {badge.text for box in shown.boxes for badge in box.badges}
        assert texts >= {
            "x", "y", "dict", "first", "each item, 3 at once", "expand, 10 at once", "if is_good", "otherwise",
            "inline", "else 0", "named", "1 of 2",
        }  # fmt: skip

    def test_it_has_a_text_for_screen_readers(self) -> None:
        tree = ET.fromstring(page.svg())  # noqa: S314 - our own
        assert tree.attrib["role"] == "img"
        title, about = tree.attrib["aria-labelledby"].split()
        said = {e.attrib["id"]: e.text for e in tree.iter() if e.attrib.get("id") in {title, about}}
        assert said == {title: page.plan().title, about: str(page.explain())}

    def test_its_id_is_its_own_and_the_same_each_time(self) -> None:
        ids = [ET.fromstring(chain.svg()).attrib["id"] for chain in (page, user, page)]  # noqa: S314
        assert ids[0] == ids[2] != ids[1]

    def test_nothing_is_loaded_and_nothing_runs(self) -> None:
        text = page.svg().replace('xmlns="http://www.w3.org/2000/svg"', "")
        assert not re.search(r"<script|@import|url\(|https?:|href|\bon\w+=", text)

    def test_its_style_is_for_itself_alone(self) -> None:
        css = re.findall(r"<style>(.*?)</style>", page.svg(), re.DOTALL)[0]
        id_ = ET.fromstring(page.svg()).attrib["id"]  # noqa: S314
        selectors = re.findall(r"(?:^|[}\n{])([^{}@\n;]+)\{", css)
        assert len(selectors) > 20
        assert all(f"#{id_}" in selector for selector in selectors if "prefers" not in selector)

    def test_a_long_row_goes_on_in_further_lines(self) -> None:
        chain: Chain[Any, Any] = named("t0")
        for i in range(1, 20):
            chain >>= named(f"a_rather_long_name_{i}")
        shown = picture(chain.plan())
        assert shown.width < 1300
        assert len({box.y for box in shown.boxes if box.kind == "task"}) > 2


class TestLarge:
    @staticmethod
    def row(count: int) -> Chain[Any, Any]:
        chain: Chain[Any, Any] = named("t0")
        for i in range(1, count):
            chain >>= named(f"t{i}")
        return chain

    @pytest.mark.parametrize("wide", [False, True])
    def test_a_thousand_tasks_are_folded_with_a_count(self, wide: bool) -> None:
        chain = fan_out(*(named(f"t{i}") for i in range(1_000))) if wide else self.row(1_000)
        plan = chain.plan()
        began = time.process_time()
        shown = picture(plan)
        assert time.process_time() - began < 2
        tasks = [box for box in shown.boxes if box.kind == "task"]
        [fold] = [box for box in shown.boxes if box.kind == "fold"]
        assert fold.text == f"... {1_000 - len(tasks)} more tasks"
        assert {tasks[0].name, tasks[-1].name} == {"t0", "t999"}
        assert len(tasks) < 30

    def test_a_thousand_tasks_in_each_other_are_folded_too(self) -> None:
        parts = (named(f"a{i}") >> each(named(f"b{i}") & named(f"c{i}")).timeout(5) >> Task(ok) for i in range(250))
        shown = picture(fan_out(*parts).plan())
        assert sum(box.kind == "task" for box in shown.boxes) <= 250

    def test_ten_thousand_do_not_break_it(self) -> None:
        chain = self.row(10_000)
        assert len(chain.svg()) < 100_000
        outcome = Outcome(chain.plan(), [(i, i + 0.5, i) for i in range(10_000)], 1, (0, 0, 10_000))
        assert len(outcome.svg()) + len(outcome.timeline()) < 1_500_000
        [fold] = [box for box in picture(chain.plan(), marks(outcome)).boxes if box.kind == "fold"]
        assert fold.mark is not None
        assert fold.mark.text.endswith("succeeded")

    def test_nor_does_the_deepest_chain_that_can_be_written(self) -> None:
        chain: Chain[Any, Any] = named("admission")
        deepest: Chain[Any, Any] = chain
        for i in range(1_000):  # far more than can be planned
            deepest, chain = chain, (chain.timeout(5) >> named(f"t{i}")).retry(1)
            try:
                chain.plan()
            except ValueError:
                break
        ET.fromstring(deepest.svg())  # noqa: S314
        assert set(deepest._repr_mimebundle_()) == {"text/plain", "text/html"}

    def test_what_is_used_of_a_fold_comes_from_there(self) -> None:
        source = named("source")
        chain: Chain[Any, Any] = self.row(500) >> source >> self.row_of("u", 500) >> Task(render).using(user=source)
        shown = picture(chain.plan())
        [use] = [edge for edge in shown.edges if edge.line == "use"]
        [fold] = [box for box in shown.boxes if box.kind == "fold"]
        x, y = map(float, use.path[1:].split("V")[0].split())
        assert fold.x < x < fold.right
        assert y == pytest.approx(fold.bottom, abs=0.1)

    @staticmethod
    def row_of(name: str, count: int) -> Chain[Any, Any]:
        chain: Chain[Any, Any] = named(f"{name}0")
        for i in range(1, count):
            chain >>= named(f"{name}{i}")
        return chain


class TestRun:
    def test_what_became_of_each_task(self) -> None:
        found = marks(a_run()).tasks
        assert [(mark.state, mark.text) for mark in found.values()] == [
            ("succeeded", "200 ms, 2 calls"),
            ("succeeded", "150 ms"),
            ("succeeded", "100 ms, 2 calls, replica 1 won"),
            ("failed", "failed after 10.0 ms"),
        ]
        assert "call 1: failed, 0.0 ms to 50.0 ms, OSError: busy" in found[0].full
        assert "ValueError: <no> template" in found[3].full

    def test_a_status_has_a_shape_and_not_only_a_colour(self) -> None:
        shapes = re.findall(r'class="i t-(\w+)"[^>]* d="([^"]+)"', a_run().svg())
        assert {state for state, _ in shapes} == {"succeeded", "failed"}
        assert len(set(shapes)) == 2

    def test_the_bridge_that_failed(self) -> None:
        outcome = (named("a") >> (lambda x: x["nope"]) >> named("b"))(1).run()
        [mark] = marks(outcome).bridges.values()
        assert mark.state == "failed"
        assert mark.full.startswith("TypeError")
        log: Log = [None, None]
        plan = (named("a") >> order_query >> named("b")).plan()
        other = Outcome(plan, log, Failed(BridgeFailed("gone", "a", "b", OSError())), (0, 0, 0))
        assert marks(other).bridges == {}

    def test_a_choice_and_an_each_that_failed(self) -> None:
        outcome = (named("a") >> choose(when(str, named("b")), when(is_good, named("c"))))(0).run()
        assert [mark.text for mark in marks(outcome).joints.values()] == ["failed"]
        [choice] = [box for box in picture(outcome.plan, marks(outcome)).boxes if box.kind == "choice"]
        assert choice.mark is not None
        assert "failed: LookupError: no `when` matches a value of type int" in choice.full
        outcome = (each(named("a")) >> each(named("b") >> each(named("c"))))([1]).run()
        frames = [box for box in picture(outcome.plan, marks(outcome)).boxes if box.kind == "items"]
        assert sorted(tuple(badge.text for badge in box.badges) for box in frames) == [(), (), ("failed",)]

    def test_items_are_counted(self) -> None:
        outcome = each(named("item"), on_error="drop")([1, 2, 3]).run()
        assert re.fullmatch(r"3 items, \d+\.\d ms", marks(outcome).tasks[0].text)
        first, *items = timeline(outcome).rows
        assert [bar.items for bar in first.bars] == [3]
        assert [row.name for row in items] == ["item[0]", "item[1]", "item[2]"]

    def test_a_cached_answer_made_no_call(self) -> None:
        entry = TaskRecord()
        entry.succeeded(1)
        outcome = Outcome(named("a").plan(), [entry], 1, (0, 0, 0))
        assert marks(outcome).tasks[0].text == "without a call"
        assert timeline(outcome).rows[0].bars == ()

    def test_the_fallback_that_was_used_is_marked(self) -> None:
        def fails(_: object) -> NoReturn:
            raise OSError

        unused, constant = named("a").or_else("unused"), Task(fails).named("b").or_else("spare")
        handled, chained = Task(fails).named("c").or_else(is_good), Task(fails).named("d") | named("e")
        late = (named("f") >> fails).or_else("late")
        outcome = fan_out(unused, constant, handled, chained, late)(1).run()
        assert marks(outcome).fallbacks == {1, 2, 3, 4}
        shown = picture(outcome.plan, marks(outcome))
        badges = {badge.text for box in shown.boxes for badge in box.badges}
        assert badges == {"else 'unused'", "else 'spare', used", "else 'late', used"}
        assert [(edge.line, edge.label) for edge in shown.edges if edge.label] == [("flow", "else, used")] * 2
        [handler] = [box for box in shown.boxes if box.text == "is_good(error)"]
        assert handler.mark is not None
        assert handler.mark.text == "used"
        before = picture(outcome.plan)
        assert {edge.line for edge in before.edges if edge.label} == {"else"}

    def test_a_fallback_of_an_earlier_attempt_is_not_marked(self) -> None:
        seen: list[int] = []

        def once(value: int) -> int:
            seen.append(value)
            if len(seen) == 1:
                raise OSError
            return value

        def refuses_the_first(value: object) -> object:
            if value == "spare":
                raise ValueError
            return value

        chain = (Task(once).or_else("spare") >> Task(refuses_the_first)).retry(1, backoff=None)
        assert marks(chain(1).run()).fallbacks == frozenset()

    def test_a_fallback_of_any_item_is_marked(self) -> None:
        def odd(value: int) -> int:
            if value % 2:
                raise OSError
            return value

        assert marks(each(Task(odd).or_else(0))([2, 3, 4]).run()).fallbacks == {0}
        assert marks(each(Task(odd).or_else(0))([2, 4]).run()).fallbacks == frozenset()

    def test_a_lambda_shows_its_source(self) -> None:
        chain = named("a") >> (lambda user: user["id"]) >> named("b").or_else(lambda error: [error])
        boxes = {box.text: box.full for box in picture(chain.plan()).boxes}
        assert boxes['lambda user: user["id"]'] == 'bridge lambda\nlambda user: user["id"]'
        assert "lambda error: [error]" in boxes
        without_a_file = eval("lambda user: user.id")  # noqa: S307
        boxes = {box.text: box.full for box in picture((named("a") >> without_a_file).plan()).boxes}
        assert boxes["lambda"] == "bridge lambda"

    def test_a_task_of_a_lambda_shows_its_source_unless_it_has_a_name(self) -> None:
        chain = Task(lambda number: number + 1) >> Task(lambda number: number - 1).named("less")
        boxes = {box.text: box.full for box in picture(chain.plan()).boxes}
        assert boxes["lambda number: number + 1"] == "task lambda (sync)\nlambda number: number + 1"
        assert "less" in boxes

    @pytest.mark.parametrize("text", ["import sys;exec(eval(sys.stdin.readline()))\n", "x = lambda user: name(user)\n"])
    def test_a_lambda_never_shows_text_of_another_program(self, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(linecache.cache, "<string>", (len(text), None, [text], "<string>"))
        boxes = {box.text: box.full for box in picture((named("a") >> eval("lambda user: user.id")).plan()).boxes}  # noqa: S307
        assert boxes["lambda"] == "bridge lambda"

    def test_the_rings_have_a_legend_where_there_are_several(self) -> None:
        shown = picture(named("a").timeout(5).retry(1).or_else(0).plan())
        assert [entry.text for entry in shown.legend] == ["time limit", "retry", "fallback"]
        assert shown.legend[-1].y + 10 < shown.height
        assert picture(named("a").timeout(5).plan()).legend == ()


class TestTimeline:
    def test_of_many_items_it_shows_those_that_failed_and_the_slowest(self) -> None:
        tally = ItemTotals()
        for number in range(20):
            entry = TaskRecord()
            entry.called(0.0, 0.001 * (number + 1))
            if number in (2, 5):
                entry.failed(OSError())
            else:
                entry.succeeded(number)
            tally.add(number, entry)
        tally.done()
        rows = timeline(Outcome(each(named("a")).plan(), [tally], [1], (0.0, 0.0, 1.0))).rows
        assert [row.name for row in rows] == ["a", "a[2]", "a[5]", "a[17]", "a[18]", "a[19]", ""]
        assert [row.status for row in rows[1:4]] == ["failed", "failed", "succeeded"]
        assert rows[-1].said == "and 15 more items"

    def test_calls_backoffs_hedges_and_the_queue(self) -> None:
        found = timeline(a_run())
        assert (found.queued, found.elapsed) == (pytest.approx(100), pytest.approx(400))
        user_, orders_, shops_, render_ = found.rows
        assert [(round(bar.began), round(bar.ended), bar.status) for bar in user_.bars] == [
            (0, 50, "failed"),
            (100, 200, "succeeded"),
        ]
        assert [(round(rest.began), round(rest.ended)) for rest in user_.rests] == [(50, 100)]
        assert [(bar.lane, bar.status) for bar in shops_.bars] == [(0, "cancelled"), (1, "succeeded")]
        assert (shops_.lanes, orders_.lanes) == (2, 1)
        assert [row.critical for row in found.rows] == [True, True, False, True]
        assert render_.said == "failed after 10.0 ms"

    def test_the_critical_path_of_a_fallback(self) -> None:
        log: Log = [None, (0.3, 0.4, 1), (0.0, 0.2, 2)]
        note_call(log, 0, 0.0, 0.3).failed(OSError())
        chain = (named("a") | named("b")) & named("c")
        found = timeline(Outcome(chain.plan(), log, (1, 2), (0, 0, 0.4)))
        assert [row.critical for row in found.rows] == [True, True, False]

    def test_a_stopped_branch_is_not_on_the_critical_path(self) -> None:
        stopped = TaskRecord()
        stopped.called(0.0, 0.3)
        stopped.status = "running"
        stopped.end(OSError(), sibling=True)
        log: Log = [None, stopped]
        note_call(log, 0, 0.0, 0.3).failed(OSError())
        found = timeline(Outcome((named("a") & named("b")).plan(), log, Failed(OSError()), (0, 0, 0.3)))
        assert [row.critical for row in found.rows] == [True, False]

    def test_those_that_took_longest_have_a_row(self) -> None:
        chain = TestLarge.row(100)
        log: Log = [(i / 100, (i + (0.9 if i % 2 else 0.1)) / 100, i) for i in range(100)]
        found = timeline(Outcome(chain.plan(), log, 1, (0, 0, 1)))
        assert (len(found.rows), found.folded) == (60, 40)
        assert {f"t{i}" for i in range(1, 100, 2)} <= {row.name for row in found.rows}

    def test_a_run_that_never_began(self) -> None:
        entry = TaskRecord()
        entry.skip(OSError())
        outcome = Outcome(named("a").plan(), [entry], Failed(Skipped()), (0, 0, 0))
        assert timeline(outcome) == Timeline("a", timeline(outcome).head, 0, 0, timeline(outcome).rows)
        ET.fromstring(outcome.timeline())  # noqa: S314

    @pytest.mark.parametrize(("span", "distance"), [(0, 0.0002), (1, 0.2), (100, 20), (194, 50), (30_000, 5_000)])
    def test_ticks_are_at_round_numbers(self, span: float, distance: float) -> None:
        assert step(span) == pytest.approx(distance)

    def test_items_that_ran_once_only(self) -> None:
        tally = ItemTotals()
        tally.add(0, (1.0, 2.0, 1))
        tally.done()
        outcome = Outcome(each(named("a")).plan(), [tally], [1], (1.0, 1.0, 2.0))
        assert outcome.only.began == 0
        assert marks(outcome).tasks[0].text == "1 item, 1000 ms"


class TestNotebook:
    @staticmethod
    def bundle(thing: Any, **which: Any) -> dict[str, str]:
        found: dict[str, str] = thing._repr_mimebundle_(**which)
        return found

    def test_a_chain_is_its_picture_and_what_there_is_to_read(self) -> None:
        found = self.bundle(page)
        assert found["text/plain"].startswith(repr(page))
        assert "task fetch_user (sync)" in found["text/plain"]
        for text in ("<svg", "<summary>Tree</summary>", "<summary>Bounds</summary>"):
            assert text in found["text/html"]

    def test_a_small_chain_is_its_repr(self) -> None:
        assert self.bundle(named("a"))["text/plain"] == "Task(ok).named('a')"

    def test_what_lint_finds_is_open(self) -> None:
        assert "<details open><summary>Lint: 1" in self.bundle(named("a").or_else(0).retry(1))["text/html"]

    def test_a_plan_a_request_and_an_outcome(self) -> None:
        assert self.bundle(page.plan())["text/plain"] == str(page.explain())
        assert self.bundle(page("secret"))["text/plain"].startswith("<Request of fetch_user")
        assert "secret" not in "".join(self.bundle(page("secret")).values())
        run = self.bundle(a_run())
        assert run["text/plain"] == a_run().summary()
        assert "<summary>Responses</summary>" in run["text/html"]
        assert "&lt;no&gt; template" in run["text/html"]

    def test_a_ticket_before_and_after_and_a_balancer(self) -> None:
        with Balancer(workers=1) as balancer:
            ticket = balancer.post(named("a")(1))
            ticket.wait()
            assert ticket.outcome is not None
            assert "<summary>Timeline</summary>" in self.bundle(ticket)["text/html"]
            ticket._outcome = None
            assert ticket.outcome is None
            assert "<svg" in self.bundle(ticket)["text/html"]
        shown = self.bundle(balancer)["text/html"]
        assert all(f">{text}<" in shown for text in ("queue", "0 of 1000 wait", "0 of 1 run", "1 succeeded"))
        assert "failed" not in re.sub(r"<style>.*?</style>", "", shown, flags=re.DOTALL)
        assert self.bundle(balancer)["text/plain"] == repr(balancer)

    def test_text_alone_where_that_is_asked_for(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("RIO_DISPLAY", "Text ")
        assert set(self.bundle(page)) == {"text/plain"}
        monkeypatch.setenv("RIO_DISPLAY", "html")
        assert set(self.bundle(page)) == {"text/plain", "text/html"}

    def test_only_what_is_asked_for(self) -> None:
        assert set(self.bundle(page, include={"text/plain"})) == {"text/plain"}
        assert set(self.bundle(page, exclude={"text/html"})) == {"text/plain"}

    @pytest.mark.parametrize("broken", ["html", "plain", "bundle"])
    def test_a_failure_of_ours_leaves_some_text(self, monkeypatch: pytest.MonkeyPatch, broken: str) -> None:
        def fail(*_: object) -> Any:
            raise RuntimeError("no")

        monkeypatch.setattr(f"rio_chain.inspect._notebook.{broken}", fail)
        found = self.bundle(page)
        assert set(found) == {"text/plain"}
        assert found["text/plain"]

    def test_a_picture_shows_itself(self) -> None:
        svg = page.svg()
        assert repr(svg).startswith("<Svg of fetch_user >> ")
        assert svg._repr_svg_() == str(svg)
        assert str(svg) in svg._repr_mimebundle_()["text/html"]
        again = pickle.loads(pickle.dumps(svg))  # noqa: S301 - our own
        assert (str(again), repr(again)) == (str(svg), repr(svg))


class TestSave:
    @pytest.mark.parametrize(
        ("suffix", "begins"),
        [
            (".svg", "<svg"),
            (".html", "<!doctype html>"),
            (".mmd", "flowchart LR"),
            (".txt", "in order\n"),
            (".SVG", "<svg"),
        ],
    )
    def test_the_suffix_says_what_is_written(self, tmp_path: Path, suffix: str, begins: str) -> None:
        path = page.save(tmp_path / f"plan{suffix}")
        text = path.read_text(encoding="utf-8")
        assert text.startswith(begins)
        assert text.endswith("\n")
        assert path == tmp_path / f"plan{suffix}"

    def test_of_a_run_the_text_is_its_summary(self, tmp_path: Path) -> None:
        assert a_run().save(str(tmp_path / "run.txt")).read_text() == a_run().summary() + "\n"

    @pytest.mark.parametrize("name", ["plan.png", "plan", ".svg", 7, None])
    def test_other_suffixes_are_refused_with_those_there_are(self, tmp_path: Path, name: Any) -> None:
        where = tmp_path / name if isinstance(name, str) else name
        with pytest.raises(UsageError, match=r"\.svg, \.html, \.mmd, \.txt|save\('plan.svg'\)"):
            page.save(where)
        assert list(tmp_path.iterdir()) == []


class TestParts:
    def test_a_text_is_cut_to_one_line(self) -> None:
        assert cut("short", 10) == "short"
        assert cut("a\nb\u202e", 20) == "a\\nb\\u202e"
        assert cut("x" * 10_000, 10) == "xxxxxxx..."

    def test_wide_letters_are_wider(self) -> None:
        assert width("mmm", 10) > width("aaa", 10) > width("iii", 10)

    def test_every_status_and_tone_has_a_colour_of_its_own(self) -> None:
        """At least 3 to 1, as WCAG asks of shapes, from a light and from a dark page."""
        for name, colour in {**TONES, **STATES}.items():
            for page_ in ("#ffffff", "#111111"):
                assert contrast(colour, page_) >= 3, (name, page_)


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(a: str, b: str) -> float:
    low, high = sorted((luminance(a), luminance(b)))
    return (high + 0.05) / (low + 0.05)


def test_a_result_is_still_what_it_was() -> None:
    assert isinstance(a_run().result, Failure)
