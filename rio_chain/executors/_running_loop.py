"""Where the code that asks runs: its library, its loop's runtime, its clock. Executor modules are imported by name."""

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
"""The bounds for runs that no balancer holds; as those of a balancer with its defaults."""


def module_named(name: str) -> ExecutorModule:
    """The module of an executor, imported when it is first used."""
    return cast("ExecutorModule", importlib.import_module(_MODULES[name]))


def loop_module_of(name: str) -> LoopModule:
    """The module of an executor that has loops."""
    return cast("LoopModule", module_named(name))


def running_library() -> str | None:
    """The async library of the task that asks: "asyncio" or "trio"; None outside of any."""
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
    """A waiter for the task that asks, on whatever loop it runs."""
    return runtime_here().waiter()


_lock = threading.RLock()
_library = sniffio.thread_local
_here: tuple[LoopRuntime, Callable[[], object], object, str | None] | None = None
"""The runtime that was used last, how to ask which loop runs, the loop it is of, and the name of the library."""
_local = threading.local()
_pool: WorkerPool | None = None


def _after_fork() -> None:
    """A forked child has none of its parent's threads: what lives on them is made anew."""
    global _pool, _lock, _here
    keep_alive((_pool, _here, dict(_local.__dict__)))
    _pool, _lock, _here = None, threading.RLock(), None
    _local.__dict__.clear()


after_fork(_after_fork)


def shared_pool() -> WorkerPool:
    """The workers for sync functions of runs that no balancer holds."""
    global _pool  # noqa: PLW0603 - one per process, made when first needed
    with _lock:
        if _pool is None:
            _pool = WorkerPool(SHARED_THREADS, SHARED_ABANDONED, "rio_chain-shared")
        return _pool


def runtime_here() -> Runtime:
    """The runtime of the loop that is running, for the task that asks; the last one of each thread is kept."""
    here = _here
    if here is not None and here[1]() is here[2] and _library.name == here[3]:
        return here[0]
    return _found_here()


def clock_here() -> Callable[[], float] | None:
    """The clock of the run or loop in which the code that asks runs; None outside of any."""
    strand = CURRENT.get()
    if strand is not None and strand.open:
        return strand.rt.now
    if running_library() is None and _host_of_strand() is None:
        return None
    return runtime_here().now


find_clock_with(clock_here)


def _found_here() -> Runtime:
    """The same as ``runtime_here``, where another loop asked last."""
    global _here  # noqa: PLW0603 - read and stored as one
    name = _library.name  # trio and those like it say so; asyncio is what is left
    known: Any = getattr(_local, "here", None)
    if known is None or known[3] != name or known[1]() is not known[2]:
        host = _host_of_strand()
        if host is not None:  # not kept: a sync function in a strand may run a loop of its own
            return host.runtime
        found = _library_here().runtime(shared_pool())
        known = _local.here = found, found.running, found.home, name
    _here = known
    return cast("Runtime", known[0])


def _host_of_strand() -> Host | None:
    """Where the async function that asks runs as a strand on threads: under a clock that jumps."""
    strand = driven_strand()
    if strand is None or running_library() is not None:
        return None
    return cast("Host | None", strand.kernel.host)


def host_here() -> Host:
    """The loop that is running as a host; what runs there shares its threads with ``await request``."""
    of_strand = _host_of_strand()
    if of_strand is not None:
        return of_strand
    name = running_library()
    if name is None:
        raise UsageError("`async for` needs a running asyncio or trio loop; in plain code write `for`")
    host = loop_module_of(name).attach(SHARED_THREADS, SHARED_ABANDONED)
    host.runtime, host.pool = runtime_here(), shared_pool()
    return host
