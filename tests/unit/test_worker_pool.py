"""The pool: bounded workers, exact accounts, abandoned calls; and the call that loops make on it."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import gc
import sys
import threading
import time

import pytest
from waiting import eventually

from rio_chain.engine._runtime_protocol import Raised
from rio_chain.errors import LimitExceeded
from rio_chain.executors import _worker_pool as pool_module
from rio_chain.executors._thread_permits import ThreadPermits
from rio_chain.executors._worker_call import pooled_call
from rio_chain.executors._worker_pool import WorkerPool


def workers(name="test"):
    return [thread for thread in threading.enumerate() if thread.name.startswith(f"{name}-worker-")]


@pytest.fixture
def pool():
    pool = WorkerPool(threads=2, max_abandoned=2, name="test")
    yield pool
    pool.close()
    eventually(lambda: not workers())


class Gate:
    """An item that says when it begins, and ends when it is opened."""

    def __init__(self, *, given_up=False):
        self.begun, self.open, self.given_up = threading.Event(), threading.Event(), given_up

    def __call__(self):
        self.begun.set()
        assert self.open.wait(5)
        return self.given_up


def test_threads_start_when_needed_and_never_more_than_allowed(pool):
    gates = [Gate() for _ in range(3)]
    for gate, threads in zip(gates, (1, 2, 2), strict=True):
        pool.submit(gate)
        assert len(workers()) == pool.count == threads
    assert pool.pending == 3
    assert gates[1].begun.wait(5)
    assert not gates[2].begun.is_set()
    for gate in gates:
        gate.open.set()
    eventually(lambda: pool.pending == 0)
    assert repr(pool) == "<WorkerPool test: 2/2 threads, 0 pending, 0 abandoned>"


def test_a_free_thread_is_used_before_another_starts(pool):
    for _ in range(5):
        gate = Gate()
        pool.submit(gate)
        gate.open.set()
        eventually(lambda: pool.pending == 0)
    assert len(workers()) == 1


def test_idle_threads_end_by_themselves(pool, monkeypatch):
    monkeypatch.setattr(pool_module, "_IDLE", 0.01)
    for gate in (gates := [Gate(), Gate()]):
        pool.submit(gate)
    for gate in gates:
        gate.open.set()
    eventually(lambda: not workers() and pool.count == 0)
    gate = Gate()
    pool.submit(gate)
    assert gate.begun.wait(5)
    gate.open.set()


def test_a_given_up_thread_is_replaced_counted_and_retires(pool):
    stuck, waiting = [Gate(given_up=True), Gate(given_up=True)], Gate()
    for gate in (*stuck, waiting):
        pool.submit(gate)
    assert stuck[0].begun.wait(5)
    pool.give_up(stuck[0])
    pool.refill()
    assert waiting.begun.wait(5)
    assert (pool.abandoned, pool.saturated, pool.count, pool.pending) == (1, False, 2, 2)
    assert stuck[1].begun.wait(5)
    pool.give_up(stuck[1])
    pool.refill()
    assert (pool.abandoned, pool.saturated) == (2, True)
    for gate in (*stuck, waiting):
        gate.open.set()
    eventually(lambda: pool.abandoned == 0 and pool.pending == 0)
    eventually(lambda: len(workers()) == 1)
    assert not pool.saturated


def test_a_worker_waits_for_the_accounts_without_holding_them_up(pool):
    gate, counted = Gate(), []
    pool.submit(gate)
    assert gate.begun.wait(5)
    with pool._lock:
        gate.open.set()
        time.sleep(0.01)
        counted.append(pool.pending)  # the worker is there, and has not got in
    eventually(lambda: pool.pending == 0)
    assert counted == [1]


def test_an_error_of_an_item_goes_to_the_hook_and_the_worker_survives(pool, monkeypatch):
    reported = []
    monkeypatch.setattr(threading, "excepthook", reported.append)
    pool.submit(lambda: 1 / 0)
    eventually(lambda: pool.pending == 0)
    gate = Gate()
    pool.submit(gate)
    gate.open.set()
    eventually(lambda: pool.pending == 0)
    assert [args.exc_type for args in reported] == [ZeroDivisionError]
    assert len(workers()) == 1


def test_close_ends_idle_threads_at_once_and_busy_ones_afterwards(pool):
    gates = [Gate(), Gate()]
    for gate in gates:
        pool.submit(gate)
    gates[0].open.set()
    eventually(lambda: pool.pending == 1)
    pool.close()
    assert len(workers()) == 1
    gates[1].open.set()
    eventually(lambda: not workers())
    assert pool.count == 0


def test_what_is_submitted_after_close_is_done_and_its_thread_ends(pool):
    pool.close()
    gate = Gate()
    pool.submit(gate)
    gate.open.set()
    eventually(lambda: pool.pending == 0 and not workers())


def test_a_finaliser_may_submit(pool):
    done = threading.Semaphore(0)

    class Cycle:
        def __init__(self):
            self.me = self

        def __del__(self):
            pool.submit(lambda: done.release() is not None)

    threshold = gc.get_threshold()
    gc.set_threshold(1)
    try:
        for _ in range(200):
            Cycle()
            pool.submit(lambda: done.release() is not None)
    finally:
        gc.set_threshold(*threshold)
    gc.collect()
    for _ in range(400):
        assert done.acquire(timeout=5)
    eventually(lambda: pool.pending == 0)


def test_accounts_are_exact_under_pressure(pool):
    done = []

    def submit_many():
        for _ in range(500):
            pool.submit(lambda: done.append(1) is not None)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=submit_many) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        eventually(lambda: pool.pending == 0)
    finally:
        sys.setswitchinterval(interval)
    assert len(done) == 2000
    assert pool.count == len(workers()) <= 2


# --- calls of a loop --------------------------------------------------------------------------------------------


class LoopWaiter:
    def __init__(self):
        self.loop = asyncio.get_running_loop()
        self.event = asyncio.Event()

    async def wait(self):
        await self.event.wait()

    def wake(self):
        with contextlib.suppress(RuntimeError):  # the loop is closed; nobody waits
            self.loop.call_soon_threadsafe(self.event.set)


async def call(pool, fn, *args):
    room = pool.reserve(LoopWaiter)
    if room is not None:
        await room
    return await pooled_call(pool, LoopWaiter, fn, args, {})


def run(main):
    with asyncio.Runner() as runner:
        return runner.run(asyncio.wait_for(main, 10))


def test_a_pooled_call_gives_its_value_and_reads_the_callers_context(pool):
    var = contextvars.ContextVar("var")

    async def main():
        var.set("mine")
        return await call(pool, lambda x: (var.get(), x, threading.current_thread().name), 1)

    assert run(main()) == ("mine", 1, "test-worker-1")


@pytest.mark.parametrize("error", [ValueError("x"), StopIteration(1), SystemExit(1), KeyboardInterrupt()])
def test_any_error_crosses_as_a_value(pool, error):
    def body():
        raise error

    got = run(call(pool, body))
    assert isinstance(got, Raised)
    assert got.error is error


def test_a_cancelled_call_is_abandoned_until_it_returns(pool):
    begun, gate = threading.Event(), threading.Event()

    def body():
        begun.set()
        gate.wait(5)

    async def main():
        task = asyncio.ensure_future(call(pool, body))
        await asyncio.get_running_loop().run_in_executor(None, begun.wait, 5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return pool.abandoned, pool.permits.free

    assert run(main()) == (1, 2)
    gate.set()
    eventually(lambda: pool.abandoned == 0 and pool.pending == 0)


def test_a_call_cancelled_before_it_began_never_runs(pool):
    gates, ran = [Gate(), Gate()], []
    for gate in gates:
        pool.submit(gate)

    async def main():
        task = asyncio.ensure_future(call(pool, ran.append, 1))
        await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(main())
    for gate in gates:
        gate.open.set()
    eventually(lambda: pool.pending == 0)
    assert (ran, pool.abandoned, pool.permits.free) == ([], 0, 2)


def test_a_saturated_crew_refuses_without_calling(pool):
    stuck = [Gate(given_up=True) for _ in range(2)]
    for gate in stuck:
        pool.submit(gate)
        assert gate.begun.wait(5)
        pool.give_up(gate)
    got = run(call(pool, pytest.fail))
    assert isinstance(got.error, LimitExceeded)
    assert str(got.error) == "2 abandoned calls still run (max_abandoned=2); this one was not made"
    assert pool.permits.free == 2
    for gate in stuck:
        gate.open.set()
    eventually(lambda: pool.abandoned == 0)


def test_calls_wait_for_a_thread_in_order_and_no_more_run_than_there_are_threads(pool):
    order, most, lock = [], [0, 0], threading.Lock()

    def body(number):
        with lock:
            order.append(number)
            most[0] += 1
            most[1] = max(most)
        time.sleep(0.001)
        with lock:
            most[0] -= 1

    async def main():
        await asyncio.gather(*(call(pool, body, number) for number in range(20)))

    run(main())
    assert sorted(order) == list(range(20))
    assert all(abs(place - number) <= 1 for place, number in enumerate(order))
    assert most[1] <= 2
    eventually(lambda: pool.permits.free == 2)


def test_a_waiter_cancelled_after_the_hand_over_passes_its_permit_on():
    async def main():
        permits = ThreadPermits(1)
        assert permits.reserve(LoopWaiter) is None
        first, second = (asyncio.ensure_future(permits.reserve(LoopWaiter)) for _ in range(2))
        await asyncio.sleep(0)
        permits.release()  # handed to the first worker, which is not awake yet
        first.cancel()
        await second
        assert first.cancelled()
        permits.release()
        return permits.free

    assert run(main()) == 1


def test_a_waiter_that_gave_up_is_passed_over():
    async def main():
        permits = ThreadPermits(1)
        assert permits.reserve(LoopWaiter) is None
        first, second = (asyncio.ensure_future(permits.reserve(LoopWaiter)) for _ in range(2))
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.sleep(0)
        permits.release()
        await second
        permits.release()
        return permits.free

    assert run(main()) == 1


def test_expiry_against_finish_each_call_ends_once_and_nothing_stays_abandoned():
    pool, made = WorkerPool(threads=4, max_abandoned=10_000, name="test"), []

    async def one(number):
        try:
            return await asyncio.wait_for(call(pool, lambda: time.sleep(0.001) or made.append(number)), 0.002)
        except TimeoutError:
            return None

    async def main():
        for _ in range(10):
            await asyncio.gather(*(one(number) for number in range(20)))

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        run(main())
        eventually(lambda: pool.abandoned == 0 and pool.pending == 0)
    finally:
        sys.setswitchinterval(interval)
        pool.close()
    assert pool.permits.free == 4
    eventually(lambda: not workers())
