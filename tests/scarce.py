"""A system that runs out of things: starting a thread, opening a descriptor and allocating memory fail at random."""

from __future__ import annotations

import errno
import functools
import importlib
import inspect
import random
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

HOMES = (
    "_core.deferring_lock",
    "balancer._balancer",
    "balancer._close",
    "balancer._host_binding",
    "balancer._admission",
    "balancer._dispatch",
    "balancer._posted_request",
    "balancer._priority_queue",
    "executors._run_ticket",
    "executors._ticket",
    "engine._run",
    "engine._interpreter",
    "executors._asyncio",
    "executors._asyncio_race",
    "executors._closed_loop_watcher",
    "executors._shared_loop",
    "executors._spawned_strands",
    "executors._abandoned_threads",
    "executors._thread_permits",
    "executors._worker_call",
    "executors._worker_pool",
    "executors._strand",
    "executors._strand_race",
    "executors._strand_slot",
    "executors._thread_kernel",
    "executors._thread_start_retry",
    "executors._thread_waiter",
    "executors._timers",
    "executors._trio",
)
"""The modules in which a call may find no memory."""
SPARED = {
    "surely",
    "report_unhandled",
    "contained",
    "__del__",
    "__init__",
    "__repr__",
    "_work",
    "_run",
    "_run_deferred",
    "_mend",
    "_gave_up",
}
"""What handles such a failure, and what the interpreter or trio itself calls and can't do without."""


class Scarcity:
    """Fails one call in ``one_in``, of those that start a thread or open a descriptor, and of those that allocate."""

    def __init__(self, seed: int, *, one_in: int, memory_one_in: int) -> None:
        self.random = random.Random(seed)
        self.one_in = one_in
        self.memory_one_in = memory_one_in
        self.failed = {"thread": 0, "descriptor": 0, "memory": 0}
        self.on = True

    def fails(self, what: str, one_in: int) -> bool:
        fails = self.on and self.random.random() * one_in < 1
        if fails:
            self.failed[what] += 1
        return fails

    def start(self, real: Callable[[threading.Thread], None], thread: threading.Thread) -> None:
        if thread.name.startswith("rio_chain") and self.fails("thread", self.one_in):
            raise RuntimeError("can't start new thread")
        real(thread)

    def socketpair(self, real: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if self.fails("descriptor", self.one_in):
            raise OSError(errno.EMFILE, "Too many open files")
        return real(*args, **kwargs)

    def allocating(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(fn)
        def scarce(*args: Any, **kwargs: Any) -> Any:
            if self.fails("memory", self.memory_one_in):
                raise MemoryError
            return fn(*args, **kwargs)

        return scarce


@contextmanager
def scarce(seed: int, *, one_in: int = 50, memory_one_in: int = 20_000) -> Iterator[Scarcity]:
    """Meanwhile such calls fail at random."""
    it = Scarcity(seed, one_in=one_in, memory_one_in=memory_one_in)
    start, pair = threading.Thread.start, socket.socketpair
    patches: list[Any] = [
        mock.patch.object(threading.Thread, "start", lambda thread: it.start(start, thread)),
        mock.patch.object(socket, "socketpair", functools.partial(it.socketpair, pair)),
    ]
    for home in HOMES:
        module = importlib.import_module(f"rio_chain.{home}")
        for kind in vars(module).values():
            if inspect.isclass(kind) and kind.__module__ == module.__name__:
                patches += [
                    mock.patch.object(kind, name, it.allocating(fn))
                    for name, fn in vars(kind).items()
                    if inspect.isfunction(fn) and name not in SPARED
                ]
    try:
        for patch in patches:
            patch.start()
        yield it
    finally:
        it.on = False
        mock.patch.stopall()
