"""Strands of the thread runtime, for the tests of it."""

from __future__ import annotations

import contextvars
import threading
from math import inf
from queue import SimpleQueue

from waiting import eventually

from rio_chain.engine._runtime_protocol import Raised
from rio_chain.executors._strand_slot import Expired
from rio_chain.executors._thread import ThreadRuntime
from rio_chain.executors._worker_pool import WorkerPool

LATE = "late"


def make(threads=2, max_abandoned=1000, host=None):
    return ThreadRuntime(WorkerPool(threads, max_abandoned, "test"), lambda: host)


def pool_of(rt):
    return rt._kernel.pool


def shut(rt):
    pool = pool_of(rt)
    eventually(lambda: rt.live == pool.abandoned == pool.pending == 0)
    rt.close()
    pool.close()
    eventually(lambda: not [thread for thread in threading.enumerate() if thread.name.startswith("test-")])


def begin(rt, main):
    """Start a strand; the queue gets how it ends."""
    ends = SimpleQueue()

    async def root():
        try:
            ends.put(await main())
        except BaseException as error:  # noqa: BLE001 - the test raises it
            ends.put(Raised(error))

    rt.start_strand(root, contextvars.copy_context())
    return ends


def run(rt, main):
    return begin(rt, main).get(timeout=10)


async def answer_or_late(slot, work):
    """``work``, or LATE when the strand's own limit or ``stop`` ended it."""
    try:
        return await work()
    except Expired as error:
        if slot.settle(error):
            return LATE
        raise


async def within(rt, seconds, work):
    """What the engine does with a limit, in small."""
    slot = rt.slot()
    slot.arm(rt.now() + seconds)
    try:
        return await answer_or_late(slot, work)
    finally:
        slot.arm(inf)


class Body:
    """A sync function that says when it begins, and returns when it is opened."""

    def __init__(self):
        self.begun, self.open = threading.Event(), threading.Event()

    def __call__(self, value=None):
        self.begun.set()
        assert self.open.wait(10)
        return value
