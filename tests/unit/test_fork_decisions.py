"""A fork while another thread decides, runs or starts a process."""

from __future__ import annotations

import multiprocessing
import random
import threading
import time
import warnings
from collections.abc import Callable
from typing import Any

import pytest
from forking import Fails, answer, asame, elsewhere, fails, forks, holding, in_child, paused, same

from rio_chain import Breaker, Budget, Cache, Call, Chaos, Limit, Quantile, SingleFlight, Task
from rio_chain.testing import Script, VirtualExecutor

pytestmark = forks
EXECUTORS = ("asyncio", "trio", "thread", "virtual")
each_executor = pytest.mark.parametrize("executor", EXECUTORS)
LONG = 3_600_000


def test_a_decision_of_another_thread_holds_nobody_up() -> None:
    policies: list[Any] = [Limit(1), Cache(LONG), SingleFlight()]
    for policy in policies:
        with elsewhere(lambda pause, policy=policy: policy._lock.decide(pause)):  # type: ignore[misc]
            in_child(lambda policy=policy: use(policy))  # type: ignore[misc]
        use(policy)


def test_a_lock_that_another_thread_holds_is_new() -> None:
    script = Script().then(1).then(2)
    policies: list[Any] = [Breaker(), Breaker(ratio=0.5), Budget(), Quantile(warmup=1), Chaos(0.5, error=Fails)]
    timed = Cache(LONG), Limit(rate=1), Breaker()
    for policy, lock in [
        *((policy, policy._lock) for policy in policies),
        *((policy, policy._time._lock) for policy in timed),
    ]:
        with elsewhere(holding(lock)):
            in_child(lambda policy=policy: use(policy))  # type: ignore[misc]
        use(policy)
    with elsewhere(holding(script._lock)):
        in_child(lambda: Task(script)(1).run().unwrap())


def use(policy: Any) -> None:
    """All that can be done with it ends."""
    repr(policy)
    match policy:
        case Limit():
            policy.enter(Call(clock=time.monotonic)).dropped()
        case Breaker():
            policy.enter(Call(clock=time.monotonic)).succeeded(1)
            policy.open()
            policy.close()
        case Budget():
            policy.execution().succeeded(1)
        case Cache():
            policy.put(1, 2, time.monotonic)
            assert policy.get(1, time.monotonic).hit
            policy.forget(1)
            policy.clear()
        case SingleFlight():
            policy.enter(Call(key=1, clock=time.monotonic)).succeeded(1)
        case Quantile():
            policy.add(1.0)
            assert policy.value() is not None
        case _:
            policy.next()


def test_the_thread_that_forks_in_its_own_decision_completes_it() -> None:
    cache, done = Cache(LONG), list[str]()

    def decision() -> None:
        cache._lock.defer(lambda: done.append("after"))

        def child() -> None:
            assert cache._lock.defer(lambda: done.append("later"))
            use_inside(cache)

        in_child(child)

    cache._lock.decide(decision)
    assert done == ["after"]
    use(cache)


def use_inside(cache: Cache) -> None:
    cache.put(3, 4, time.monotonic)
    assert cache.get(3, time.monotonic).value == 4


def test_what_was_half_changed_is_whole() -> None:
    late, rolling, few = Quantile(0.5, warmup=1, window=3), Breaker(ratio=0.5, min_calls=2), Breaker(2)
    for seconds in (0.3, 0.1, 0.2):
        late.add(seconds)
    rolling.enter(Call(clock=time.monotonic)).failed(Fails())  # type: ignore[union-attr]
    few.enter(Call(clock=time.monotonic)).failed(Fails())  # type: ignore[union-attr]

    def torn(pause: Callable[[], None]) -> None:
        counts: Any = rolling._alone.counts
        in_a_row: Any = few._alone.counts
        with late._lock, rolling._lock, few._lock:
            late._alone.arrived.popleft()
            late._alone.arrived.append(0.4)
            counts.slices[-1][1] += 1
            in_a_row.failures += 1
            pause()

    with elsewhere(torn):

        def child() -> None:
            assert late.value() == 0.2
            assert late._alone.sorted == [0.1, 0.2, 0.4]
            assert repr(rolling).startswith("<Breaker closed: 1 of 2 calls failed")
            assert repr(few) == "<Breaker closed: 1 of 2 failures in a row>"

        in_child(child)


@each_executor
def test_a_busy_parent_may_fork_at_any_moment(executor: str) -> None:
    cache, limit, flights, late = Cache(LONG, size=5), Limit(2, rate=1e9), SingleFlight(), Quantile(0.5, warmup=1)
    breaker, budget = Breaker(ratio=0.5), Budget()
    chain: Any = Task(same).inline().limit(limit).breaker(breaker).single_flight(flights).cache(cache)
    over = threading.Event()

    def busy() -> None:
        draw = random.Random(1)
        while not over.is_set():
            chain(draw.randrange(20)).run(executor=executor)
            late.add(draw.random())
            budget.execution().dropped()

    alone = executor == "virtual"  # each run has a loop of its own, and none waits for what another one does
    threads = [threading.Thread(target=busy) for _ in range(1 if alone else 3)]
    for thread in threads:
        thread.start()
    try:

        def child() -> None:
            for value in range(20):
                assert answer(chain, executor, value).unwrap() == value
            for policy in (cache, limit, flights, late, breaker, budget):
                use(policy)
            assert (limit.running, len(cache) <= 5, budget.executions) == (0, True, 0)

        for _ in range(10):
            in_child(child)
    finally:
        over.set()
        for thread in threads:
            thread.join()


def in_process(executor: str, limit: Limit, cache: Cache) -> None:
    """The target of a process: multiprocessing inherits what it is given."""
    warnings.simplefilter("ignore", RuntimeWarning)  # on trio it looks as if its loop ran here
    for fn in (same, asame):
        assert answer(Task(fn).limit(limit), executor).unwrap() == 1
    assert answer(Task(fails).cache(cache), executor, "kept").unwrap() == "kept"


@each_executor
@pytest.mark.parametrize("where", ["thread", "body", "async body"])
def test_multiprocessing_forks_from_anywhere(executor: str, where: str) -> None:
    limit, cache = Limit(1), Cache(LONG)
    answer(Task(same).cache(cache), executor, "kept")

    def spawn(_: int = 0) -> int | None:
        process = multiprocessing.get_context("fork").Process(target=in_process, args=(executor, limit, cache))
        process.start()
        process.join(20)
        process.kill()
        return process.exitcode

    async def aspawn(_: int) -> int | None:
        return spawn()

    with elsewhere(paused(lambda fn: Task(fn).limit(limit), "thread")):
        if where == "thread":
            assert spawn() == 0
        else:
            task: Any = Task(spawn if where == "body" else aspawn)
            assert answer(task, executor).unwrap() == 0


def test_a_grandchild_begins_anew_as_well() -> None:
    limit = Limit(1)
    held: Any = limit.enter(Call(clock=time.monotonic))

    def child() -> None:
        own: Any = limit.enter(Call(clock=time.monotonic))
        in_child(lambda: answer(Task(same).limit(limit), "thread").unwrap())
        own.dropped()
        assert limit.running == 0

    in_child(child)
    held.dropped()


def test_a_virtual_loop_that_another_thread_drives_is_free() -> None:
    executor = VirtualExecutor()
    with elsewhere(lambda pause: Task(lambda _: pause())(1).run(executor=executor).unwrap()):

        def child() -> None:
            assert Task(same).timeout(100)(1).run(executor=executor).unwrap() == 1

        in_child(child)
