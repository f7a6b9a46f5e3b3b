"""Lane: a few processes that run functions one at a time, for work that would keep a thread busy computing.

Every place of a lane is a thread that minds one process: it starts it, hands it calls, reads its answers, and puts a
new one where that has died. A strand only ever waits for a waiter, so limits and cancellation are those of every
wait; and where a thread could merely be abandoned, a process is killed.

A place is free only when its process is ready. So a call that waits has not started, and no limit of its own runs yet.

A process is asked again only after a whole answer to the question before. After anything else (no answer, half of one,
one that does not fit into memory or can't be unpickled, an interruption) it is killed and its pipes are closed.
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
"""So many functions a new process loads before it is ready: their imports are not paid by the first call."""
_LIGHT = 100_000
"""Bytes of a function that may be kept for that; one that goes by name has a hundred."""
_LEAVE = 2.0
"""Seconds that ``close`` waits for each place."""
MOST = 256 * 1024 * 1024
"""Bytes of a message, if nothing else is said."""
_STRAY = "what came through its pipe was no answer to the call"


class Lane:
    """``places`` processes for calls under one name. They are started with the first call.

    Args:
        name: as in ``.lane(name)``.
        places: how many calls run at once.
        most: bytes that pickle may give for a question or an answer.
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
        """New processes will load this function before they are ready."""
        if function not in self.warm and len(function) <= _LIGHT:
            self.warm = (*self.warm, function)[-_WARM:]

    def offer(self, place: _LaneWorker) -> None:
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

    def _renew(self) -> None:
        """In a forked child: the processes are the parent's, which asks and ends them."""
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
            with contextlib.suppress(Exception):  # the call itself will say so
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
    """One place: its process, or None where none could be started, and the call that runs there.

    Only the thread that minds it starts a process and takes leave of it; others may kill it, under the lock.
    """

    def __init__(self, lane: Lane) -> None:
        self.lane = lane
        self.jobs: SimpleQueue[_LaneCall | None] = SimpleQueue()
        self._lock = threading.RLock()
        self._process: Process | None = None
        self._job: _LaneCall | None = None  # what the process is at

    # --- from other threads -------------------------------------------------------------------------------------

    def give_up(self, job: _LaneCall) -> None:
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

    def leave(self) -> None:
        """In a forked child."""
        self._lock = threading.RLock()
        process, self._process = self._process, None
        if process is not None:
            leave(process)

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
            except BaseException as error:  # noqa: BLE001 - whatever it is, it must not cost a place
                self._bury()
                job.answer = Raised(_alone(error))
            job.waiter.wake()
            del job  # it may hold a lot, and the next one may be long in coming
        self._bury()

    def _do(self, job: _LaneCall) -> Any:
        """Make the call. Raises where the process can't be asked again."""
        try:
            parts = question(job.name, job.fn, job.value, self.lane.most, job.wrapper)
        except Exception as error:  # noqa: BLE001 - nothing was sent, so the process stays as it is
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
        if given_up:  # and the process was killed
            self._bury()
            return None
        if got is None:
            code = self._bury()
            raise ProcessDied(job.name, self.lane.name, code, *([_STRAY] if stray else []))
        return opened(got, job.name, self.lane.name, self.lane.most)

    def _ready(self) -> Process | None:
        """The process; a new one where it died or wrote something while it had nothing to do."""
        process = self._process
        if process is None or not is_quiet(process):
            self._bury()
            self._start()
        return self._process

    def _start(self) -> None:
        """A new process, and wait until it is ready. Where it can't be had, the next job fails and tries again."""
        try:
            process = launch()
            with self._lock:
                self._process = process
                if self.lane.closed:
                    kill(process)
            ready = exchange(process, 0, [plain_dumps(Start(self.lane.most, self.lane.warm))])
        except BaseException:  # noqa: BLE001 - no more processes, no interpreter to start, no memory for it
            ready = None
        if ready is None:
            self._bury()

    def _bury(self) -> int | None:
        """Kill the process, if it still runs, and close its pipes; give its exit code."""
        with self._lock:
            process, self._process = self._process, None
            if process is None:
                return None
            kill(process)
        return bury(process)


def _alone(error: BaseException) -> BaseException:
    """The error without the frames and errors around it, which would keep what was sent or read."""
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)
