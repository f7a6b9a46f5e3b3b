"""Limit: places, tokens, the line in front of them, keys."""

import re
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from fake_clock import FakeClock

from rio_chain import ChainDefinitionError, LimitExceeded
from rio_chain.policies import Call, Limit
from rio_chain.policies import _limit as limit_module
from rio_chain.policies._permit import PendingPermit


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
    ],
)
def test_bad_input(make: Callable[[], object], text: str) -> None:
    with pytest.raises(ChainDefinitionError, match=re.escape(text)):
        make()
