"""watch() shows a balancer as it goes on: what it shows is made of two snapshots, and where it shows it depends."""

from __future__ import annotations

import asyncio
import importlib
import io
import sys
import threading
import time
from collections.abc import Callable
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
import trio
from attrs import evolve
from rich.console import Console
from screens import Kept, Terminal

from rio_chain import Balancer, ChainDefinitionError, Task, UsageError
from rio_chain.balancer._stats import SIZE, Histogram, HistogramCounter, Stats, WatchedBalancer
from rio_chain.inspect.live import _balancer_table as watching
from rio_chain.inspect.live import _rich_terminal
from rio_chain.inspect.live._balancer_table import BalancerView
from rio_chain.testing import leak_guard

EXECUTORS = ("asyncio", "trio", "thread")


def histogram(*ms: float) -> Histogram:
    tally = HistogramCounter()
    for one in ms:
        tally.add(one / 1000)
    return tally.frozen()


NONE = Histogram((0,) * SIZE)
EARLY = Stats(running=1, queued=0, abandoned=0, done=10, rejected=2, waits=histogram(0.01), runs=histogram(30, 30))
LATE = Stats(
    running=3, queued=7, abandoned=1, done=35, rejected=4, waits=histogram(0.01, 1, 1), runs=histogram(30, 30, 100)
)
EMPTY = Stats(running=0, queued=0, abandoned=0, done=0, rejected=0, waits=NONE, runs=NONE)


def watched(title: str = "Balancer asyncio open") -> WatchedBalancer:
    return WatchedBalancer(4, 100, 8, lambda: title, lambda: False, lambda: EMPTY)


def drawn(view: BalancerView, width: int = 80) -> list[str]:
    out = io.StringIO()
    Console(file=out, width=width, color_system=None).print(_rich_terminal.drawn(view.sheet(40)))
    return [row.rstrip() for row in out.getvalue().splitlines()]


def line(view: BalancerView) -> str:
    (only,) = view.news()
    return only


# --- what is shown ------------------------------------------------------------------------------------------------


def test_the_table_shows_what_is_now_and_what_was_in_the_last_seconds() -> None:
    rows = BalancerView(watched(), EARLY, LATE, 5.0).sheet(40).rows
    assert [tuple(cell.text for cell in row) for row in rows] == [
        ("running", "", "3/4"),
        ("queued", "", "7/100"),
        ("abandoned", "", "1/8"),
        ("rejected", "0.4/s", "4"),
        ("done", "5.0/s", "35"),
        ("wait p50", "<= 1 ms", "<= 1 ms"),
        ("wait p99", "<= 1 ms", "<= 1 ms"),
        ("run p50", "<= 100 ms", "<= 50 ms"),
        ("run p99", "<= 100 ms", "<= 100 ms"),
    ]


def test_the_table_has_a_title_and_says_of_how_long_it_speaks() -> None:
    title, head, first, *_ = drawn(BalancerView(watched(), EARLY, LATE, 4.96))
    assert title == "Balancer asyncio open"
    assert head.split() == ["last", "5.0", "s", "in", "all"]
    assert first.split() == ["running", "3/4"]


def test_where_there_is_little_room_the_table_says_how_many_rows_are_left_out() -> None:
    assert drawn(BalancerView(watched(), EARLY, LATE, 5.0))[-1].startswith("run p99")
    sheet = BalancerView(watched(), EARLY, LATE, 5.0).sheet(4)
    assert len(sheet.rows) == 4
    assert sheet.left == "and 5 more"


def test_the_first_look_has_no_rates() -> None:
    shown = "\n".join(drawn(BalancerView(watched(), EARLY, EARLY, 0.0)))
    assert "/s" not in shown
    assert "last" not in shown


def test_a_line_says_the_same() -> None:
    assert line(BalancerView(watched(), EARLY, LATE, 5.0)) == (
        "Balancer asyncio open: running 3/4, queued 7/100, abandoned 1/8, rejected 4 (0.4/s), done 35 (5.0/s), "
        "wait p50 <= 1 ms, wait p99 <= 1 ms, run p50 <= 100 ms, run p99 <= 100 ms"
    )
    assert line(BalancerView(watched(), EMPTY, EMPTY, 0.0)) == (
        "Balancer asyncio open: running 0/4, queued 0/100, abandoned 0/8, rejected 0, done 0"
    )


def test_nothing_in_a_name_or_a_number_is_markup_or_moves_the_cursor() -> None:
    class Loud(int):
        def __str__(self) -> str:
            return "[red]\x1b[2J\n[/red]"

        __repr__ = __str__

        def __format__(self, _: str) -> str:
            return str(self)

    loud = evolve(LATE, running=Loud(1), done=Loud(40))
    hostile = BalancerView(watched("[blink]\x1b[2J[/blink]\n"), EARLY, loud, 5.0)
    rows = drawn(hostile, width=200)
    assert "\x1b" not in "".join(rows)
    assert rows[0] == r"[blink]\x1b[2J[/blink]\n"
    assert any(r"[red]\x1b[2J\n[/red]/4" in row for row in rows)
    assert line(hostile).isprintable()


# --- watching -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("executor", EXECUTORS)
def test_where_there_is_no_terminal_it_prints_lines(executor: str, capsys: pytest.CaptureFixture[str]) -> None:
    with Balancer(executor, workers=2) as balancer:
        balancer.run(Task(abs)(-1))
        balancer.watch(duration=20)
    first, *_, last = capsys.readouterr().out.splitlines()
    assert first == (f"Balancer {executor} open: running 0/2, queued 0/1000, abandoned 0/4, rejected 0, done 1")
    assert last.startswith(first[: first.index("rejected")])
    assert "done 1 (0.0/s)" in last


def test_in_a_terminal_it_is_a_table_and_starts_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", terminal := Terminal())
    monkeypatch.setenv("TERM", "xterm")
    threads = threading.active_count()
    counted: list[int] = []
    stats = Balancer.stats
    monkeypatch.setattr(Balancer, "stats", lambda b: (counted.append(threading.active_count()), stats(b))[1])
    with leak_guard():
        Balancer().watch(duration=5)
    assert max(counted) <= threads
    assert terminal.getvalue().count("Balancer unbound open") >= len(counted)
    assert "running" in terminal.getvalue()
    assert terminal.getvalue().endswith("\x1b[?25h")  # the cursor is back


def test_it_ends_when_the_balancer_is_closed_and_idle(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(watching, "LINES", 0.001)
    balancer, gate = Balancer("thread", workers=1), threading.Event()
    ticket = balancer.post(Task(gate.wait)(20))
    watcher = threading.Thread(target=balancer.watch)
    watcher.start()
    closer = threading.Thread(target=balancer.close)
    closer.start()
    watcher.join(0.02)
    assert watcher.is_alive()  # closed, and not idle
    gate.set()
    watcher.join(20)
    closer.join(20)
    assert ticket.wait().unwrap() is True
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("Balancer thread closed: running 0/1, queued 0/1000, ")
    assert "done 1" in last


@pytest.mark.parametrize("terminal", [False, True])
def test_ctrl_c_ends_it_quietly(monkeypatch: pytest.MonkeyPatch, terminal: bool) -> None:
    def interrupted(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(sys, "stdout", Terminal() if terminal else io.StringIO())
    monkeypatch.setattr(watching, "time", SimpleNamespace(sleep=interrupted, monotonic=time.monotonic))
    Balancer().watch()


def test_rates_are_those_of_the_last_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    now, seen = 100.0, list[float]()
    looks = iter(range(10_000))

    def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds

    monkeypatch.setattr(watching, "time", SimpleNamespace(sleep=sleep, monotonic=lambda: now))
    busy = evolve(watched(), stats=lambda: evolve(EMPTY, done=10 * next(looks)))
    for view in watching.looks(busy, 60, 0.25):
        seen.append(view.seconds)
        if view.seconds:
            assert (view.now.done - view.before.done) / view.seconds == pytest.approx(40)
    assert max(seen) == seen[-1] == 5.0
    assert len(seen) == 241


@pytest.mark.parametrize("run", [asyncio.run, trio.run])
def test_the_loop_it_would_stop_refuses(run: Callable[[Any], None]) -> None:
    async def main() -> None:
        async with Balancer() as balancer:
            with pytest.raises(UsageError, match="would block the loop it watches"):
                balancer.watch()

    run(main()) if run is asyncio.run else run(main)


def test_without_rich_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(sys, "stdout", Terminal())
    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(ImportError, match=r"`pip install 'rio-chain\[watch\]'`"):
        Balancer().watch()


def test_in_a_notebook_it_is_one_output_that_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = Kept()
    monkeypatch.setattr(watching, "in_notebook", lambda: True)
    monkeypatch.setattr(watching, "Notebook", lambda: kept)
    Balancer(workers=3).watch(duration=1)
    assert [sheet.rows[0][2].text for sheet in kept.seen] == ["0/3", "0/3"]
    assert kept.closed == 1


@pytest.mark.parametrize("term", ["dumb", "xterm"])
def test_in_a_terminal_that_cannot_move_its_cursor_or_is_drawn_on_it_prints_lines(
    monkeypatch: pytest.MonkeyPatch, term: str
) -> None:
    monkeypatch.setattr(sys, "stdout", terminal := Terminal())
    monkeypatch.setenv("TERM", term)
    with _rich_terminal._one if term == "xterm" else nullcontext():
        Balancer().watch(duration=1)
    assert terminal.getvalue().startswith("Balancer unbound open: running 0/10")


def test_lines_need_no_rich(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(importlib, "import_module", None)
    Balancer().watch(duration=1)
    assert capsys.readouterr().out.startswith("Balancer unbound open: running 0/10")


@pytest.mark.parametrize("duration", [0, -1, float("inf"), True])
def test_a_wrong_duration_is_refused(duration: Any) -> None:
    with pytest.raises(ChainDefinitionError, match="`duration` must be a finite number of milliseconds"):
        Balancer().watch(duration=duration)
