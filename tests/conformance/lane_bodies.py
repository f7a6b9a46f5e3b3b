"""What runs in the processes of lanes. Each imports it anew; the tests around would bring pytest and trio along."""

from __future__ import annotations

import os
import pickle
import stat
import threading
import time
from pathlib import Path

from returns.result import Failure, Success


def where(_: object = None) -> int:
    return os.getpid()


def stay(note: Path) -> None:
    """Write down where it runs, and never return."""
    note.write_text(str(os.getpid()))
    threading.Event().wait()


def hold(gate: Path) -> None:
    """Until there is such a file; another one tells that it began."""
    gate.with_suffix(".held").touch()
    while not gate.exists():
        time.sleep(0.002)


def die(code: int) -> None:
    os._exit(code)


def refuse(x: int) -> None:
    raise ValueError(x)


def pipes() -> list[int]:
    """The descriptors that are pipes, but for the three that every program has."""
    found: list[int] = []
    for number in range(3, 100):
        try:
            found += [number] if stat.S_ISFIFO(os.fstat(number).st_mode) else []
        except OSError:
            continue
    return found


class Mark:
    """Whoever unpickles it makes a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.folder),)


def scribble(folder: Path, *, late: bool = False) -> int:
    """Write to the wrong descriptors what could be taken for an answer: before it answers, or after that."""
    body = pickle.dumps(Mark(folder))
    words = [b"\0", b"V" + body, len(body).to_bytes(8, "big") + body, bytes(16) + len(body).to_bytes(8, "big") + body]

    def write() -> None:
        for number in pipes():
            for word in words:
                try:
                    os.write(number, word)
                except OSError:
                    break

    def write_late() -> None:
        time.sleep(0.02)
        write()
        folder.with_suffix(".wrote").touch()

    if late:
        threading.Thread(target=write_late).start()
    else:
        write()
    return os.getpid()


def large(size: int) -> bytes:
    return bytes(size)


def bomb(folder: Path) -> bytes:
    """So large an answer, and so made, that its rest could be taken for other ones."""
    body = b"V" + pickle.dumps(Mark(folder))
    return (len(body).to_bytes(8, "big") + body).ljust(200_000_000, b"\0")


def fork_and_return(_: object) -> int:
    """Both the process and its child return."""
    return os.getpid() if os.fork() else -1


def halve(x: int) -> Success[int] | Failure[str]:
    return Failure("odd") if x % 2 else Success(x // 2)


def compute(seconds: float) -> float:
    """Hold the interpreter: a sum is one instruction, and nothing else in the process runs meanwhile."""
    begun = time.perf_counter()
    while time.perf_counter() - begun < seconds:
        sum(range(1_000_000))
    return time.perf_counter() - begun


def is_gone(pid: int) -> bool:
    """Whether the process has ended."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False
