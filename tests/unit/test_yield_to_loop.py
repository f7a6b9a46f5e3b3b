"""A run whose functions answer at once lets the loop go round, and one that waits does not do so once more."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio

from rio_chain import Chain, Task, each, expand, fan_out, reduce
from rio_chain.executors import runtime_here

LOOPS = ["asyncio", "trio"]
on_loops = pytest.mark.parametrize("loop", LOOPS)
SPIN = 0.001
MOST = 50
"""Bodies of so many seconds in one turn of the loop: 50 ms, however slow the machine is."""


class Turns:
    """How many bodies ran in each turn of the loop."""

    def __init__(self) -> None:
        self.bodies = [0]

    def spin(self, x: Any = None) -> Any:
        self.bodies[-1] += 1
        until = time.perf_counter() + SPIN
        while time.perf_counter() < until:
            pass
        return x

    async def aspin(self, x: Any) -> Any:
        return self.spin(x)

    async def afails(self, x: Any) -> Any:
        self.spin(x)
        raise OSError

    async def count(self, sleep: Callable[[float], Awaitable[object]]) -> None:
        while True:
            await sleep(0)
            self.bodies.append(0)

    async def on_asyncio(self, work: Callable[[], Awaitable[Any]]) -> Any:
        counting = asyncio.create_task(self.count(asyncio.sleep))
        await asyncio.sleep(0)
        try:
            return await work()
        finally:
            counting.cancel()

    async def on_trio(self, work: Callable[[], Awaitable[Any]]) -> Any:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.count, trio.sleep)
            await trio.lowlevel.checkpoint()
            got = await work()
            nursery.cancel_scope.cancel()
            return got

    def run(self, loop: str, work: Callable[[], Awaitable[Any]]) -> Any:
        return asyncio.run(self.on_asyncio(work)) if loop == "asyncio" else trio.run(self.on_trio, work)


def many(task: Chain[[Any], Any], times: int) -> Chain[[Any], Any]:
    chain = task
    for _ in range(times - 1):
        chain = chain >> task
    return chain


def bridges(turns: Turns) -> Chain[[Any], Any]:
    chain: Any = Task(str).inline()
    for _ in range(150):
        chain = chain >> turns.spin
    return chain


def nested(turns: Turns) -> Chain[[Any], Any]:
    inner = Task(turns.aspin)

    async def down(x: int) -> Any:
        turns.spin()
        return Task(down)(x - 1) if x else inner(x)

    return Task(down)


CHAINS: dict[str, tuple[Callable[[Turns], Chain[[Any], Any]], Any]] = {
    "each": (lambda t: each(Task(t.aspin)), range(150)),
    "each, one at a time": (lambda t: each(Task(t.spin).inline(), limit=1), range(150)),
    "each, many at once": (lambda t: each(Task(t.aspin), limit=100), range(150)),
    "each, guarded": (lambda t: each(Task(t.aspin).timeout(1000).retry(2)), range(150)),
    "each, failures": (lambda t: each(Task(t.afails), on_error="keep"), range(150)),
    "each of each": (lambda t: each(each(Task(t.aspin))), [range(15)] * 10),
    "each and reduce": (lambda t: each(Task(t.aspin)) >> reduce(lambda a, _: t.spin(a), 0), range(75)),
    "expand": (lambda t: expand(Task(t.aspin), more=lambda x: [2 * x + 1, 2 * x + 2] if x < 60 else []), 0),
    "expand, more": (lambda t: expand(Task(str), more=lambda x: map(t.spin, range(150)) if x == "0" else []), 0),
    "a long chain": (lambda t: many(Task(t.aspin), 150), 0),
    "a long chain of inline functions": (lambda t: many(Task(t.spin).inline(), 150), 0),
    "bridges": (bridges, 0),
    "branches": (lambda t: fan_out(*[many(Task(t.aspin), 15)] * 10), 0),
    "a retry at once": (lambda t: Task(t.afails).retry(150, backoff=None), 0),
    "requests in requests": (nested, 100),
}


@on_loops
@pytest.mark.parametrize("name", CHAINS)
def test_no_turn_of_the_loop_is_longer_than_50_ms(loop: str, name: str) -> None:
    make, value = CHAINS[name]
    turns = Turns()
    request = make(turns)(value)
    turns.run(loop, lambda: request)
    assert sum(turns.bodies) >= 100
    assert max(turns.bodies) <= MOST, turns.bodies


@on_loops
def test_a_limit_and_a_cancellation_are_heard(loop: str) -> None:
    turns = Turns()
    endless = each(Task(turns.aspin))(itertools.count())

    async def cancelled() -> bool:
        if loop == "trio":
            with trio.move_on_after(0.02) as scope:
                await endless
            return scope.cancelled_caught
        try:
            async with asyncio.timeout(0.02):
                await endless
        except TimeoutError:
            return True
        return False

    assert turns.run(loop, cancelled)
    began = time.monotonic()
    outcome = turns.run(loop, lambda: each(Task(turns.aspin)).timeout(20)(range(10**9)))
    assert outcome.only.status == "timed_out"
    assert time.monotonic() - began < 5


@on_loops
def test_steps_that_wait_are_asked_nothing_more(loop: str) -> None:
    """A turn more for each of them would show as one more wake-up of the task."""
    steps = 20

    async def step(x: int) -> int:
        await sleeps[loop](0.006)
        return x

    sleeps: dict[str, Callable[[float], Awaitable[object]]] = {"asyncio": asyncio.sleep, "trio": trio.sleep}
    chain, slept = many(Task(step), steps), []

    async def main() -> None:
        rt = runtime_here()
        real = rt.sleep
        rt.sleep = lambda seconds: slept.append(seconds) or real(seconds)  # type: ignore[method-assign]
        try:
            assert (await chain(7)).unwrap() == 7
        finally:
            rt.sleep = real  # type: ignore[method-assign]

    asyncio.run(main()) if loop == "asyncio" else trio.run(main)
    assert slept == []


def test_in_virtual_time_nobody_looks() -> None:
    outcome = each(Task(lambda x: x).inline())(range(1000)).run(executor="virtual")
    assert outcome.elapsed == 0


def test_loops_on_two_threads_ask_for_their_next_turn_at_the_same_time() -> None:
    """Each in a context of its own: no two threads may be in the same one."""
    inside, over = threading.Event(), threading.Event()
    problems: list[object] = []

    async def asks(turned: Callable[[], None]) -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: problems.append(context))
        runtime: Any = runtime_here()
        runtime._soon(turned)
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    def stays() -> None:
        inside.set()
        over.wait(10)

    thread = threading.Thread(target=lambda: asyncio.run(asks(stays)))
    thread.start()
    try:
        assert inside.wait(10)
        asyncio.run(asks(lambda: None))
    finally:
        over.set()
        thread.join()
    assert not problems
