"""The watchdog names who holds a loop, once; and costs nothing: no timer on a loop, no look at an idle process."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import io
import pdb  # noqa: T100 - that the watchdog knows it is tested
import threading
import time
import warnings
import weakref
from collections.abc import Awaitable, Callable, Iterator
from itertools import count
from typing import Any

import pytest
import trio
import trio.testing
from conformance.harness import JumpingLoop, pause
from leaks.baseline import eventually

from rio_chain import Balancer, BalancerClosed, Chain, ChainDefinitionError, Task
from rio_chain.executors import watchdog

Work = Callable[[], Awaitable[None]]
LOOPS = ("asyncio", "trio")
NUMBERS = count()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watchdog, "LOOK", 0.004)
    monkeypatch.setattr(watchdog, "HELD", 0.008)


@pytest.fixture
def seen() -> Iterator[list[warnings.WarningMessage]]:
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        yield told


def on_loop(name: str, work: Work) -> None:
    async def main() -> None:
        await work()

    asyncio.run(main()) if name == "asyncio" else trio.run(work)


def fresh(name: str) -> str:
    """A name that was not told in this process."""
    return f"{name} {next(NUMBERS)}"


def blocks(x: Any) -> Any:
    time.sleep(0.04)
    return x


async def ablocks(x: Any) -> Any:
    blocks(x)
    return x


async def waits(x: Any) -> Any:
    await pause(0)
    return x


def accepts(_: Any) -> bool:
    time.sleep(0.04)
    return True


def bridge_of(name: str) -> Callable[[Any], Any]:
    def bridge(x: Any) -> Any:
        return blocks(x)

    bridge.__name__ = name
    return bridge


def told_of(seen: list[warnings.WarningMessage], who: str) -> list[warnings.WarningMessage]:
    return [one for one in seen if str(one.message).startswith(f"{who} has held the loop for more than ")]


HOLDERS: dict[str, Callable[[str], Chain[..., Any]]] = {
    "inline": lambda name: Task(blocks).named(name).inline(),
    "async": lambda name: Task(ablocks).named(name),
    "not written in Python": lambda name: Task(lambda _: 0.04).inline() >> Task(time.sleep).named(name).inline(),
    "callback": lambda name: Task(waits).named(name).accept(accepts),
    "branch": lambda name: Task(waits) & Task(waits).timeout(5_000).named(fresh("other")) >> Task(ablocks).named(name),
    "bridge": lambda name: Task(waits) >> bridge_of(name) >> Task(waits),
}


@pytest.mark.parametrize("kind", HOLDERS)
@pytest.mark.parametrize("loop", LOOPS)
def test_who_holds_the_loop_is_named(loop: str, kind: str, seen: list[warnings.WarningMessage]) -> None:
    name = fresh(kind)
    who = f"bridge {name}" if kind == "bridge" else f"task {name}"
    chain = HOLDERS[kind](name)

    async def main() -> None:
        async with Balancer(workers=2) as balancer:
            for _ in range(50):  # on a busy machine it may be looked at too late
                await balancer.arun(chain(1))
                if told_of(seen, who):
                    return

    on_loop(loop, main)
    (told,) = told_of(seen, who)
    assert told.category is RuntimeWarning
    assert str(told.message).endswith(" has held the loop for more than 8 ms; nothing else can run there meanwhile")
    if kind != "not written in Python":
        assert told.filename == __file__


@pytest.mark.parametrize("loop", LOOPS)
def test_a_loop_of_its_own_is_watched_too(loop: str, seen: list[warnings.WarningMessage]) -> None:
    name = fresh("own")
    chain = Task(blocks).named(name).inline()
    with Balancer(loop) as balancer:
        for _ in range(50):
            balancer.run(chain(1))
            if told_of(seen, f"task {name}"):
                break
    assert len(told_of(seen, f"task {name}")) == 1


def test_each_name_is_told_once(seen: list[warnings.WarningMessage]) -> None:
    name = fresh("once")
    chain = Task(blocks).named(name).inline()
    with Balancer() as balancer:
        for _ in range(50):
            balancer.run(chain(1))
            if told_of(seen, f"task {name}"):
                break
        for _ in range(3):
            balancer.run(chain(1))
    assert len(told_of(seen, f"task {name}")) == 1


@pytest.mark.parametrize("loop", LOOPS)
def test_who_waits_or_runs_on_a_thread_is_not_told(loop: str, seen: list[warnings.WarningMessage]) -> None:
    async def sleeps(x: Any) -> Any:
        await pause(30)
        return x

    with Balancer(loop) as balancer:
        outcome = balancer.run((Task(sleeps) & Task(blocks) & (Task(sleeps) >> Task(waits)))(1))
    assert outcome.unwrap() == (1, 1, 1)
    assert [str(one.message) for one in seen] == []


def test_many_quick_tasks_hold_nothing_one_by_one(seen: list[warnings.WarningMessage]) -> None:
    """Not even where their caller never lets the loop go on."""

    async def main() -> None:
        chain = Task(abs).named(fresh("quick")).inline()
        async with Balancer() as balancer:
            until = time.monotonic() + 0.05
            while time.monotonic() < until:
                await balancer.arun(chain(-1))

    asyncio.run(main())
    assert [str(one.message) for one in seen] == []


def test_without_it_nothing_is_told(seen: list[warnings.WarningMessage]) -> None:
    with Balancer(watchdog=False) as balancer:
        for _ in range(3):
            balancer.run(Task(blocks).named(fresh("off")).inline()(1))
        assert dogs() == []
    assert seen == []


@pytest.mark.parametrize("wrong", [None, 1, "no"])
def test_the_switch_is_true_or_false(wrong: Any) -> None:
    with pytest.raises(ChainDefinitionError, match="`watchdog` must be True or False; got "):
        Balancer(watchdog=wrong)


# --- what it costs ------------------------------------------------------------------------------------------------


def dogs() -> list[threading.Thread]:
    return [one for one in threading.enumerate() if "watchdog" in one.name]


@pytest.fixture
def no_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread would not look, and so not end, for long; unless it is told to."""
    monkeypatch.setattr(watchdog, "LOOK", 20)


def test_it_begins_with_the_first_request_and_ends_with_the_last_balancer(no_rest: None) -> None:
    with Balancer() as last:
        with Balancer("trio") as first, Balancer("thread") as threads:
            threads.run(Task(waits)(1))
            assert dogs() == []
            first.run(Task(waits)(1))
            last.run(Task(waits)(1))
            (dog,) = dogs()
        assert dogs() == [dog]
    assert dogs() == []


@pytest.mark.parametrize("loop", LOOPS)
def test_it_ends_with_a_balancer_on_a_loop(loop: str, no_rest: None) -> None:
    async def main() -> None:
        for _ in range(3):
            async with Balancer() as balancer:
                await balancer.arun(Task(waits)(1))
                assert len(dogs()) == 1
            assert dogs() == []

    on_loop(loop, main)


@pytest.mark.parametrize("loop", LOOPS)
def test_it_ends_when_the_loop_of_a_balancer_ends(loop: str) -> None:
    async def main() -> None:
        balancer = Balancer()
        await balancer.arun(Task(waits)(1))
        balancer.post(Task(waits)(1))
        assert len(dogs()) == 1

    on_loop(loop, main)
    eventually(lambda: not dogs(), "that the thread ended")


def test_it_ends_while_nothing_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watchdog, "REST", 0.01)
    with Balancer() as balancer:
        for _ in range(2):
            balancer.run(Task(waits)(1))
            eventually(lambda: not dogs(), "that the thread ended")
        monkeypatch.setattr(watchdog, "REST", 20)
        balancer.run(Task(waits)(1))
        assert len(dogs()) == 1


def test_whoever_is_told_may_close_the_balancer(monkeypatch: pytest.MonkeyPatch) -> None:
    """It does so on the very thread that closing ends."""
    chain = Task(blocks).named(fresh("closed")).inline()
    closed = threading.Event()

    def told(*_: object) -> None:
        balancer.close()
        closed.set()

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        monkeypatch.setattr(warnings, "showwarning", told)
        balancer = Balancer()
        with contextlib.suppress(BalancerClosed):
            for _ in range(50):
                balancer.run(chain(1))
        assert closed.wait(20)
    eventually(lambda: not dogs(), "that the thread ended")


def test_whoever_is_told_may_be_stuck(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watchdog, "_LEAVE", 0.01)
    chain = Task(blocks).named(fresh("stuck")).inline()
    stuck, go_on = threading.Event(), threading.Event()

    def told(*_: object) -> None:
        stuck.set()
        go_on.wait(20)

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        monkeypatch.setattr(warnings, "showwarning", told)
        with Balancer() as balancer:
            for _ in range(50):
                balancer.run(chain(1))
                if stuck.is_set():
                    break
        assert len(dogs()) == 1
        go_on.set()
        eventually(lambda: not dogs(), "that the thread ended")


def test_without_a_thread_to_be_had_requests_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def none_left(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    with Balancer() as balancer:
        with monkeypatch.context() as patch:
            patch.setattr(watchdog, "start_daemon", none_left)
            assert balancer.run(Task(waits)(1)).unwrap() == 1
        assert dogs() == []
        assert balancer.run(Task(waits)(1)).unwrap() == 1
        assert len(dogs()) == 1


def test_requests_that_begin_while_it_ends_are_watched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watchdog, "LOOK", 0.0001)
    monkeypatch.setattr(watchdog, "REST", 0.0001)
    with Balancer() as balancer:
        for _ in range(300):
            balancer.run(Task(waits)(1))
            assert dogs() or balancer._core.stir is not None or not balancer._core.queue.running
        eventually(lambda: not dogs() and balancer._core.stir is not None, "that it rested")


@pytest.mark.parametrize("clock", ["jumping loop", "autojump", "still"])
def test_no_virtual_clock_moves(clock: str) -> None:
    async def main() -> None:
        now = asyncio.get_running_loop().time if clock == "jumping loop" else trio.current_time
        async with Balancer(workers=2) as balancer:
            began = now()
            for _ in range(3):
                await balancer.arun((Task(blocks).inline() >> Task(waits))(1))
            assert now() == began

    with warnings.catch_warnings(action="ignore"):
        if clock == "jumping loop":
            with asyncio.Runner(loop_factory=JumpingLoop) as runner:
                runner.run(main())
        else:
            threshold = 0 if clock == "autojump" else float("inf")
            trio.run(main, clock=trio.testing.MockClock(autojump_threshold=threshold))


@pytest.mark.parametrize("clock", ["jumping loop", "autojump"])
def test_hours_of_virtual_time_are_no_hold(clock: str, seen: list[warnings.WarningMessage]) -> None:
    async def sleeps(x: Any) -> Any:
        await pause(3_600_000)
        return x

    async def main() -> None:
        async with Balancer(abandon_after=9e9) as balancer:
            for _ in range(20):
                await balancer.arun((Task(sleeps) & Task(sleeps))(1))

    if clock == "jumping loop":
        with asyncio.Runner(loop_factory=JumpingLoop) as runner:
            runner.run(main())
    else:
        trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    assert [str(one.message) for one in seen] == []


@pytest.mark.parametrize("loop", LOOPS)
def test_it_keeps_neither_the_balancer_nor_its_loop(loop: str) -> None:
    def used() -> tuple[weakref.ref[Any], ...]:
        balancer = Balancer(loop)
        balancer.run(Task(waits)(1))
        balancer.close()
        return weakref.ref(balancer), weakref.ref(balancer._core), weakref.ref(balancer._host)

    refs = used()

    def gone() -> bool:
        gc.collect()
        return all(ref() is None for ref in refs)

    eventually(gone, "that nothing was left of it")


def test_a_forked_child_makes_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_lock", "_awake", "_dog"):
        monkeypatch.setattr(watchdog, name, getattr(watchdog, name))  # and is put back in the end
    monkeypatch.setattr(watchdog, "_dog", watchdog.Watchdog())
    monkeypatch.setattr(watchdog, "_lock", lock := threading.Lock())
    with lock:  # as another thread of the parent may have held it
        watchdog._after_fork()
        with Balancer() as balancer:
            balancer.run(Task(waits)(1))
            assert len(dogs()) == 1
    assert dogs() == []


def test_a_warning_that_is_an_error_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told as other errors of threads are, without a traceback: there is nothing of the user's in it."""
    name = fresh("error")
    chain = Task(blocks).named(name).inline()
    told: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", lambda args: told.append((args.exc_value, args.exc_traceback)))
    with warnings.catch_warnings(), Balancer() as balancer:
        warnings.simplefilter("error")
        for _ in range(50):
            balancer.run(chain(1))
            if told:
                break
        assert len(dogs()) == 1
    ((error, traceback),) = told
    assert isinstance(error, RuntimeWarning)
    assert str(error).startswith(f"task {name} has held")
    assert traceback is None


def test_what_a_debugger_has_stopped_is_not_told(seen: list[warnings.WarningMessage]) -> None:
    typed = []

    class Slow(io.StringIO):
        def readline(self, *_: object) -> str:
            time.sleep(0.04)
            typed.append("continue")
            return "continue\n"

    def debugged(x: Any) -> Any:
        pdb.Pdb(stdin=Slow(), stdout=io.StringIO(), nosigint=True, readrc=False).set_trace()
        return x

    with Balancer() as balancer:
        for _ in range(3):
            assert balancer.run(Task(debugged).named(fresh("debugged")).inline()(1)).unwrap() == 1
    assert len(typed) == 3
    assert [str(one.message) for one in seen] == []
