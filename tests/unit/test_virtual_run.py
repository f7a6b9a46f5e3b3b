"""run_virtual: the real executors under clocks that jump, and the virtual one."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from typing import Any

import pytest
import trio

from rio_chain import (
    Backoff,
    Balancer,
    Breaker,
    ChainDefinitionError,
    Limit,
    Outcome,
    Task,
    TaskTimedOut,
    TicketCancelled,
    UsageError,
    each,
)
from rio_chain.executors import runtime_here
from rio_chain.testing import Deadlock, VirtualExecutor, leak_guard, run_virtual, sleep

EXECUTORS = ["virtual", "asyncio", "trio", "thread"]
LOOPS = EXECUTORS[:3]
HOUR = 3_600_000
"""Milliseconds."""
on_all = pytest.mark.parametrize("executor", EXECUTORS)
on_loops = pytest.mark.parametrize("executor", LOOPS)


async def slow(ms: float) -> float:
    await sleep(ms)
    return ms


def fails_until(last: int) -> Any:
    calls: list[int] = []

    def fetch(x: int) -> int:
        calls.append(x)
        if len(calls) < last:
            raise OSError
        return x

    return fetch


@on_all
def test_waits_take_no_time(executor: str) -> None:
    backoff = Backoff(base=HOUR, factor=1, cap=HOUR, jitter="none")
    began = time.perf_counter()
    outcome = run_virtual(Task(fails_until(25)).retry(24, backoff=backoff).timeout(30 * HOUR)(7), executor)
    assert time.perf_counter() - began < 5
    assert (outcome.unwrap(), outcome.only.attempts) == (7, 25)
    assert outcome.elapsed == pytest.approx(24 * HOUR)


@on_all
def test_limits_and_sleeps_are_exact(executor: str) -> None:
    outcome = run_virtual(Task(slow).timeout(100)(HOUR), executor)
    assert isinstance(outcome.result.failure(), TaskTimedOut)
    assert outcome.elapsed == pytest.approx(100)
    assert run_virtual((Task(slow) & Task(slow))(1_000), executor).elapsed == pytest.approx(1_000)


@on_all
def test_the_clock_does_not_move_while_a_sync_function_runs(executor: str) -> None:
    def blocks(x: float) -> float:
        time.sleep(0.03)
        return x

    outcome = run_virtual((Task(slow) >> Task(blocks).timeout(10) >> Task(slow))(1_000), executor)
    assert outcome.unwrap() == 1_000
    assert outcome.elapsed == pytest.approx(2_000)


@on_all
def test_many_short_calls_are_not_outrun(executor: str) -> None:
    """A clock that jumps although a call has just ended would let these time out."""

    def quick(x: int) -> int:
        return x

    work = Task(lambda _: range(200)) >> each(Task(quick).timeout(5).retry(1), limit=4)
    outcome = run_virtual(work(0), executor)
    assert outcome.unwrap() == list(range(200))
    assert outcome.elapsed == 0


@on_all
def test_hedges_and_policies_are_the_same_everywhere(executor: str) -> None:
    calls: list[int] = []

    async def late_once(x: float) -> float:
        calls.append(1)
        await sleep(500 if len(calls) == 1 else 30)
        return x

    outcome = run_virtual(Task(late_once).replica(2, after=100).limit(Limit(5))(7), executor)
    assert (outcome.unwrap(), outcome.elapsed, len(calls)) == (7, pytest.approx(130), 2)


@on_loops
def test_an_async_function_may_do_all_that_a_test_does(executor: str) -> None:
    async def main() -> list[float]:
        async with Balancer(workers=2) as balancer:
            ticket = balancer.post(Task(slow)(500))
            outcomes = [outcome async for outcome in balancer.amap(Task(slow), [100, 200, 300])]
            waited = await ticket
            assert (await Task(slow)(50)).elapsed == pytest.approx(50)
            return [outcome.unwrap() for outcome in [waited, *outcomes]]

    assert run_virtual(main, executor) == [500, 100, 200, 300]


@on_loops
def test_what_an_async_function_raises_is_raised(executor: str) -> None:
    async def main() -> None:
        await sleep(20)
        raise LookupError("its own")

    with pytest.raises(LookupError, match="its own"):
        run_virtual(main, executor)


def test_sleeps_of_the_library_are_virtual_where_that_runs() -> None:
    async def asyncios(x: int) -> int:
        await asyncio.sleep(3_600)
        return x

    async def trios(x: int) -> int:
        await trio.sleep(3_600)
        return x

    for body, executor in ((asyncios, "asyncio"), (trios, "trio")):
        outcome = run_virtual(Task(body).timeout(2 * HOUR)(7), executor)
        assert (outcome.unwrap(), outcome.elapsed) == (7, pytest.approx(HOUR))


@on_loops
def test_a_cancelled_ticket_ends_at_once(executor: str) -> None:
    ended: list[int] = []

    async def long(x: int) -> int:
        await sleep(10_000)
        ended.append(x)
        return x

    async def play() -> tuple[float, Outcome[int]]:
        async with Balancer() as balancer:
            ticket = balancer.post(Task(long)(7))
            await sleep(10)
            began = runtime_here().now()
            ticket.cancel()
            outcome = await ticket
            return 1000 * (runtime_here().now() - began), outcome

    for _ in range(5):  # trio's order is drawn
        took, outcome = run_virtual(play, executor)
        assert (took, type(outcome.result.failure()), ended) == (0, TicketCancelled, [])
        assert outcome.elapsed == pytest.approx(10)


@on_loops
def test_a_balancer_that_is_closed_without_grace_ends_at_once(executor: str) -> None:
    async def play() -> tuple[float, Outcome[float]]:
        balancer = Balancer()
        async with balancer:
            ticket = balancer.post(Task(slow)(10_000))
            await sleep(10)
            began = runtime_here().now()
            await balancer.aclose(grace=0)
            return 1000 * (runtime_here().now() - began), await ticket

    for _ in range(5):
        took, outcome = run_virtual(play, executor)
        assert (took, type(outcome.result.failure())) == (0, TicketCancelled)


@pytest.mark.parametrize("executor", ["asyncio", "trio"])
def test_what_has_come_through_a_socket_is_read_before_the_clock_jumps(executor: str) -> None:
    left, right = socket.socketpair()
    left.setblocking(False)
    right.setblocking(False)

    async def on_trio(_: int) -> bytes:
        left.send(b"x")
        await trio.lowlevel.wait_readable(right)
        return right.recv(1)

    async def on_asyncio(_: int) -> bytes:
        left.send(b"x")
        return await asyncio.get_running_loop().sock_recv(right, 1)

    read = {"trio": on_trio, "asyncio": on_asyncio}[executor]
    with left, right:
        outcome = run_virtual(Task(read).timeout(5_000)(7), executor)
    assert (outcome.unwrap(), outcome.elapsed) == (b"x", 0)


@on_all
def test_a_body_may_await_requests(executor: str) -> None:
    async def late(x: int) -> int:
        await sleep(100)
        return x + 1

    async def flaky(_: int) -> int:
        await sleep(10)
        raise OSError

    async def body(x: int) -> Any:
        both = await (Task(late).timeout(500) & Task(late))(x)
        instead = await Task(flaky).timeout(50).retry(2, backoff=None).or_else(0)(x)
        events = [event.kind async for event in Task(late)(x).stream()]
        timed_out = await Task(late).timeout(50)(x)
        return both.unwrap(), instead.unwrap(), events, type(timed_out.result.failure())

    outcome = run_virtual(Task(body)(3), executor)
    assert outcome.unwrap() == ((4, 4), 0, ["started", "finished", "ended"], TaskTimedOut)
    assert outcome.elapsed == pytest.approx(100 + 30 + 100 + 50)


@on_all
def test_a_limit_around_the_body_holds_for_what_it_awaits(executor: str) -> None:
    cleaned: list[str] = []

    async def inner(ms: float) -> float:
        try:
            return await slow(ms)
        finally:
            cleaned.append("inner")

    async def body(x: float) -> Any:
        return (await Task(inner).timeout(20_000)(x)).unwrap()

    outcome = run_virtual(Task(body).timeout(150)(10_000), executor)
    assert (type(outcome.result.failure()), cleaned) == (TaskTimedOut, ["inner"])
    assert outcome.elapsed == pytest.approx(150)


@pytest.mark.parametrize("executor", ["asyncio", "trio", "thread"])
def test_a_sync_body_with_a_loop_of_its_own_awaits_on_that(executor: str) -> None:
    async def main(x: int) -> str:
        return (await Task(str).inline()(x)).unwrap()

    def body(x: int) -> str:
        return asyncio.run(main(x))

    assert run_virtual(Task(body)(7), executor).unwrap() == "7"


@on_all
def test_a_breaker_that_a_body_opens_goes_by_the_virtual_clock(executor: str) -> None:
    async def body(_: int) -> list[str]:
        breaker = Breaker(open_for=100)
        guarded = Task(slow).breaker(breaker)
        breaker.open()
        await sleep(99)
        states = [breaker.state, (await guarded(0)).only.status]
        await sleep(1)
        return [*states, breaker.state, (await guarded(0)).only.status]

    assert run_virtual(Task(body)(7), executor).unwrap() == ["open", "failed", "half_open", "succeeded"]


@on_loops
def test_a_breaker_that_a_test_opens_goes_by_the_virtual_clock(executor: str) -> None:
    async def play() -> list[str]:
        breaker = Breaker(open_for=100)
        guarded = Task(slow).breaker(breaker)
        statuses = []
        for _ in range(2):
            breaker.open()
            await sleep(99)
            statuses.append((await guarded(0)).only.status)
            await sleep(1)
            statuses.append((await guarded(0)).only.status)
        return statuses

    assert run_virtual(play, executor) == ["failed", "succeeded"] * 2


def test_threads_are_real_ones_and_end() -> None:
    seen: list[threading.Thread] = []

    def note(x: int) -> int:
        seen.append(threading.current_thread())
        return x

    with leak_guard():
        run_virtual((Task(note) & Task(note))(7), "thread")
    assert threading.main_thread() not in seen


def test_an_executor_that_was_made_goes_on_where_it_was() -> None:
    executor = VirtualExecutor(seed=7)
    assert isinstance(run_virtual(Task(slow)(20), executor), Outcome)
    run_virtual(Task(slow)(30), executor)
    assert executor.now == pytest.approx(50)


def test_a_deadlock_of_an_async_function() -> None:
    async def main() -> None:
        async with Balancer(workers=1) as balancer:
            await balancer.arun(Task(outer)(balancer))

    async def outer(balancer: Balancer) -> Any:
        return await balancer.post(Task(slow)(20))

    with pytest.raises(Deadlock, match="task outer waits for one of the 1 slots of its balancer"):
        run_virtual(main)


async def nothing() -> None: ...


@pytest.mark.parametrize(
    ("work", "executor", "text"),
    [
        (3, "virtual", "`run_virtual` takes a request, run_virtual(page(42)), or an async function"),
        (lambda: None, "virtual", "`run_virtual` takes a request"),
        (Task(slow), "virtual", "`run_virtual` takes a request"),
        (nothing, "thread", 'on threads `run_virtual` takes a request, such as run_virtual(page(42), "thread")'),
        (nothing, "ray", "`executor` must be one of 'asyncio', 'trio', 'thread', 'virtual', 'dask'; got 'ray'"),
        (nothing, VirtualExecutor, "`executor` must be an instance: write VirtualExecutor()"),
        (nothing, None, "`executor` must be one of"),
    ],
)
def test_bad_input(work: Any, executor: Any, text: str) -> None:
    with pytest.raises(ChainDefinitionError) as caught:
        run_virtual(work, executor)
    assert str(caught.value).startswith(text)


@pytest.mark.parametrize("run", [lambda main: asyncio.run(main()), trio.run, run_virtual], ids=[*LOOPS[1:], "virtual"])
def test_on_a_loop_that_runs_it_is_refused(run: Any) -> None:
    async def main() -> None:
        with pytest.raises(UsageError, match="`run_virtual` would block the running loop"):
            run_virtual(Task(slow)(20))

    run(main)
