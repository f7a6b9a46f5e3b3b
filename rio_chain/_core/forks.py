"""Renews objects and modules in a forked process.

A fork copies all objects, but only the thread that forks. So in the child a lock that another thread held is never
released, a change that the thread was making stays half done, and the permit of its call is never given back. Each
object and module that outlives a run registers here how to repair that. The repair runs once, in the child, before
``fork`` returns there. Nothing checks for forks at any other time.

What belongs to one run, such as the lock of a race, is not renewed, because the run continues in the parent only.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from types import MethodType
from typing import Any
from weakref import ref

PATIENCE = 5.0
"""The most seconds that a fork waits for another thread to finish an import of one of our modules."""
_functions: list[Callable[[], None]] = []
_methods: dict[ref[Any], Callable[[Any], None]] = {}
_kept: list[Any] = []


def after_fork(renew: Callable[[], None]) -> None:
    """Call ``renew`` in every forked child.

    A method does not keep its object alive, and is called while that exists.
    """
    if isinstance(renew, MethodType):  # no WeakMethod: in Python 3.13.0 it prints an error when the interpreter exits
        _methods[ref(renew.__self__, _methods.pop)] = renew.__func__
    else:
        _functions.append(renew)


def renewed(lock: threading.RLock) -> threading.RLock:
    """In the child: the lock if it is free or held by the thread that forked, else a new one."""
    if not lock.acquire(blocking=False):
        return threading.RLock()
    lock.release()
    return lock


def keep_alive(thing: object) -> None:
    """In the child, keep an object of a run of the parent: if it were collected, its clean-up would run here."""
    _kept.append(thing)


def _in_child() -> None:
    for renew in _functions:
        renew()
    for owner in list(_methods):  # not `items()`: its tuples may start a garbage collection that removes entries
        thing, method = owner(), _methods.get(owner)
        if thing is not None and method is not None:
            method(thing)


def _importing() -> bool:
    """Whether one of our modules is being imported."""
    ours = [module for name, module in list(sys.modules.items()) if name.startswith("rio_chain.")]
    return any(getattr(getattr(module, "__spec__", None), "_initializing", False) for module in ours)


def _wait_for_imports() -> None:
    """Before a fork, wait for imports: in the child the import lock of a half-imported module is never released."""
    until = time.monotonic() + PATIENCE
    while _importing() and time.monotonic() < until:
        time.sleep(0.001)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_wait_for_imports, after_in_child=_in_child)
