"""The thread runtime: strands, limits that take a call over, races, and what must hold under any switching."""

from __future__ import annotations

import contextvars
import gc
import random
import sys
import threading
import time
import weakref
from functools import partial
from math import inf
from queue import SimpleQueue

import pytest
from rio_chain.engine.runtime import STOPPED, Raised
from rio_chain.errors import LimitExceeded
from rio_chain.executors.crew import Crew
from rio_chain.executors.kernel import StrandCancelled, current
from rio_chain.executors.thread import ThreadRuntime

LATE = "late"


def eventually(truth, seconds=5.0):
    until = time.monotonic() + seconds
    while not truth():
        assert time.monotonic() < until, "it never came true"
        time.sleep(0.001)


def make(threads=2, max_abandoned=1000, host=None):
    return ThreadRuntime(Crew(threads, max_abandoned, "test"), lambda: host)


def crew_of(rt):
    return rt._kernel.crew


def shut(rt):
    crew = crew_of(rt)
    eventually(lambda: rt.live == crew.abandoned == crew.pending == 0)
    rt.close()
    crew.close()
    eventually(lambda: not [thread for thread in threading.enumerate() if thread.name.startswith("test-")])


@pytest.fixture
def rt():
    rt = make()
    yield rt
    shut(rt)


def begin(rt, main):
    """Start a strand; the queue gets how it ends."""
    ends = SimpleQueue()

    async def root():
        try:
            ends.put(await main())
        except BaseException as error:
            ends.put(Raised(error))

    rt.spawn(root, contextvars.copy_context())
    return ends


def run(rt, main):
    return begin(rt, main).get(timeout=10)


async def within(rt, seconds, work):
    """What the engine does with a limit, in small."""
    slot = rt.slot()
    slot.arm(rt.now() + seconds)
    try:
        return await work()
    except BaseException as error:
        if slot.settle(error):
            return LATE
        raise
    finally:
        slot.arm(inf)


class Body:
    """A sync function that says when it begins and returns when it is told."""

    def __init__(self):
        self.begun, self.open = threading.Event(), threading.Event()

    def __call__(self, value=None):
        self.begun.set()
        assert self.open.wait(10)
        return value


# --- calls ------------------------------------------------------------------------------------------------------


def test_a_call_runs_on_the_thread_that_drives_the_strand(rt):
    async def main():
        return [await rt.call(threading.get_ident, (), {}) == threading.get_ident() for _ in range(3)]

    assert run(rt, main) == [True] * 3


@pytest.mark.parametrize("error", [ValueError("x"), StopIteration(1), SystemExit(1), KeyboardInterrupt()])
def test_any_error_of_a_call_is_a_value(rt, error):
    def body():
        raise error

    async def main():
        return await rt.call(body, (), {})

    assert run(rt, main).error is error


def test_a_call_reads_the_context_of_the_strand_and_writes_into_a_copy(rt):
    var = contextvars.ContextVar("var", default="none")

    async def main():
        var.set("strand")
        seen = await rt.call(lambda: (var.get(), var.set("call"))[0], (), {})
        await rt.sleep(0.001)
        return seen, var.get()

    assert run(rt, main) == ("strand", "strand")
    assert var.get() == "none"


def test_an_error_that_leaves_a_root_strand_goes_to_the_hook(rt, monkeypatch):
    told = []
    monkeypatch.setattr(threading, "excepthook", told.append)

    async def main():
        raise ValueError("x")

    rt.spawn(main, contextvars.copy_context())
    eventually(lambda: told)
    assert told[0].exc_type is ValueError


def test_the_runtime_belongs_to_driven_strands_only(rt):
    with pytest.raises(RuntimeError, match="drives no strand"):
        rt.slot()


# --- limits -----------------------------------------------------------------------------------------------------


def test_a_limit_takes_a_call_over_and_its_late_answer_reaches_nobody(rt):
    body = Body()

    async def main():
        first = await within(rt, 0.01, lambda: rt.call(body, (1,), {}))
        abandoned = crew_of(rt).abandoned
        second = await within(rt, 5.0, lambda: rt.call(lambda: 2, (), {}))
        body.open.set()
        return first, abandoned, second

    assert run(rt, main) == (LATE, 1, 2)


def test_a_retry_after_a_takeover_has_its_own_call(rt):
    bodies = [Body(), Body(), Body()]
    bodies[2].open.set()

    async def main():
        got = [await within(rt, 0.01, partial(rt.call, body, (k,), {})) for k, body in enumerate(bodies[:2])]
        got.append(await within(rt, 5.0, partial(rt.call, bodies[2], (2,), {})))
        return got, crew_of(rt).abandoned

    assert run(rt, main) == ([LATE, LATE, 2], 2)
    for body in bodies:
        body.open.set()


def test_a_stuck_call_that_returns_during_the_next_call_does_not_answer_it(rt):
    stuck, following = Body(), Body()

    async def main():
        first = await within(rt, 0.01, lambda: rt.call(stuck, ("old",), {}))
        return first, await rt.call(following, ("new",), {})

    ends = begin(rt, main)
    assert following.begun.wait(5)
    stuck.open.set()
    eventually(lambda: crew_of(rt).abandoned == 0)
    assert ends.empty()
    following.open.set()
    assert ends.get(timeout=5) == (LATE, "new")


def test_a_limit_ends_a_sleep_and_a_wait(rt):
    async def main():
        first = await within(rt, 0.005, lambda: rt.sleep(30))
        return first, await within(rt, 0.005, rt.waiter().wait)

    assert run(rt, main) == (LATE, LATE)


def test_a_limit_over_while_the_strand_is_driven_is_told_at_the_next_wait(rt):
    async def main():
        slot = rt.slot()
        slot.arm(rt.now() + 0.001)
        eventually(lambda: slot._flagged)
        assert not slot.settle(None)
        called = []
        got = await within_now(slot, lambda: rt.call(called.append, (1,), {}))
        return got, called, await rt.call(lambda: "still works", (), {})

    async def within_now(slot, work):
        try:
            return await work()
        except BaseException as error:
            assert slot.settle(error)
            assert not slot.settle(None)
            return LATE

    assert run(rt, main) == (LATE, [], "still works")


def test_a_limit_moved_on_in_time_interrupts_nothing(rt):
    async def main():
        slot = rt.slot()
        slot.arm(rt.now() + 0.001)
        eventually(lambda: slot._flagged)
        slot.arm(rt.now() + 30)
        return await rt.call(lambda: 1, (), {}), await rt.sleep(0.001)

    assert run(rt, main) == (1, None)


def test_limits_of_many_strands_need_few_timer_entries(rt):
    async def main():
        for _ in range(5):
            await within(rt, 20.0, lambda: rt.call(int, (), {}))
        rt.slot().release()

    for _ in range(200):
        run(rt, main)
    assert len(rt._own._deadlines) <= 2


def test_a_saturated_crew_refuses_the_call():
    rt, body = make(max_abandoned=1), Body()

    async def main():
        first = await within(rt, 0.005, lambda: rt.call(body, (), {}))
        refused = await rt.call(pytest.fail, (), {})
        body.open.set()
        while crew_of(rt).abandoned:
            await rt.sleep(0.001)
        return first, type(refused.error), await rt.call(lambda: 1, (), {})

    assert run(rt, main) == (LATE, LimitExceeded, 1)
    shut(rt)


# --- stop -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["in a call", "parked"])
def test_stop_interrupts_a_strand_once_from_any_thread(rt, where):
    body, slots = Body(), SimpleQueue()

    async def main():
        slot = rt.slot()
        slots.put(slot)
        try:
            if where == "parked":
                await rt.sleep(30)
            else:
                await rt.call(body, (), {})
        except BaseException as error:
            assert slot.settle(error)
        await rt.sleep(0.005)
        slot.release()
        await rt.sleep(0.005)
        return "stopped"

    ends, slot = begin(rt, main), slots.get(timeout=5)
    if where == "in a call":
        assert body.begun.wait(5)
    for _ in range(3):
        slot.stop()
    body.open.set()
    assert ends.get(timeout=5) == "stopped"
    slot.stop()


def test_stop_while_driven_is_told_at_the_next_wait_and_after_release_never(rt):
    async def main():
        slot = rt.slot()
        slot.stop()
        with pytest.raises(BaseException) as caught:
            await rt.sleep(0.001)
        settled = slot.settle(caught.value)
        slot.release()
        slot.stop()
        await rt.sleep(0.001)
        return settled

    assert run(rt, main) is True


# --- waiters ----------------------------------------------------------------------------------------------------


def test_a_wake_before_the_wait_is_kept_and_a_second_one_is_nothing(rt):
    async def main():
        waiter = rt.waiter()
        waiter.wake()
        waiter.wake()
        await waiter.wait()
        other = rt.waiter()
        waiter.wake()
        return await within(rt, 0.005, other.wait)

    assert run(rt, main) == LATE


def test_a_wake_comes_from_any_thread_and_the_worker_is_free_meanwhile():
    rt, waiters = make(threads=1), SimpleQueue()

    async def main():
        waiters.put(waiter := rt.waiter())
        await waiter.wait()
        return "woken"

    ends = begin(rt, main)
    waiter = waiters.get(timeout=5)

    async def other():
        return "other"

    assert run(rt, other) == "other"
    threading.Thread(target=waiter.wake).start()
    assert ends.get(timeout=5) == "woken"
    shut(rt)


def test_a_stale_wake_does_not_resume_a_later_wait(rt):
    async def main():
        old = rt.waiter()
        assert await within(rt, 0.002, old.wait) == LATE
        new = rt.waiter()
        threading.Timer(0.002, old.wake).start()
        return await within(rt, 0.02, new.wait)

    assert run(rt, main) == LATE


def test_an_interruption_of_a_shielded_wait_waits_for_the_next_one(rt):
    async def main():
        slot, waiter = rt.slot(), rt.waiter()
        slot.arm(rt.now() + 0.001)
        timer = threading.Timer(0.01, waiter.wake)
        timer.start()
        await waiter.wait_shielded()
        woken = waiter.woken
        with pytest.raises(BaseException) as caught:
            await rt.sleep(30)
        return woken, slot.settle(caught.value)

    assert run(rt, main) == (True, True)


def test_a_wake_inside_the_locks_of_the_same_strand_is_safe(rt):
    """A finaliser or signal handler may come in anywhere."""

    async def main():
        waiter = rt.waiter()
        with current()._lock:
            waiter.wake()
        await waiter.wait()
        return "woken"

    assert run(rt, main) == "woken"


# --- races ------------------------------------------------------------------------------------------------------


def giving(rt, value, seconds=0.0):
    async def work():
        await rt.sleep(seconds)
        return await rt.call(lambda: value, (), {})

    return work


def never(_):
    return False


def test_a_race_nobody_wins_gives_all_results_in_order(rt):
    async def main():
        return await rt.race([giving(rt, k, 0.003 * (3 - k)) for k in range(3)], never), await rt.race([], never)

    assert run(rt, main) == ([0, 1, 2], [])


def test_the_first_that_decides_stops_those_that_are_called_parked_or_waiting(rt):
    body, ran = Body(), []

    async def called():
        await rt.call(body, (), {})
        ran.append("called")

    async def parked():
        await rt.sleep(30)
        ran.append("parked")

    async def decides():
        await rt.sleep(0.001)
        return await rt.call(lambda: body.begun.wait(5) and "won", (), {})

    async def main():
        got = await rt.race([parked, called, decides], lambda result: result == "won")
        return got, crew_of(rt).abandoned, ran

    assert run(rt, main) == ([STOPPED, STOPPED, "won"], 1, [])
    body.open.set()


def test_a_branch_that_has_not_begun_is_stopped_without_running():
    rt, ran = make(threads=1), []

    async def wins():
        return "won"

    async def loses():
        ran.append(1)

    async def main():
        return await rt.race([wins, *[loses] * 50], lambda result: result == "won")

    assert run(rt, main) == ["won", *[STOPPED] * 50]
    assert ran == []
    shut(rt)


def test_a_branch_that_is_driven_when_it_is_stopped_ends_at_its_next_wait(rt):
    running, ran = threading.Event(), []

    async def busy():
        running.set()
        eventually(lambda: current()._flagged)
        await rt.call(ran.append, (1,), {})

    async def wins():
        return running.wait(5)

    async def main():
        return await rt.race([busy, wins], lambda result: result is True)

    assert run(rt, main) == [STOPPED, True]
    assert ran == []


def test_a_race_goes_on_only_when_the_clean_up_of_all_is_over(rt):
    cleaned = []

    async def tidy():
        try:
            await rt.sleep(30)
        finally:
            await rt.sleep(0.005)
            cleaned.append(1)

    async def main():
        got = await rt.race([tidy, giving(rt, 1, 0.002)], lambda result: result == 1)
        return got, list(cleaned)

    assert run(rt, main) == ([STOPPED, 1], [1])


def test_an_error_that_leaves_a_branch_stops_the_others_and_is_raised_as_itself(rt):
    error = KeyboardInterrupt()

    async def fails():
        raise error

    async def main():
        await rt.race([giving(rt, 1, 30), fails], never)

    assert run(rt, main).error is error


def test_a_predicate_that_raises_does_not_hang_the_race(rt):
    async def main():
        await rt.race([giving(rt, 1)], lambda result: 1 / 0)

    assert isinstance(run(rt, main).error, ZeroDivisionError)


def test_a_parent_that_is_interrupted_stops_all_branches_first(rt):
    begun, ended, lock = [], [], threading.Lock()

    async def branch(slot):
        with lock:
            begun.append(1)
            if len(begun) == 3:
                slot.stop()
        try:
            await rt.sleep(30)
        except StrandCancelled:
            ended.append(1)
            raise

    async def main():
        got = await within(rt, 30, lambda: rt.race([partial(branch, rt.slot())] * 3, never))
        return got, len(ended)

    assert run(rt, main) == (LATE, 3)


def test_nested_races_stop_all_the_way_down(rt):
    body = Body()

    async def inner():
        return await rt.race([giving(rt, 1, 30), partial(rt.call, body, (), {})], never)

    async def main():
        async def wins():
            await rt.call(body.begun.wait, (5,), {})
            return "won"

        return await rt.race([inner, wins], lambda result: result == "won")

    assert run(rt, main) == [STOPPED, "won"]
    eventually(lambda: rt.live == 0)
    assert crew_of(rt).abandoned == 1
    body.open.set()


def test_branches_have_limits_of_their_own_and_copies_of_the_context(rt):
    var = contextvars.ContextVar("var", default=0)

    async def branch(seconds):
        seen = var.get()
        var.set(2)
        return seen, await within(rt, seconds, giving(rt, "in time", 0.02))

    async def main():
        var.set(1)
        return await rt.race([partial(branch, 0.002), partial(branch, 5.0)], never), var.get()

    assert run(rt, main) == ([(1, LATE), (1, "in time")], 1)


# --- async functions --------------------------------------------------------------------------------------------


class Host:
    """A loop thread in small: ``answer`` ends the one task."""

    def __init__(self):
        self.started, self.cancelled = threading.Event(), threading.Event()

    def start(self, fn, args, kwargs, context, done):
        self.answer = done
        self.context = context
        self.started.set()
        return self.cancelled.set


def test_an_async_call_gives_what_the_loop_thread_answers():
    host = Host()
    rt = make(host=host)

    async def main():
        return await rt.call_async(print, (), {})

    ends = begin(rt, main)
    assert host.started.wait(5)
    host.answer("done")
    assert ends.get(timeout=5) == "done"
    assert not host.cancelled.is_set()
    shut(rt)


def test_an_interrupted_async_call_is_cancelled_and_awaited_and_its_answer_dropped():
    host = Host()
    rt = make(host=host)

    async def main():
        return await within(rt, 0.002, lambda: rt.call_async(print, (), {}))

    ends = begin(rt, main)
    assert host.cancelled.wait(5)
    time.sleep(0.005)
    assert ends.empty()
    host.answer("too late")
    assert ends.get(timeout=5) == LATE
    shut(rt)


# --- many -------------------------------------------------------------------------------------------------------


def test_a_thousand_sleeping_strands_need_two_threads():
    rt = make(threads=2)

    async def main():
        await rt.sleep(0.01)
        got = await rt.race([giving(rt, 1, 0.001), giving(rt, 2, 0.001)], never)
        return sum(got)

    ends = [begin(rt, main) for _ in range(1000)]
    assert [end.get(timeout=20) for end in ends] == [3] * 1000
    assert crew_of(rt).count <= 2
    shut(rt)


@pytest.fixture
def switching():
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


@pytest.mark.usefixtures("switching")
def test_expiry_against_finish_every_strand_ends_once_and_nothing_stays_abandoned():
    rt, ended = make(threads=4, max_abandoned=100_000), []

    async def main(number):
        got = []
        for attempt in range(5):
            length = random.uniform(0.0008, 0.0013)  # and the limit is about what such a sleep really takes
            got.append(await within(rt, 0.0012, partial(rt.call, lambda: time.sleep(length) or "in time", (), {})))
            got.append(await within(rt, 0.001, partial(rt.sleep, 0.001)) or attempt)
        rt.slot().release()
        ended.append(number)
        assert set(got) <= {"in time", LATE, 0, 1, 2, 3, 4}

    told = [begin(rt, partial(main, number)) for number in range(150)]
    assert [end.get(timeout=30) for end in told] == [None] * 150
    assert sorted(ended) == list(range(150))
    shut(rt)
    assert all(limit.strand is None and limit.deadline == inf for limit in rt._kernel.limits)


@pytest.mark.usefixtures("switching")
def test_stops_and_races_from_everywhere_leave_nothing_behind():
    rt, slots, ended = make(threads=4, max_abandoned=100_000), SimpleQueue(), []

    async def branch(seconds):
        await rt.sleep(seconds)
        return await rt.call(lambda: time.sleep(0.0005) or seconds, (), {})

    async def main(number):
        slot = rt.slot()
        slots.put(slot)
        slot.arm(rt.now() + 0.001 * (1 + number % 4))
        try:
            await rt.race([partial(branch, 0.0005 * k) for k in range(4)], lambda seconds: seconds == 0.001)
        except BaseException as error:
            assert slot.settle(error)
        slot.release()
        ended.append(number)

    told = [begin(rt, partial(main, number)) for number in range(100)]
    for k in range(100):
        slot = slots.get(timeout=10)
        if k % 2:
            slot.stop()
    assert [end.get(timeout=30) for end in told] == [None] * 100
    assert sorted(ended) == list(range(100))
    shut(rt)


def test_an_ended_strand_keeps_nothing_alive(rt):
    class Thing:
        pass

    thing, seen = Thing(), threading.Event()
    var = contextvars.ContextVar("var")
    ref = weakref.ref(thing)

    async def main(thing):
        var.set(thing)
        await within(rt, 20.0, partial(rt.call, id, (thing,), {}))
        rt.slot().release()
        seen.set()

    rt.spawn(partial(main, thing), contextvars.copy_context())
    assert seen.wait(5)
    eventually(lambda: rt.live == 0 and crew_of(rt).pending == 0)
    del thing
    gc.collect()
    assert ref() is None
