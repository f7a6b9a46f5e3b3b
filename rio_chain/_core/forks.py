"""What a forked process makes new.

A fork copies all objects, and of the threads only the one that forks. So in the child a lock that another thread held
is never released, what that thread was about to change stays half changed, and the permit of its call is never given
back. Each object and module that outlives a run says here what is to be done about that. It is done once, in the child,
before the fork returns there; nothing looks for forks at any other time.

What belongs to one run, such as the lock of a race, is not made new: that run goes on in the parent alone.
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
"""Seconds that a fork waits for another thread to import one of our modules."""
_functions: list[Callable[[], None]] = []
_methods: dict[ref[Any], Callable[[Any], None]] = {}
_kept: list[Any] = []


def after_fork(renew: Callable[[], None]) -> None:
    """Call this in every forked child. A method does not keep its object alive, and is called as long as that lives."""
    if isinstance(renew, MethodType):  # no WeakMethod: that of Python 3.13.0 complains when the interpreter exits
        _methods[ref(renew.__self__, _methods.pop)] = renew.__func__
    else:
        _functions.append(renew)


def renewed(lock: threading.RLock) -> threading.RLock:
    """In the child: the lock, if it is free or the thread that forked holds it, else a new one."""
    if not lock.acquire(blocking=False):
        return threading.RLock()
    lock.release()
    return lock


def keep_alive(thing: object) -> None:
    """In the child: what belongs to runs of the parent is never collected, as that would run their clean-ups here."""
    _kept.append(thing)


def _in_child() -> None:
    for renew in _functions:
        renew()
    for owner in list(_methods):  # not its items, whose tuples may start a collection that takes some away
        thing, method = owner(), _methods.get(owner)
        if thing is not None and method is not None:
            method(thing)


def _importing() -> bool:
    """Whether one of our modules is being imported."""
    ours = [module for name, module in list(sys.modules.items()) if name.startswith("rio_chain.")]
    return any(getattr(getattr(module, "__spec__", None), "_initializing", False) for module in ours)


def _wait_for_imports() -> None:
    """Before a fork: Python does not free the import lock of a module in the child, where nobody would finish it."""
    until = time.monotonic() + PATIENCE
    while _importing() and time.monotonic() < until:
        time.sleep(0.001)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_wait_for_imports, after_in_child=_in_child)
