"""The processes of lanes: how they are started, asked and killed."""

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
    """A new interpreter that serves calls: never a fork, and nothing of ``__main__`` runs in it again.

    It has a process group of its own: Ctrl-C does not reach it, and what it forks is killed with it.

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
    """Ask, and wait for the answer, of ``most`` bytes. None: the process has died.

    Raises:
        OutOfStep: it wrote something else.
        BodyTooLarge: the answer would be larger.
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
    """Whether it lives and has written nothing since its last answer."""
    return process.poll() is None and is_silent(_stdout(process))


def kill(process: Process) -> None:
    """Kill a process and what it forked; one that has been waited for stays as it is, as its id may be another's."""
    if process.returncode is not None:
        return
    if sys.platform == "win32":
        process.kill()
    else:
        with contextlib.suppress(OSError):
            os.killpg(process.pid, signal.SIGKILL)


def bury(process: Process) -> int:
    """Wait for the end of a process that was killed, and close its pipes; give its exit code."""
    code = process.wait()
    for pipe in (_stdin(process), _stdout(process)):
        with contextlib.suppress(OSError):
            pipe.close()
    return code


def leave(process: Process) -> None:
    """In a forked child of whoever started it: it is neither killed nor waited for, and ends with the parent."""
    process.returncode = 0
    for pipe in (_stdin(process), _stdout(process)):
        with contextlib.suppress(OSError):
            pipe.close()
