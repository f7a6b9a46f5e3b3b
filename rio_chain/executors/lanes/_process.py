"""Starts, calls and kills the processes of lanes."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from io import FileIO
from typing import cast

from rio_chain.executors.lanes._pipe import is_silent, new_mark, receive, send

Process = subprocess.Popen[bytes]
_START = "import sys; sys.path[:] = {path!r}; from rio_chain.executors.lanes._worker import serve; serve()"


def launch() -> Process:
    """Start a new interpreter that serves calls. It is not a fork, and does not run ``__main__`` again.

    It has a process group of its own: Ctrl-C does not reach it, and its forks are killed with it.

    Raises:
        OSError: the system has no more processes.
    """
    code = _START.format(path=[entry for entry in sys.path if isinstance(entry, str)])  # pyright: ignore[reportUnnecessaryIsInstance]
    command = [sys.executable, "-c", code]
    pipe = subprocess.PIPE
    if sys.platform == "win32":
        group = subprocess.CREATE_NEW_PROCESS_GROUP
        return subprocess.Popen(command, stdin=pipe, stdout=pipe, bufsize=0, creationflags=group)  # noqa: S603
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, bufsize=0, process_group=0)  # noqa: S603 - our own interpreter


def _stdin(process: Process) -> FileIO:
    return cast("FileIO", process.stdin)


def _stdout(process: Process) -> FileIO:
    return cast("FileIO", process.stdout)


def exchange(process: Process, most: int, parts: Sequence[bytes]) -> bytearray | None:
    """Send a call, and wait for the answer of at most ``most`` bytes. Returns None if the process has died.

    Raises:
        OutOfStep: it wrote something else.
        BodyTooLarge: the answer is larger.
        MemoryError: there is no memory for it.
        MemoryError: there is no room for it.
    """
    mark = new_mark()
    try:
        send(_stdin(process), mark, *parts)
        got = receive(_stdout(process), most, mark)
    except OSError:
        return None
    return None if got is None else got[1]


def is_quiet(process: Process) -> bool:
    """Whether it is alive and has written nothing since its last answer."""
    return process.poll() is None and is_silent(_stdout(process))


def kill(process: Process) -> None:
    """Kill a process and its forks. If it was waited for, nothing is killed, as its id may be in use again."""
    if process.returncode is not None:
        return
    if sys.platform == "win32":
        process.kill()
    else:
        with contextlib.suppress(OSError):
            os.killpg(process.pid, signal.SIGKILL)


def bury(process: Process) -> int:
    """Wait for the end of a killed process, and close its pipes. Gives its exit code."""
    code = process.wait()
    for pipe in (_stdin(process), _stdout(process)):
        with contextlib.suppress(OSError):
            pipe.close()
    return code


def leave(process: Process) -> None:
    """In a forked child: neither kill the process nor wait for it. It ends with the parent."""
    process.returncode = 0
    for pipe in (_stdin(process), _stdout(process)):
        with contextlib.suppress(OSError):
            pipe.close()
