"""Finds where the caller runs: its async library, and the runtime and the clock of its loop.

Imports executors by name.
"""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

import sniffio

from rio_chain._core.forks import after_fork, keep_alive
from rio_chain.engine._current_run import CURRENT
from rio_chain.errors import UsageError
from rio_chain.executors._current_strand import driven_strand
from rio_chain.executors._worker_pool import WorkerPool
from rio_chain.policies._shared_clock import find_clock_with

if TYPE_CHECKING:
    from rio_chain.engine._runtime_protocol import Runtime, Waiter
    from rio_chain.executors._base import ExecutorModule, Host, LoopModule, LoopRuntime

NAMES = ("asyncio", "trio", "thread", "virtual", "dask")
_MODULES = {
    "asyncio": "rio_chain.executors._asyncio",
    "trio": "rio_chain.executors._trio",
    "thread": "rio_chain.executors._thread",
    "virtual": "rio_chain.executors.virtual._executor",
    "dask": "rio_chain.executors.dask._executor",
}
SHARED_THREADS, SHARED_ABANDONED = 40, 20
"""The bounds for runs without a balancer: those of a balancer with its defaults."""


def module_named(name: str) -> ExecutorModule:
    """The module of an executor, imported when it is first used."""
    return cast("ExecutorModule", importlib.import_module(_MODULES[name]))


def loop_module_of(name: str) -> LoopModule:
    """The module of an executor that has loops."""
    return cast("LoopModule", module_named(name))


def running_library() -> str | None:
    """The async library of the calling task: "asyncio" or "trio"; None outside of both."""
    try:
        name = sniffio.current_async_library()
    except sniffio.AsyncLibraryNotFoundError:
        return None
    return name if name in NAMES else None


def _library_here() -> LoopModule:
    name = running_library()
    if name is None:
        raise UsageError("`await` needs a running asyncio or trio loop; in plain code write `.run()` or `.wait()`")
    return loop_module_of(name)


def waiter_here() -> Waiter:
    """A waiter for the calling task, on whatever loop it runs."""
    return runtime_here().waiter()


_lock = threading.RLock()
_library = sniffio.thread_local
_here: tuple[LoopRuntime, Callable[[], object], object, str | None] | None = None
"""The runtime that was used last, how to ask which loop runs, its loop, and the name of the library."""
_local = threading.local()
_pool: WorkerPool | None = None


def _after_fork() -> None:
    """Renew, in a forked child, what depends on threads of the parent."""
    global _pool, _lock, _here
    keep_alive((_pool, _here, dict(_local.__dict__)))
    _pool, _lock, _here = None, threading.RLock(), None
    _local.__dict__.clear()


after_fork(_after_fork)


def shared_pool() -> WorkerPool:
    """The workers for sync functions of runs without a balancer."""
    global _pool  # noqa: PLW0603 - one per process, made when first needed
    with _lock:
        if _pool is None:
            _pool = WorkerPool(SHARED_THREADS, SHARED_ABANDONED, "rio_chain-shared")
        return _pool


def runtime_here() -> Runtime:
    """The runtime of the running loop, for the calling task. The last one of each thread is kept."""
    here = _here
    if here is not None and here[1]() is here[2] and _library.name == here[3]:
        return here[0]
    return _found_here()


def clock_here() -> Callable[[], float] | None:
    """The clock of the run or loop of the caller; None outside of any."""
    strand = CURRENT.get()
    if strand is not None and strand.open:
        return strand.rt.now
    if running_library() is None and _host_of_strand() is None:
        return None
    return runtime_here().now


find_clock_with(clock_here)


def _found_here() -> Runtime:
    """As ``runtime_here``, if the last call came from another loop."""
    global _here  # noqa: PLW0603 - read and stored as one
    name = _library.name  # trio and similar libraries set it; None means asyncio
    known: Any = getattr(_local, "here", None)
    if known is None or known[3] != name or known[1]() is not known[2]:
        host = _host_of_strand()
        if host is not None:  # not kept: a sync function in a strand may run another loop
            return host.runtime
        found = _library_here().runtime(shared_pool())
        known = _local.here = found, found.running, found.home, name
    _here = known
    return cast("Runtime", known[0])


def _host_of_strand() -> Host | None:
    """The host of the calling async function if it is a strand on threads, as under a clock that jumps."""
    strand = driven_strand()
    if strand is None or running_library() is not None:
        return None
    return cast("Host | None", strand.kernel.host)


def host_here() -> Host:
    """The running loop as a host. What runs there shares its threads with ``await request``."""
    of_strand = _host_of_strand()
    if of_strand is not None:
        return of_strand
    name = running_library()
    if name is None:
        raise UsageError("`async for` needs a running asyncio or trio loop; in plain code write `for`")
    host = loop_module_of(name).attach(SHARED_THREADS, SHARED_ABANDONED)
    host.runtime, host.pool = runtime_here(), shared_pool()
    return host
