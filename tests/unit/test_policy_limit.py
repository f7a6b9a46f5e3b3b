"""Limit: places, tokens, the line in front of them, keys."""

import re
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from fake_clock import FakeClock

from rio_chain import Breaker, ChainDefinitionError, Gate, LimitExceeded, Task
from rio_chain.policies import Call, Limit
from rio_chain.policies import _limit_lines as limit_module
from rio_chain.policies import _sliding_window as window_module
from rio_chain.policies._permit import PendingPermit, Permit
from rio_chain.simulation import LatencyModel, poisson, simulate


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(1000.0)


def let_in(limit: Limit, clock: FakeClock, key: object = None) -> Any:
    got = limit.enter(Call(key=key, clock=clock))  # type: ignore[arg-type]
    assert not isinstance(got, (PendingPermit, LimitExceeded)), got
    return got


def refusal(limit: Limit, clock: FakeClock, key: object = None) -> Any:
    got = limit.enter(Call(key=key, clock=clock))  # type: ignore[arg-type]
    assert isinstance(got, LimitExceeded), got
    return got


class Waiting:
    """A waiter as the engine is one: counts its wakes."""

    def __init__(self, limit: Limit, clock: FakeClock, key: object = None) -> None:
        got = limit.enter(Call(key=key, clock=clock))  # type: ignore[arg-type]
        assert isinstance(got, PendingPermit), got
        self.turn = got
        self.wakes = 0
        got.wake = self.wake

    def wake(self) -> None:
        self.wakes += 1


class TestConcurrency:
    def test_first_come_first_served(self, clock: FakeClock) -> None:
        limit = Limit(2)
        first, second = let_in(limit, clock), let_in(limit, clock)
        a, b = Waiting(limit, clock), Waiting(limit, clock)
        assert repr(limit) == "<Limit 2 at once: 2 running, 2 waiting>"
        assert a.turn.after is None
        first.failed(OSError())
        assert (a.turn.state, a.wakes, b.turn.state, b.wakes) == ("granted", 1, "waiting", 0)
        second.dropped()
        assert (b.turn.state, b.wakes) == ("granted", 1)
        for each in (a, b):
            assert each.turn.permit is not None
            each.turn.permit.succeeded(1)
        assert repr(limit) == "<Limit 2 at once: 0 running, 0 waiting>"

    def test_a_permit_comes_back_once(self, clock: FakeClock) -> None:
        limit = Limit(1)
        permit = let_in(limit, clock)
        permit.succeeded(1)
        permit.dropped()
        let_in(limit, clock)
        assert limit.running == 1

    def test_who_quits_is_passed_over(self, clock: FakeClock) -> None:
        limit = Limit(1)
        permit = let_in(limit, clock)
        a, b = Waiting(limit, clock), Waiting(limit, clock)
        a.turn.quit()
        a.turn.quit()
        permit.succeeded(1)
        assert (a.turn.state, a.wakes, b.turn.state) == ("gone", 0, "granted")

    def test_who_quits_when_it_was_granted_passes_it_on(self, clock: FakeClock) -> None:
        limit = Limit(1)
        permit = let_in(limit, clock)
        a, b = Waiting(limit, clock), Waiting(limit, clock)
        permit.succeeded(1)
        a.turn.quit()
        assert (a.turn.state, b.turn.state, b.wakes) == ("gone", "granted", 1)
        assert (limit.running, limit.waiting) == (1, 0)

    def test_nobody_overtakes(self, clock: FakeClock) -> None:
        limit = Limit(1)
        permit = let_in(limit, clock)
        a = Waiting(limit, clock)
        permit.succeeded(1)
        assert a.turn.state == "granted"
        Waiting(limit, clock)

    def test_a_wake_is_called_outside_of_the_lock(self, clock: FakeClock) -> None:
        limit = Limit(1)
        permit = let_in(limit, clock)
        a = Waiting(limit, clock)
        free: list[bool] = []

        def look() -> None:
            other = threading.Thread(target=lambda: free.append(limit._lock._lock.acquire(timeout=0.05)))
            other.start()
            other.join()

        a.turn.wake = look
        permit.succeeded(1)
        assert free == [True]


class TestRate:
    def test_a_burst_then_one_at_a_time(self, clock: FakeClock) -> None:
        limit = Limit(rate=10, burst=2)
        let_in(limit, clock)
        let_in(limit, clock)
        a, b = Waiting(limit, clock), Waiting(limit, clock)
        assert a.turn.after == pytest.approx(0.1)
        assert b.turn.after is None, "the first in line has the timer"
        clock.move(0.1)
        a.turn.ask(clock)
        assert (a.turn.state, a.wakes, b.wakes) == ("granted", 0, 1)
        b.turn.ask(clock)
        assert b.turn.after == pytest.approx(0.1)
        clock.move(0.1)
        b.turn.ask(clock)
        assert b.turn.state == "granted"

    def test_the_burst_is_the_rate_if_nothing_else_is_said(self, clock: FakeClock) -> None:
        limit = Limit(rate=3.5, wait=0)
        for _ in range(3):
            let_in(limit, clock)
        refusal(limit, clock)
        slow = Limit(rate=0.5, wait=0)
        let_in(slow, clock)
        assert refusal(slow, clock).retry_after == pytest.approx(2.0)

    def test_tokens_never_come_back(self, clock: FakeClock) -> None:
        limit = Limit(rate=1, wait=0)
        let_in(limit, clock).dropped()
        refusal(limit, clock)

    def test_a_pause_saves_up_to_the_burst(self, clock: FakeClock) -> None:
        limit = Limit(rate=10, burst=2, wait=0)
        for _ in range(2):
            let_in(limit, clock)
        clock.move(100)
        for _ in range(2):
            let_in(limit, clock)
        refusal(limit, clock)

    def test_a_timer_that_fires_a_moment_early_is_no_second_wait(self, clock: FakeClock) -> None:
        limit = Limit(rate=10, burst=1)
        let_in(limit, clock)
        a = Waiting(limit, clock)
        clock.move(0.1 - 1e-12)
        a.turn.ask(clock)
        assert a.turn.state == "granted"

    def test_places_and_tokens_together(self, clock: FakeClock) -> None:
        limit = Limit(1, rate=10, burst=1)
        permit = let_in(limit, clock)
        a = Waiting(limit, clock)
        assert a.turn.after is None, "a place comes first"
        clock.move(0.05)
        permit.succeeded(1)
        assert (a.turn.state, a.wakes) == ("waiting", 1), "woken, as now a timer is of use"
        a.turn.ask(clock)
        assert a.turn.after == pytest.approx(0.05)
        clock.move(0.05)
        a.turn.ask(clock)
        assert a.turn.state == "granted"

    def test_when_the_first_in_line_quits_the_next_has_the_timer(self, clock: FakeClock) -> None:
        limit = Limit(rate=10, burst=1)
        let_in(limit, clock)
        a, b = Waiting(limit, clock), Waiting(limit, clock)
        a.turn.quit()
        assert b.wakes == 1
        b.turn.ask(clock)
        assert b.turn.after == pytest.approx(0.1)

    def test_a_call_that_comes_wakes_those_that_wait(self, clock: FakeClock) -> None:
        limit = Limit(rate=10, burst=1)
        let_in(limit, clock)
        a = Waiting(limit, clock)
        clock.move(0.1)
        Waiting(limit, clock)
        assert (a.turn.state, a.wakes) == ("granted", 1)


class TestWait:
    def test_0_refuses_at_once(self, clock: FakeClock) -> None:
        limit = Limit(1, wait=0)
        let_in(limit, clock)
        error = refusal(limit, clock)
        assert str(error) == "the limit of 1 at once is reached"
        assert error.retry_after is None

    def test_who_has_waited_so_long_is_refused(self, clock: FakeClock) -> None:
        limit = Limit(1, wait=50)
        permit = let_in(limit, clock)
        a, b = Waiting(limit, clock), Waiting(limit, clock)
        assert a.turn.after == pytest.approx(0.05)
        clock.move(0.05)
        a.turn.ask(clock)
        assert a.turn.state == "answered"
        assert a.turn.answer is not None
        assert a.turn.answer.failed
        assert str(a.turn.answer.value) == "the limit of 1 at once is reached, after 50 ms in the queue"
        assert limit.waiting == 1
        permit.succeeded(1)
        assert (b.turn.state, limit.running, limit.waiting) == ("granted", 1, 0)
        a.turn.quit()
        assert limit.running == 1

    def test_when_the_first_in_line_is_refused_the_next_has_the_timer(self, clock: FakeClock) -> None:
        limit = Limit(1, rate=1, wait=2500)
        start, permit = clock(), let_in(limit, clock)
        clock.move(0.6)
        a, b = Waiting(limit, clock), Waiting(limit, clock)
        clock.move(0.9)
        c = Waiting(limit, clock)
        clock.move(1.45)
        permit.succeeded(1)
        assert a.turn.permit is not None
        a.turn.permit.succeeded(1)
        assert (b.turn.state, b.wakes, c.wakes) == ("waiting", 1, 0)
        clock.at = start + 3.1
        b.turn.ask(clock)
        assert (b.turn.state, c.wakes) == ("answered", 1)
        c.turn.ask(clock)
        assert c.turn.after == pytest.approx(0.85)

    def test_who_can_be_served_in_the_last_moment_is(self, clock: FakeClock) -> None:
        limit = Limit(rate=20, burst=1, wait=50)
        let_in(limit, clock)
        a = Waiting(limit, clock)
        clock.move(0.05)
        a.turn.ask(clock)
        assert a.turn.state == "granted"

    def test_a_token_that_comes_too_late_is_not_waited_for(self, clock: FakeClock) -> None:
        limit = Limit(rate=10, burst=1, wait=150)
        let_in(limit, clock)
        Waiting(limit, clock)
        error = refusal(limit, clock)
        assert str(error) == "the limit of 10 per 1000 ms (burst 1) is reached; the next may begin in 200 ms"
        assert error.retry_after == pytest.approx(0.2)


class TestKeys:
    def test_each_key_for_itself(self, clock: FakeClock) -> None:
        limit = Limit(1, wait=0, key=str)
        permit = let_in(limit, clock, "a")
        let_in(limit, clock, "b")
        assert str(refusal(limit, clock, "a")) == "the limit of 1 at once for 'a' is reached"
        assert repr(limit) == "<Limit 1 at once for each str: 2 running, 0 waiting, 2 keys>"
        permit.succeeded(1)
        let_in(limit, clock, "a")

    def test_keys_that_rest_are_forgotten(self, clock: FakeClock) -> None:
        limit = Limit(5, rate=10, key=str)
        busy = let_in(limit, clock, -1)
        for key in range(1000):
            let_in(limit, clock, key).succeeded(1)
            clock.move(0.05)
        assert len(limit._lines) < 10
        assert -1 in limit._lines
        busy.succeeded(1)

    def test_a_key_is_not_forgotten_before_its_tokens_are_back(self, clock: FakeClock) -> None:
        limit = Limit(rate=1, wait=0, key=str)
        let_in(limit, clock, "a").succeeded(1)
        for key in range(50):
            let_in(limit, clock, key).succeeded(1)
        refusal(limit, clock, "a")

    def test_there_is_a_bound(self, clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(limit_module, "MOST_KEYS", 20)
        limit = Limit(rate=0.001, key=str)
        held = [let_in(limit, clock, key) for key in range(5)]
        for key in range(5, 500):
            let_in(limit, clock, key).succeeded(1)
        assert len(limit._lines) <= 21
        assert {0, 1, 2, 3, 4} <= set(limit._lines), "those in use stay"
        for permit in held:
            permit.dropped()


def test_threads_share_it(clock: FakeClock) -> None:
    limit, most, inside, guard = Limit(3), 0, 0, threading.Lock()

    def work() -> None:
        nonlocal most, inside
        for _ in range(200):
            got = limit.enter(Call(clock=clock))
            assert not isinstance(got, LimitExceeded)
            if isinstance(got, PendingPermit):
                event = threading.Event()
                got.wake = event.set
                if got.state == "waiting":
                    assert event.wait(10)
                assert got.permit is not None
                permit: Any = got.permit
            else:
                permit = got
            with guard:
                inside += 1
                most = max(most, inside)
            time.sleep(0)
            with guard:
                inside -= 1
            permit.succeeded(None)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most <= 3
    assert (limit.running, limit.waiting) == (0, 0)


def test_its_text() -> None:
    assert str(Limit(3, wait=0)) == "limit 3 at once, no waiting"
    assert str(Limit(rate=5, per=100, wait=20, key=str)) == "limit 5 per 100 ms for each str, waiting 20 ms at most"


SAME = Limit(1)
CHAIN: Any = Task(len)
GATE: Any = type("Ticking", (Gate,), {"enter": lambda _self, _call: Permit()})()
LIMIT: Any = Limit


def test_what_update_changes_is_readable_and_in_a_fresh_copy(clock: FakeClock) -> None:
    limit = Limit(2, rate=10, per=500, wait=50, queue=4)
    assert (limit.settings.concurrency, limit.settings.rate, limit.settings.per) == (2, 10, 500)
    assert (limit.settings.wait, limit.settings.queue, limit.settings.burst, limit.settings.aging) == (
        50,
        4,
        None,
        None,
    )
    limit.update(concurrency=5, rate=None, wait=None)
    for each in (limit, limit.fresh()):
        assert str(each) == "limit 5 at once, 4 waiting at most"
        assert (each.settings.concurrency, each.concurrency, each.patience) == (5, 5, None)
    let_in(limit, clock)
    assert limit.fresh().running == 0
    assert limit._made_with == ((), {"concurrency": 5, "per": 500, "queue": 4})


def test_a_change_that_is_refused_changes_nothing() -> None:
    limit = Limit(2, rate=10)
    with pytest.raises(ChainDefinitionError):
        limit.update(concurrency=7, rate=0)
    assert str(limit) == "limit 2 at once, 10 per 1000 ms"


def test_no_tokens_are_won_by_a_change(clock: FakeClock) -> None:
    limit = Limit(rate=10, wait=0)
    for _ in range(8):
        let_in(limit, clock)
    limit.update(rate=100)
    for _ in range(2):
        let_in(limit, clock)
    refusal(limit, clock)
    clock.move(0.01)
    let_in(limit, clock)
    refusal(limit, clock)


def test_whether_there_is_capacity(clock: FakeClock) -> None:
    limit = Limit(2, rate=3, key=str)
    assert limit.has_capacity(key="a")
    let_in(limit, clock, "a")
    assert (limit.has_capacity(1, key="a"), limit.has_capacity(2, key="a")) == (True, False)
    assert limit.has_capacity(2, key="b")
    assert not limit.has_capacity(3, key="b")
    assert limit.running == 1, "it takes nothing"


def test_a_window_keeps_its_bound_with_very_many_starts(clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(window_module, "MOST_STARTS", 10)
    limit = Limit(rate=100, window="sliding", wait=0)
    for _ in range(100):
        let_in(limit, clock)
        clock.move(0.005)
    assert refusal(limit, clock).retry_after > 0.4, "those counted as one count until the last of them is out"


def test_sums_of_costs_are_not_rounded_into_a_smaller_limit(clock: FakeClock) -> None:
    limit = Limit(1, cost=float, wait=0)
    for _ in range(100):
        held = [limit.enter(Call(clock=clock, cost=cost)) for cost in (0.1, 0.2, 0.3, 0.4)]
        for permit in held:
            assert isinstance(permit, Permit)
            permit.dropped()
    limit.enter(Call(clock=clock, cost=0.1))
    limit.enter(Call(clock=clock, cost=0.2)).dropped()  # type: ignore[union-attr]
    assert isinstance(limit.enter(Call(clock=clock, cost=0.9)), Permit)


def test_its_text_with_all_options() -> None:
    limit = Limit(9, rate=9, cost=len, actual=len, aging=20, queue=3, wait=5)
    assert str(limit) == (
        "limit 9 at once, 9 per 1000 ms by len, corrected by len, aging 20 ms, 3 waiting at most, waiting 5 ms at most"
    )
    assert str(Limit(rate=9, window="sliding", queue=0)) == "limit 9 in any 1000 ms, no waiting"
    assert Limit(1, queue=0).bounds(2.0).time == 2.0
    both = Task(len).limit(Limit(3, wait=50), Limit(2, wait=20)).timeout(100)
    assert (
        "limit 3 at once, waiting 50 ms at most and limit 2 at once, waiting 20 ms at most, all or none"
        in both.explain()
    )
    assert repr(both) == "Task(len).limit(*limits).timeout(100)"


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (Limit, "a Limit needs `concurrency` or `rate`, such as Limit(10) or Limit(rate=100)"),
        (lambda: Limit(0), "`concurrency` must be a whole number, 1 or more; got 0"),
        (lambda: Limit(True), "`concurrency` must be a whole number, 1 or more; got True"),
        (lambda: Limit(rate=0), "`rate` must be a finite number, more than 0; got 0"),
        (lambda: Limit(rate=float("nan")), "`rate` must be a finite number, more than 0; got nan"),
        (lambda: Limit(rate=1, per=0), "`per` must be a finite number of milliseconds (or a timedelta), more than 0"),
        (lambda: Limit(rate=1, burst=0), "`burst` must be a whole number, 1 or more; got 0"),
        (lambda: Limit(1, burst=2), "`burst` belongs to a `rate`, such as Limit(rate=100, burst=1); got 2"),
        (lambda: Limit(1, wait=-1), "`wait` must be a finite number of milliseconds (or a timedelta), 0 or more"),
        (lambda: Limit(1, queue=-1), "`queue` must be a whole number, 0 or more; got -1"),
        (lambda: Limit(1, aging=0), "`aging` must be a finite number of milliseconds (or a timedelta), more than 0"),
        (lambda: LIMIT(1, cost=3), "`cost` must be a function of the input that returns a number, 0 or more, or None"),
        (lambda: Limit(1, actual=len), "`actual` corrects how many tokens of a `rate` a call has used"),
        (lambda: LIMIT(1, window="day"), '`window` must be "bucket" or "sliding"; got \'day\''),
        (lambda: LIMIT(rate=1, window=[]), '`window` must be "bucket" or "sliding"; got []'),
        (lambda: Limit(1, window="sliding"), '`window="sliding"` belongs to a `rate`'),
        (lambda: Limit(rate=2, burst=2, window="sliding"), '`burst` belongs to window="bucket"'),
        (lambda: Limit(rate=0.5, window="sliding"), "write Limit(rate=1, per=2000, window='sliding')"),
        (lambda: Limit(1).update(rate=-1), "`rate` must be a finite number, more than 0; got -1"),
        (lambda: Limit(1).update(concurrency=None), "a Limit needs `concurrency` or `rate`"),
        (lambda: LIMIT(1).update(key=len), "`update` of a Limit changes aging, burst, concurrency, per, queue, rate"),
        (lambda: Limit(1).has_capacity(-1), "`cost` must be a finite number, 0 or more; got -1"),
        (lambda: CHAIN.limit(Limit(1), Breaker()), "`.limit` takes a Limit or a Gate of your own"),
        (lambda: CHAIN.limit(Limit(1), GATE), "a Gate of your own can't give back what it has granted"),
        (lambda: CHAIN.limit(SAME, SAME), "`.limit` got the same Limit twice"),
    ],
)
def test_bad_input(make: Callable[[], object], text: str) -> None:
    with pytest.raises(ChainDefinitionError, match=re.escape(text)):
        make()


def test_a_simulation_plays_costs_and_several() -> None:
    async def fetch(x: int) -> int:
        return x

    calls, heavy = Limit(4), Limit(3, cost=lambda _: 3)
    play = partial(simulate, backends={"fetch": LatencyModel.constant(10)}, arrivals=poisson(90), requests=300, seed=1)
    light = play(Task(fetch).named("fetch").limit(calls).timeout(10_000))
    one = play(Task(fetch).named("fetch").limit(calls, heavy).timeout(10_000))
    assert one.latency.mean > 2 * light.latency.mean, "one at a time, as each costs the whole limit"
    assert (calls.running, heavy.running) == (0, 0)
