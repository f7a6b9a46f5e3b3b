"""What a process keeps on purpose, for leak checks: the threads and loops of runs without a balancer."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Generator
from pathlib import Path

process_descriptors: set[int] = set()
"""The descriptors of these loops."""

_FOLDERS = (Path("/proc/self/fd"), Path("/dev/fd"))


def is_shared(thread: threading.Thread) -> bool:
    """Whether it is one of these threads. Their names are like ``rio_chain-shared`` or ``rio_chain-asyncio-shared``."""
    return thread.name.startswith("rio_chain-") and "-shared" in thread.name


def descriptors() -> dict[int, str]:
    """The open descriptors, and what they refer to; empty if the system does not list them."""
    for folder in _FOLDERS:
        with contextlib.suppress(OSError):
            found = {int(path.name): _target(path) for path in list(folder.iterdir())}
            return {fd: target for fd, target in found.items() if target is not None}
    return {}


def _target(path: Path) -> str | None:
    try:
        os.fstat(int(path.name))  # fails for the descriptor of the list itself, which is closed by now
    except OSError:
        return None
    with contextlib.suppress(OSError):
        return str(path.readlink())
    return "unknown"


@contextlib.contextmanager
def keep_for_process() -> Generator[None]:
    """Descriptors that are opened in this block stay open as long as the process."""
    before = descriptors()
    yield
    process_descriptors.update(descriptors().keys() - before.keys())
