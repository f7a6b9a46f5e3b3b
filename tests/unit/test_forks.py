"""What a fork resets, and what it keeps: policies that the parent uses while it forks."""

from __future__ import annotations

import multiprocessing
import os
import random
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Hashable
from typing import Any

import pytest
from forking import begin_child, elsewhere, forks, holding, in_child

from rio_chain import (
    Breaker,
    Budget,
    Cache,
    Chaos,
    CircuitOpen,
    Flights,
    Gate,
    Hold,
    Limit,
    LimitExceeded,
    Quantile,
    Task,
    Turn,
)
from rio_chain.policies.hold import Clock
from rio_chain.testing import Script, VirtualExecutor, run_virtual

pytestmark = forks
EXECUTORS = ("asyncio", "trio", "thread", "virtual")
each_executor = pytest.mark.parametrize("executor", EXECUTORS)
LONG = 3_600_000


def same(x: Any) -> Any:
    return x


async def asame(x: Any) -> Any:
    return x


def answer(chain: Any, executor: str, value: Any = 1) -> Any:
    return chain(value).run(executor=executor, deadline=10_000).result


class Fails(Exception):
    pass


def fails(_: Any) -> None:
    raise Fails


class Mine(Gate):
    """A gate of the user's own, over one of ours."""

    def __init__(self, inner: Limit) -> None:
        self.inner = inner

    def enter(self, key: Hashable, clock: Clock) -> Hold | Turn | Exception:
        return self.inner.enter(key, clock)


def paused(chain: Callable[[Any], Any], executor: str) -> Callable[[Callable[[], None]], object]:
    """Work that pauses in the function of a chain."""
    return lambda pause: chain(lambda _: pause())(1).run(executor=executor, deadline=LONG).unwrap()


# --- what the parent holds is free --------------------------------------------------------------------------------


@each_executor
@pytest.mark.parametrize("own", [False, True], ids=["ours", "gate"])
def test_a_place_that_the_parent_holds_is_free(executor: str, own: bool) -> None:
    one = Limit(1)
    limit: Any = Mine(one) if own else one
    with elsewhere(paused(lambda fn: Task(fn).limit(limit), executor)):
        assert (one.running, one.waiting) == (1, 0)

        def child() -> None:
            assert (one.running, one.waiting) == (0, 0)
            for fn in (same, asame):
                assert answer(Task(fn).limit(limit), executor).unwrap() == 1
            assert (one.running, one.waiting) == (0, 0)

        in_child(child)
        assert one.running == 1
    assert one.running == 0


@each_executor
def test_the_line_of_the_parent_is_empty_and_has_one_place(executor: str) -> None:
    limit = Limit(1, key=len)
    held: Any = limit.enter(3, time.monotonic)
    waits: Any = [limit.enter(3, time.monotonic) for _ in range(2)]
    assert (limit.running, limit.waiting) == (1, 2)

    def child() -> None:
        assert (limit.running, limit.waiting) == (0, 0)
        own: Any = limit.enter(3, time.monotonic)
        next_one: Any = limit.enter(3, time.monotonic)
        assert type(own) is type(held)
        assert next_one.state == "waiting"
        held.dropped()  # what is the parent's changes nothing here, and is in order among itself
        assert [turn.state for turn in waits] == ["granted", "waiting"]
        waits[1].quit()
        waits[0].hold.dropped()
        assert (limit.running, limit.waiting, next_one.state) == (1, 1, "waiting")
        own.dropped()
        assert next_one.state == "granted"
        next_one.hold.dropped()
        assert (limit.running, limit.waiting) == (0, 0)
        assert answer(Task(same).limit(limit), executor, "abc").unwrap() == "abc"

    in_child(child)
    assert (limit.running, limit.waiting) == (1, 2)


@each_executor
def test_tokens_that_the_parent_has_spent_are_spent(executor: str) -> None:
    limit = Limit(rate=2, per=LONG, wait=0, key=same)
    chain = Task(same).limit(limit)
    assert [answer(chain, executor).unwrap() for _ in range(2)] == [1, 1]

    def child() -> None:
        assert isinstance(answer(chain, executor).failure(), LimitExceeded)
        assert answer(chain, executor, "another key").unwrap() == "another key"

    in_child(child)


@each_executor
def test_a_probe_of_the_parent_is_none(executor: str) -> None:
    breaker = Breaker(1, open_for=0.001)
    assert isinstance(answer(Task(fails).breaker(breaker), "thread").failure(), Fails)
    while breaker.state != "half_open":
        time.sleep(0.001)
    with elsewhere(paused(lambda fn: Task(fn).breaker(breaker), "thread")):
        assert isinstance(answer(Task(same).breaker(breaker), executor).failure(), CircuitOpen)

        def child() -> None:
            assert breaker.state == "half_open"
            assert answer(Task(same).breaker(breaker), executor).unwrap() == 1
            assert breaker.state == "closed"

        in_child(child)
        assert breaker.state == "half_open"
    assert breaker.state == "closed"


@each_executor
def test_a_breaker_is_open_or_closed_as_it_was(executor: str) -> None:
    shut, counted, held = Breaker(2, open_for=LONG), Breaker(2), Breaker()
    for _ in range(2):
        answer(Task(fails).breaker(shut), executor)
    answer(Task(fails).breaker(counted), executor)
    held.open(hold=True)
    late: Any = counted.enter(time.monotonic)

    def child() -> None:
        for breaker in (shut, held):
            assert breaker.state == "open"
            assert isinstance(answer(Task(same).breaker(breaker), executor).failure(), CircuitOpen)
        late.failed(Fails())  # a call of the parent's does not count here
        assert repr(counted) == "<Breaker closed: 1 of 2 failures in a row>"
        answer(Task(fails).breaker(counted), executor)
        assert counted.state == "open"

    in_child(child)
    assert counted.state == "closed"


@each_executor
def test_extras_of_the_parent_are_not_in_flight(executor: str) -> None:
    budget = Budget(0, floor=1)
    held = budget.extra()
    assert held is not None
    assert budget.extra() is None
    chain = Task(fails).retry(1, backoff=None).budget(budget)

    def child() -> None:
        assert (budget.executions, budget.extras, budget.denied) == (0, 0, 1)
        assert chain(1).run(executor=executor).only.attempts == 2
        own = budget.extra()
        held.dropped()
        assert budget.extras == 1
        assert own is not None

    in_child(child)
    assert chain(1).run(executor=executor).only.attempts == 1


@each_executor
def test_what_the_parent_asks_for_is_asked_for_anew(executor: str) -> None:
    flights = Flights()
    with elsewhere(paused(lambda fn: Task(fn).single_flight(flights), executor)):
        follower: Any = flights.enter(1)

        def child() -> None:
            assert repr(flights) == "<Flights by the input: 0 in flight, 0 follow>"
            assert answer(Task(same).single_flight(flights), executor).unwrap() == 1
            leader: Any = flights.enter(1)
            follower.quit()  # the parent's: this one goes on
            assert repr(flights) == "<Flights by the input: 1 in flight, 0 follow>"
            leader.succeeded(1)
            assert repr(flights) == "<Flights by the input: 0 in flight, 0 follow>"

        in_child(child)
        assert repr(flights) == "<Flights by the input: 1 in flight, 1 follow>"


def test_a_body_that_forks_under_policies_ends_in_the_child_as_well() -> None:
    """In virtual time, as the child has the thread that drives it. A loop of asyncio or trio can't go on in a child."""
    limit, breaker, budget, flights = Limit(1), Breaker(1), Budget(0, floor=1), Flights()
    parent, out = os.getpid(), os.pipe()

    def body(_: int) -> None:
        if not os.fork():
            begin_child()

    chain = Task(body).inline().limit(limit).breaker(breaker).retry(1).budget(budget).single_flight(flights)

    async def main() -> None:
        (await chain(1)).unwrap()
        for _ in range(2):
            assert (await Task(same).inline().limit(limit).breaker(breaker).single_flight(flights)(2)).unwrap() == 2

    def run() -> None:
        run_virtual(main, VirtualExecutor())
        assert (limit.running, limit.waiting, budget.executions, budget.extras) == (0, 0, 0, 0)
        assert (breaker.state, repr(flights)) == ("closed", "<Flights by the input: 0 in flight, 0 follow>")

    try:
        run()
    except BaseException:
        if os.getpid() == parent:
            raise
        os.write(out[1], traceback.format_exc().encode())
    if os.getpid() != parent:
        os._exit(0)
    os.close(out[1])
    os.waitpid(-1, 0)
    with os.fdopen(out[0]) as pipe:
        assert pipe.read() == ""


# --- what the parent knows is kept --------------------------------------------------------------------------------


@each_executor
def test_what_was_learned_is_kept(executor: str) -> None:
    cache, late = Cache(LONG), Quantile(0.5, warmup=3)
    chaos = Chaos(0.5, error=Fails, seed=3)
    assert answer(Task(same).cache(cache), executor, "kept").unwrap() == "kept"
    for seconds in (0.01, 0.02, 0.09):
        late.add(seconds)
    hits = [chaos.next().error is not None for _ in range(10)]
    again = chaos.anew()
    assert [again.next().error is not None for _ in range(10)] == hits
    further = [again.next().error is not None for _ in range(10)]

    def child() -> None:
        assert answer(Task(fails).cache(cache), executor, "kept").unwrap() == "kept"
        assert isinstance(answer(Task(fails).cache(cache), executor, "not kept").failure(), Fails)
        assert late.value() == 0.02
        assert [chaos.next().error is not None for _ in range(10)] == further

    in_child(child)


# --- a fork in the middle of a decision ---------------------------------------------------------------------------


def test_a_decision_of_another_thread_holds_nobody_up() -> None:
    policies: list[Any] = [Limit(1), Cache(LONG), Flights()]
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
            policy.enter(None, time.monotonic).dropped()
        case Breaker():
            policy.enter(time.monotonic).succeeded(1)
            policy.open()
            policy.close()
        case Budget():
            policy.execution().succeeded(1)
        case Cache():
            policy.put(1, 2, time.monotonic)
            assert policy.get(1, time.monotonic).hit
            policy.forget(1)
            policy.clear()
        case Flights():
            policy.enter(1).succeeded(1)
        case Quantile():
            policy.add(1.0)
            assert policy.value() is not None
        case _:
            policy.next()


def test_the_thread_that_forks_in_its_own_decision_completes_it() -> None:
    cache, done = Cache(LONG), list[str]()

    def decision() -> None:
        cache._lock.put_aside(lambda: done.append("after"))

        def child() -> None:
            assert cache._lock.put_aside(lambda: done.append("later"))
            use_inside(cache)

        in_child(child)

    cache._lock.decide(decision)
    assert done == ["after"]
    use(cache)


def use_inside(cache: Cache) -> None:
    cache.put(3, 4, time.monotonic)
    assert cache.get(3, time.monotonic).value == 4


def test_what_was_half_changed_is_whole() -> None:
    late, rolling, few = Quantile(0.5, warmup=1, window=3), Breaker(ratio=0.5, least=2), Breaker(2)
    for seconds in (0.3, 0.1, 0.2):
        late.add(seconds)
    rolling.enter(time.monotonic).failed(Fails())  # type: ignore[union-attr]
    few.enter(time.monotonic).failed(Fails())  # type: ignore[union-attr]

    def torn(pause: Callable[[], None]) -> None:
        counts: Any = rolling._counts
        in_a_row: Any = few._counts
        with late._lock, rolling._lock, few._lock:
            late._arrived.popleft()
            late._arrived.append(0.4)
            counts.slices[-1][1] += 1
            in_a_row.failures += 1
            pause()

    with elsewhere(torn):

        def child() -> None:
            assert late.value() == 0.2
            assert late._sorted == [0.1, 0.2, 0.4]
            assert repr(rolling).startswith("<Breaker closed: 1 of 2 calls failed")
            assert repr(few) == "<Breaker closed: 1 of 2 failures in a row>"

        in_child(child)


@each_executor
def test_a_busy_parent_may_fork_at_any_moment(executor: str) -> None:
    cache, limit, flights, late = Cache(LONG, size=5), Limit(2, rate=1e9), Flights(), Quantile(0.5, warmup=1)
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
    held: Any = limit.enter(None, time.monotonic)

    def child() -> None:
        own: Any = limit.enter(None, time.monotonic)
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
