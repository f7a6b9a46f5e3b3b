"""Executors touch the world: where runs run. Each is imported when it is first used."""

from __future__ import annotations

import importlib
import os
import sys
import threading
import warnings
from collections.abc import Callable, Coroutine
from contextlib import AbstractContextManager, nullcontext
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, cast

import sniffio

from rio_chain.balancer.serve import Errand, wait_for
from rio_chain.balancer.ticket import Ticket
from rio_chain.deadline import Deadline, deadline_of
from rio_chain.engine.current import CURRENT, Run
from rio_chain.engine.execute import execute
from rio_chain.engine.given import check_lanes
from rio_chain.errors import ChainDefinitionError, UsageError
from rio_chain.executors.base import Executor
from rio_chain.executors.crew import Crew
from rio_chain.executors.kept import keeping
from rio_chain.executors.kernel import driven
from rio_chain.forks import after_fork, keep_alive
from rio_chain.policies.timeline import find_clock_with
from rio_chain.units import Duration, shown

if TYPE_CHECKING:
    from rio_chain.engine.runtime import Runtime, Waiter
    from rio_chain.executors.base import ExecutorModule, Host, LoopModule, LoopRuntime
    from rio_chain.outcome import Outcome
    from rio_chain.request import Request

NAMES = ("asyncio", "trio", "thread", "virtual")
DEFAULT = "asyncio"
ALONE = frozenset({"virtual"})
"""Of these each blocking run has one of its own: a clock that others have moved would show in it."""
SHARED_THREADS, SHARED_ABANDONED = 40, 20
"""The bounds for runs that no balancer holds; as those of a balancer with its defaults."""


def checked_name(name: object, what: str = "executor") -> str:
    """The name of an executor, refused if there is none of that name."""
    if isinstance(name, str) and name in NAMES:
        return name
    raise ChainDefinitionError(f"`{what}` must be one of {', '.join(map(repr, NAMES))}; got {shown(name)}")


def checked_executor(given: object) -> str | Executor:
    """An executor that was made, or the name of one, refused if there is none of that name."""
    if isinstance(given, Executor):
        return given
    for kind in Executor.__subclasses__():
        if given is kind:
            raise ChainDefinitionError(f"`executor` must be made first: write {kind.__name__}()")
    return checked_name(given)


def default_name() -> str:
    """The executor that ``$RIO_EXECUTOR`` names; asyncio where it is not set."""
    return checked_name(os.environ.get("RIO_EXECUTOR") or DEFAULT, "RIO_EXECUTOR")


def module_of(executor: str | Executor) -> ExecutorModule:
    """The executor's module; or itself, where it was made."""
    if isinstance(executor, Executor):
        return executor
    return cast("ExecutorModule", importlib.import_module(f"rio_chain.executors.{executor}"))


def loop_module_of(name: str) -> LoopModule:
    """The module of an executor that has loops."""
    return cast("LoopModule", module_of(name))


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
_crew: Crew | None = None


def _after_fork() -> None:
    """A forked child has none of its parent's threads: what lives on them is made anew."""
    global _crew, _lock, _here
    keep_alive((_crew, _here, dict(_local.__dict__)))
    _crew, _lock, _here = None, threading.RLock(), None
    _local.__dict__.clear()


after_fork(_after_fork)


def shared_crew() -> Crew:
    """The workers for sync functions of runs that no balancer holds."""
    global _crew  # noqa: PLW0603 - one per process, made when first needed
    with _lock:
        if _crew is None:
            _crew = Crew(SHARED_THREADS, SHARED_ABANDONED, "rio_chain-shared")
        return _crew


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
        found = _library_here().runtime(shared_crew())
        known = _local.here = found, found.running, found.home, name
    _here = known
    return cast("Runtime", known[0])


def _host_of_strand() -> Host | None:
    """Where the async function that asks runs as a strand on threads: under a clock that jumps."""
    strand = driven()
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
    host.runtime, host.crew = runtime_here(), shared_crew()
    return host


def run_here(request: Request[Any]) -> Coroutine[Any, Any, Outcome[Any]]:
    """What runs a request in the caller's own task. Called there."""
    return execute(runtime_here(), request, Run(request.given[0]))


# --- blocking runs ----------------------------------------------------------------------------------------------

_hosts: dict[tuple[int, str], Host] = {}
_warned: set[str] = set()


def shared_host(executor: str | Executor) -> Host:
    """The one host of this process and executor for blocking runs that no balancer holds."""
    if isinstance(executor, Executor) or executor in ALONE:
        return module_of(executor).launch(SHARED_THREADS, SHARED_ABANDONED)
    name = executor
    key = os.getpid(), name  # a forked child has none of its parent's threads
    with _lock:
        if key not in _hosts:
            with keeping():
                made = module_of(name).launch(SHARED_THREADS, SHARED_ABANDONED, f"rio_chain-{name}-shared")
            if _hosts.setdefault(key, made) is not made:  # a signal handler came in between
                made.close()
        return _hosts[key]


Follow = Callable[[Ticket[Any]], AbstractContextManager[Callable[[], object]]]
"""Opened with a ticket right before its run begins; it gives what to do until that is answered."""


def run_blocking(
    request: Request[Any],
    executor: str | Executor | None = None,
    deadline: Deadline | Duration | None = None,
    follow: Follow | None = None,
) -> Outcome[Any]:
    """Run a request on the shared host and wait for it."""
    host = shared_host(default_name() if executor is None else checked_executor(executor))
    limit = deadline_of(deadline, host.runtime.now)
    check_lanes(request, host.runtime.lanes)
    if host.on_loop_thread():
        raise UsageError("`.run()` would block the loop that has to run it; write `await page(42)`")
    warn_if_a_loop_runs("await page(42)")
    ticket = Ticket(request, host)
    with nullcontext() if follow is None else follow(ticket) as meanwhile:
        if follow is not None:  # what it took to open is not the run's time
            limit = deadline_of(deadline, host.runtime.now)
        host.spawn(Errand(host, ticket, host.runtime.now(), limit).serve, copy_context())
        return wait_for(ticket, meanwhile)


def warn_if_a_loop_runs(instead: str) -> None:
    """Warn, once, that a blocking call stops a running loop. A notebook cell is meant to block, so not there."""
    if instead in _warned or running_library() is None or in_notebook():
        return
    _warned.add(instead)
    message = f"this blocking call stops the loop that is running; write `{instead}`"
    warnings.warn(message, RuntimeWarning, stacklevel=4)


def in_notebook() -> bool:
    """Whether this is the kernel of a notebook."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return getattr(shell, "kernel", None) is not None
