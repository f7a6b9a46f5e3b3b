"""map(progress=True) and amap(progress=True): how far things are, how quick, and how long the rest may take."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterable
from contextlib import aclosing
from types import SimpleNamespace
from typing import Any

import pytest
import trio
from screens import Kept
from waiting import eventually

from rio_chain import Balancer, ChainDefinitionError, Request, Task
from rio_chain.balancer._map_worker import MapItem
from rio_chain.engine._current_run import Run
from rio_chain.inspect.live import _progress as progressing
from rio_chain.inspect.live import _screen
from rio_chain.inspect.live._progress import Progress, rough
from rio_chain.results._outcome import Outcome
from rio_chain.testing import leak_guard

EXECUTORS = ("asyncio", "trio", "thread")
RUNS: dict[str, Callable[[Any], Any]] = {"asyncio": asyncio.run, "trio": trio.run}

ENDS = 3
"""How often one input is shown anyhow: when it begins, when it is answered, when all is over."""


def odd(value: int) -> int:
    if value % 2 == 0:
        raise ValueError(value)
    return value


ODD = Task(odd).named("odd")


# --- what is seen -------------------------------------------------------------------------------------------------


def item_of(request: Request[Any]) -> MapItem[Any]:
    return MapItem(request, Run(request.plan), 0.0)


class Scene:
    """A Progress on a clock that a test moves, and requests that are answered when one says so."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, inputs: Iterable[Any]) -> None:
        self.now = 0.0
        monkeypatch.setattr(progressing, "time", SimpleNamespace(monotonic=lambda: self.now))
        self.progress = Progress(inputs)
        self.requests: Any = SimpleNamespace(workers=[])
        self.progress.follow(self.requests)

    def answer(self, count: int, fn: Callable[[], Any] = int) -> None:
        for _ in range(count):
            item = item_of(Task(fn).named("page")())
            item.outcome = Task(fn)().run()
            self.requests.progress(item)

    def line(self) -> str:
        return self.progress.sheet(0).note.text


def test_the_rate_is_that_of_the_last_seconds_and_tells_the_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(monkeypatch, range(200))
    assert scene.line() == "0/200 done, 0.0 s"
    for second in range(1, 11):  # ten a second, and then two a second
        scene.now = second
        scene.answer(10)
        scene.line()
    assert scene.line() == "100/200 done, 10.0/s, 10 s left"
    for second in range(11, 31):
        scene.now = second
        scene.answer(2)
        scene.line()
    assert scene.line() == "140/200 done, 2.0/s, 30 s left"


def test_at_the_end_it_is_the_rate_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(monkeypatch, range(20))
    scene.now = 1
    scene.answer(19)
    scene.line()
    scene.now = 10
    scene.answer(1)
    assert scene.line() == "20/20 done, 2.0/s, 10 s"
    assert scene.progress.sheet(0).share == 1.0


def test_of_an_iterator_nobody_knows_how_much_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(monkeypatch, iter(range(20)))
    scene.now = 2
    scene.answer(10)
    assert scene.line() == "10 done, 5.0/s, 2.0 s"
    assert scene.progress.sheet(0).share is None


def test_failures_and_what_runs_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(monkeypatch, range(9))
    scene.answer(2)
    scene.answer(1, lambda: 1 / 0)
    waiting, running = (item_of(ODD(1)) for _ in range(2))
    running.run.root = object()  # type: ignore[assignment]
    scene.requests.workers += [SimpleNamespace(item=waiting), SimpleNamespace(item=running)]
    scene.now = 1
    assert scene.line() == "3/9 done, 1 failed, 1 running, 3.0/s, 2.0 s left"


def test_no_news_is_no_line(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(monkeypatch, range(9))
    assert list(scene.progress.news()) == []
    scene.answer(2)
    scene.now = 1
    assert list(scene.progress.news()) == ["page: 2/9 done, 2.0/s, 3.5 s left"]
    assert list(scene.progress.news()) == []


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0, "0.0 s"), (9.94, "9.9 s"), (12.3, "12 s"), (59.6, "1 min 0 s"), (185, "3 min 5 s"), (7_800, "2 h 10 min")],
)
def test_a_time_is_written_as_people_do(seconds: float, shown: str) -> None:
    assert rough(seconds) == shown


# --- map ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("as_completed", [False, True])
@pytest.mark.parametrize("executor", EXECUTORS)
def test_map_gives_the_same_and_shows_all_of_it(executor: str, as_completed: bool, kept: Kept) -> None:
    with leak_guard(), Balancer(executor, workers=3) as balancer:
        outcomes = balancer.map(ODD, range(50), progress=True, as_completed=as_completed)
        values = [outcome.value_or(-1) for outcome in outcomes]
    expected = [n if n % 2 else -1 for n in range(50)]
    assert (sorted(values) if as_completed else values) == (sorted(expected) if as_completed else expected)
    assert kept.last.startswith("50/50 done, 25 failed, ")
    assert (kept.seen[-1].title.text, kept.closed) == ("odd", 1)


async def all_of(balancer: Balancer, inputs: Any, **options: Any) -> list[Outcome[int]]:
    return [outcome async for outcome in balancer.amap(ODD, inputs, progress=True, **options)]


@pytest.mark.parametrize("as_completed", [False, True])
@pytest.mark.parametrize("loop", RUNS)
def test_amap_gives_the_same_and_shows_all_of_it(loop: str, as_completed: bool, kept: Kept) -> None:
    async def main() -> None:
        async with leak_guard(), Balancer(workers=3) as balancer:
            outcomes = await all_of(balancer, range(50), as_completed=as_completed)
        assert sorted(outcome.value_or(-1) for outcome in outcomes) == sorted(n if n % 2 else -1 for n in range(50))

    RUNS[loop](main) if loop == "trio" else RUNS[loop](main())
    assert kept.last.startswith("50/50 done, 25 failed, ")
    assert kept.closed == 1


@pytest.mark.parametrize("as_completed", [False, True])
@pytest.mark.parametrize("loop", RUNS)
def test_while_it_waits_it_is_shown_again(
    loop: str, as_completed: bool, kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also on a loop, where nothing but the answers wakes the task that waits."""
    monkeypatch.setattr("rio_chain.balancer._mapping.SLICE", 0.003)

    def slow(value: int) -> int:
        eventually(lambda: len(kept.seen) > ENDS)
        return value

    async def main() -> None:
        async with leak_guard(), Balancer() as balancer:
            outcomes = balancer.amap(Task(slow), [1], progress=True, as_completed=as_completed)
            assert [outcome.unwrap() async for outcome in outcomes] == [1]

    RUNS[loop](main) if loop == "trio" else RUNS[loop](main())
    assert len(kept.seen) > ENDS
    assert any("1 running" in sheet.note.text for sheet in kept.seen)


@pytest.mark.parametrize("as_completed", [False, True])
def test_map_shows_it_again_while_it_waits(as_completed: bool, kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rio_chain.balancer._mapping.SLICE", 0.003)
    monkeypatch.setattr("rio_chain.executors._blocking_wait.SLICE", 0.003)

    def slow(value: int) -> int:
        eventually(lambda: len(kept.seen) > ENDS)
        return value

    with Balancer("thread") as balancer:
        [outcome] = balancer.map(Task(slow), [1], progress=True, as_completed=as_completed)
    assert outcome.unwrap() == 1
    assert len(kept.seen) > ENDS


@pytest.mark.parametrize("executor", EXECUTORS)
def test_leaving_the_loop_cancels_the_rest_and_closes_the_view(executor: str, kept: Kept) -> None:
    with leak_guard(), Balancer(executor, workers=2) as balancer:
        for number, _ in enumerate(balancer.map(ODD, iter(range(1_000)), progress=True)):
            if number == 10:
                break
        assert kept.closed == 1
    assert balancer.stats().done < 1_000


@pytest.mark.parametrize("loop", RUNS)
def test_closing_the_async_loop_closes_the_view(loop: str, kept: Kept) -> None:
    async def main() -> None:
        async with leak_guard(), Balancer(workers=2) as balancer:
            async with aclosing(balancer.amap(ODD, iter(range(1_000)), progress=True)) as outcomes:  # type: ignore[type-var]
                async for _ in outcomes:
                    break
            assert kept.closed == 1

    RUNS[loop](main) if loop == "trio" else RUNS[loop](main())


@pytest.mark.parametrize("loop", RUNS)
def test_a_cancellation_passes_through_and_closes_the_view(loop: str, kept: Kept) -> None:
    """It comes in a wait that our own looking interrupts every so often."""
    ended = []

    async def forever(_: int) -> None:
        try:
            await {"trio": trio.sleep_forever, "asyncio": asyncio.Event().wait}[loop]()
        finally:
            ended.append(True)

    async def main() -> None:
        async with Balancer(workers=2) as balancer:
            async for _ in balancer.amap(Task(forever), [1], progress=True):
                pass

    async def on_trio() -> None:
        with trio.move_on_after(0.02) as scope:
            await main()
        assert scope.cancelled_caught

    async def on_asyncio() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.02):
                await main()

    trio.run(on_trio) if loop == "trio" else asyncio.run(on_asyncio())
    assert ended == [True]
    assert kept.closed == 1


def test_ctrl_c_cancels_what_is_under_way_and_closes_the_view(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(_screen.Shown, "look", interrupted)
    with leak_guard(), Balancer("thread", workers=2) as balancer, pytest.raises(KeyboardInterrupt):
        list(balancer.map(ODD, range(100), progress=True))
    assert kept.closed == 1


def test_what_a_body_raises_to_end_the_process_is_raised(kept: Kept) -> None:
    def leave(_: int) -> None:
        raise SystemExit(3)

    with Balancer("thread") as balancer, pytest.raises(SystemExit, match="3"):
        list(balancer.map(Task(leave), [1], progress=True))
    assert kept.last.startswith("1/1 done, 1 failed")


def test_no_inputs_are_soon_done(kept: Kept) -> None:
    with Balancer("thread") as balancer:
        assert list(balancer.map(ODD, [], progress=True)) == []
    assert kept.last.startswith("0/0 done")
    assert kept.seen[-1].share is None


@pytest.mark.parametrize("progress", [None, 0, 1, "bar"])
def test_progress_is_true_or_false(progress: Any) -> None:
    with Balancer("thread") as balancer:
        for call in (balancer.map, balancer.amap):
            with pytest.raises(ChainDefinitionError, match=r"`progress` must be True or False; got "):
                call(ODD, [1], progress=progress)


def test_without_it_nothing_of_it_is_imported() -> None:
    import subprocess  # noqa: PLC0415 - here alone

    code = (
        "import sys; from rio_chain import Balancer, Task\n"
        "with Balancer('thread') as b: list(b.map(Task(abs), [1]))\n"
        "print('rio_chain.inspect.live' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_elsewhere_it_is_a_line_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    with Balancer("thread") as balancer:
        list(balancer.map(ODD, range(10), progress=True))
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("odd: 10/10 done, 5 failed, ")
    assert err.count("\n") == 1
