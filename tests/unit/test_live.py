"""run(live=True): the same run, shown while it goes on; what is shown is made of its events by pure functions."""

from __future__ import annotations

import asyncio
import importlib
import io
import sys
import threading
import time
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from returns.result import Failure
from rich.console import Console
from screens import Kept, Terminal

from rio_chain import (
    Balancer,
    BalancerClosed,
    Chain,
    ChainDefinitionError,
    DeadlineExceeded,
    Event,
    Task,
    UsageError,
    each,
    fan_out,
    remaining,
)
from rio_chain.inspect.live import _screen
from rio_chain.inspect.live._rich_terminal import drawn
from rio_chain.inspect.live._screen import LineOutput, Shown
from rio_chain.inspect.live._table import Cell, Sheet, html, text
from rio_chain.inspect.live._task_rows import TaskRow, Tasks, ended, folded
from rio_chain.testing import leak_guard

EXECUTORS = ("asyncio", "trio", "thread")
HOSTILE = '[red]</td><script>alert(1)</script>\x1b[2J\n"\u202e'


def failing(times: int) -> Callable[[Any], Any]:
    """A function that fails so many times, and then gives back what it gets."""
    left = [times]

    def flaky(value: Any) -> Any:
        left[0] -= 1
        if left[0] >= 0:
            raise OSError("busy")
        return value

    return flaky


def slow(value: Any) -> Any:
    time.sleep(0.03)
    return value


# --- rows ---------------------------------------------------------------------------------------------------------


def row_of(*events: Event, task: str = "a", now: float = 100.0) -> TaskRow:
    """What such events make of a task."""
    tasks = Tasks((Task(abs).named(task)).plan())
    for event in events:
        tasks.take(event)
    [row] = tasks.rows(now)
    return row


def test_a_task_waits_runs_is_tried_again_and_ends() -> None:
    begun = Event("started", "a", 10, attempt=1)
    failed = Event("attempt_failed", "a", 30, attempt=1, error=OSError())
    again = Event("started", "a", 40, attempt=2)
    done = Event("finished", "a", 60, attempt=2, status="succeeded")
    assert row_of() == TaskRow("a", "waiting", 0, None, {}, "")
    assert row_of(begun) == TaskRow("a", "running", 1, 90.0, {}, "")
    assert row_of(begun, failed) == TaskRow("a", "retrying", 1, 90.0, {}, "OSError")
    assert row_of(begun, failed, again) == TaskRow("a", "running", 2, 90.0, {}, "OSError")
    assert row_of(begun, failed, again, done) == TaskRow("a", "succeeded", 2, 50.0, {}, "")


def test_it_runs_while_one_of_its_replicas_does() -> None:
    two = [Event("started", "a", 0, attempt=1, replica=n) for n in (0, 1)]
    one_failed = Event("attempt_failed", "a", 5, attempt=1, replica=0, error=OSError())
    assert row_of(*two, one_failed).state == "running"
    assert row_of(*two, one_failed, one_failed).state == "retrying"


def test_items_are_counted_while_they_run() -> None:
    begun = [Event("started", "a", n, attempt=1, item=n) for n in range(4)]
    ends = [
        Event("finished", "a", 9, item=0, attempt=1, status="succeeded"),
        Event("finished", "a", 9, item=1, attempt=1, status="failed", error=OSError()),
    ]
    row = row_of(*begun, *ends)
    assert row.items == {"succeeded": 1, "failed": 1, "running": 2}
    assert row.state == "running"


CHAINS: dict[str, tuple[Callable[[], Chain[..., Any]], Any]] = {
    "one": (lambda: Task(abs), -1),
    "row": (lambda: Task(abs) >> str >> Task(len), -1),
    "retried": (lambda: Task(failing(2)).retry(3, backoff=None) >> Task(abs), 1),
    "failed": (lambda: Task(abs) >> Task(failing(9)).retry(1, backoff=None) >> Task(str), 1),
    "timed out": (lambda: Task(slow).timeout(3) >> Task(str), 1),
    "side by side": (lambda: fan_out(Task(abs), Task(failing(9)).named("b").or_else(0)) >> Task(len), 1),
    "items": (lambda: each(Task(failing(1)).retry(1, backoff=None), limit=2) >> Task(len), [1, 2, 3]),
    "items dropped": (lambda: each(Task(failing(1)), limit=1, on_error="drop") >> Task(len), [1, 2, 3]),
    "no items": (lambda: each(Task(abs), limit=2), []),
    "tried again together": (lambda: (Task(abs) >> Task(failing(1))).retry(1, backoff=None), 1),
    "hedged": (lambda: Task(slow).replica(2, after=1) >> Task(str), 1),
}


@pytest.mark.parametrize("executor", EXECUTORS)
def test_a_balancer_shows_a_run_as_well(executor: str, kept: Kept) -> None:
    chain = Task(failing(1)).retry(1, backoff=None) >> Task(str)
    with Balancer(executor, workers=1) as balancer:
        outcome = balancer.run(chain(7), live=True)
        assert (outcome.value, outcome[0].attempts) == ("7", 2)
        assert kept.closed == 1
        assert kept.last.startswith("succeeded in ")
        assert [row[1].text for row in kept.seen[-1].rows] == ["succeeded", "succeeded"]
        with pytest.raises(ChainDefinitionError, match="`live`"):
            balancer.run(chain(7), live=1)  # type: ignore[arg-type]
    with pytest.raises(BalancerClosed):
        balancer.run(chain(7), live=True)


@pytest.mark.parametrize("executor", EXECUTORS)
def test_a_balancer_streams_for_plain_code(executor: str) -> None:
    with Balancer(executor, workers=1) as balancer:
        with balancer.stream(Task(abs)(-7), values=True) as events:
            row_of = [(event.kind, event.value) for event in events]
        assert row_of == [("started", None), ("finished", 7), ("ended", None)]
        assert events.outcome.value == 7
        with balancer.stream(Task(slow)(1)) as events:
            for _ in events:
                break
        assert events.outcome.only.status in ("cancelled", "succeeded")


@pytest.mark.parametrize("as_completed", [False, True])
def test_a_map_gives_inputs_for_plain_code(*, as_completed: bool) -> None:
    with Balancer("thread", workers=2) as balancer:
        pairs = list(balancer.map(Task(int), ["1", "x", "3"], with_input=True, as_completed=as_completed))
        assert sorted((text, outcome.value_or(None)) for text, outcome in pairs) == [("1", 1), ("3", 3), ("x", None)]
        with pytest.raises(ChainDefinitionError, match="`with_input`"):
            balancer.map(Task(int), ["1"], with_input=1)  # type: ignore[call-overload]


@pytest.mark.parametrize("executor", EXECUTORS)
@pytest.mark.parametrize("name", CHAINS)
def test_the_events_lead_to_what_the_outcome_says(name: str, executor: str) -> None:
    make, value = CHAINS[name]
    request = make()(value)
    tasks = Tasks(request.plan)
    with request.stream(executor=executor) as events:
        for event in events:
            tasks.take(event)
    seen, over = tasks.rows(0.0), ended(events.outcome)
    items = [{k: n for k, n in row.items.items() if n} for row in seen]
    assert items == [row.items for row in over]
    assert [row.state for row, some in zip(seen, items, strict=True) if not some] == [
        row.state for row in over if not row.items
    ]
    assert [row.attempts for row in seen] == [row.attempts for row in over]


def test_where_there_is_no_room_those_that_are_at_work_are_kept() -> None:
    states = ["succeeded"] * 50 + ["running", "failed", "retrying"] + ["waiting"] * 50
    rows = [TaskRow(f"t{n}", state, 1, 1.0, {}, "") for n, state in enumerate(states)]  # type: ignore[arg-type]
    some, left = folded(rows, 6)
    assert [row.name for row in some] == ["t0", "t1", "t50", "t51", "t52"]
    assert left == "and 98 more: 50 waiting, 48 succeeded"
    assert folded(rows[:6], 6) == (rows[:6], "")


# --- sheets -------------------------------------------------------------------------------------------------------

SHEET = Sheet(
    Cell("title"), ("task", "status"), [(Cell("a"), Cell("running", "busy")), (Cell("long", "quiet"), Cell(""))], "more"
)


def test_a_sheet_is_plain_text() -> None:
    assert text(SHEET) == "title\ntask  status\na     running\nlong\nmore"
    assert text(Sheet(Cell("title"), share=0.5, note=Cell("half"))) == "title\nhalf"


class Read(HTMLParser):
    """The tags and the text of a piece of HTML; each tag is closed."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(source)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.open.append(tag)
        assert not [name for name, _ in attrs if name.startswith("on")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def test_a_sheet_is_html_that_runs_nothing() -> None:
    hostile = Sheet(Cell(HOSTILE), (HOSTILE,), [(Cell(HOSTILE, "bad"),)], HOSTILE, 0.25, Cell(HOSTILE))
    read = Read(html(hostile))
    assert set(read.tags) == {"div", "progress", "table", "thead", "tbody", "tr", "th", "td"}
    assert all(word.isprintable() and word.isascii() for word in read.words if word != HOSTILE)


def test_a_picture_replaces_the_table() -> None:
    assert html(Sheet(Cell("title"), picture=lambda: "<svg/>")) == "<svg/>"


def printed(sheet: Sheet, width: int = 60) -> list[str]:
    out = io.StringIO()
    Console(file=out, width=width, color_system=None).print(drawn(sheet))
    return [line.rstrip() for line in out.getvalue().splitlines()]


def test_a_sheet_is_drawn_in_a_terminal() -> None:
    assert printed(SHEET) == ["title", "task  status", "a     running", "long", "more"]
    title, bar = printed(Sheet(Cell("title"), share=0.5, note=Cell("half")))
    assert (title, bar.strip("━╺╸ ")) == ("title", "half")


def test_nothing_in_a_name_is_markup_or_moves_the_cursor() -> None:
    lines = printed(Sheet(Cell(HOSTILE), ("a",), [(Cell(HOSTILE, "bad"),)], note=Cell(HOSTILE)), width=200)
    assert "\x1b" not in "".join(lines)
    assert all(line.startswith("[red]</td>") for line in (lines[0], *lines[2:]))


@pytest.mark.parametrize("width", [10, 30])
def test_a_narrow_terminal_gets_one_line_for_each_row(width: int) -> None:
    row = tuple(Cell("x" * 40) for _ in range(5))
    assert len(printed(Sheet(Cell("y" * 99), tuple("abcde"), [row, row], note=Cell("z" * 99)), width)) == 5


def test_a_long_name_leaves_room_for_what_became_of_it() -> None:
    row = tuple(map(Cell, ("x" * 300, "succeeded", "3", "1000.0 ms", "items: " + "y" * 300)))
    head, line = printed(Sheet(Cell(""), ("task", "status", "attempts", "elapsed", ""), [row]), 80)
    assert "status" in head
    assert "succeeded" in line
    assert "1000.0 ms" in line


# --- the run ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("executor", EXECUTORS)
def test_a_live_run_gives_the_same_outcome(executor: str, kept: Kept) -> None:
    chain = Task(failing(1)).retry(1, backoff=None).named("first") >> Task(slow) >> Task(str)
    with leak_guard():
        outcome = chain(5).run(executor=executor, live=True)
    assert outcome.unwrap() == "5"
    assert [response.status for response in outcome] == ["succeeded"] * 3
    first, last = kept.seen[0], kept.seen[-1]
    assert [row[1].text for row in first.rows] == ["waiting"] * 3
    assert [row[1].text for row in last.rows] == ["succeeded"] * 3
    assert last.note.text == f"succeeded in {outcome.elapsed:.1f} ms"
    assert kept.closed == 1


def test_a_failure_is_shown_and_given_as_always(kept: Kept) -> None:
    outcome = Task(failing(1))(1).run(live=True)
    assert isinstance(outcome.result, Failure)
    assert kept.seen[-1].note.text == f"failed in {outcome.elapsed:.1f} ms: OSError"
    assert kept.seen[-1].rows[0][4].text == "OSError"


def test_a_deadline_holds(kept: Kept) -> None:
    outcome = Task(slow)(1).run(live=True, deadline=3)
    assert isinstance(outcome.result.failure(), DeadlineExceeded)
    assert kept.seen[-1].rows[0][1].text == outcome.only.status


def test_the_time_that_a_view_takes_to_open_is_not_the_runs(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []

    def open_slowly() -> Kept:
        time.sleep(0.01)  # as the import of rich does
        opened.append(time.monotonic())
        return kept

    monkeypatch.setattr(_screen, "screen_here", open_slowly)
    left, then = Task(lambda: (remaining(), time.monotonic()))().run(live=True, deadline=10_000).unwrap()
    assert left + (then - opened[0]) * 1_000 >= 10_000


def test_what_a_body_raises_to_end_the_process_is_raised(kept: Kept) -> None:
    def leave(_: int) -> None:
        raise SystemExit(3)

    with pytest.raises(SystemExit, match="3"):
        Task(leave)(1).run(live=True)
    assert kept.seen[-1].note.text.startswith("ended by SystemExit in ")
    assert kept.closed == 1


@pytest.mark.parametrize("executor", EXECUTORS)
def test_ctrl_c_cancels_the_run_and_waits_for_the_clean_up(
    executor: str, kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    cleaned = []

    async def forever(_: int) -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            cleaned.append(True)

    async def forever_on_trio(_: int) -> None:
        import trio  # noqa: PLC0415 - of one of the cases

        try:
            await trio.sleep_forever()
        finally:
            cleaned.append(True)

    def interrupted(_: Shown) -> None:
        if kept.seen[-1].rows[0][1].text == "waiting":
            return show(_)
        raise KeyboardInterrupt

    show = Shown.look
    monkeypatch.setattr(Shown, "look", interrupted)
    body = {"trio": forever_on_trio}.get(executor, forever)
    with leak_guard(), pytest.raises(KeyboardInterrupt):
        Task(body).named("body")(1).run(executor=executor, live=True)
    assert cleaned == [True]
    assert kept.seen[-1].rows[0][1].text == "cancelled"
    assert kept.seen[-1].note.text.startswith("cancelled in ")
    assert kept.closed == 1


@pytest.mark.parametrize("live", [None, 0, 1, "yes", "notebook"])
def test_live_is_true_or_false(live: Any) -> None:
    with pytest.raises(ChainDefinitionError, match=r"`live` must be True or False; got "):
        Task(abs)(1).run(live=live)


def test_what_run_refuses_is_refused_and_nothing_is_shown(kept: Kept) -> None:
    with pytest.raises(ChainDefinitionError, match="`executor` must be one of"):
        Task(abs)(1).run(executor="ray", live=True)

    async def inside(_: int) -> None:
        with pytest.raises(UsageError, match="would block the loop that runs the request"):
            Task(abs)(1).run(live=True)

    Task(inside)(1).run().unwrap()
    assert kept.seen == []


def test_no_values_are_shown(kept: Kept) -> None:
    secret = "hunter2"  # noqa: S105 - that is the point

    def refuse(_: str) -> None:
        raise ValueError(secret)

    (Task(str) >> Task(refuse))(secret).run(live=True)
    assert secret not in "".join(map(text, kept.seen))


def test_a_run_without_it_imports_nothing_of_it() -> None:
    import subprocess  # noqa: PLC0415 - here alone

    code = "import sys; from rio_chain import Task; Task(abs)(1).run(); print('rio_chain.inspect.live' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


# --- screens ------------------------------------------------------------------------------------------------------


def test_where_there_is_no_terminal_there_are_lines_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    outcome = (Task(failing(1)).named("first").retry(1, backoff=None) >> Task(failing(9)) >> Task(str))(1).run(
        live=True
    )
    out, err = capsys.readouterr()
    assert out == ""
    lines = err.splitlines()
    assert lines[0].startswith("first: succeeded, 2 attempts, ")
    assert lines[1].startswith("flaky: failed, ")
    assert lines[1].endswith(" ms, OSError")
    assert lines[2:] == ["str: skipped", f"first >> flaky >> str: failed in {outcome.elapsed:.1f} ms: OSError"]


def test_a_line_is_said_once_for_each_change(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, seen = threading.Event(), threading.Event()

    def held(value: int) -> int:
        begun.set()
        assert seen.wait(20)
        return value

    def show(lines: LineOutput, view: Any) -> None:
        before = begun.is_set()
        shown(lines, view)
        if before:
            seen.set()

    shown = LineOutput.show
    monkeypatch.setattr(LineOutput, "show", show)
    monkeypatch.setattr(LineOutput, "every", 0.0)
    monkeypatch.setattr("rio_chain.executors._blocking_wait.SLICE", 0.002)
    Task(held)(1).run(live=True)
    running, done, end = capsys.readouterr().err.splitlines()
    assert running.startswith("held: running, ")
    assert done.startswith("held: succeeded, ")
    assert end.startswith("held: succeeded in ")


def test_lines_come_less_often_the_longer_it_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(_screen, "time", SimpleNamespace(monotonic=lambda: now[0]))
    lines, said = LineOutput(sys.stderr), 0
    while now[0] < 600:
        now[0] += lines.every
        said += 1
    assert said <= 60


def open_terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Called in the test itself: pytest has a stderr of its own in each phase."""
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    return terminal


def test_in_a_terminal_it_is_drawn_in_place_and_starts_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = open_terminal(monkeypatch)
    most: list[int] = []

    def threads() -> int:
        """Without those for sync functions: another one starts where the last call is just ending."""
        return sum("-worker-" not in thread.name for thread in threading.enumerate())

    def count(value: Any) -> Any:
        most.append(threads())
        return value

    Task(count)(1).run()  # the threads that it would start anyway
    before = threads()
    (Task(slow) >> Task(count))(1).run(live=True)
    assert most[-1] <= before
    shown = terminal.getvalue()
    assert "slow >> count" in shown
    assert "waiting" in shown
    assert "\x1b[?25l" in shown  # the cursor is hidden
    assert shown.endswith("\x1b[?25h")  # and comes back


def test_what_is_printed_meanwhile_is_above(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = open_terminal(monkeypatch)
    monkeypatch.setattr(sys, "stdout", Terminal())
    Task(lambda value: (print("from the body"), value)[1])(1).run(live=True)  # noqa: T201
    assert "from the body" in terminal.getvalue()
    assert isinstance(sys.stdout, Terminal)


def test_what_is_printed_to_a_file_goes_to_the_file(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = open_terminal(monkeypatch)
    Task(lambda value: (print("from the body"), value)[1])(1).run(live=True)  # noqa: T201
    assert capsys.readouterr().out == "from the body\n"
    assert "from the body" not in terminal.getvalue()


def test_a_terminal_that_can_only_print_gets_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = open_terminal(monkeypatch)
    monkeypatch.setenv("TERM", "dumb")
    Task(abs)(1).run(live=True)
    assert "\x1b" not in terminal.getvalue()
    assert terminal.getvalue().startswith("abs: succeeded")


def test_one_alone_draws_and_what_runs_inside_gets_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = open_terminal(monkeypatch)
    inner = Task(abs).named("inner")
    Task(lambda value: inner(value).run(executor="thread", live=True))(1).run(executor="asyncio", live=True)
    assert terminal.getvalue().count("\x1b[?25l") == 1
    assert "inner: succeeded" in terminal.getvalue()
    Task(abs)(1).run(live=True)  # it is free again
    assert terminal.getvalue().count("\x1b[?25l") == 2


def test_without_rich_there_are_lines_and_a_hint_once(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = open_terminal(monkeypatch)

    def missing(name: str) -> ModuleType:
        if name.startswith("rich"):
            raise ModuleNotFoundError(name)
        return load(name)

    load = importlib.import_module
    monkeypatch.setattr(importlib, "import_module", missing)
    monkeypatch.setattr(_screen, "_hinted", set())
    for _ in range(2):
        Task(abs)(1).run(live=True)
    lines = terminal.getvalue().splitlines()
    assert lines[0] == "rio_chain: with the extra `rio-chain[watch]` this is a table that is drawn in place"
    assert [line.partition(" ")[0] for line in lines[1:]] == ["abs:"] * 4


class Cellular(ModuleType):
    """``IPython.display`` as far as it is used."""

    def __init__(self) -> None:
        super().__init__("IPython.display")
        self.bundles: list[dict[str, str]] = []
        self.displays = 0

    def display(self, bundle: dict[str, str], *, raw: bool, display_id: bool) -> Any:
        assert (raw, display_id) == (True, True)
        self.displays += 1
        self.bundles.append(bundle)
        return SimpleNamespace(update=lambda bundle, raw: self.bundles.append(bundle) if raw else None)


@pytest.fixture
def cell(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cellular]:
    cell = Cellular()
    monkeypatch.setitem(sys.modules, "IPython.display", cell)
    monkeypatch.setattr(_screen, "in_notebook", lambda: True)
    return cell


def test_in_a_notebook_one_output_is_changed_in_place(cell: Cellular) -> None:
    outcome = (Task(failing(1)).retry(1, backoff=None) >> Task(failing(9)).named("last"))(1).run(live=True)
    assert cell.displays == 1
    first, last = cell.bundles[0], cell.bundles[-1]
    assert "waiting" in first["text/plain"]
    assert "<svg" in first["text/html"]
    assert last["text/plain"].splitlines()[-1] == f"failed in {outcome.elapsed:.1f} ms: OSError"
    assert str(outcome.svg()) in last["text/html"]


def test_a_live_run_at_the_end_of_a_cell_shows_one_picture(cell: Cellular, monkeypatch: pytest.MonkeyPatch) -> None:
    shell = SimpleNamespace(execution_count=3)
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    outcome = Task(abs)(1).run(live=True)
    picture = str(outcome.svg())
    assert picture in cell.bundles[-1]["text/html"]
    of_the_cell = outcome._repr_mimebundle_()["text/html"]
    assert picture not in of_the_cell
    assert "<summary>Timeline</summary>" in of_the_cell
    another = Task(abs)(1).run()
    assert str(another.svg()) in another._repr_mimebundle_()["text/html"]
    shell.execution_count = 4
    assert picture in outcome._repr_mimebundle_()["text/html"]


def test_a_notebook_shows_what_there_is_as_text_where_pictures_are_off(
    cell: Cellular, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RIO_DISPLAY", "text")
    Task(abs)(1).run(live=True)
    assert {tuple(bundle) for bundle in cell.bundles} == {("text/plain",)}


def test_it_is_drawn_ten_times_a_second_at_most(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    kept.every = 0.1
    now = [0.0]
    monkeypatch.setattr(_screen, "time", SimpleNamespace(monotonic=lambda: now[0]))
    with Shown(SimpleNamespace(sheet=lambda _: SHEET)) as look:  # type: ignore[arg-type]
        for _ in range(1_000):
            now[0] += 0.001
            look()
    assert 10 <= len(kept.seen) <= 12


def test_a_slow_screen_takes_no_more_than_its_share(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]

    def sheet(_: int) -> Sheet:
        now[0] += 0.5
        return SHEET

    monkeypatch.setattr(_screen, "time", SimpleNamespace(monotonic=lambda: now[0]))
    with Shown(SimpleNamespace(sheet=sheet)) as look:  # type: ignore[arg-type]
        while now[0] < 60:
            now[0] += 0.01
            look()
    assert len(kept.seen) * 0.5 / now[0] < 0.12


@pytest.mark.parametrize("step", ["show", "close"])
def test_a_screen_that_fails_is_given_up_and_the_run_goes_on(
    step: str, kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError("the pipe is closed")

    monkeypatch.setattr(kept, step, fail)
    with pytest.warns(RuntimeWarning, match=r"the live view stopped: OSError\('the pipe is closed'\)") as warned:
        assert Task(slow)(1).run(live=True).unwrap() == 1
    assert len(warned) == 1
