"""leak_guard finds what is left over, says what it is and where, and finds nothing in clean code."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
import sniffio
import trio
import trio.testing
from conformance.harness import pause
from virtual_loops import on_asyncio, on_trio

from rio_chain import Balancer, RioError, Task, Ticket
from rio_chain.errors import ChainDefinitionError
from rio_chain.executors._process_resources import descriptors
from rio_chain.testing import Leaked, leak_guard

EXECUTORS = ("asyncio", "trio", "thread")
Work = Callable[[], Awaitable[Any]]


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """What leaky code waits for; opened at the end, so that the tests leave nothing."""
    event = threading.Event()
    yield event
    event.set()


def on_plain_asyncio(main: Work) -> Any:
    async def of() -> Any:
        return await main()

    return asyncio.run(of())


def on_still_clock(main: Work) -> None:
    trio.run(main, clock=trio.testing.MockClock())


LOOPS = [on_plain_asyncio, on_asyncio, trio.run, on_trio, on_still_clock]


async def add(x: int) -> int:
    await pause(0)
    return x + 1


async def forever() -> None:
    await pause(3_600_000)


def block(gate: threading.Event) -> None:
    gate.wait(20)


# --- clean code ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("executor", EXECUTORS)
def test_a_balancer_that_is_closed_leaves_nothing(executor: str) -> None:
    with leak_guard(), Balancer(executor, workers=2) as balancer, leak_guard(balancer):
        assert balancer.run((Task(add) >> Task(abs)).timeout(5_000)(1)).unwrap() == 2


@pytest.mark.parametrize("executor", EXECUTORS)
def test_the_loops_and_threads_that_blocking_runs_share_are_no_leaks(
    executor: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rio_chain.executors._blocking_run._hosts", {})  # as in a process that has made none yet
    monkeypatch.setattr("rio_chain.executors._thread._loops", {})
    with leak_guard():
        assert (Task(add) >> Task(abs).timeout(5_000))(1).run(executor=executor).unwrap() == 2


@pytest.mark.parametrize("loop", LOOPS)
def test_clean_code_on_a_loop_leaves_nothing(loop: Callable[[Work], Any]) -> None:
    async def main() -> None:
        async with leak_guard(), Balancer(workers=2) as balancer, leak_guard(balancer):
            assert (await balancer.arun((Task(add) & Task(add))(1))).unwrap() == (2, 2)
            assert (await balancer.post(Task(add)(1))).unwrap() == 2
            assert (await Task(add)(1)).unwrap() == 2

    loop(main)


@pytest.mark.parametrize("loop", [on_plain_asyncio, trio.run])
def test_idle_threads_that_a_loop_keeps_are_no_leaks(loop: Callable[[Work], Any]) -> None:
    async def main() -> None:
        async with leak_guard():
            assert (await Task(abs)(-1)).unwrap() == 1
            await (trio.to_thread.run_sync if loop is trio.run else asyncio.to_thread)(abs, -1)

    loop(main)


def test_what_is_just_ending_may_end() -> None:
    with leak_guard():
        threading.Thread(target=time.sleep, args=(0.02,)).start()


@pytest.mark.parametrize("loop", LOOPS)
def test_a_task_that_was_cancelled_may_end(loop: Callable[[Work], Any]) -> None:
    async def main() -> None:
        if sniffio.current_async_library() == "asyncio":
            async with leak_guard():
                asyncio.create_task(asyncio.sleep(3600)).cancel()
            return
        async with trio.open_nursery() as nursery, leak_guard():
            nursery.start_soon(trio.sleep_forever)
            nursery.cancel_scope.cancel()
            with trio.CancelScope(shield=True):
                await trio.lowlevel.checkpoint()

    loop(main)


def test_what_was_there_before_is_no_leak(gate: threading.Event) -> None:
    async def main() -> None:
        staying = asyncio.create_task(asyncio.sleep(3600))
        async with leak_guard(balancer, patience=0):
            pass
        staying.cancel()

    threading.Thread(target=block, args=(gate,)).start()
    with socket.socket(), Balancer("thread") as balancer:
        ticket = balancer.post(Task(block)(gate))
        asyncio.run(main())
        gate.set()
        ticket.wait()


def test_an_error_of_the_block_is_the_one_that_is_raised(gate: threading.Event) -> None:
    with pytest.raises(ZeroDivisionError), leak_guard(patience=0):
        _ = threading.Thread(target=block, args=(gate,)).start() or 1 / 0


# --- what is left is named ----------------------------------------------------------------------------------------


def test_a_thread_is_named_with_the_line_where_it_is(gate: threading.Event) -> None:
    with pytest.raises(Leaked) as caught, leak_guard(patience=0):
        threading.Thread(target=block, args=(gate,), name="my\nthread").start()
    (line,) = caught.value.left
    assert line.startswith("thread my\\nthread in block, ")
    assert line.endswith(": gate.wait(20)")
    assert __file__ in line
    assert str(caught.value).splitlines() == ["left over at the end, but not there at the beginning:", f"  {line}"]


@pytest.mark.parametrize("executor", EXECUTORS)
def test_a_blocking_call_left_on_a_shared_thread_is_named(executor: str, gate: threading.Event) -> None:
    Task(abs)(-1).run(executor=executor)  # its thread rests from here on, and may be the one that blocks
    with pytest.raises(Leaked) as caught, leak_guard(patience=50):
        Task(block).timeout(20)(gate).run(executor=executor)
    (line,) = caught.value.left
    assert line.startswith(f"thread rio_chain-{executor}-shared-worker-")
    assert " in block, " in line


@pytest.mark.parametrize("loop", LOOPS)
def test_a_task_is_named_with_the_line_where_it_is(loop: Callable[[Work], Any]) -> None:
    async def main() -> None:
        if sniffio.current_async_library() == "asyncio":
            with pytest.raises(Leaked) as caught:
                async with leak_guard(patience=20):
                    left = asyncio.create_task(forever(), name="poller")
            left.cancel()
        else:
            async with trio.open_nursery() as nursery:
                with pytest.raises(Leaked) as caught:
                    async with leak_guard(patience=20):
                        nursery.start_soon(forever, name="poller")
                nursery.cancel_scope.cancel()
        (line,) = caught.value.left
        assert line.startswith("task poller in ")
        assert ": await SLEEPS.get(" in line

    loop(main)


@pytest.mark.parametrize("loop", [on_plain_asyncio, trio.run])
def test_of_a_task_that_waits_for_a_fan_out_the_line_is_that_of_its_last_branch(loop: Callable[[Work], Any]) -> None:
    async def stays(_: int) -> None:
        await forever()

    async def fans_out() -> None:
        await (Task(add) & Task(stays))(1)

    async def main() -> None:
        if sniffio.current_async_library() == "asyncio":
            with pytest.raises(Leaked) as caught:
                async with leak_guard(patience=20):
                    left = asyncio.create_task(fans_out(), name="page")
            left.cancel()
        else:
            async with trio.open_nursery() as nursery:
                with pytest.raises(Leaked) as caught:
                    async with leak_guard(patience=20):
                        nursery.start_soon(fans_out, name="page")
                nursery.cancel_scope.cancel()
        (line,) = caught.value.left
        assert line.startswith("task page in ")
        assert ": await SLEEPS.get(" in line

    loop(main)


@pytest.mark.parametrize("loop", [on_plain_asyncio, trio.run])
def test_plain_with_on_a_loop_finds_its_tasks_too(loop: Callable[[Work], Any]) -> None:
    async def main() -> None:
        balancer = Balancer()
        with pytest.raises(Leaked, match=r"task .*_keep"), leak_guard(patience=0):
            await balancer.arun(Task(add)(1))
        await balancer.aclose()

    loop(main)


@pytest.mark.skipif(not descriptors(), reason="this system has no list of descriptors")
def test_a_descriptor_is_named_with_what_it_leads_to() -> None:
    with pytest.raises(Leaked) as caught, leak_guard(patience=0):
        left, fd = socket.socket(), os.open(__file__, os.O_RDONLY)
    assert len(caught.value.left) == 2
    assert f"descriptor {fd}: {__file__}" in caught.value.left
    assert any(line.startswith(f"descriptor {left.fileno()}: ") for line in caught.value.left)
    left.close()
    os.close(fd)


@pytest.mark.parametrize("executor", EXECUTORS)
def test_a_balancer_that_was_not_closed_leaves_its_threads(executor: str) -> None:
    balancer = Balancer(executor)
    with pytest.raises(Leaked, match=f"thread rio_chain-{executor}"), leak_guard(patience=20):
        balancer.run(Task(abs)(1))
    balancer.close()


@pytest.mark.parametrize("executor", EXECUTORS)
def test_what_a_balancer_holds_is_counted(executor: str, gate: threading.Event) -> None:
    with Balancer(executor, workers=1) as balancer:
        begun = threading.Event()
        tickets: list[Ticket[Any]] = []

        def post_two() -> None:
            tickets.extend(balancer.post(Task(lambda: (begun.set(), block(gate)))()) for _ in range(2))
            assert begun.wait(5)

        with pytest.raises(Leaked) as caught, leak_guard(balancer, patience=20):
            post_two()
        line = caught.value.left[-1]
        assert line.startswith(f"<Balancer {executor} open: 1/1 running, 1/1000 queued")
        assert ": 1 running, 1 queued, " in line
        assert line.endswith("1 threads in use")
        gate.set()
        with leak_guard(balancer):
            for ticket in tickets:
                ticket.wait()


@pytest.mark.parametrize("executor", EXECUTORS)
def test_an_abandoned_call_of_a_balancer_is_counted(executor: str, gate: threading.Event) -> None:
    with Balancer(executor, workers=1) as balancer:
        with pytest.raises(Leaked, match="1 abandoned"), leak_guard(balancer, patience=20):
            balancer.run(Task(block).timeout(5)(gate))
        gate.set()


# --- what it is ---------------------------------------------------------------------------------------------------


def test_the_error_is_an_assertion_error_and_ours() -> None:
    assert issubclass(Leaked, AssertionError)
    assert issubclass(Leaked, RioError)


def test_it_waits_no_longer_than_its_patience(gate: threading.Event) -> None:
    began = time.monotonic()
    with pytest.raises(Leaked), leak_guard(patience=20):
        threading.Thread(target=block, args=(gate,)).start()
    assert 0.02 <= time.monotonic() - began < 5


@pytest.mark.parametrize("patience", [-1, float("nan"), True, "long"])
def test_a_wrong_patience_is_refused(patience: Any) -> None:
    with pytest.raises(ChainDefinitionError, match="`patience` must be a finite number of milliseconds"):
        leak_guard(patience=patience)


def test_what_is_no_balancer_is_refused() -> None:
    with pytest.raises(ChainDefinitionError, match=r"takes balancers, as in leak_guard\(balancer\); got 500"):
        leak_guard(500)  # type: ignore[arg-type]


def test_no_collector_runs_where_the_threads_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """In that call CPython holds a lock, and whoever starts a thread waits for it with the GIL."""
    real, seen = sys._current_frames, []

    def looked() -> object:
        seen.append(gc.isenabled())
        return real()

    monkeypatch.setattr(sys, "_current_frames", looked)
    with leak_guard():
        pass
    assert seen == [False, False]  # at the beginning and at the end
    assert gc.isenabled()
