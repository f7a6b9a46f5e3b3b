"""A hedge on a loop: which task its calls run in, and cancellations in the same turn of the loop."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import trio
import virtual_loops
from conformance.harness import pause

from rio_chain import Limit, Task, race
from rio_chain.testing import leak_guard


class Backend:
    """The first call hangs, the second waits until it is let go."""

    def __init__(self) -> None:
        self.tasks: list[object] = []
        self.ended: list[str] = []
        self.go = asyncio.Event()
        self.both_run = asyncio.Event()

    async def fetch(self, x: Any) -> Any:
        number = len(self.tasks)
        self.tasks.append(asyncio.current_task())
        try:
            if number:
                self.both_run.set()
                await self.go.wait()
                return "b"
            await asyncio.sleep(10)
        finally:
            self.ended.append("ab"[number])
        return "a"


def cancelled_then_let_go(task: asyncio.Task[Any], back: Backend) -> bool:
    cancelled = task.cancel()
    back.go.set()
    return cancelled


def let_go_then_cancelled(task: asyncio.Task[Any], back: Backend) -> bool:
    back.go.set()
    return task.cancel()


@pytest.mark.parametrize("rounds", range(8))
@pytest.mark.parametrize("how", [cancelled_then_let_go, let_go_then_cancelled])
def test_a_foreign_cancel_wins_in_whatever_round_of_the_loop_it_comes(
    how: Callable[[asyncio.Task[Any], Backend], bool], rounds: int
) -> None:
    async def main() -> None:
        back = Backend()
        accounts: list[int] = []

        async def request() -> Any:
            try:
                return await Task(back.fetch).replica(2, after=1)(7)
            finally:
                me = asyncio.current_task()
                accounts.append(me.cancelling() if me else -1)

        task = asyncio.create_task(request())
        await back.both_run.wait()
        if rounds and how is let_go_then_cancelled:
            back.go.set()
            for _ in range(rounds):
                await asyncio.sleep(0)
        cancelled = how(task, back)
        if cancelled:
            with pytest.raises(asyncio.CancelledError):
                await task
            assert accounts == [1]
        else:
            assert (await task).unwrap() == "b"
            assert accounts == [0]
        assert sorted(back.ended) == ["a", "b"], "and both were awaited"
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(main())


def test_the_task_of_a_call_that_lost_is_not_cancelled() -> None:
    async def main() -> None:
        back = Backend()
        back.go.set()
        assert (await Task(back.fetch).replica(2, after=1)(7)).unwrap() == "b"
        me = asyncio.current_task()
        assert me is not None
        assert me.cancelling() == 0
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.001):
                await asyncio.sleep(1)
        assert back.tasks[0] is me
        assert back.tasks[1] is not me

    asyncio.run(main())


def test_on_trio_as_well() -> None:
    tasks: list[object] = []

    async def fetch(x: Any) -> Any:
        tasks.append(trio.lowlevel.current_task())
        if len(tasks) == 1:
            await trio.sleep(10)
        return x

    async def main() -> None:
        async with leak_guard():
            with trio.CancelScope() as scope:
                assert (await Task(fetch).replica(2, after=1)(7)).unwrap() == 7
                await trio.lowlevel.checkpoint()
            assert not scope.cancelled_caught
        assert tasks[0] is trio.lowlevel.current_task()
        assert tasks[1] is not tasks[0]

    trio.run(main)


@pytest.mark.parametrize("checkpoints", range(8))
def test_a_scope_that_is_cancelled_on_trio_ends_both(checkpoints: int) -> None:
    ended: list[str] = []
    go, both_run = trio.Event(), trio.Event()

    async def fetch(x: Any) -> Any:
        name = "ab"[len(begun)]
        begun.append(name)
        try:
            if name == "b":
                both_run.set()
                await go.wait()
                return x
            await trio.sleep(10)
        finally:
            ended.append(name)

    begun: list[str] = []

    async def main() -> None:
        async def cancel(scope: trio.CancelScope) -> None:
            await both_run.wait()
            go.set()
            for _ in range(checkpoints):
                await trio.lowlevel.checkpoint()
            scope.cancel()

        async with leak_guard(), trio.open_nursery() as nursery:
            got: list[Any] = []
            with trio.CancelScope() as scope:
                nursery.start_soon(cancel, scope)
                got.append((await Task(fetch).replica(2, after=1)(7)).unwrap())
            assert (got == [7]) is not scope.cancelled_caught
            assert sorted(ended) == ["a", "b"]

    trio.run(main)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks are of 3.12")
@pytest.mark.parametrize("kind", ["late", "at once", "in time", "fails", "race"])
def test_eager_tasks(kind: str) -> None:
    calls: list[int] = []

    async def fetch(x: int) -> int:
        calls.append(x)
        if len(calls) == 1 and kind == "late":
            await asyncio.sleep(10)
        if len(calls) == 1 and kind == "fails":
            raise OSError
        return x

    task = Task(fetch)
    chain = {"at once": task.replica(3), "race": race(task, Task(fetch).named("other"))}.get(
        kind, task.replica(3, after=1)
    )

    async def main() -> None:
        asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)  # type: ignore[attr-defined]
        async with leak_guard():
            for _ in range(3):
                assert (await asyncio.create_task(of(chain(7)))).unwrap() == 7

    async def of(request: Any) -> Any:
        return await request

    run: Callable[[Coroutine[Any, Any, None]], None] = asyncio.run
    run(main())


@pytest.mark.parametrize("beside", [False, True], ids=["one limit", "several"])
@pytest.mark.parametrize("loop", virtual_loops.LOOPS)
def test_a_hedge_that_gets_tokens_as_its_race_is_decided_gives_them_back(loop: str, *, beside: bool) -> None:
    tokens = Limit(rate=2, per=1000, cost=lambda _: 2, actual=lambda _: 0)  # the answer frees tokens for the hedge
    calls: list[int] = []

    async def fetch(x: int) -> int:
        calls.append(x)
        await pause(100)
        return x

    limited = Task(fetch).limit(tokens, Limit(9)) if beside else Task(fetch).limit(tokens)
    free: list[bool] = []

    async def main() -> None:
        (await limited.replica(2, after=10)(1)).unwrap()
        free.append(tokens.has_capacity(2))

    virtual_loops.LOOPS[loop](main)
    assert calls == [1]
    assert free == [True]
    assert tokens.running == tokens.waiting == 0
