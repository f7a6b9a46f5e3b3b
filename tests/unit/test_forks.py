"""What a fork resets, and what it keeps: policies that the parent uses while it forks."""

from __future__ import annotations

import os
import sys
import time
import traceback
from types import SimpleNamespace
from typing import Any

import pytest
from forking import Fails, answer, asame, begin_child, elsewhere, fails, forks, in_child, paused, same

from rio_chain import (
    Breaker,
    Budget,
    Cache,
    Call,
    Chaos,
    CircuitOpen,
    Gate,
    Limit,
    LimitExceeded,
    PendingPermit,
    Permit,
    Quantile,
    SingleFlight,
    Task,
)
from rio_chain.testing import VirtualExecutor, run_virtual

pytestmark = forks
EXECUTORS = ("asyncio", "trio", "thread", "virtual")
each_executor = pytest.mark.parametrize("executor", EXECUTORS)
LONG = 3_600_000


class Mine(Gate):
    """A gate of the user's own, over one of ours."""

    def __init__(self, inner: Limit) -> None:
        self.inner = inner

    def enter(self, call: Call) -> Permit | PendingPermit | Exception:
        return self.inner.enter(call)


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
    held: Any = limit.enter(Call(key=3, clock=time.monotonic))
    waits: Any = [limit.enter(Call(key=3, clock=time.monotonic)) for _ in range(2)]
    assert (limit.running, limit.waiting) == (1, 2)

    def child() -> None:
        assert (limit.running, limit.waiting) == (0, 0)
        own: Any = limit.enter(Call(key=3, clock=time.monotonic))
        next_one: Any = limit.enter(Call(key=3, clock=time.monotonic))
        assert type(own) is type(held)
        assert next_one.state == "waiting"
        held.dropped()  # what is the parent's changes nothing here, and is in order among itself
        assert [turn.state for turn in waits] == ["granted", "waiting"]
        waits[1].quit()
        waits[0].permit.dropped()
        assert (limit.running, limit.waiting, next_one.state) == (1, 1, "waiting")
        own.dropped()
        assert next_one.state == "granted"
        next_one.permit.dropped()
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
    late: Any = counted.enter(Call(clock=time.monotonic))

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
    flights = SingleFlight()
    with elsewhere(paused(lambda fn: Task(fn).single_flight(flights), executor)):
        follower: Any = flights.enter(Call(key=1, clock=time.monotonic))

        def child() -> None:
            assert repr(flights) == "<SingleFlight by the input: 0 in flight, 0 follow>"
            assert answer(Task(same).single_flight(flights), executor).unwrap() == 1
            leader: Any = flights.enter(Call(key=1, clock=time.monotonic))
            follower.quit()  # the parent's: this one goes on
            assert repr(flights) == "<SingleFlight by the input: 1 in flight, 0 follow>"
            leader.succeeded(1)
            assert repr(flights) == "<SingleFlight by the input: 0 in flight, 0 follow>"

        in_child(child)
        assert repr(flights) == "<SingleFlight by the input: 1 in flight, 1 follow>"


def test_a_body_that_forks_under_policies_ends_in_the_child_as_well() -> None:
    """In virtual time, as the child has the thread that drives it. A loop of asyncio or trio can't go on in a child."""
    limit, breaker, budget, flights = Limit(1), Breaker(1), Budget(0, floor=1), SingleFlight()
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
        assert (breaker.state, repr(flights)) == ("closed", "<SingleFlight by the input: 0 in flight, 0 follow>")

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
    again = chaos.fresh()
    assert [again.next().error is not None for _ in range(10)] == hits
    further = [again.next().error is not None for _ in range(10)]

    def child() -> None:
        assert answer(Task(fails).cache(cache), executor, "kept").unwrap() == "kept"
        assert isinstance(answer(Task(fails).cache(cache), executor, "not kept").failure(), Fails)
        assert late.value() == 0.02
        assert [chaos.next().error is not None for _ in range(10)] == further

    in_child(child)


def test_a_fork_waits_until_no_other_thread_imports_one_of_our_modules(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = SimpleNamespace(_initializing=True)
    monkeypatch.setitem(sys.modules, "rio_chain.half_imported", SimpleNamespace(__spec__=spec))  # type: ignore[arg-type]
    looks: list[float] = []

    def looked(seconds: float) -> None:
        looks.append(seconds)
        spec._initializing = len(looks) < 3

    monkeypatch.setattr(time, "sleep", looked)
    pid = os.fork()
    if not pid:
        os._exit(0)
    os.waitpid(pid, 0)
    assert len(looks) == 3
