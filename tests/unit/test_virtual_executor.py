"""The virtual executor: time jumps, nothing waits, and all is the same each time."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import trio
from returns.result import Success

from rio_chain import (
    Abandoned,
    Backoff,
    Balancer,
    Breaker,
    Call,
    Chain,
    ChainDefinitionError,
    CircuitOpen,
    Gate,
    Limit,
    Outcome,
    PendingPermit,
    Permit,
    Request,
    SingleFlight,
    Task,
    TaskTimedOut,
    TicketCancelled,
    UsageError,
    each,
    race,
)
from rio_chain.testing import Deadlock, VirtualExecutor, leak_guard, run_virtual, sleep

HOUR = 3_600_000
"""Milliseconds."""


async def slow(ms: float) -> float:
    await sleep(ms)
    return ms


def echo(x: Any) -> Any:
    return x


def virtually(request: Request[Any], **options: Any) -> Outcome[Any]:
    return request.run(executor=VirtualExecutor(**options))


class Flaky:
    """Fails all calls but the last; says when each was made."""

    def __init__(self, executor: VirtualExecutor, times: int) -> None:
        self.executor, self.times = executor, times
        self.calls: list[float] = []

    async def fetch(self, x: int) -> int:
        self.calls.append(self.executor.now)
        await sleep(20)
        if len(self.calls) < self.times:
            raise OSError
        return x


# --- time ---------------------------------------------------------------------------------------------------------


def test_only_what_sleeps_takes_time() -> None:
    outcome = virtually((Task(slow) >> Task(echo) >> Task(slow))(20))
    assert (outcome.unwrap(), outcome.elapsed) == (20, pytest.approx(40))
    assert [response.elapsed for response in outcome] == [pytest.approx(20), 0, pytest.approx(20)]


def test_a_day_of_retries_passes_in_no_time_and_on_this_thread() -> None:
    executor = VirtualExecutor()
    flaky = Flaky(executor, 1_000)
    chain = Task(flaky.fetch).retry(2_000, backoff=Backoff(base=86_400, factor=1, cap=86_400, jitter="none"))
    threads, began = threading.active_count(), time.perf_counter()
    with Balancer(executor, abandon_after=timedelta(days=9)) as balancer:
        outcome = balancer.run(chain(7))
        assert threading.active_count() == threads
    assert time.perf_counter() - began < 5, "some 50 ms, on a machine with nothing else to do"
    assert (outcome.unwrap(), outcome.only.attempts) == (7, 1_000)
    assert flaky.calls[-1] == pytest.approx(999 * 86_420)
    assert executor.now == pytest.approx(24 * HOUR, rel=0.001)


def test_sync_functions_take_no_time_so_limits_never_end_them() -> None:
    def blocks(x: int) -> int:
        time.sleep(0.02)
        return x

    assert virtually(Task(blocks).timeout(1)(7)).unwrap() == 7
    assert virtually((Task(blocks).inline() & Task(blocks))(7)).elapsed == 0


def test_all_that_is_given_to_one_executor_shares_its_clock() -> None:
    executor = VirtualExecutor()
    with Balancer(executor) as one, Balancer(executor) as other:
        tickets = [one.post(Task(slow)(100)), other.post(Task(slow)(150))]
        assert [ticket.wait().unwrap() for ticket in tickets] == [100, 150]
    assert executor.now == pytest.approx(150), "they slept at the same time"
    Task(slow)(50).run(executor=executor)
    assert executor.now == pytest.approx(200)


def test_each_run_by_name_has_a_clock_and_draws_of_its_own() -> None:
    def jittered() -> float:
        return fails_then().run(executor="virtual").elapsed

    def fails_then() -> Request[Any]:
        left = [OSError(), OSError(), 7]

        def fetch(_: int) -> int:
            if isinstance(got := left.pop(0), OSError):
                raise got
            return got

        return Task(fetch).retry(2)(1)

    first = jittered()
    assert first > 0
    assert jittered() == first


# --- cancellation and limits --------------------------------------------------------------------------------------


def test_a_limit_cancels_an_async_function_and_waits_for_its_clean_up() -> None:
    ended: list[str] = []

    async def cleans(_: int) -> None:
        try:
            await sleep(HOUR)
        finally:
            await sleep(5)
            ended.append("cleaned")

    outcome = virtually(Task(cleans).timeout(100)(7))
    assert isinstance(outcome.result.failure(), TaskTimedOut)
    assert (outcome.elapsed, ended) == (pytest.approx(105), ["cleaned"])


def test_the_default_limit_gives_up_what_sleeps_too_long() -> None:
    outcome = virtually(Task(slow)(HOUR))
    assert isinstance(outcome.result.failure(), Abandoned)
    assert outcome.elapsed == pytest.approx(30_000)


def test_the_loser_of_a_race_is_cancelled() -> None:
    outcome = virtually(race(Task(slow).named("a"), Task(echo).named("b"))(50))
    assert (outcome.elapsed, outcome["b"].status, outcome["a"].status) == (0, "succeeded", "cancelled")


def test_a_ticket_is_cancelled_and_waited_for_with_a_limit() -> None:
    with Balancer("virtual") as balancer:
        ticket = balancer.post(Task(slow)(1_000))
        with pytest.raises(TimeoutError):
            ticket.wait(100)
        ticket.cancel()
        assert isinstance(ticket.wait().result.failure(), TicketCancelled)


def test_close_waits_in_its_own_time_and_then_cancels() -> None:
    executor = VirtualExecutor()
    balancer = Balancer(executor, workers=1, abandon_after=9 * HOUR)
    tickets = [balancer.post(Task(slow)(HOUR)) for _ in range(3)]
    balancer.close(grace=1.5 * HOUR)
    assert executor.now == pytest.approx(1.5 * HOUR)
    assert [type(ticket.wait().result).__name__ for ticket in tickets] == ["Success", "Failure", "Failure"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_a_base_exception_of_a_body_ends_its_run_and_no_other(error: type[BaseException]) -> None:
    def dies(_: int) -> None:
        raise error

    with Balancer("virtual") as balancer:
        other = balancer.post(Task(slow)(20))
        with pytest.raises(error):
            balancer.run(Task(dies)(7))
        assert other.wait().unwrap() == 20


# --- order --------------------------------------------------------------------------------------------------------


def order(executor: Any) -> list[int]:
    """In which order requests with these priorities run, one at a time."""
    ran: list[int] = []

    async def note(x: int) -> None:
        ran.append(x)
        await sleep(1)

    with Balancer(executor, workers=1) as balancer:
        gate = balancer.post(Task(slow)(50))
        tickets = [balancer.post(Task(note)(k), priority=k % 3) for k in range(9)]
        for ticket in [gate, *tickets]:
            ticket.wait()
    return ran


def test_the_queue_has_the_order_that_it_has_on_the_other_executors() -> None:
    assert order("virtual") == [2, 5, 8, 1, 4, 7, 0, 3, 6]
    assert order("virtual") == order("asyncio") == order("trio") == order("thread")


@pytest.mark.parametrize("as_completed", [False, True])
def test_map_drives_the_loop(as_completed: bool) -> None:
    with Balancer("virtual", workers=3) as balancer:
        got = [outcome.unwrap() for outcome in balancer.map(Task(slow), [30, 20, 10], as_completed=as_completed)]
    assert got == ([10, 20, 30] if as_completed else [30, 20, 10])


def test_a_stream_is_read_while_it_runs() -> None:
    with (Task(slow) >> Task(slow).named("b"))(20).stream(executor=VirtualExecutor()) as events:
        listed = [(event.kind, event.task, event.at) for event in events]
    assert [(kind, task) for kind, task, _ in listed] == [
        ("started", "slow"),
        ("finished", "slow"),
        ("started", "b"),
        ("finished", "b"),
        ("ended", None),
    ]
    assert listed[-1][2] == pytest.approx(40)


def test_a_shuffled_order_is_one_of_many_and_the_same_for_a_seed() -> None:
    def ran(**options: Any) -> list[int]:
        seen: list[int] = []

        async def note(x: int) -> None:
            await sleep(5)
            seen.append(x)

        virtually((Task(lambda _: range(8)) >> each(Task(note), limit=8))(0), **options)
        return seen

    assert ran() == list(range(8)), "first come, first served"
    assert ran(seed=1, shuffle=True) == ran(seed=1, shuffle=True)
    assert len({tuple(ran(seed=seed, shuffle=True)) for seed in range(5)}) > 1
    assert sorted(ran(seed=3, shuffle=True)) == list(range(8))


# --- the same each time -------------------------------------------------------------------------------------------


TRACE = Path(__file__).with_name("virtual_trace.py")


def traced(seed: int, hash_seed: str) -> bytes:
    path = os.pathsep.join(sys.path)
    env = os.environ | {"PYTHONHASHSEED": hash_seed, "PYTHONPATH": path}
    done = subprocess.run([sys.executable, TRACE, str(seed)], env=env, capture_output=True, check=True)
    return done.stdout


def test_the_same_seed_gives_the_same_bytes_in_every_process() -> None:
    first = traced(7, "1")
    assert len(first.splitlines()) > 50
    assert traced(7, "2") == first
    assert traced(8, "1") != first


def test_jitter_is_drawn_by_the_seed() -> None:
    def calls(seed: int) -> list[float]:
        executor = VirtualExecutor(seed=seed)
        flaky = Flaky(executor, 6)
        Task(flaky.fetch).retry(5)(7).run(executor=executor)
        return flaky.calls

    assert calls(1) == calls(1)
    assert calls(1) != calls(2)
    assert len(set(calls(1))) == 6


# --- deadlocks ----------------------------------------------------------------------------------------------------


def nested_in(chain: Callable[[Task[[int], Any]], Chain[[int], Any]]) -> Request[Any]:
    """A chain whose body runs the same policies again, inside of them."""

    async def inner(x: int) -> int:
        return x

    async def outer(x: int) -> Any:
        return (await chain(Task(inner))(x)).result

    return chain(Task(outer))(7)


class Turnstile(Gate):
    """It lets in one call and no more."""

    def __init__(self) -> None:
        self.used = False

    def enter(self, _: Call) -> Permit | PendingPermit:
        used, self.used = self.used, True
        return Never() if used else Permit()

    def __repr__(self) -> str:
        return "<Turnstile>"


class Never(PendingPermit):
    def quit(self) -> None:
        self.state = "gone"


@pytest.mark.parametrize(
    ("chain", "listed"),
    [
        (Limit(1), "task inner waits for its turn at <Limit 1 at once: 1 running, 1 waiting>"),
        (SingleFlight(key=lambda x: x), "task inner waits for the answer of another call: <SingleFlight by "),
        (Turnstile(), "task inner waits for its turn at <Turnstile>"),
    ],
)
def test_a_deadlock_says_which_task_waits_for_what(chain: Any, listed: str) -> None:
    def policy(task: Any) -> Any:
        return task.single_flight(chain) if isinstance(chain, SingleFlight) else task.limit(chain)

    with Balancer("virtual") as balancer:
        with pytest.raises(Deadlock, match="deadlock after 0 ms of virtual time: nothing is ready") as caught:
            balancer.run(nested_in(policy))
        assert [line[: len(listed)] for line in caught.value.waits] == [listed]
        assert balancer.run(Task(slow)(20)).unwrap() == 20, "the others go on"


def test_a_body_that_waits_for_a_slot_of_its_own_balancer_is_a_deadlock() -> None:
    async def posts(x: float) -> Any:
        await sleep(30)
        return (await balancer.post(Task(slow)(x))).result

    with Balancer("virtual", workers=1) as balancer:
        with pytest.raises(Deadlock) as caught:
            balancer.run(Task(posts)(7))
        assert caught.value.ms == pytest.approx(30)
        assert sorted(caught.value.waits) == [
            "task posts waits for <Ticket of slow: open>",
            "task posts waits for one of the 1 slots of its balancer, all of which are taken",
        ]


def test_a_limit_that_was_written_ends_a_deadlock() -> None:
    limit = Limit(1)
    with Balancer("virtual") as balancer:
        outcome = balancer.run(nested_in(lambda task: task.limit(limit).timeout(500)))
    assert isinstance(outcome.result.failure(), TaskTimedOut)
    assert outcome.elapsed == pytest.approx(500)


def test_a_task_that_waits_for_something_foreign_is_reported_with_the_place() -> None:
    async def hangs(_: int) -> None:
        from rio_chain.executors import waiter_here  # noqa: PLC0415 - as a waiter of a policy of one's own would

        await waiter_here().wait()

    with pytest.raises(Deadlock, match=r"task hangs waits for something that will never happen, in .*hangs"):
        virtually(Task(hangs)(7))


# --- what is not of this time -------------------------------------------------------------------------------------


async def sleeps_asyncio(_: int) -> None:
    await asyncio.sleep(0.02)


async def yields_asyncio(_: int) -> None:
    await asyncio.sleep(0)


async def limits_asyncio(_: int) -> None:
    async with asyncio.timeout(1):
        await sleep(20)


async def waits_asyncio(_: int) -> None:
    await asyncio.Event().wait()


async def sleeps_trio(_: int) -> None:
    await trio.sleep(0.02)


async def opens_trio(_: int) -> None:
    async with trio.open_nursery():
        pass


@pytest.mark.parametrize(
    ("body", "name"),
    [
        (sleeps_asyncio, "asyncio.sleep"),
        (yields_asyncio, "asyncio.sleep"),
        (limits_asyncio, "asyncio.timeout"),
        (waits_asyncio, "asyncio.Event.wait"),
        (sleeps_trio, "trio.sleep"),
        (opens_trio, "trio.open_nursery"),
    ],
)
def test_what_needs_another_loop_is_named_and_not_retried(body: Any, name: str) -> None:
    outcome = virtually(Task(body).retry(3)(7))
    error = outcome.result.failure()
    assert type(error) is UsageError
    assert str(error).startswith(f"`{name}` was used in virtual time")
    assert "write `await rio_chain.testing.sleep(20)`" in str(error)
    assert outcome.only.attempts == 1


def test_a_foreign_awaitable_is_thrown_in_at_the_place() -> None:
    class Own:
        def __await__(self) -> Any:
            yield "something"

    caught: list[str] = []

    async def body(_: int) -> int:
        try:
            await Own()
        except UsageError as error:
            caught.append(str(error))
        await sleep(20)
        return 7

    outcome = virtually(Task(body)(1))
    assert (outcome.unwrap(), outcome.elapsed) == (7, pytest.approx(20))
    assert caught[0].startswith("an awaitable that is not of rio_chain was used in virtual time")


def test_an_error_that_only_passed_through_a_library_stays_as_it_is() -> None:
    async def body(_: int) -> None:
        asyncio.Queue[int]().get_nowait()

    assert type(virtually(Task(body)(7)).result.failure()) is asyncio.QueueEmpty


def test_real_io_is_refused_before_it_begins() -> None:
    def connects(_: int) -> None:
        socket.create_connection(("localhost", 1))

    outcome = virtually(Task(connects).retry(3)(7))
    assert str(outcome.result.failure()).startswith("`socket.getaddrinfo` was called in virtual time")
    assert socket.getaddrinfo("127.0.0.1", 80), "elsewhere nothing has changed"


@pytest.mark.parametrize("loop", [lambda main: asyncio.run(main()), trio.run], ids=["asyncio", "trio"])
def test_what_runs_in_virtual_time_is_not_awaited_on_another_loop(loop: Any) -> None:
    async def main() -> None:
        balancer = Balancer("virtual")
        with pytest.raises(UsageError, match=r"can't be awaited on another loop; in plain code write `balancer.run\("):
            await balancer.arun(Task(slow)(20))
        ticket = balancer.post(Task(slow)(20))
        with pytest.raises(UsageError, match="can't be awaited on another loop"):
            await ticket
        with pytest.raises(UsageError, match="can't be awaited on another loop"):
            await balancer.aclose()
        assert ticket.wait().unwrap() == 20
        balancer.close()

    loop(main)


def test_blocking_inside_of_virtual_time_is_refused() -> None:
    with Balancer("virtual") as balancer:
        outcome = balancer.run(Task(lambda x: balancer.run(Task(echo)(x)))(7))
        assert "and `run` would wait for a second slot" in str(outcome.result.failure())


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        (lambda: VirtualExecutor("7"), "`seed` must be a whole number; got '7'"),  # type: ignore[arg-type]
        (lambda: VirtualExecutor(True), "`seed` must be a whole number; got True"),
        (lambda: VirtualExecutor(shuffle=1), "`shuffle` must be True or False; got 1"),  # type: ignore[arg-type]
        (lambda: Balancer(VirtualExecutor), "`executor` must be an instance: write VirtualExecutor()"),  # type: ignore[arg-type]
        (lambda: Task(echo)(7).run(executor="virtuall"), "`executor` must be one of 'asyncio', 'trio', 'thread', 'vir"),
    ],
)
def test_bad_input(wrong: Callable[[], object], text: str) -> None:
    with pytest.raises(ChainDefinitionError) as caught:
        wrong()
    assert str(caught.value).startswith(text)


@pytest.mark.parametrize("ms", [-1, float("nan"), "20", True])
def test_a_sleep_that_is_none(ms: Any) -> None:
    error = virtually(Task(lambda x: sleep(ms))(7)).result.failure()
    assert "`ms` must be a finite number of milliseconds" in str(error)


# --- the rest -----------------------------------------------------------------------------------------------------


def test_another_thread_may_wait_while_this_one_drives() -> None:
    executor = VirtualExecutor()
    got: list[Any] = []
    with Balancer(executor, abandon_after=HOUR) as balancer:
        other = balancer.post(Task(slow)(10))
        thread = threading.Thread(target=lambda: got.append(other.wait().unwrap()))
        thread.start()
        assert balancer.run(Task(slow)(20)).unwrap() == 20
        thread.join(10)
    assert got == [10]


def test_lanes_are_functions_like_others() -> None:
    with Balancer("virtual", lanes={"cpu": 1}) as balancer:
        assert balancer.run((Task(len).lane("cpu") >> Task(echo))("four")).result == Success(4)


def test_nothing_is_left() -> None:
    with leak_guard():
        executor = VirtualExecutor()
        with Balancer(executor) as balancer:
            for outcome in balancer.map(Task(slow).timeout(15), [10, 20, 30]):
                assert outcome.elapsed <= 15
        assert not executor.loop.kernel.strands

    async def main() -> None:
        async with leak_guard():
            await Task(slow)(20)

    run_virtual(main)


def test_its_repr() -> None:
    executor = VirtualExecutor(seed=3, shuffle=True)
    Task(slow)(20).run(executor=executor)
    assert repr(executor) == "<VirtualExecutor seed=3, shuffled, at 20 ms>"


def test_on_an_executor_with_fresh_policies_older_ones_have_seen_nothing() -> None:
    async def fails(_: Any) -> None:
        raise OSError

    async def nested(x: Any) -> Any:
        return chain(x)

    breaker = Breaker(failures=1)
    chain = Task(fails).breaker(breaker)
    for executor in (VirtualExecutor(fresh=True), VirtualExecutor(fresh=True)):
        with Balancer(executor) as balancer:
            for task, error in ((chain, OSError), (chain, CircuitOpen), (Task(nested), CircuitOpen)):
                assert type(balancer.run(task(1)).result.failure()) is error
    assert breaker.state == "closed"
    assert type(chain(1).run(executor=VirtualExecutor()).result.failure()) is OSError
    assert breaker.state == "open"
    with pytest.raises(ChainDefinitionError, match="`fresh` must be True or False"):
        VirtualExecutor(fresh=1)  # type: ignore[arg-type]
