"""The interface of executor modules: they make hosts. A host is one place where strands run: a loop, or threads.

This file also has the common parts of loops.
"""

from __future__ import annotations

import random
import threading
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextvars import Context
from time import perf_counter
from typing import Any, Protocol, cast

from rio_chain._core.unhandled_errors import surely
from rio_chain.engine._remote_protocol import Remote
from rio_chain.engine._runtime_protocol import (
    NO_LANES,
    Checkpoints,
    Lane,
    PlanChanges,
    Runtime,
    SpawnedStrand,
    SpawnedWork,
    Waiter,
)
from rio_chain.executors._blocking_wait import BlockingHost
from rio_chain.executors._spawned_strands import OwnedStrand, OwningRuntime, SpawnedStrands
from rio_chain.executors._worker_call import pooled_call
from rio_chain.executors._worker_pool import WorkerPool

Main = Callable[[], Coroutine[Any, Any, None]]
"""A strand that a host runs. It handles all its errors."""


class Lost(Protocol):
    """Called when the loop of a host has ended, or begins to."""

    def __call__(self, *, over: bool) -> None:
        """``over``: nothing on the loop continues. Else its tasks are cancelled, and still clean up."""


MAX_BURST = 0.005
"""Seconds that a run may continue before it is checked whether it holds the loop.

So it may hold the loop for two such spans. A timer of other code that is due meanwhile waits for both.
"""


class BaseLoopRuntime(ABC):
    """The common part of the Runtimes of loops: async functions are awaited in place, sync ones run on the pool."""

    direct = True
    turn = 0.0
    places = True
    virtual = False
    policies: PlanChanges | None = None
    remote: Remote | None = None
    draw = staticmethod(random.random)

    cancellations: tuple[type[BaseException], ...] = ()
    checkpoints: Checkpoints | None = None

    home: object
    running: Callable[[], object]

    def __init__(self, pool: WorkerPool) -> None:
        self.pool = pool
        self.spare: list[Any] = []
        self.spawned = SpawnedStrands(cast("OwningRuntime", self))
        self.lanes: Mapping[str, Lane] = NO_LANES
        self.look_at = 0.0
        self._looked = 0.0  # when the last check was, in real seconds
        self._turn = 0  # the number of checked rounds of the loop
        self._asked = False  # whether the next round will be counted
        self._last: tuple[int, int] = 0, 0  # the run that was checked last, and in which round

    def here(self) -> bool:
        """As ``LoopRuntime.here``."""
        return self.running() is self.home

    @abstractmethod
    def start(self, strand: OwnedStrand, context: Context) -> object:
        """As ``OwningRuntime.start``."""

    @abstractmethod
    def ends(self, error: BaseException) -> bool:
        """As ``OwningRuntime.ends``."""

    def spawn(self, main: SpawnedWork, limit: float | None = None) -> SpawnedStrand:
        """As ``Runtime.spawn``."""
        return self.spawned.spawn(main, limit)

    @abstractmethod
    def waiter(self) -> Waiter:
        """As ``Runtime.waiter``."""

    def async_waiter(self) -> Waiter:
        """As ``Runtime.async_waiter``."""
        return self.waiter()

    @abstractmethod
    def _soon(self, turned: Callable[[], None]) -> None:
        """Call this in the next round of the loop."""

    def holds(self, run: int, now: float) -> bool:
        """As ``Runtime.holds``. Loops don't count their rounds, so a callback counts the next one."""
        real, mark = perf_counter(), (run, self._turn)
        long = real >= self._looked + MAX_BURST  # false if only a clock that is not the real one has moved
        if long and mark == self._last:
            self.look_at = now  # the other strands of this run are checked at once
            return True
        self.look_at = now + MAX_BURST
        if long:
            self._looked, self._last = real, mark
            if not self._asked:
                self._asked = True
                self._soon(self._turned)
        return False

    def _turned(self) -> None:
        self._turn += 1
        self._asked = False

    def reserve(self) -> Awaitable[None] | None:
        """As ``Runtime.reserve``."""
        return self.pool.reserve(self.waiter)

    def unreserve(self) -> None:
        """As ``Runtime.unreserve``."""
        surely(self.pool.permits.release)

    def call(self, fn: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Awaitable[Any]:
        """As ``Runtime.call``."""
        return pooled_call(self.pool, self.waiter, fn, args, kwargs)

    async def call_async(self, fn: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """As ``Runtime.call_async``."""
        return await fn(*args, **kwargs)


class LoopRuntime(Runtime, Protocol):
    """The Runtime of a loop that is running."""

    home: object
    """The loop."""
    running: Callable[[], object]
    """Gives the loop that runs in this thread, or None."""

    def here(self) -> bool:
        """Whether the calling task runs on this loop."""
        ...


class BaseLoopHost(BlockingHost):
    """The common part of hosts on running loops."""

    runtime: BaseLoopRuntime
    pool: WorkerPool
    must_close = True

    def __init__(self, pool: WorkerPool, runtime: BaseLoopRuntime) -> None:
        self.pool = pool
        self.runtime = runtime
        self._thread = threading.get_ident()
        self._lost: Lost | None = None
        self._closed = False

    def here(self) -> bool:
        """As ``Host.here``."""
        return self.runtime.running() is self.runtime.home

    @property
    def spawned(self) -> SpawnedStrands:
        """As ``Host.spawned``."""
        return self.runtime.spawned

    def forked(self) -> bool:
        """As ``BlockingHost.forked``."""
        return self.pool.forked

    def waiter(self) -> Waiter:
        """As ``BlockingHost.waiter``."""
        return self.runtime.waiter() if self.runtime.here() else super().waiter()

    def close(self, *, wait: bool = True) -> None:
        """As ``Host.close``."""
        self._closed = True
        if self.here():
            self._dismiss()
        else:
            self._call_on_loop(self._dismiss)
        self.pool.close(wait=wait)

    @abstractmethod
    def _call_on_loop(self, call: Callable[[], object]) -> object:
        """Make a call on the loop, from any thread. If the loop has ended, no call is made."""

    @abstractmethod
    def _dismiss(self) -> None:
        """Stop watching for the end of the loop. On the loop only."""

    def _report_loss(self, *, over: bool) -> None:
        """The loop has ended, or begins to: call what ``on_loss`` was given, unless this host was closed before."""
        if not self._closed and self._lost is not None:
            self._lost(over=over)


class Host(BlockingHost, Protocol):
    """One place where strands run."""

    name: str
    runtime: Runtime
    pool: WorkerPool
    cancelled: type[BaseException]
    """The exception that a strand gets when its loop ends."""
    must_close: bool
    """Whether it keeps threads, tasks or descriptors until it is closed."""

    @property
    def spawned(self) -> SpawnedStrands:
        """The strands that no caller waits for, and that began on this host."""
        ...

    def here(self) -> bool:
        """Whether the caller runs on this host's own loop. Then it may run a request in its own task."""
        ...

    def cancelling(self) -> bool:
        """Whether the calling strand got a ``cancelled`` because its loop ends, and not from the user's code."""
        ...

    def spawn(self, main: Main, context: Context, *, accepted: bool = False) -> None:
        """Start a strand of its own in that context. From any thread. After an interruption ``main`` may run twice.

        Args:
            main: the strand.
            context: the context it runs in.
            accepted: if no thread can be started, it waits until one can be. Default False: the error is raised.

        Raises:
            HostGone: its loop has ended.
            RuntimeError: no thread can be started. ``main`` will not run.
        """

    def on_loss(self, lost: Lost) -> None:
        """Call ``lost`` if the loop ends while the host is in use: on the loop, or on the thread that closes it."""

    def close(self, *, wait: bool = True) -> None:
        """Free what the host started. Its strands have ended before.

        Args:
            wait: wait until its threads have ended; from any thread but the host's own. A finaliser does not wait.
        """


class ExecutorModule(Protocol):
    """The interface of ``executors/_thread.py``, and a part of that of the loops."""

    def launch(self, threads: int, max_abandoned: int, name: str = ...) -> Host:
        """A host on threads of its own, whose names begin with ``name``."""
        ...


class Executor(ABC):
    """An executor object, to be given where others are given by name."""

    name: str

    @abstractmethod
    def launch(self, threads: int, max_abandoned: int, name: str = ...) -> Host:
        """As ``ExecutorModule.launch``."""


class LoopModule(ExecutorModule, Protocol):
    """The interface of ``executors/_asyncio.py``, ``_trio.py`` and ``virtual/``."""

    def attach(self, threads: int, max_abandoned: int) -> Host:
        """A host on the loop that is running in this thread."""
        ...

    def runtime(self, pool: WorkerPool) -> LoopRuntime:
        """The runtime of the loop that is running in this thread."""
        ...

    def tasks(self) -> Mapping[object, tuple[str, object]]:
        """The name and the coroutine of each task of the running loop, without the calling task."""
        ...
