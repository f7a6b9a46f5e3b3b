"""Deadlines, the lazy heap, and the timer thread on a clock that the test moves."""

from __future__ import annotations

import contextlib
import random
import threading
from math import inf

import pytest
from interrupting import SIGNALS, everywhere

from rio_chain.executors._timers import Deadlines, TimerThread


class Slot:
    def __init__(self):
        self.deadline = self.entry_at = inf


def arm(deadlines, slot, at):
    slot.deadline = at
    return at < slot.entry_at and deadlines.push(slot, at)


def test_a_push_says_whether_it_is_the_earliest():
    deadlines, a, b = Deadlines(), Slot(), Slot()
    assert deadlines.next() == inf
    assert arm(deadlines, a, 5.0)
    assert not arm(deadlines, b, 6.0)
    assert arm(deadlines, b, 4.0)
    assert deadlines.next() == 4.0


def test_a_later_deadline_costs_no_entry_and_is_found_when_the_old_one_comes_up():
    deadlines, slot = Deadlines(), Slot()
    arm(deadlines, slot, 1.0)
    arm(deadlines, slot, 3.0)
    assert len(deadlines) == 1
    assert deadlines.due(2.0) == []
    assert (deadlines.next(), slot.entry_at) == (3.0, 3.0)
    assert deadlines.due(3.0) == [slot]
    assert slot.entry_at == inf


def test_a_released_slot_drops_out_and_can_be_used_again():
    deadlines, slot = Deadlines(), Slot()
    arm(deadlines, slot, 1.0)
    slot.deadline = inf
    assert deadlines.due(1.0) == []
    assert deadlines.next() == inf
    arm(deadlines, slot, 2.0)
    assert deadlines.due(2.0) == [slot]


def test_an_earlier_deadline_replaces_the_entry_and_the_stale_one_is_dropped():
    deadlines, slot = Deadlines(), Slot()
    arm(deadlines, slot, 9.0)
    arm(deadlines, slot, 1.0)
    assert deadlines.due(1.0) == [slot]
    slot.deadline = inf
    assert deadlines.due(10.0) == []


def test_the_heap_stays_small_when_one_slot_comes_earlier_and_earlier():
    deadlines, slot = Deadlines(), Slot()
    for at in range(10_000, 0, -1):
        arm(deadlines, slot, float(at))
        assert len(deadlines) <= 66
    assert deadlines.due(1.0) == [slot]


@pytest.mark.parametrize("seed", range(20))
def test_no_deadline_is_lost_and_none_comes_early(seed):
    rng, deadlines, slots, now = random.Random(seed), Deadlines(), [Slot() for _ in range(10)], 0.0
    for _ in range(2000):
        if rng.random() < 0.7:
            arm(deadlines, rng.choice(slots), rng.choice([inf, now + rng.randint(0, 50)]))
        else:
            now += rng.randint(0, 10)
            over = {slot for slot in slots if slot.deadline <= now}
            assert set(deadlines.due(now)) == over
            for slot in over:
                slot.deadline = inf
        assert deadlines.next() <= min(slot.deadline for slot in slots)


class ManualClock:
    def __init__(self):
        self.time = 0.0
        self.condition = None

    def now(self):
        return self.time

    def wait(self, condition, timeout):
        self.condition = condition
        condition.wait()

    def advance(self, seconds):
        self.time += seconds
        if self.condition is not None:
            with self.condition:
                self.condition.notify_all()


class Bell(Slot):
    def __init__(self):
        super().__init__()
        self.rang = threading.Event()
        self.at = None

    def fire(self, now):
        self.at = now
        self.rang.set()


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def timer(clock):
    timer = TimerThread(clock, "test-timer")
    yield timer
    timer.close()


def test_the_timer_fires_at_its_time_on_the_clock_it_was_given(timer, clock):
    bell = Bell()
    arm(timer, bell, 5.0)
    clock.advance(4.0)
    assert not bell.rang.wait(0.01)
    clock.advance(1.0)
    assert bell.rang.wait(5)
    assert bell.at == 5.0


def test_close_ends_the_thread_and_a_later_push_starts_another(timer, clock):
    early, late = Bell(), Bell()
    arm(timer, late, 9.0)
    timer.close()
    assert "test-timer" not in [thread.name for thread in threading.enumerate()]
    clock.advance(9.0)
    arm(timer, early, 20.0)
    assert late.rang.wait(5)
    timer.close()
    timer.close()


def test_an_alarm_that_raises_does_not_stop_the_clock(timer, clock, monkeypatch):
    reported = []
    monkeypatch.setattr(threading, "excepthook", reported.append)
    broken, bell = Bell(), Bell()
    broken.fire = lambda now: 1 / 0
    arm(timer, broken, 1.0)
    arm(timer, bell, 2.0)
    clock.advance(2.0)
    assert bell.rang.wait(5)
    assert [args.exc_type for args in reported] == [ZeroDivisionError]


@pytest.mark.parametrize("call", ["push", "close"])
def test_wherever_a_ctrl_c_comes_the_next_alarm_of_another_thread_still_rings(timer, clock, call):
    def ctrl_c():
        raise KeyboardInterrupt

    def once(interruption):
        now = clock.now()
        arm(timer, Bell(), now + 3.0)
        with contextlib.suppress(KeyboardInterrupt), interruption.here():
            timer.close() if call == "close" else arm(timer, Bell(), now + 2.0)
        bell = Bell()
        thread = threading.Thread(target=arm, args=(timer, bell, now + 1.0), daemon=True)
        thread.start()
        thread.join(5)
        assert not thread.is_alive(), "the lock is taken for ever"
        clock.advance(1.0)
        assert bell.rang.wait(5)

    assert len(everywhere(once, ctrl_c, after=SIGNALS)) > 5
