"""Executors: where runs run. Each one is imported when it is first used."""

from rio_chain.executors._blocking_run import in_notebook, run_blocking, run_here, shared_host, warn_if_a_loop_runs
from rio_chain.executors._by_name import DEFAULT, checked_executor, checked_name, default_name, module_of
from rio_chain.executors._running_loop import (
    NAMES,
    SHARED_ABANDONED,
    SHARED_THREADS,
    host_here,
    loop_module_of,
    running_library,
    runtime_here,
    waiter_here,
)

__all__ = [
    "DEFAULT",
    "NAMES",
    "SHARED_ABANDONED",
    "SHARED_THREADS",
    "checked_executor",
    "checked_name",
    "default_name",
    "host_here",
    "in_notebook",
    "loop_module_of",
    "module_of",
    "run_blocking",
    "run_here",
    "running_library",
    "runtime_here",
    "shared_host",
    "waiter_here",
    "warn_if_a_loop_runs",
]
