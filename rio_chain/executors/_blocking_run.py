"""Runs without a balancer: blocking ones, on a host that they share, and runs in the caller's own task."""

from __future__ import annotations

import os
import sys
import threading
import warnings
from collections.abc import Callable, Coroutine
from contextlib import AbstractContextManager, nullcontext
from contextvars import copy_context
from typing import TYPE_CHECKING, Any

from rio_chain._core.deadline import Deadline, deadline_of
from rio_chain._core.forks import after_fork
from rio_chain._core.units import Duration
from rio_chain.engine._new_run import new_run
from rio_chain.engine._prepare import check_request
from rio_chain.engine._run import execute
from rio_chain.errors import UsageError
from rio_chain.executors._base import Executor
from rio_chain.executors._by_name import checked_executor, default_name, module_of
from rio_chain.executors._process_resources import keep_for_process
from rio_chain.executors._run_ticket import TicketRun, wait_for
from rio_chain.executors._running_loop import SHARED_ABANDONED, SHARED_THREADS, running_library, runtime_here
from rio_chain.executors._ticket import Ticket

if TYPE_CHECKING:
    from rio_chain.chain._request import Request
    from rio_chain.engine._journal_protocol import RunJournal
    from rio_chain.executors._base import Host
    from rio_chain.results._outcome import Outcome

ALONE = frozenset({"virtual"})
"""Executors whose blocking runs each have a loop of their own. On a shared one, other runs would move the clock."""


def run_here(
    request: Request[Any], deadline: Deadline | Duration | None = None, journal: RunJournal | None = None
) -> Coroutine[Any, Any, Outcome[Any]]:
    """The coroutine that runs a request in the caller's own task. Call it there."""
    rt = runtime_here()
    if deadline is None and journal is None:
        return execute(rt, request, new_run(request.given[0]))
    run = new_run(request.given[0], journal=journal)
    return execute(rt, request, run, None if deadline is None else deadline_of(deadline, rt.now))


# --- blocking runs ----------------------------------------------------------------------------------------------

_hosts: dict[tuple[int, str], Host] = {}
_warned: set[str] = set()
_lock = threading.RLock()


def _renew() -> None:
    global _lock  # noqa: PLW0603 - another thread may have held it at the fork
    _lock = threading.RLock()


after_fork(_renew)


def shared_host(executor: str | Executor) -> Host:
    """The shared host of this process and executor for blocking runs without a balancer."""
    if isinstance(executor, Executor) or executor in ALONE:
        return module_of(executor).launch(SHARED_THREADS, SHARED_ABANDONED)
    name = executor
    key = os.getpid(), name  # a forked child has none of its parent's threads
    with _lock:
        if key not in _hosts:
            with keep_for_process():
                made = module_of(name).launch(SHARED_THREADS, SHARED_ABANDONED, f"rio_chain-{name}-shared")
            if _hosts.setdefault(key, made) is not made:  # a signal handler has made one meanwhile
                made.close()
        return _hosts[key]


Follow = Callable[[Ticket[Any]], AbstractContextManager[Callable[[], object]]]
"""Entered with a ticket right before its run begins. Gives a function to call until the ticket is answered."""


def run_blocking(
    request: Request[Any],
    executor: str | Executor | None = None,
    deadline: Deadline | Duration | None = None,
    journal: RunJournal | None = None,
    follow: Follow | None = None,
) -> Outcome[Any]:
    """Run a request on the shared host and wait for it."""
    chosen = default_name() if executor is None else checked_executor(executor)
    host = shared_host(chosen)
    limit = deadline_of(deadline, host.runtime.now)
    check_request(request, host.runtime, journal)
    if host.on_loop_thread():
        raise UsageError("`.run()` would block the loop that runs the request; write `await page(42)`")
    warn_if_a_loop_runs("await page(42)")
    ticket = Ticket(request, host, journal=journal)
    with nullcontext() if follow is None else follow(ticket) as meanwhile:
        if follow is not None:  # the time to open the view does not count
            limit = deadline_of(deadline, host.runtime.now)
        host.spawn(TicketRun(host, ticket, host.runtime.now(), limit).serve, copy_context())
        try:
            return wait_for(ticket, meanwhile)
        finally:
            if chosen in ALONE or (isinstance(chosen, Executor) and host.must_close):
                host.close()


def warn_if_a_loop_runs(instead: str) -> None:
    """Warn, once, that a blocking call blocks a running loop. Not in a notebook, where cells are meant to block."""
    if instead in _warned or running_library() is None or in_notebook():
        return
    _warned.add(instead)
    message = f"this call blocks the running loop; write `{instead}`"
    warnings.warn(message, RuntimeWarning, stacklevel=4)


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return getattr(shell, "kernel", None) is not None
