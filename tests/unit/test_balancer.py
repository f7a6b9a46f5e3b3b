"""Balancer: binding, order, limits, refusals, closing, and what it says of itself. Leaks and loads are elsewhere."""

from __future__ import annotations

import asyncio
import gc
import itertools
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import nullcontext
from contextvars import ContextVar
from typing import Any

import pytest
import trio
from waiting import eventually

from rio_chain import (
    Balancer,
    BalancerClosed,
    ChainDefinitionError,
    DeadlineExceeded,
    QueueFull,
    Saturated,
    Task,
    Ticket,
    TicketCancelled,
    UsageError,
)
from rio_chain.balancer import _mapping
from rio_chain.testing import sleep

EXECUTORS = ("asyncio", "trio", "thread")
on_each = pytest.mark.parametrize("executor", EXECUTORS)


def thread_name(_: Any = None) -> str:
    return threading.current_thread().name


async def athread_name(_: Any = None) -> str:
    return threading.current_thread().name


def same(x: Any) -> Any:
    return x


async def asame(x: Any) -> Any:
    return x


# --- arguments ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keywords", "text"),
    [
        ({"executor": "ray"}, "`executor` must be one of 'asyncio', 'trio', 'thread', 'virtual', 'dask'; got 'ray'"),
        ({"executor": 3}, "`executor` must be one of 'asyncio', 'trio', 'thread', 'virtual', 'dask'; got 3"),
        ({"workers": 0}, "`workers` must be a whole number, 1 or more; got 0"),
        ({"workers": 1.5}, "`workers` must be a whole number, 1 or more; got 1.5"),
        ({"workers": True}, "`workers` must be a whole number, 1 or more; got True"),
        ({"buffer": -1}, "`buffer` must be a whole number, 0 or more; got -1"),
        ({"threads": 0}, "`threads` must be a whole number, 1 or more; got 0"),
        ({"max_abandoned": 0}, "`max_abandoned` must be a whole number, 1 or more; got 0"),
        (
            {"abandon_after": 0},
            "`abandon_after` must be a finite number of milliseconds (or a timedelta), more than 0; got 0",
        ),
    ],
)
def test_arguments_are_checked_when_it_is_made(keywords: dict[str, Any], text: str) -> None:
    with pytest.raises(ChainDefinitionError) as caught:
        Balancer(**keywords)
    assert str(caught.value) == text


@on_each
@pytest.mark.parametrize(
    ("keywords", "name"),
    [
        ({"priority": "high"}, "priority"),
        ({"priority": float("nan")}, "priority"),
        ({"queue_timeout": -1}, "queue_timeout"),
        ({"deadline": -1}, "deadline"),
    ],
)
def test_terms_are_checked_before_anything_is_queued(executor: str, keywords: dict[str, Any], name: str) -> None:
    with Balancer(executor) as balancer:
        for call in (balancer.run, balancer.post):
            with pytest.raises(ChainDefinitionError, match=f"`{name}`"):
                call(Task(same)(1), **keywords)
        assert balancer.stats().done == 0


@on_each
@pytest.mark.parametrize("wrong", [Task(same), same, 3, None])
def test_only_a_request_can_be_run(executor: str, wrong: Any) -> None:
    rule = "`request` must be a chain called with its arguments, as in balancer.run\\(page\\(42\\)\\); got "
    with Balancer(executor) as balancer:
        for call in (balancer.run, balancer.post):
            with pytest.raises(ChainDefinitionError, match=rule):
                call(wrong)
        with pytest.raises(ChainDefinitionError, match=rule):
            asyncio.run(balancer.arun(wrong))


# --- binding ------------------------------------------------------------------------------------------------------


def test_it_is_bound_to_nothing_when_it_is_made() -> None:
    threads = threading.active_count()
    balancer = Balancer()
    assert repr(balancer).startswith("<Balancer unbound open: ")
    assert threading.active_count() == threads


@pytest.mark.parametrize("name", ["asyncio", "trio"])
def test_the_first_arun_binds_the_loop_that_runs(name: str) -> None:
    async def main() -> str:
        outcome = await balancer.arun(Task(athread_name)())
        assert repr(balancer).startswith(f"<Balancer {name} open: ")
        return outcome.unwrap()

    balancer = Balancer()
    assert (asyncio.run(main()) if name == "asyncio" else trio.run(main)) == thread_name()


@pytest.mark.parametrize("name", ["asyncio", "trio"])
def test_async_with_binds_the_loop_that_runs(name: str) -> None:
    async def main() -> None:
        async with Balancer() as balancer:
            assert (await balancer.arun(Task(athread_name)())).unwrap() == thread_name()
            assert (await balancer.post(Task(athread_name)())).unwrap() == thread_name()

    asyncio.run(main()) if name == "asyncio" else trio.run(main)


@pytest.mark.parametrize("use", ["with", "run", "post"])
@pytest.mark.parametrize("inside_a_loop", [False, True])
@pytest.mark.filterwarnings("ignore:this call blocks the running loop:RuntimeWarning")
def test_with_run_and_post_give_it_a_thread_of_its_own(use: str, inside_a_loop: bool) -> None:
    def ask() -> str:
        if use == "with":
            with Balancer() as balancer:
                return balancer.run(Task(athread_name)()).unwrap()
        balancer = Balancer()
        request = Task(athread_name)()
        got = balancer.run(request).unwrap() if use == "run" else balancer.post(request).wait().unwrap()
        balancer.close()
        return got

    async def main() -> str:
        return ask()

    assert (asyncio.run(main()) if inside_a_loop else ask()) == "rio_chain-asyncio"


@pytest.mark.parametrize(("executor", "name"), [("asyncio", "rio_chain-asyncio"), ("trio", "rio_chain-trio")])
def test_the_executor_that_was_asked_for_is_kept_on_another_loop(executor: str, name: str) -> None:
    async def main() -> None:
        async with Balancer(executor) as balancer:
            assert (await balancer.arun(Task(athread_name)())).unwrap() == name

    asyncio.run(main()) if executor == "trio" else trio.run(main)


def test_arun_runs_in_the_callers_own_task() -> None:
    async def task_of() -> Any:
        return asyncio.current_task()

    async def main() -> None:
        async with Balancer() as balancer:
            assert (await balancer.arun(Task(task_of)())).unwrap() is asyncio.current_task()

    asyncio.run(main())


def test_from_env(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RIO_EXECUTOR", raising=False)
    assert repr(Balancer.from_env()).startswith("<Balancer asyncio open: 0/10 running")
    monkeypatch.setenv("RIO_EXECUTOR", "trio")
    assert repr(Balancer.from_env(workers=3)).startswith("<Balancer trio open: 0/3 running")
    monkeypatch.setenv("RIO_EXECUTOR", "ray")
    with pytest.raises(ChainDefinitionError, match="`RIO_EXECUTOR` must be one of"):
        Balancer.from_env()


@pytest.mark.parametrize("name", ["asyncio", "trio"])
def test_what_would_block_its_own_loop_is_refused_with_the_right_call_named(name: str) -> None:
    async def main() -> None:
        async with Balancer() as balancer:
            ticket = balancer.post(Task(asame)(1))
            for call, right in (
                (lambda: balancer.run(Task(asame)(1)), r"write `await balancer\.arun\(\.\.\.\)`"),
                (lambda: balancer.map(Task(asame), [1]), r"`balancer\.amap\(\.\.\.\)`"),
                (balancer.close, r"write `await balancer\.aclose\(\)`"),
                (ticket.wait, "write `await ticket`"),
            ):
                with pytest.raises(UsageError, match=right):
                    call()
            assert (await ticket).unwrap() == 1

    asyncio.run(main()) if name == "asyncio" else trio.run(main)


# --- order and limits ---------------------------------------------------------------------------------------------


@on_each
def test_higher_priority_first_then_arrival(executor: str, gate: Any) -> None:
    ran: list[str] = []
    with Balancer(executor, workers=1) as balancer:
        first = balancer.post(Task(gate.stay)(0))
        gate.wait_begun()
        names = {"a": 0, "b": 5, "c": 0, "d": 5, "e": -1, "f": 0.5}
        tickets = [balancer.post(Task(ran.append)(name), priority=priority) for name, priority in names.items()]
        gate.open.set()
        for ticket in (first, *tickets):
            ticket.wait(20_000)
    assert "".join(ran) == "bdface"


@on_each
def test_what_was_not_started_in_time_fails_and_never_runs(executor: str, gate: Any) -> None:
    called: list[int] = []
    request = Task(called.append)(1)
    with Balancer(executor, workers=1) as balancer:
        running = balancer.post(Task(gate.stay)(0))
        gate.wait_begun()
        for keywords in ({"queue_timeout": 5}, {"deadline": 5}, {"queue_timeout": 30_000, "deadline": 5}):
            for outcome in (balancer.run(request, **keywords), balancer.post(request, **keywords).wait(20_000)):
                error = outcome.result.failure()
                assert (type(error), error.where) == (DeadlineExceeded, "in the queue")
                assert (outcome.only.status, outcome.only.attempts) == ("skipped", 0)
                assert outcome.queued >= 5
        gate.open.set()
        running.wait(20_000)
        assert balancer.run(request, queue_timeout=0).unwrap() is None  # a slot is free, so it does not wait
    assert called == [1]


@on_each
def test_time_in_the_queue_does_not_count_for_abandon_after(executor: str, gate: Any) -> None:
    with Balancer(executor, workers=1, abandon_after=10_000) as balancer:
        running = balancer.post(Task(gate.stay)(0))
        waiting = balancer.post(Task(same)(1))
        gate.wait_begun()
        time.sleep(0.01)
        gate.open.set()
        outcome = waiting.wait(20_000)
        assert running.wait(20_000).queued < outcome.queued
        assert outcome.queued >= 10


@on_each
def test_the_buffer_bounds_posts_only(executor: str, gate: Any) -> None:
    with Balancer(executor, workers=1, buffer=1) as balancer:
        tickets = [balancer.post(Task(gate.stay)(0)), balancer.post(Task(same)(1))]
        with pytest.raises(
            QueueFull, match=r"^1 requests are waiting already \(buffer=1\); this one was not accepted$"
        ):
            balancer.post(Task(same)(2))
        got: list[int] = []
        caller = threading.Thread(target=lambda: got.append(balancer.run(Task(same)(3)).unwrap()))
        caller.start()
        eventually(lambda: balancer.stats().queued == 2)
        gate.open.set()
        caller.join(20)
        assert (got, [ticket.wait().unwrap() for ticket in tickets]) == ([3], [0, 1])
        assert balancer.stats().rejected == 1


@on_each
def test_a_buffer_of_none_means_no_waiting(executor: str, gate: Any) -> None:
    with Balancer(executor, workers=1, buffer=0) as balancer:
        running = balancer.post(Task(gate.stay)(0))
        with pytest.raises(QueueFull):
            balancer.post(Task(same)(1))
        gate.open.set()
        assert running.wait(20_000).unwrap() == 0


@on_each
def test_too_many_abandoned_calls_saturate_it(executor: str, gate: Any) -> None:
    with Balancer(executor, workers=2, max_abandoned=2) as balancer:
        for _ in range(2):
            balancer.run(Task(gate.stay).timeout(5)(1))
        assert balancer.stats().abandoned == 2
        for call in (balancer.run, balancer.post):
            with pytest.raises(Saturated, match=r"^2 abandoned calls still run \(max_abandoned=2\)$"):
                call(Task(same)(1))
        with pytest.raises(Saturated):
            asyncio.run(balancer.arun(Task(same)(1)))
        assert balancer.stats().rejected == 3
        gate.open.set()
        eventually(lambda: balancer.stats().abandoned == 0)
        assert balancer.run(Task(same)(1)).unwrap() == 1


@on_each
def test_threads_bound_sync_bodies_and_a_call_that_waits_for_one_has_not_started(executor: str, gate: Any) -> None:
    with Balancer(executor, workers=3, threads=2) as balancer:
        tickets = [balancer.post(Task(gate.stay).timeout(10_000)(n)) for n in range(3)]
        gate.wait_begun()
        gate.wait_begun()
        assert not gate.begun.acquire(timeout=0.01)
        gate.open.set()
        assert [ticket.wait(20_000).unwrap() for ticket in tickets] == [0, 1, 2]


@on_each
def test_bodies_read_the_context_of_the_poster(executor: str) -> None:
    var: ContextVar[str] = ContextVar("var", default="nobody")

    async def aread() -> str:
        return var.get()

    with Balancer(executor, workers=1) as balancer:
        for value in ("x", "y"):
            var.set(value)
            for chain in (Task(var.get), Task(var.get).inline(), Task(aread)):
                assert balancer.run(chain()).unwrap() == value
                assert balancer.post(chain(), queue_timeout=1_000).wait().unwrap() == value
                assert asyncio.run(balancer.arun(chain())).unwrap() == value


@on_each
def test_an_error_that_ends_more_than_a_run_is_raised_by_each_call_and_harms_nobody(executor: str) -> None:
    def leave(_: Any) -> None:
        raise SystemExit(3)

    async def aleave(_: Any) -> None:
        raise SystemExit(3)

    with Balancer(executor, workers=1) as balancer:
        for chain in (Task(leave), Task(aleave), Task(leave).inline(), Task(same) & Task(aleave)):
            ticket = balancer.post(chain(1))
            for call in (lambda: balancer.run(chain(1)), ticket.wait, lambda: asyncio.run(_arun(balancer, chain(1)))):  # noqa: B023 - called at once
                with pytest.raises(SystemExit) as caught:
                    call()
                assert caught.value.code == 3
            assert balancer.run(Task(same)(1)).unwrap() == 1


async def _arun(balancer: Balancer, request: Any) -> Any:
    try:
        return await balancer.arun(request)
    except SystemExit as error:  # asyncio itself stops at one that leaves a task
        caught = error
    return _raise(caught)


def _raise(error: BaseException) -> Any:
    raise error


# --- map ----------------------------------------------------------------------------------------------------------


class Source:
    """Counts what was taken from it."""

    def __init__(self, size: int) -> None:
        self.taken = 0
        self.size = size

    def __iter__(self) -> Iterator[int]:
        for n in range(self.size):
            self.taken += 1
            yield n


@on_each
def test_map_gives_all_in_order_and_reads_no_more_than_it_needs(executor: str) -> None:
    source = Source(100)
    with Balancer(executor, workers=2, buffer=0) as balancer:
        for n, outcome in enumerate(balancer.map(Task(same), source)):
            assert outcome.unwrap() == n
            assert source.taken <= n + 2 * 2 + 1
        assert n == 99


@on_each
def test_map_as_they_come_in(executor: str, gate: Any) -> None:
    def chain(n: int) -> Any:
        return Task(gate.stay)(n) if n == 0 else Task(same)(n)

    with Balancer(executor, workers=2) as balancer:
        outcomes = balancer.map(chain, range(20), as_completed=True)
        got = [next(outcomes).unwrap() for _ in range(19)]
        assert sorted(got) == list(range(1, 20))
        gate.open.set()
        assert [outcome.unwrap() for outcome in outcomes] == [0]


@on_each
@pytest.mark.parametrize("as_completed", [False, True])
def test_map_keeps_no_ticket_whose_outcome_it_has_given(executor: str, as_completed: bool) -> None:
    async def main() -> None:
        number = itertools.count()
        async for _ in balancer.amap(Task(asame), range(100), as_completed=as_completed):
            if next(number) == 80:
                kept.extend([tickets()])

    def tickets() -> int:
        gc.collect()
        return sum(type(kept) is Ticket for kept in gc.get_objects()) - before

    kept: list[int] = []
    before = 0
    before = tickets()
    with Balancer(executor, workers=2) as balancer:
        for number, _ in enumerate(balancer.map(Task(same), range(100), as_completed=as_completed)):
            if number == 80:
                kept.append(tickets())
        asyncio.run(main())
    assert all(number <= 2 * 2 + 2 for number in kept)
    assert len(kept) == 2


@on_each
@pytest.mark.parametrize("as_completed", [False, True])
def test_a_loop_over_map_that_is_left_cancels_what_is_under_way(executor: str, as_completed: bool) -> None:
    begun: list[int] = []
    ended: list[int] = []

    async def body(x: int) -> int:
        begun.append(x)
        try:
            await sleep(60_000 if x else 0)
        finally:
            ended.append(x)
        return x

    with Balancer(executor, workers=3) as balancer:
        outcomes: Any = balancer.map(Task(body), range(100), as_completed=as_completed)
        assert next(outcomes).unwrap() == 0
        eventually(lambda: len(begun) == 4)
        outcomes.close()
        eventually(lambda: balancer.stats().running == 0)
        assert sorted(begun) == sorted(ended) == [0, 1, 2, 3]


@on_each
def test_map_of_failures_and_of_nothing(executor: str) -> None:
    with Balancer(executor) as balancer:
        got = [outcome.value_or(None) for outcome in balancer.map(Task(lambda n: 1 // n), [0, 1, 0])]
        assert got == [None, 1, None]
        assert list(balancer.map(Task(same), [])) == []


@on_each
@pytest.mark.parametrize("as_completed", [False, True])
@pytest.mark.parametrize("library", ["asyncio", "trio"])
def test_amap(executor: str, as_completed: bool, library: str) -> None:
    async def main() -> None:
        async with Balancer(executor, workers=3) as balancer:
            source = Source(50)
            got = []
            async for outcome in balancer.amap(Task(asame), source, as_completed=as_completed):
                got.append(outcome.unwrap())
                assert source.taken <= len(got) + 2 * 3 + 1
            assert (sorted(got) if as_completed else got) == list(range(50))

    asyncio.run(main()) if library == "asyncio" else trio.run(main)


@pytest.mark.parametrize("library", ["asyncio", "trio"])
def test_amap_may_be_woken_for_an_outcome_that_it_has_taken_already(
    library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From another thread: that has put it down, and calls when the next one is waited for."""
    real, calls = _mapping.waiter_here, itertools.count()

    def early() -> Any:
        waiter = real()
        if next(calls) % 2 == 0:
            waiter.wake()
        return waiter

    async def main() -> None:
        with Balancer("thread", workers=2) as balancer:
            source = range(20)
            outcomes = balancer.amap(Task(asame), source, as_completed=True)
            assert sorted([outcome.unwrap() async for outcome in outcomes]) == [*source]

    monkeypatch.setattr(_mapping, "waiter_here", early)
    asyncio.run(main()) if library == "asyncio" else trio.run(main)


@on_each
@pytest.mark.parametrize("as_completed", [False, True])
def test_ctrl_c_in_a_map_begins_nothing_more_and_waits_for_the_clean_up(
    executor: str, as_completed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[int] = []
    ended: list[int] = []

    async def body(x: int) -> None:
        begun.append(x)
        try:
            await sleep(60_000)
        finally:
            with trio.CancelScope(shield=True) if executor == "trio" else nullcontext():
                await sleep(20)
            ended.append(x)

    def interrupted(*_: Any, **__: Any) -> None:
        eventually(lambda: begun)
        monkeypatch.undo()  # the clean-up is waited for in the same way
        raise KeyboardInterrupt

    monkeypatch.setattr(_mapping, "wait_until_done", interrupted)
    monkeypatch.setattr(Ticket, "wait", interrupted)
    with Balancer(executor, workers=1) as balancer:
        with pytest.raises(KeyboardInterrupt):
            list(balancer.map(Task(body), range(5), as_completed=as_completed))
        assert (begun, ended) == ([0], [0])
        assert balancer.stats().queued == 0
    assert begun == [0]


def test_a_loop_over_amap_that_is_left_leaves_no_generator_to_trio() -> None:
    async def main() -> None:
        async with Balancer(workers=2) as balancer:
            for options in ({}, {"as_completed": True}, {"progress": True}):
                async for _ in balancer.amap(Task(asame), range(100), **options):
                    break

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        trio.run(main)
        gc.collect()


# --- closing ------------------------------------------------------------------------------------------------------


@on_each
def test_close_drains_what_is_under_way_and_takes_nothing_more(executor: str, gate: Any) -> None:
    balancer = Balancer(executor, workers=1)
    tickets = [balancer.post(Task(gate.stay)(n)) for n in range(3)]
    gate.wait_begun()
    closer = threading.Thread(target=balancer.close)
    closer.start()
    eventually(lambda: " closed: " in repr(balancer))
    for call in (balancer.run, balancer.post):
        with pytest.raises(
            BalancerClosed, match=r"^this balancer is closed; .* opens it again \(it was closed by close\(\)\)$"
        ):
            call(Task(same)(1))
    with pytest.raises(BalancerClosed):
        asyncio.run(balancer.arun(Task(same)(1)))
    gate.open.set()
    closer.join(20)
    assert [ticket.wait(0).unwrap() for ticket in tickets] == [0, 1, 2]


@on_each
def test_close_can_be_called_again_and_by_many(executor: str) -> None:
    balancer = Balancer(executor)
    assert balancer.run(Task(same)(1)).unwrap() == 1
    closers = [threading.Thread(target=balancer.close) for _ in range(5)]
    for closer in closers:
        closer.start()
    for closer in closers:
        closer.join(20)
    balancer.close()
    asyncio.run(balancer.aclose())
    trio.run(balancer.aclose)
    assert not any(closer.is_alive() for closer in closers)


@on_each
def test_what_is_left_after_the_grace_is_cancelled(executor: str, gate: Any) -> None:
    balancer = Balancer(executor, workers=1)
    running, waiting = balancer.post((Task(gate.stay) >> Task(same))(1)), balancer.post(Task(same)(1))
    gate.wait_begun()
    balancer.close(grace=1)
    for ticket, statuses in ((running, ["cancelled", "skipped"]), (waiting, ["skipped"])):
        outcome = ticket.wait(0)
        assert isinstance(outcome.result.failure(), TicketCancelled)
        assert outcome.result.failure().reason == "the balancer closed"
        assert [response.status for response in outcome] == statuses


@on_each
def test_a_block_that_is_interrupted_does_not_wait(executor: str, gate: Any) -> None:
    tickets = []

    def block() -> None:
        with Balancer(executor) as balancer:
            tickets.append(balancer.post(Task(gate.stay)(1)))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        block()
    assert isinstance(tickets[0].wait(0).result.failure(), TicketCancelled)


@pytest.mark.parametrize("grace", [-1, True, "1", float("nan")])
def test_a_grace_that_is_none_closes_nothing(grace: Any) -> None:
    with Balancer("thread") as balancer:
        with pytest.raises(ChainDefinitionError, match="`grace` must be a finite number of milliseconds"):
            balancer.close(grace=grace)
        assert balancer.run(Task(same)(1)).unwrap() == 1


# --- what it says of itself ---------------------------------------------------------------------------------------


@on_each
def test_stats_and_the_status_line(executor: str, gate: Any) -> None:
    with Balancer(executor, workers=1, buffer=7) as balancer:
        assert repr(balancer) == (
            f"<Balancer {executor} open: 0/1 running, 0/7 queued, 0 abandoned, 0 rejected, 0 done, "
            "p50 wait <= 0 ms, run <= 0 ms>"
        )
        tickets = [balancer.post(Task(gate.stay)(n)) for n in range(3)]
        gate.wait_begun()
        stats = balancer.stats()
        assert (stats.running, stats.queued, stats.abandoned, stats.rejected, stats.done) == (1, 2, 0, 0, 0)
        assert "1/1 running, 2/7 queued" in repr(balancer)
        gate.open.set()
        for ticket in tickets:
            ticket.wait(20_000)
        stats = balancer.stats()
        assert (stats.running, stats.queued, stats.done) == (0, 0, 3)
        assert stats.waits.count == stats.runs.count == 3
        assert 0 < stats.runs.quantile(0.5) <= stats.runs.quantile(1)
    assert repr(balancer).startswith(f"<Balancer {executor} closed: 0/1 running, 0/7 queued")
