"""Lane: a few processes that run functions one at a time, for work that would keep a thread busy computing.

Every place of a lane is a thread that minds one process: it starts it, hands it calls, reads its answers, and puts a
new one where that has died. A strand only ever waits for a waiter, so limits and cancellation are those of every
wait; and where a thread could merely be abandoned, a process is killed.

A place is free only when its process is ready. So a call that waits has not started, and no limit of its own runs yet.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable
from queue import SimpleQueue
from typing import IO, Any, cast

from rio_chain.engine.runtime import Raised, Refused, Waiter
from rio_chain.errors import LimitExceeded, NotPicklable, ProcessDied
from rio_chain.executors.crew import Permits
from rio_chain.executors.lane_worker import dumps, opened, receive, send
from rio_chain.executors.thread import start_daemon

_WARM = 8
"""So many functions a new process loads before it is ready: their imports are not paid by the first call."""
_LIGHT = 100_000
"""Bytes of a function that may be kept for that; one that goes by name has a hundred."""
_LEAVE = 2.0
"""Seconds that ``close`` waits for each place."""
_START = "import sys; sys.path[:] = {path!r}; from rio_chain.executors.lane_worker import serve; serve()"


class Lane:
    """``places`` processes for calls under one name. They are started with the first call.

    Args:
        name: as in ``.lane(name)``.
        places: how many calls run at once.
    """

    def __init__(self, name: str, places: int) -> None:
        self.name = name
        self.places = places
        self.closed = False
        self.warm: tuple[bytes, ...] = ()
        self._free: list[_Place] = []
        self._permits = Permits(0)
        self._lock = threading.RLock()
        self._minded: list[tuple[_Place, threading.Thread]] = []

    def reserve(self, waiter: Callable[[], Waiter], fn: Callable[..., Any]) -> Awaitable[None] | None:
        """A ready process for one ``call``: None when one is at hand, else something to wait for, in order.

        ``fn`` is what will be called; the first processes load it before they are ready.
        """
        if self.closed:
            return None
        if not self._minded:
            self._open(fn)
        return self._permits.reserve(waiter)

    def unreserve(self) -> None:
        """Give back what ``reserve`` gave, because the call will not be made."""
        self._permits.release()

    async def call(self, waiter: Waiter, name: str, fn: Callable[..., Any], value: Any) -> Any:
        """``fn(value)`` in a process: its value or ``Raised``; ``name`` is for errors. It uses up one reservation.

        Interrupted, the process that runs it is killed.
        """
        if self.closed:
            self.unreserve()
            return Refused(LimitExceeded(f"lane {self.name!r} was closed; this call was not made"))
        job = _Job(waiter, name, fn, value)
        place = self._free.pop()
        place.jobs.put(job)
        try:
            await waiter.wait()
        except BaseException:
            place.give_up(job)
            raise
        return job.answer

    def remember(self, function: bytes) -> None:
        """New processes will load this function before they are ready."""
        if function not in self.warm and len(function) <= _LIGHT:
            self.warm = (*self.warm, function)[-_WARM:]

    def offer(self, place: _Place) -> None:
        """The place is free."""
        self._free.append(place)
        self._permits.release()

    def close(self, *, wait: bool = True) -> None:
        """Kill the processes and end their threads, and ``wait`` for that. From any thread; nothing runs there now."""
        with self._lock:
            self.closed = True
            minded, self._minded = self._minded, []
        atexit.unregister(self.close)
        for place, _ in minded:
            place.end()
        for _, thread in minded if wait else ():
            thread.join(_LEAVE)

    def _open(self, fn: Callable[..., Any]) -> None:
        with self._lock:
            if self._minded or self.closed:
                return
            with contextlib.suppress(Exception):  # the call itself will say so
                self.remember(dumps(fn))
            atexit.register(self.close)
            for number in range(1, self.places + 1):
                place = _Place(self)
                self._minded.append((place, start_daemon(place.mind, f"rio_chain-lane-{self.name}-{number}")))

    def __repr__(self) -> str:
        return f"<Lane {self.name}: {len(self._free)}/{self.places} free>"


class _Job:
    """One call."""

    __slots__ = ("answer", "fn", "given_up", "name", "value", "waiter")

    def __init__(self, waiter: Waiter, name: str, fn: Callable[..., Any], value: Any) -> None:
        self.waiter = waiter
        self.name = name
        self.fn = fn
        self.value = value
        self.answer: Any = None
        self.given_up = False


class _Place:
    """One place: its process, or None where none could be started, and the call that runs there.

    Only the thread that minds it starts a process and takes leave of it; others may kill it, under the lock.
    """

    def __init__(self, lane: Lane) -> None:
        self.lane = lane
        self.jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._lock = threading.RLock()
        self._process: subprocess.Popen[bytes] | None = None
        self._job: _Job | None = None  # what the process is at

    # --- from other threads -------------------------------------------------------------------------------------

    def give_up(self, job: _Job) -> None:
        """Nobody waits for this call any more: it does not begin, or its process is killed."""
        with self._lock:
            job.given_up = True
            if self._job is job and self._process is not None:
                kill(self._process)

    def end(self) -> None:
        """The lane is closed."""
        with self._lock:
            if self._process is not None:
                kill(self._process)
        self.jobs.put(None)

    # --- the thread -----------------------------------------------------------------------------------------------

    def mind(self) -> None:
        """Do jobs until the lane is closed."""
        while not self.lane.closed:
            if self._process is None:
                self._start()
            self.lane.offer(self)
            job = self.jobs.get()
            if job is None:
                break
            try:
                job.answer = self._do(job)
            except BaseException as error:  # noqa: BLE001 - a bug of ours must not cost a place
                job.answer = Raised(error)
            job.waiter.wake()
            del job  # it may hold a lot, and the next one may be long in coming
        self._bury()

    def _do(self, job: _Job) -> Any:
        what = "function"
        try:
            function = dumps(job.fn)
            what = "argument"
            frame = pickle.dumps((function, dumps((job.value,))))
        except Exception as error:  # noqa: BLE001 - a user's own way of pickling may raise anything
            return Raised(NotPicklable(job.name, what, str(error)))
        self.lane.remember(function)
        if self._process is None or self._process.poll() is not None:  # it died while it had nothing to do
            self._bury()
            self._start()
        with self._lock:
            process = self._process
            if job.given_up:
                return None
            self._job = job
        if process is None:
            return Raised(ProcessDied(job.name, self.lane.name))
        got = _exchange(process, frame)
        with self._lock:
            self._job = None
            if job.given_up:
                got = None  # and the process was killed, or will not be any more
        if got is None:
            return Raised(ProcessDied(job.name, self.lane.name, self._bury()))
        return opened(got, job.name, self.lane.name)

    def _start(self) -> None:
        """A new process, and wait until it is ready. Where it can't be had, the next job is told and tries again."""
        try:
            process = launch()
        except Exception:  # noqa: BLE001 - no more processes, or no interpreter to start
            return
        with self._lock:
            self._process = process
            if self.lane.closed:
                kill(process)
        if _exchange(process, pickle.dumps(list(self.lane.warm))) is None:
            self._bury()

    def _bury(self) -> int | None:
        """Take leave of the process; give its exit code."""
        with self._lock:
            process, self._process = self._process, None
            if process is None:
                return None
            kill(process)
        code = process.wait()
        for stream in (process.stdin, process.stdout):
            with contextlib.suppress(OSError):  # what it did not read any more
                cast("IO[bytes]", stream).close()
        return code


def _exchange(process: subprocess.Popen[bytes], frame: bytes) -> bytes | None:
    """Send a frame and wait for the answer. None: the process has died."""
    try:
        send(cast("IO[bytes]", process.stdin), frame)
        return receive(cast("IO[bytes]", process.stdout))
    except OSError:
        return None


def launch() -> subprocess.Popen[bytes]:
    """A new interpreter that serves calls: never a fork, and nothing of ``__main__`` runs in it again.

    It has a process group of its own: Ctrl-C does not reach it, and what it forks is killed with it.

    Raises:
        OSError: the system has no more processes.
    """
    code = _START.format(path=[entry for entry in sys.path if isinstance(entry, str)])  # pyright: ignore[reportUnnecessaryIsInstance]
    command = [sys.executable, "-c", code]
    pipe = subprocess.PIPE
    if sys.platform == "win32":
        return subprocess.Popen(command, stdin=pipe, stdout=pipe, creationflags=subprocess.CREATE_NEW_PROCESS_GROUP)  # noqa: S603
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, process_group=0)  # noqa: S603 - our own interpreter


def kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a process and what it forked; one that has been waited for stays as it is, as its id may be another's."""
    if process.returncode is not None:
        return
    if sys.platform == "win32":
        process.kill()
    else:
        with contextlib.suppress(OSError):
            os.killpg(process.pid, signal.SIGKILL)
