"""Lane: a few processes that run functions one at a time, for work that computes for long.

Each worker of a lane is a thread that owns one process: it starts the process, sends it calls, reads the answers, and
replaces it if it dies. A strand only waits for a waiter, so limits and cancellation work as for every wait. A thread
could only be abandoned; a process is killed.

A worker is free only if its process is ready. So a call that waits has not started, and its limits do not run yet.

A process gets the next call only after a whole answer to the last one. After anything else (no answer, half of one, an
answer that does not fit into memory or can't be unpickled, an interruption) it is killed and its pipes are closed.
"""

from __future__ import annotations

import atexit
import contextlib
import threading
from collections.abc import Awaitable, Callable
from queue import SimpleQueue
from typing import Any

from rio_chain._core.forks import after_fork
from rio_chain._core.lane_wrapper import CallInLane, call_in_lane
from rio_chain._core.pickling import dumps, plain_dumps
from rio_chain.engine._runtime_protocol import Raised, Refused, Waiter
from rio_chain.errors import LaneMessageTooLarge, LimitExceeded, ProcessDied
from rio_chain.executors._start_thread import start_daemon
from rio_chain.executors._thread_permits import ThreadPermits
from rio_chain.executors.lanes._pipe import MARGIN, BodyTooLarge, OutOfStep
from rio_chain.executors.lanes._process import Process, bury, exchange, is_quiet, kill, launch, leave
from rio_chain.executors.lanes._worker import Start, opened, question

_WARM = 8
"""How many functions a new process loads before it is ready, so that the first call need not wait for imports."""
_LIGHT = 100_000
"""Bytes of a pickled function that is kept for that; a function that pickles by name has about a hundred."""
_LEAVE = 2.0
"""Seconds that ``close`` waits for each worker."""
MOST = 256 * 1024 * 1024
"""The most bytes of a message by default."""
_STRAY = "it wrote something to its pipe that was not the answer to the call"


class Lane:
    """``places`` processes for calls under one name. They start with the first call.

    Args:
        name: as in ``.lane(name)``.
        places: how many calls run at once.
        most: the most bytes of a pickled call or answer.
    """

    def __init__(self, name: str, places: int, most: int = MOST) -> None:
        self.name = name
        self.places = places
        self.most = most
        self.closed = False
        self.warm: tuple[bytes, ...] = ()
        self._free: list[_LaneWorker] = []
        self._permits = ThreadPermits(0)
        self._lock = threading.RLock()
        self._minded: list[tuple[_LaneWorker, threading.Thread]] = []
        after_fork(self._renew)

    def reserve(self, waiter: Callable[[], Waiter], fn: Callable[..., Any]) -> Awaitable[None] | None:
        """Reserve a ready process for one ``call``: None if one is free, else an awaitable to wait for one, in order.

        ``fn`` is the function of the call; the first processes load it before they are ready.
        """
        if self.closed:
            return None
        if not self._minded:
            self._open(fn)
        return self._permits.reserve(waiter)

    def unreserve(self) -> None:
        """Give back a reservation, because the call will not be made."""
        self._permits.release()

    async def call(self, waiter: Waiter, name: str, fn: Callable[..., Any], value: Any) -> Any:
        """``fn(value)`` in a process: its value or ``Raised``; ``name`` is for errors. It uses one reservation.

        If it is interrupted, the process that runs it is killed.
        """
        if self.closed:
            self.unreserve()
            return Refused(LimitExceeded(f"lane {self.name!r} was closed; this call was not made"))
        job = _LaneCall(waiter, name, fn, value, call_in_lane())
        place = self._free.pop()
        place.jobs.put(job)
        try:
            await waiter.wait()
        except BaseException:
            place.give_up(job)
            raise
        return job.answer

    def remember(self, function: bytes) -> None:
        """Let new processes load this function before they are ready."""
        if function not in self.warm and len(function) <= _LIGHT:
            self.warm = (*self.warm, function)[-_WARM:]

    def offer(self, place: _LaneWorker) -> None:
        """A worker is free."""
        self._free.append(place)
        self._permits.release()

    def close(self, *, wait: bool = True) -> None:
        """Kill the processes and end their threads; with ``wait`` wait for that. From any thread; no call runs now."""
        with self._lock:
            self.closed = True
            minded, self._minded = self._minded, []
        atexit.unregister(self.close)
        for place, _ in minded:
            place.end()
        for _, thread in minded if wait else ():
            thread.join(_LEAVE)

    def _renew(self) -> None:
        """In a forked child: the processes belong to the parent, which uses and ends them."""
        self.closed = True
        self._lock = threading.RLock()
        atexit.unregister(self.close)
        for place, _ in self._minded:
            place.leave()
        self._minded = []

    def _open(self, fn: Callable[..., Any]) -> None:
        with self._lock:
            if self._minded or self.closed:
                return
            with contextlib.suppress(Exception):  # the call itself reports the error
                self.remember(dumps(fn, _LIGHT))
            atexit.register(self.close)
            for number in range(1, self.places + 1):
                place = _LaneWorker(self)
                self._minded.append((place, start_daemon(place.mind, f"rio_chain-lane-{self.name}-{number}")))

    def __repr__(self) -> str:
        return f"<Lane {self.name}: {len(self._free)}/{self.places} free>"


class _LaneCall:
    """One call."""

    __slots__ = ("answer", "fn", "given_up", "name", "value", "waiter", "wrapper")

    def __init__(
        self, waiter: Waiter, name: str, fn: Callable[..., Any], value: Any, wrapper: CallInLane | None
    ) -> None:
        self.waiter = waiter
        self.name = name
        self.fn = fn
        self.value = value
        self.wrapper = wrapper
        self.answer: Any = None
        self.given_up = False


class _LaneWorker:
    """A worker of a lane: its process (None if none could be started), and the call that runs there.

    Only its own thread starts and waits for a process. Other threads may kill it, under the lock.
    """

    def __init__(self, lane: Lane) -> None:
        self.lane = lane
        self.jobs: SimpleQueue[_LaneCall | None] = SimpleQueue()
        self._lock = threading.RLock()
        self._process: Process | None = None
        self._job: _LaneCall | None = None  # the call that the process runs

    # --- called by other threads --------------------------------------------------------------------------------

    def give_up(self, job: _LaneCall) -> None:
        """A call is given up: it does not begin, or its process is killed."""
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

    def leave(self) -> None:
        """In a forked child: drop the process, which belongs to the parent."""
        self._lock = threading.RLock()
        process, self._process = self._process, None
        if process is not None:
            leave(process)

    # --- the thread -----------------------------------------------------------------------------------------------

    def mind(self) -> None:
        """Do calls until the lane is closed."""
        while not self.lane.closed:
            if self._process is None:
                self._start()
            self.lane.offer(self)
            job = self.jobs.get()
            if job is None:
                break
            try:
                job.answer = self._do(job)
            except BaseException as error:  # noqa: BLE001 - no error may end the worker
                self._bury()
                job.answer = Raised(_alone(error))
            job.waiter.wake()
            del job  # it may hold much memory, and the next one may take long to come
        self._bury()

    def _do(self, job: _LaneCall) -> Any:
        """Make the call. Raises if the process can't be used any more."""
        try:
            parts = question(job.name, job.fn, job.value, self.lane.most, job.wrapper)
        except Exception as error:  # noqa: BLE001 - nothing was sent, so the process can be used
            return Raised(_alone(error))
        self.lane.remember(parts[1])
        process = self._ready()
        with self._lock:
            if job.given_up:
                return None
            self._job = job
        if process is None:
            raise ProcessDied(job.name, self.lane.name)
        got, stray = None, False
        try:
            got = exchange(process, self.lane.most + MARGIN, parts)
        except OutOfStep:
            stray = True
        except BodyTooLarge:
            raise LaneMessageTooLarge(job.name, "answer", self.lane.most) from None
        finally:
            with self._lock:
                self._job = None
                given_up = job.given_up
        if given_up:  # the process was killed
            self._bury()
            return None
        if got is None:
            code = self._bury()
            raise ProcessDied(job.name, self.lane.name, code, *([_STRAY] if stray else []))
        return opened(got, job.name, self.lane.name, self.lane.most)

    def _ready(self) -> Process | None:
        """The process; a new one if it died, or wrote something while it was idle."""
        process = self._process
        if process is None or not is_quiet(process):
            self._bury()
            self._start()
        return self._process

    def _start(self) -> None:
        """Start a process, and wait until it is ready. If that fails, the next call fails and tries again."""
        try:
            process = launch()
            with self._lock:
                self._process = process
                if self.lane.closed:
                    kill(process)
            ready = exchange(process, 0, [plain_dumps(Start(self.lane.most, self.lane.warm))])
        except BaseException:  # noqa: BLE001 - no more processes, no interpreter, no memory
            ready = None
        if ready is None:
            self._bury()

    def _bury(self) -> int | None:
        """Kill the process, if it still runs, and close its pipes. Gives its exit code."""
        with self._lock:
            process, self._process = self._process, None
            if process is None:
                return None
            kill(process)
        return bury(process)


def _alone(error: BaseException) -> BaseException:
    """The error without its frames and contexts, which would keep what was sent or read."""
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)
