"""Which process has a lease, and whether that process still lives.

A killed process can't give back its lease. On the same system its death is visible, so its runs need not wait until the
lease has ended. If this can't be known, as for a process in another container, the end of the lease counts.
"""

from __future__ import annotations

import os
import platform
from functools import cache
from pathlib import Path


def this_process() -> str:
    """Names this process: its number, when it was started, and the system that knows the number."""
    return _named(os.getpid())


@cache
def _named(pid: int) -> str:
    return f"process {pid} on {platform.node()} [{_started(pid)} {_system()}]"


def is_dead(owner: str) -> bool:
    """Whether the process with this name has certainly ended."""
    head, _, tail = owner.rpartition(" [")
    started, _, system = tail.rstrip("]").partition(" ")
    words = head.split(" ")
    if len(words) < 2 or not words[1].isdigit() or not started or not system or system != _system():  # noqa: PLR2004
        return False
    return _started(int(words[1])) != started


def _started(pid: int) -> str:
    """When a process was started, in ticks since the system was; empty if there is none, or it is not known."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    fields = text.rpartition(")")[2].split()
    return "" if fields[0] in {"Z", "X"} else fields[19]


def _system() -> str:
    """What knows the numbers of processes: this boot of this machine, and the namespace. Empty if that is unknown."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {os.stat('/proc/self/ns/pid').st_ino}"  # noqa: PTH116 - the target is no path
    except OSError:
        return ""
