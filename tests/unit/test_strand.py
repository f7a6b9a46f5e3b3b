"""Strands of the thread runtime: calls, limits that take a call over, stop, waiters, async functions."""

from __future__ import annotations

import contextvars
import gc
import threading
import time
import weakref
from functools import partial
from queue import SimpleQueue

import pytest
from strands import LATE, Body, answer_or_late, begin, make, pool_of, run, shut, within
from waiting import eventually

from rio_chain.errors import LimitExceeded
from rio_chain.executors._current_strand import current_strand
from rio_chain.executors._strand_slot import Expired
from rio_chain.executors._thread_waiter import trap

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
    hooked = []
    monkeypatch.setattr(threading, "excepthook", hooked.append)

    async def main():
        raise ValueError("x")

    rt.start_strand(main, contextvars.copy_context())
    eventually(lambda: hooked)
    assert hooked[0].exc_type is ValueError


def test_the_runtime_belongs_to_driven_strands_only(rt):
    with pytest.raises(RuntimeError, match="drives no strand"):
        rt.slot()


# --- limits -----------------------------------------------------------------------------------------------------


def test_a_limit_takes_a_call_over_and_its_late_answer_reaches_nobody(rt):
    body = Body()

    async def main():
        first = await within(rt, 0.01, lambda: rt.call(body, (1,), {}))
        abandoned = pool_of(rt).abandoned
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
        return got, pool_of(rt).abandoned

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
    eventually(lambda: pool_of(rt).abandoned == 0)
    assert ends.empty()
    following.open.set()
    assert ends.get(timeout=5) == (LATE, "new")


def test_a_limit_ends_a_sleep_and_a_wait(rt):
    async def main():
        first = await within(rt, 0.005, lambda: rt.sleep(30))
        return first, await within(rt, 0.005, rt.waiter().wait)

    assert run(rt, main) == (LATE, LATE)


def test_a_limit_over_while_the_strand_is_driven_interrupts_its_next_wait(rt):
    async def main():
        slot = rt.slot()
        slot.arm(rt.now() + 0.001)
        eventually(lambda: slot._flagged)
        assert not slot.settle(None)
        called = []
        got = await answer_or_late(slot, lambda: rt.call(called.append, (1,), {}))
        assert not slot.settle(None)
        return got, called, await rt.call(lambda: "still works", (), {})

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
        while pool_of(rt).abandoned:
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
        work = partial(rt.sleep, 30) if where == "parked" else partial(rt.call, body, (), {})
        assert await answer_or_late(slot, work) == LATE
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


def test_stop_while_driven_interrupts_the_next_wait_and_after_release_none(rt):
    async def main():
        slot = rt.slot()
        slot.stop()
        with pytest.raises(Expired) as caught:
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
        with pytest.raises(Expired) as caught:
            await rt.sleep(30)
        return woken, slot.settle(caught.value)

    assert run(rt, main) == (True, True)


def test_a_shielded_wait_begins_although_an_interruption_is_pending(rt):
    async def main():
        slot, waiter = rt.slot(), rt.waiter()
        slot.stop()
        threading.Timer(0.005, waiter.wake).start()
        await waiter.wait_shielded()
        return waiter.woken, await answer_or_late(slot, partial(rt.sleep, 30))

    assert run(rt, main) == (True, LATE)


def test_a_wake_between_the_look_and_the_parking_is_kept(rt):
    async def main():
        waiter = rt.waiter()
        waiter.wake()
        await trap(waiter)  # what `wait` does when it has seen no wake
        return "woken"

    assert run(rt, main) == "woken"


def test_a_wake_inside_the_locks_of_the_same_strand_is_safe(rt):
    """A finaliser or signal handler may come in anywhere."""

    async def main():
        waiter = rt.waiter()
        with current_strand()._lock:
            waiter.wake()
        await waiter.wait()
        return "woken"

    assert run(rt, main) == "woken"


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


# --- memory -----------------------------------------------------------------------------------------------------


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

    rt.start_strand(partial(main, thing), contextvars.copy_context())
    assert seen.wait(5)
    eventually(lambda: rt.live == 0 and pool_of(rt).pending == 0)
    del thing
    gc.collect()
    assert ref() is None
