"""The watchdog names who holds a loop, once; and costs nothing: no timer on a loop, no look at an idle process."""

from __future__ import annotations

import asyncio
import gc
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

from rio_chain import Balancer, Chain, ChainDefinitionError, Task
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
        async with Balancer(workers=2, watchdog=True) as balancer:
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
    with Balancer(loop, watchdog=True) as balancer:
        for _ in range(50):
            balancer.run(chain(1))
            if told_of(seen, f"task {name}"):
                break
    assert len(told_of(seen, f"task {name}")) == 1


def test_each_name_is_told_once(seen: list[warnings.WarningMessage]) -> None:
    name = fresh("once")
    chain = Task(blocks).named(name).inline()
    with Balancer(watchdog=True) as balancer:
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

    with Balancer(loop, watchdog=True) as balancer:
        outcome = balancer.run((Task(sleeps) & Task(blocks) & (Task(sleeps) >> Task(waits)))(1))
    assert outcome.unwrap() == (1, 1, 1)
    assert [str(one.message) for one in seen] == []


def test_many_quick_tasks_hold_nothing_one_by_one(seen: list[warnings.WarningMessage]) -> None:
    """Not even where their caller never lets the loop go on."""

    async def main() -> None:
        chain = Task(abs).named(fresh("quick")).inline()
        async with Balancer(watchdog=True) as balancer:
            until = time.monotonic() + 0.05
            while time.monotonic() < until:
                await balancer.arun(chain(-1))

    asyncio.run(main())
    assert [str(one.message) for one in seen] == []


def test_without_it_nothing_is_told(seen: list[warnings.WarningMessage]) -> None:
    with Balancer() as balancer:
        for _ in range(3):
            balancer.run(Task(blocks).named(fresh("off")).inline()(1))
        assert balancer._core.stir is None
    assert seen == []


@pytest.mark.parametrize("wrong", [None, 1, "no"])
def test_the_switch_is_true_or_false(wrong: Any) -> None:
    with pytest.raises(ChainDefinitionError, match="`watchdog` must be True or False; got "):
        Balancer(watchdog=wrong)


# --- what it costs ------------------------------------------------------------------------------------------------


def test_an_idle_process_is_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[str] = []
    rests = threading.Event()
    monkeypatch.setattr(watchdog, "REST", 0.01)
    busy = watchdog._Watched.busy

    def counted(self: Any, stir: Any = None) -> bool:
        looks.append("look")
        if stir is not None:
            rests.set()
        return busy(self, stir)

    with Balancer(watchdog=True) as balancer:
        balancer.run(Task(waits)(1))
        monkeypatch.setattr(watchdog._Watched, "busy", counted)
        assert rests.wait(20)
        eventually(lambda: balancer._core.stir is not None, "that the next request would wake it")
        before = len(looks)
        time.sleep(0.03)
        assert len(looks) <= before + 1  # it was on its way to sleep
        balancer.run(Task(waits)(1))
        eventually(lambda: len(looks) > before + 1, "that it looked again")
        eventually(lambda: balancer._core.stir is not None, "that it went to sleep again")


@pytest.mark.parametrize("clock", ["jumping loop", "autojump", "still"])
def test_no_virtual_clock_moves(clock: str) -> None:
    async def main() -> None:
        now = asyncio.get_running_loop().time if clock == "jumping loop" else trio.current_time
        async with Balancer(workers=2, watchdog=True) as balancer:
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


@pytest.mark.parametrize("loop", LOOPS)
def test_it_keeps_neither_the_balancer_nor_its_loop(loop: str) -> None:
    def used() -> tuple[weakref.ref[Any], ...]:
        balancer = Balancer(loop, watchdog=True)
        balancer.run(Task(waits)(1))
        balancer.close()
        return weakref.ref(balancer), weakref.ref(balancer._core), weakref.ref(balancer._host)

    refs = used()

    def gone() -> bool:
        gc.collect()
        return all(ref() is None for ref in refs)

    eventually(gone, "that nothing was left of it")


def test_a_forked_child_makes_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    with Balancer(watchdog=True):
        before = watchdog._watchdog
    monkeypatch.setattr(watchdog, "_watchdog", before)  # and is put back in the end
    monkeypatch.setattr(watchdog, "_lock", lock := threading.Lock())
    with lock:  # as another thread of the parent may have held it
        watchdog._after_fork()
        with Balancer(watchdog=True):
            assert watchdog._watchdog not in (None, before)


def test_a_warning_that_is_an_error_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    name = fresh("error")
    chain = Task(blocks).named(name).inline()
    told: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", lambda args: told.append(args.exc_value))
    with warnings.catch_warnings(), Balancer(watchdog=True) as balancer:
        warnings.simplefilter("error")
        for _ in range(50):
            balancer.run(chain(1))
            if told:
                break
    (error,) = told
    assert isinstance(error, RuntimeWarning)
    assert str(error).startswith(f"task {name} has held")
    assert all(one.is_alive() for one in threading.enumerate() if "watchdog" in one.name)
