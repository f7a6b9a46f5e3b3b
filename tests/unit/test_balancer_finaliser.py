"""A finaliser or a signal handler may come in anywhere: nothing hangs, nothing is lost, and counts are exact."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
import signal
import threading
import time
import weakref
from collections import Counter, deque
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, ClassVar

import pytest
import trio
from amid import amid
from interrupting import Interruption, everywhere
from leaks.baseline import EXECUTORS, is_idle, nothing_left, pause
from returns.result import Failure, Success
from waiting import eventually

from rio_chain import (
    Balancer,
    BalancerClosed,
    Breaker,
    Budget,
    Cache,
    Call,
    CircuitOpen,
    Limit,
    Quantile,
    QueueFull,
    SingleFlight,
    Task,
    Ticket,
    TicketCancelled,
)
from rio_chain.balancer import _host_binding
from rio_chain.balancer._priority_queue import Turn
from rio_chain.engine._current_run import Run
from rio_chain.executors import _start_thread
from rio_chain.executors._worker_pool import WorkerPool, _Worker
from rio_chain.policies._cache import MISS, CacheLookup
from rio_chain.policies._shared_clock import Timeline
from rio_chain.policies._single_flight import Leader

pytestmark = pytest.mark.timeout(50)
SECONDS = 20_000  # that a busy machine may take


def same(x: Any) -> Any:
    return x


CHAIN = Task(same).inline()
ON_THREADS = Task(same)


# --- at every place, one by one -------------------------------------------------------------------------------------


def cancelled(balancer: Balancer) -> Ticket[Any]:
    ticket = balancer.post(CHAIN(0))
    ticket.cancel()
    return ticket


CALLS: dict[str, Callable[[Balancer], Ticket[Any] | None]] = {
    "post": lambda balancer: balancer.post(CHAIN(0)),
    "post with a limit": lambda balancer: balancer.post(ON_THREADS(0), queue_timeout=SECONDS, deadline=SECONDS),
    "run": lambda balancer: balancer.run(CHAIN(0)) and None,
    "cancel": cancelled,
    "map": lambda balancer: list(balancer.map(CHAIN, [0, 1, 2])) and None,
    "stats": lambda balancer: repr(balancer) and None,
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("executor", EXECUTORS)
def test_whoever_comes_into_a_call_may_post_and_cancel(executor: str, call: str) -> None:
    tickets: list[Ticket[Any]] = []
    with Balancer(executor, workers=1, buffer=10_000) as balancer:

        def once(interruption: Interruption) -> None:
            with interruption.here():
                ticket = CALLS[call](balancer)
            if ticket is not None:
                tickets.append(ticket)

        def posts() -> None:
            tickets.append(balancer.post(ON_THREADS(1)))

        def posts_and_cancels() -> None:
            tickets.append(cancelled(balancer))

        places = everywhere(once, posts, step=2)
        assert len(places) > 20
        everywhere(once, posts_and_cancels, step=5)
        assert all(ticket.wait(SECONDS)[0].status in ("succeeded", "cancelled", "skipped") for ticket in tickets)
        eventually(lambda: is_idle(balancer))
        stats = balancer.stats()
        assert stats.done == stats.waits.count
        assert stats.rejected == 0
        assert balancer._host is not None
        assert balancer._host.pool.permits.free == balancer._host.pool.threads
        assert balancer._host.pool.count <= balancer._host.pool.threads


@pytest.mark.parametrize("loop", ["asyncio", "trio"])
def test_whoever_comes_into_an_await_may_post(loop: str) -> None:
    async def main() -> None:
        tickets: list[Ticket[Any]] = []
        number = 0
        async with Balancer(workers=1, buffer=10_000) as balancer:
            while True:
                interruption = Interruption(number, lambda: tickets.append(balancer.post(CHAIN(1))))
                with interruption.here():
                    outcome = await balancer.arun(ON_THREADS(0), priority=1)
                assert outcome.unwrap() == 0
                if interruption.came is None:
                    break
                number += 1
            assert number > 40
            for ticket in tickets:
                assert (await ticket).unwrap() == 1
            await pause(0)
            assert balancer.stats().done == 2 * number + 1

    asyncio.run(main()) if loop == "asyncio" else trio.run(main)


@pytest.mark.parametrize("executor", EXECUTORS)
def test_whoever_comes_into_the_first_use_may_post_as_well(executor: str) -> None:
    """There is one host in the end, and it is closed; of others that were begun, nothing is left."""
    tickets: list[Ticket[Any]] = []
    balancers: list[Balancer] = []

    def once(interruption: Interruption) -> None:
        balancers.append(Balancer(executor))
        with contextlib.closing(balancers[-1]) as balancer:
            with interruption.here():
                ticket = balancer.post(CHAIN(0))
            assert ticket.wait(SECONDS).unwrap() == 0

    with nothing_left():
        everywhere(once, lambda: tickets.append(balancers[-1].post(CHAIN(1))), step=7)
        assert [ticket.wait(SECONDS).unwrap() for ticket in tickets] == [1] * len(tickets)


@pytest.mark.parametrize("executor", EXECUTORS)
def test_whoever_comes_into_closing_may_cancel_what_it_waits_for(executor: str) -> None:
    tickets: list[Ticket[Any]] = []

    async def stays(_: object) -> None:
        await pause(20)

    def closes(interruption: Interruption, grace: float) -> None:
        balancer = Balancer(executor, workers=1)
        tickets[:] = [balancer.post(Task(stays)(number)) for number in range(2)]
        with interruption.here():
            balancer.close(grace)
        assert all(ticket.done for ticket in tickets)

    def cancels() -> None:
        for ticket in reversed(tickets):
            ticket.cancel()

    with nothing_left():
        everywhere(partial(closes, grace=0), cancels, step=8)
        for number in itertools.count(0, 8):
            interruption = Interruption(number, cancels)
            closes(interruption, grace=SECONDS)
            assert interruption.came is not None
            if interruption.came.startswith("acquire_interruptible:"):
                break  # in the wait for what runs, which no later one would end


@pytest.mark.parametrize("executor", EXECUTORS)
def test_what_closing_waits_for_may_end_on_its_own_thread(executor: str) -> None:
    """As when the coroutine of an ``arun`` that nobody awaits any more is collected there."""
    turns: list[Turn] = []

    def once(interruption: Interruption) -> None:
        balancer = Balancer(executor)
        balancer.run(CHAIN(0))
        turns[:] = [Turn(Run(CHAIN.plan()), 0)]
        assert balancer._admission.admit(turns[0], bounded=False)
        ends = threading.Timer(0.02, lambda: turns and leave())
        ends.start()

        def leave() -> None:
            with contextlib.suppress(IndexError):
                balancer._admission.leave(turns.pop().run, 0, 0)

        leaves.append(leave)
        with interruption.here():
            balancer.close()
        ends.cancel()
        ends.join()

    leaves: list[Callable[[], None]] = []

    def comes() -> None:
        leaves[-1]()

    with nothing_left():
        everywhere(once, comes, step=11)


def test_whoever_comes_into_counting_threads_may_submit() -> None:
    """Neither one thread too many, nor one too few for what was submitted."""
    pool = WorkerPool(threads=1, max_abandoned=9, name="counting")
    done: list[int] = []

    def once(interruption: Interruption) -> None:
        with interruption.here():
            pool.submit(lambda: bool(done.append(0)))

    places = everywhere(once, lambda: pool.submit(lambda: bool(done.append(1))))
    eventually(lambda: len(done) == 2 * len(places) + 1)
    assert pool.count == 1
    pool.close()
    assert pool.count == 0

    idle = WorkerPool(threads=1, max_abandoned=9, name="leaving")
    idle._start = lambda worker, item=None: done.append(2)  # type: ignore[method-assign, assignment]
    worker = _Worker()

    def leaves(interruption: Interruption) -> None:
        idle._pending.clear()
        idle._workers.clear()
        idle._workers[worker] = None
        with interruption.here(), idle._lock:
            gone = idle._one_less(worker)
        started = done.count(2)
        done.clear()
        assert idle.count == idle.pending == (interruption.came is not None)
        assert gone + idle.count == 1 + started, "a worker that stays or comes does what was submitted"

    everywhere(leaves, lambda: idle.submit(lambda: False))


@pytest.mark.parametrize("executor", EXECUTORS)
def test_a_collector_may_find_thousands_amid_one_decision(executor: str) -> None:
    with Balancer(executor, workers=1, buffer=1) as balancer:
        with amid(balancer._admission):
            tickets = [cancelled(balancer) if number % 2 else balancer.post(CHAIN(0)) for number in range(3_000)]
        assert {type(ticket.wait(SECONDS).result) for ticket in tickets} == {Success, Failure}
        eventually(lambda: is_idle(balancer))
        assert balancer.stats().done >= 1_500


# --- the first use, with a new thread that comes back ---------------------------------------------------------------


@pytest.mark.parametrize("executor", ["asyncio", "trio"])
def test_a_finaliser_on_the_new_thread_of_a_loop_may_post_too(executor: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its balancer is just being bound, by a thread that waits for this one."""
    monkeypatch.setattr(_host_binding, "PATIENCE", 0.02)
    start, tickets = _start_thread.start_daemon, list[Ticket[Any]]()

    def starts(target: Callable[[], None], name: str) -> threading.Thread:
        def run() -> None:
            if not tickets:
                tickets.append(None)  # type: ignore[arg-type]
                tickets[0] = balancer.post(CHAIN(1))
            target()

        return start(run, name)  # type: ignore[no-any-return]

    with nothing_left():
        balancer = Balancer(executor)
        monkeypatch.setattr(_start_thread, "start_daemon", starts)
        with balancer:
            assert balancer.run(CHAIN(0)).unwrap() == 0
            assert tickets[0].wait(SECONDS).unwrap() == 1
            assert balancer.stats().done == 2


# --- storms ---------------------------------------------------------------------------------------------------------


class Storm:
    """Posts, and now and then cancels, from wherever it is called. Everything it posts is answered."""

    def __init__(self, balancer: Balancer) -> None:
        self.balancer = balancer
        self.numbers = itertools.count()
        self.ran: deque[int] = deque()
        self.tickets: deque[tuple[int, Ticket[int]]] = deque()
        self.refused: deque[None] = deque()
        self.chain = Task(self.body).inline()

    def body(self, number: int) -> int:
        self.ran.append(number)
        return number

    def __call__(self, *_: object) -> None:
        number = next(self.numbers)
        try:
            ticket = self.balancer.post(self.chain(number), priority=number % 3)
        except QueueFull:
            self.refused.append(None)
            return
        except BalancerClosed:
            return
        self.tickets.append((number, ticket))
        if number % 3 == 0:
            ticket.cancel()

    def over(self) -> None:
        """Each was answered once, and ran once if it was not cancelled; the balancer has counted them all."""
        results = {number: ticket.wait(SECONDS).result for number, ticket in self.tickets}
        ran = Counter(self.ran)
        assert set(ran.values()) <= {1}
        for number, result in results.items():
            if isinstance(result, Success):
                assert (result.unwrap(), ran[number]) == (number, 1)
            else:
                assert isinstance(result.failure(), TicketCancelled)
                assert number % 3 == 0
        eventually(lambda: is_idle(self.balancer))
        stats = self.balancer.stats()
        assert len(ran) <= stats.done == stats.waits.count <= len(self.tickets)
        assert stats.rejected == len(self.refused)


class Finalised:
    """In a cycle, so that the collector finds it anywhere."""

    alive: ClassVar[deque[None]] = deque()

    def __init__(self, action: Callable[[], None]) -> None:
        self.alive.append(None)
        self.action = action
        self.me = self

    def __del__(self) -> None:
        self.action()
        self.alive.pop()

    @classmethod
    def all_gone(cls) -> bool:
        gc.collect()  # which does nothing while another thread collects
        return not cls.alive


@contextlib.contextmanager
def restless_collector(comes: Callable[..., None]) -> Iterator[None]:
    """It comes with nearly every object that is made, and tells of that, too."""
    before, left = gc.get_threshold(), [40]

    def collects(phase: str, info: object) -> None:
        if left[0] and phase == "stop":
            left[0] -= 1
            comes()

    gc.callbacks.append(collects)
    gc.set_threshold(1, 1, 1)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.callbacks.remove(collects)


class Kept:
    """May be referred to weakly."""


def storm_of_finalisers(executor: str, rounds: int) -> None:
    """Threads post while what comes in posts as well, also into the first use of the balancer."""
    balancer = Balancer(executor, workers=2, buffer=100_000)
    storm = Storm(balancer)

    def posts() -> None:
        for _ in range(rounds):
            Finalised(storm)
            kept = Kept()
            kept.ref = weakref.ref(kept, storm)  # type: ignore[attr-defined]
            kept.me = Finalised(storm)  # type: ignore[attr-defined]
            storm()
            balancer.stats()

    with restless_collector(storm):
        threads = [threading.Thread(target=posts) for _ in range(2)]
        for thread in threads:
            thread.start()
        posts()
        for thread in threads:
            thread.join()
    eventually(Finalised.all_gone)
    assert len(storm.tickets) + len(storm.refused) >= 9 * rounds
    storm.over()
    balancer.close()


@pytest.mark.parametrize("executor", EXECUTORS)
def test_a_storm_of_finalisers(executor: str) -> None:
    with nothing_left():
        storm_of_finalisers(executor, 12)


def storm_of_signals(executor: str, rounds: int) -> None:
    """On the main thread, which makes balancers, posts, waits, cancels and closes."""
    for number in range(rounds):
        balancer = Balancer(executor, workers=2, buffer=50)
        storm = Storm(balancer)
        before = signal.signal(signal.SIGUSR1, storm)
        over, main = threading.Event(), threading.get_ident()

        def sends(over: threading.Event = over, main: int = main) -> None:
            while not over.wait(0.0003):
                signal.pthread_kill(main, signal.SIGUSR1)

        sender = threading.Thread(target=sends)
        sender.start()
        try:
            for _ in range(5):
                storm()
                with contextlib.suppress(TimeoutError):
                    storm.tickets[-1][1].wait(0.1)
                balancer.run(storm.chain(next(storm.numbers)))
                list(balancer.map(CHAIN, range(5)))
                repr(balancer)
            balancer.close(grace=SECONDS if number % 2 else 0)
        finally:
            over.set()
            sender.join()
            signal.signal(signal.SIGUSR1, before)
        assert all(ticket.done for _, ticket in storm.tickets)


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="needs signals for one thread")
@pytest.mark.parametrize("executor", EXECUTORS)
def test_a_storm_of_signals(executor: str) -> None:
    with nothing_left():
        storm_of_signals(executor, 4)


# --- policies: the coroutine of a call that was let in may be collected anywhere -------------------------------------


def test_whoever_comes_into_a_limit_may_leave_it() -> None:
    def once(interruption: Interruption) -> None:
        limit = Limit(2)
        inside: list[Any] = [limit.enter(Call(clock=time.monotonic)) for _ in range(2)]
        waiting: list[Any] = [limit.enter(Call(clock=time.monotonic)) for _ in range(3)]
        leaving[:] = [inside[1].dropped, waiting[0].quit]
        with interruption.here():
            inside[0].dropped()
        while leaving:
            leaving.pop()()
        assert [place.state for place in waiting] == ["gone", "granted", "granted"]
        assert (limit.running, limit.waiting) == (2, 0)

    leaving: list[Callable[[], None]] = []
    for which in (-1, 0):

        def comes(which: int = which) -> None:
            leaving.pop(which)()

        everywhere(once, comes)


def test_whoever_comes_into_flights_may_leave_them() -> None:
    def once(interruption: Interruption) -> None:
        flights = SingleFlight()
        same = Call(key="key", clock=time.monotonic)
        leader, gone = flights.enter(same), flights.enter(same)
        leaving[:] = [gone.quit, leader.dropped]
        with interruption.here():
            second = flights.enter(same)
        while leaving:
            leaving.pop()()
        leads = second if isinstance(second, Leader) else second.permit
        assert isinstance(leads, Leader)
        assert "1 in flight, 0 follow" in repr(flights)
        last = flights.enter(same)
        leaving[:] = [last.quit]
        with interruption.here():
            leads.failed(OSError())
        while leaving:
            leaving.pop()()
        assert last.state in ("gone", "answered")
        assert "0 in flight, 0 follow" in repr(flights)

    leaving: list[Callable[[], None]] = []
    everywhere(once, lambda: leaving and leaving.pop()())


def test_whoever_comes_into_a_cache_may_empty_it() -> None:
    def once(interruption: Interruption) -> None:
        caches[:] = [cache := Cache(1_000)]
        cache.put("key", 1, time.monotonic)
        with interruption.here():
            found = cache.get("key", time.monotonic)
            cache.put("other", 2, time.monotonic)
        assert found in (CacheLookup(hit=True, value=1), MISS)
        assert len(cache) <= 2

    caches: list[Cache] = []
    for empties in (Cache.clear, partial(Cache.forget, key="key")):
        everywhere(once, lambda empties=empties: empties(caches[0]))  # type: ignore[misc]


def test_whoever_comes_into_a_breaker_a_budget_or_a_quantile_may_use_it() -> None:
    now = time.monotonic
    breaker, budget, quantile = Breaker(2), Budget(0, floor=1), Quantile(0.5, warmup=1, window=3)

    def once(interruption: Interruption) -> None:
        with interruption.here():
            for _ in range(2):
                call: Any = breaker.enter(Call(clock=now))
                call.failed(OSError())
            state = breaker.state
            breaker.close()
            flight, extra = budget.execution(), budget.extra()
            if extra is not None:
                extra.dropped()
            flight.dropped()
            quantile.add(1.0)
            assert quantile.value() == 1.0
        assert state == "open"

    def comes() -> None:
        call: Any = breaker.enter(Call(clock=now))
        if not isinstance(call, CircuitOpen):
            call.dropped()
        assert repr(breaker)
        assert repr(quantile)
        with contextlib.suppress(AttributeError):  # denied
            budget.extra().dropped()  # type: ignore[union-attr]

    everywhere(once, comes)
    assert (budget.executions, budget.extras, breaker.state) == (0, 0, "closed")


def test_whoever_comes_into_a_timeline_finds_no_half_of_it() -> None:
    clocks = [lambda: 5.0, lambda: 1e9]
    line = Timeline()

    def once(interruption: Interruption) -> None:
        with interruption.here():
            found = [line.now(clock) for clock in clocks]
        assert found == [5.0, 5.0]

    everywhere(once, lambda: [line.now(clock) for clock in clocks])
