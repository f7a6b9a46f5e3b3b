"""Strands that no caller waits for end with what owns them, and are kept alive until then."""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import threading
import warnings
from collections.abc import Callable, Coroutine, Iterator
from functools import partial
from typing import Any

import pytest
import trio
from conformance.harness import pause
from conformance.spawning import Door, Spawning, rest, run_in_strand, runtime
from forking import in_child
from waiting import eventually

from rio_chain import Balancer, Task
from rio_chain.executors import runtime_here
from rio_chain.executors._spawned_strands import living
from rio_chain.testing import Deadlock, Leaked, VirtualExecutor, leak_guard, run_virtual, sleep

Main = Callable[[], Coroutine[Any, Any, Any]]
ENDED = "cancelled: the loop it ran on has ended"


async def echo(x: object) -> object:
    return x


class Waiting(Spawning):
    """Its strands wait until somebody cancels them, and write down their clean-up."""

    def __init__(self) -> None:
        super().__init__(self.wait)
        self.door = Door()
        self.calls: list[str] = []

    async def wait(self) -> None:
        self.calls.append("began")
        try:
            await self.door.passed()
        finally:
            self.calls.append("cleaned up")

    async def awaited(self) -> None:
        """A request that spawns one; on a loop."""
        outcome = await self.around(echo)(7)
        assert outcome.result.unwrap() == 7
        while self.calls != ["began"]:
            await pause(1)


@pytest.fixture
def reported(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The errors that went to ``threading.excepthook``."""
    found: list[str] = []
    monkeypatch.setattr(threading, "excepthook", lambda args: found.append(f"{args.exc_value}"))
    yield found
    assert not living


def on_eager_asyncio(main: Main) -> None:
    async def outer() -> None:
        asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)  # type: ignore[attr-defined]
        await asyncio.create_task(main())

    asyncio.run(outer())


def on_uvloop(main: Main) -> None:
    uvloop = pytest.importorskip("uvloop")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())


def on_virtual_asyncio(main: Main) -> None:
    run_virtual(main, "asyncio")


def on_virtual_trio(main: Main) -> None:
    run_virtual(main, "trio")


def on_asyncio(main: Main) -> None:
    asyncio.run(main())


LOOPS: list[Callable[[Main], None]] = [
    on_asyncio, on_uvloop, trio.run, run_virtual, on_virtual_asyncio, on_virtual_trio,
]  # fmt: skip
if sys.version_info >= (3, 12):
    LOOPS.append(on_eager_asyncio)


@pytest.mark.parametrize("run", LOOPS)
def test_a_loop_that_ends_cancels_them_and_awaits_their_clean_up(
    run: Callable[[Main], None], reported: list[str]
) -> None:
    spawning = Waiting()
    run(spawning.awaited)
    assert spawning.calls == ["began", "cleaned up"]
    assert str(spawning.only.error) == ENDED
    assert reported == []


@pytest.mark.parametrize("run", LOOPS)
def test_one_that_has_not_begun_when_the_loop_ends_has_ended_too(
    run: Callable[[Main], None], reported: list[str]
) -> None:
    spawning = Waiting()

    async def main() -> None:
        await spawning.around(echo)(7)

    run(main)
    assert spawning.calls in (["began", "cleaned up"], [])
    assert str(spawning.only.error) == ENDED
    assert reported == []


@pytest.mark.parametrize("run", [on_asyncio, on_uvloop, trio.run])
def test_one_that_is_spawned_while_the_loop_ends_does_not_go_on(
    run: Callable[[Main], None], reported: list[str]
) -> None:
    spawning, late = Waiting(), []

    async def wait() -> None:
        try:
            await spawning.wait()
        finally:
            late.append(runtime().spawn(spawning.wait))

    spawning.main = wait
    run(spawning.awaited)
    gc.collect()
    assert late[0].done
    assert str(late[0].error) == ENDED


@pytest.mark.filterwarnings("ignore:coroutine")
@pytest.mark.parametrize("made", [asyncio.new_event_loop, "uvloop"])
def test_a_loop_that_is_closed_as_it_is_ends_them(made: Any, reported: list[str]) -> None:
    loop = pytest.importorskip("uvloop").new_event_loop() if made == "uvloop" else made()
    spawning = Waiting()
    loop.set_exception_handler(lambda *_: None)  # asyncio says that a task was destroyed
    try:
        loop.run_until_complete(spawning.awaited())
        assert not spawning.only.done
    finally:
        loop.close()
    del loop
    gc.collect()
    assert str(spawning.only.error) == ENDED
    assert not living
    assert reported == []


def test_one_that_is_cancelled_with_all_tasks_before_it_began_has_ended(reported: list[str]) -> None:
    spawning = Waiting()

    async def main() -> None:
        await spawning.around(echo)(7)
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        await asyncio.sleep(0.01)
        assert str(spawning.only.error) == ENDED

    asyncio.run(main())
    assert (spawning.calls, reported) == ([], [])


@pytest.mark.parametrize("native", ["asyncio", "uvloop"])
def test_a_balancer_on_a_loop_that_does_not_run_closes_without_them(
    native: str, reported: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rio_chain.balancer._close.STOPPED_LOOP_GRACE", 0.02)
    loop = (pytest.importorskip("uvloop") if native == "uvloop" else asyncio).new_event_loop()
    spawning = Waiting()
    balancer = Balancer()

    async def main() -> None:
        await balancer.arun(spawning.around(echo)(7))
        await asyncio.sleep(0.001)

    loop.run_until_complete(main())
    balancer.close()
    assert str(spawning.only.error) in ("cancelled: the balancer closed", ENDED)
    loop.run_until_complete(asyncio.sleep(0.01))  # somebody runs it again
    assert spawning.calls == ["began", "cleaned up"]
    loop.close()
    assert reported == []


def test_on_a_loop_that_others_follow_on_the_same_thread_they_are_kept(reported: list[str]) -> None:
    first, second = asyncio.new_event_loop(), asyncio.new_event_loop()
    spawning, other = Waiting(), Waiting()
    try:
        for loop, strands in ((first, spawning), (second, other)):
            loop.run_until_complete(strands.awaited())
            gc.collect()
        assert not spawning.only.done
        for loop, strands in ((first, spawning), (second, other)):
            loop.call_soon(strands.door.open)
            loop.run_until_complete(asyncio.sleep(0.01))
            assert strands.only.done
            assert strands.only.error is None
    finally:
        first.close()
        second.close()


@pytest.mark.parametrize("executor", ["asyncio", "trio", "thread"])
def test_after_a_blocking_run_they_go_on_where_such_runs_run(executor: str, reported: list[str]) -> None:
    spawning = Waiting()
    with pytest.raises(Leaked, match="strand spawned by task 'echo'"), leak_guard(patience=20):
        assert spawning.around(echo)(7).run(executor=executor).unwrap() == 7
    eventually(lambda: spawning.calls == ["began"])
    with leak_guard():
        spawning.door.open()
        eventually(lambda: spawning.only.done)
    assert spawning.only.error is None


def test_a_blocking_run_in_virtual_time_ends_them(reported: list[str]) -> None:
    ends = []

    async def main() -> None:
        await rest(5)
        ends.append("by itself")
        await rest(60_000)

    async def slow(x: object) -> object:
        await sleep(10)
        return x

    for run in (
        lambda request: request.run(executor="virtual"),
        run_virtual,
        lambda request: run_virtual(request, "thread"),
    ):
        spawning = Spawning(main)
        run(spawning.around(slow)(7))
        assert ends.pop() == "by itself", "the run that waits drives it"
        assert str(spawning.only.error) == ENDED
    assert reported == []


def test_on_a_virtual_executor_that_goes_on_the_next_run_drives_them(reported: list[str]) -> None:
    executor, spawning = VirtualExecutor(), Waiting()
    spawning.around(echo)(7).run(executor=executor)
    with Balancer(executor) as balancer:
        balancer.run(Task(sleep)(1))
        assert spawning.calls == ["began"]
        spawning.door.open()
        balancer.run(Task(sleep)(1))
        assert spawning.only.done


def test_where_a_virtual_loop_is_dropped_they_have_ended(reported: list[str]) -> None:
    spawning, other = Waiting(), Waiting()
    assert [event.kind for event in spawning.around(echo)(7).stream(executor="virtual")][-1] == "ended"
    balancer = Balancer("virtual")
    balancer.run(other.around(sleep)(1))
    assert not other.only.done
    del balancer
    gc.collect()
    for one in (spawning, other):
        assert str(one.only.error) == ENDED
    assert reported == []


@pytest.mark.parametrize("executor", ["asyncio", "trio", "thread"])
def test_a_balancer_that_is_dropped_lets_them_end_first(executor: str, reported: list[str]) -> None:
    spawning = Waiting()
    balancer = Balancer(executor, workers=1)
    balancer.run(spawning.around(echo)(7))
    eventually(lambda: spawning.calls == ["began"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        del balancer
        gc.collect()
    spawning.door.open()
    eventually(lambda: spawning.only.done)
    assert spawning.only.error is None


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
@pytest.mark.parametrize("executor", ["asyncio", "trio", "thread"])
def test_in_a_forked_child_there_are_none(executor: str, reported: list[str]) -> None:
    spawning = Waiting()

    def child() -> None:
        strand: Any = spawning.only
        strand.cancel()
        assert strand.run.stop_error is None, "it goes on in the parent alone"
        with leak_guard():
            own = Waiting()
            own.around(echo)(7).run(executor=executor)
            eventually(lambda: own.calls == ["began"])
            own.only.cancel("in the child")
            eventually(lambda: own.only.done)
        assert not living
        assert str(own.only.error) == "cancelled: in the child"

    with Balancer(executor) as balancer:
        balancer.run(spawning.around(echo)(7))
        eventually(lambda: spawning.calls == ["began"])
        in_child(child)
        assert not spawning.only.done
        spawning.door.open()
    assert spawning.only.error is None


def test_in_virtual_time_one_that_nothing_wakes_is_named_by_a_deadlock(reported: list[str]) -> None:
    spawning = Waiting()

    async def stuck(_: object) -> None:
        await runtime_here().waiter().wait()

    with pytest.raises(Deadlock) as caught:
        spawning.around(stuck)(7).run(executor="virtual")
    assert caught.value.ms == 0, "its limit of half a minute is no reason to go on"
    assert len(caught.value.waits) == 2
    assert all(line.startswith("task stuck waits for") for line in caught.value.waits), caught.value.waits
    assert spawning.calls == ["began", "cleaned up"]


def test_where_no_thread_can_be_started_it_begins_later(reported: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker that spawns it is busy with its own strand, so it needs another one, or the same one later."""
    spawning, real = Waiting(), threading.Thread.start
    started, refused = list[str](), list[str]()

    def start(thread: threading.Thread) -> None:
        if "-worker-" in thread.name:
            (refused if started and len(refused) < 3 else started).append(thread.name)
            if thread.name in refused:
                raise RuntimeError("can't start new thread")
        real(thread)

    monkeypatch.setattr(threading.Thread, "start", start)
    with Balancer("thread", workers=2) as balancer:
        assert balancer.run(spawning.around(str)(7)).unwrap() == "7"
        eventually(lambda: spawning.calls == ["began"])
        assert refused
        spawning.door.open()
    assert spawning.only.error is None


@pytest.mark.parametrize("executor", ["asyncio", "trio", "thread"])
def test_a_balancer_that_closes_in_a_storm_leaves_none(executor: str, reported: list[str]) -> None:
    """Requests spawn while the grace ends: each strand ends, is cancelled, or is refused."""
    spawned: list[Any] = []
    for grace in (0, 1, 2, 5):
        with leak_guard():
            balancer = Balancer(executor, workers=8)
            spawning = Spawning(partial(again, 4))
            chain = spawning.around(echo)
            tickets = [balancer.post(chain(k)) for k in range(60)]
            balancer.close(grace)
            assert all(ticket.done for ticket in tickets)
            assert all(strand.done for strand in spawning.spawned)
            spawned += spawning.spawned
    assert spawned
    assert {str(strand.error) for strand in spawned} <= {"None", "cancelled: the balancer closed"}


async def again(depth: int) -> None:
    """Rest, run a request, and spawn another one."""
    await rest(1)
    await run_in_strand(Task(str)(7))
    if depth:
        runtime().spawn(partial(again, depth - 1))
