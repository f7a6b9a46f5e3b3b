"""What a process holds, and bodies that end in every way: for the leak and the load tests."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import sniffio
import trio
from waiting import SPARE

from rio_chain import Balancer, Task
from rio_chain.testing import leak_guard
from rio_chain.testing._leak_guard import held

EXECUTORS = ("asyncio", "trio", "thread")

nothing_left = partial(leak_guard, patience=1000 * SPARE)
"""No thread, no descriptor and no task more at the end than at the beginning."""


def is_idle(balancer: Balancer) -> bool:
    """Every slot, permit, thread and strand is back, and nothing is remembered of any request."""
    host, admission = balancer._host, balancer._admission
    assert host is not None
    return (
        not any(held(balancer).values())
        and not admission.runs
        and not admission.queue._heap
        and not balancer._dispatcher.posted
        and not getattr(host.runtime, "live", 0)
    )


async def _nothing(x: int) -> int:
    return x


def warm_up() -> None:
    """One loop thread per executor serves all blocking runs, and one all async functions of thread executors."""
    for name in EXECUTORS:
        assert Task(_nothing)(1).run(executor=name).unwrap() == 1


async def pause(seconds: float) -> None:
    """Sleep on whichever loop this runs."""
    await (trio.sleep if sniffio.current_async_library() == "trio" else asyncio.sleep)(seconds)


class Bodies:
    """Functions of one argument, sync and async, that answer, fail, or stay until they are let go."""

    def __init__(self) -> None:
        self.begun = threading.Semaphore(0)
        self.open = threading.Event()
        self.cleaned_up = 0

    def answer(self, x: Any) -> Any:
        return x

    async def aanswer(self, x: Any) -> Any:
        await pause(0)
        return x

    def fail(self, x: Any) -> Any:
        raise ValueError("bad")

    async def afail(self, x: Any) -> Any:
        await pause(0)
        raise ValueError("bad")

    def stay(self, x: Any) -> Any:
        self.begun.release()
        self.open.wait(30)
        return x

    async def astay(self, x: Any) -> Any:
        self.begun.release()
        try:
            await pause(30)
        finally:
            self.cleaned_up += 1
        return x

    def quit(self, x: Any) -> Any:
        raise SystemExit(3)

    def wait_begun(self) -> None:
        assert self.begun.acquire(timeout=SPARE), "the body never began"


@contextmanager
def bodies() -> Iterator[Bodies]:
    made = Bodies()
    try:
        yield made
    finally:
        made.open.set()  # whatever failed, no thread is left
