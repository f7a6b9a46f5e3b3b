"""Watchdog: says which task holds a loop. At most one daemon thread per process looks at the loops where requests run.

It looks every 50 ms at what a loop's thread does. A thread that is found in a task is asked for a sign of life, which
its loop gives as soon as the task lets it. So there is no timer on any loop, whose clock may be a virtual one, and a
task pays nothing.

The thread starts when a request begins. It ends when the last balancer it watches closes, which waits for that, or when
none has had anything to do for a second; the next request that begins starts another.
"""

# pyright: reportPrivateUsage=false
# in spite of its name, sys._current_frames is documented

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
import warnings
import weakref
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from rio_chain.engine.interpret import walk
from rio_chain.engine.program import BRIDGE
from rio_chain.executors.base import HostGone
from rio_chain.executors.crew import report
from rio_chain.executors.thread import start_daemon
from rio_chain.functions import name_of
from rio_chain.units import span

if TYPE_CHECKING:
    from rio_chain.balancer.core import Core
    from rio_chain.executors.base import Host

LOOK = 0.05
"""Seconds between two looks."""
HELD = 0.1
"""Seconds that a loop may be held."""
WAITS = 0.1
"""Whoever uses less than this share of a processor does not compute."""
REST = 1.0
"""Seconds without a request after which the thread ends."""
MOST = 1_000
"""Names that are remembered, so that each is told once."""
_LEAVE = 1.0
"""Seconds that ``close`` waits for the thread, which may be in somebody's ``warnings.showwarning``."""
_HERE = str(Path(__file__).parents[1])
_DEBUGGERS = frozenset({"bdb", "pdb", "pydevd", "_pydevd_bundle", "_pydevd_sys_monitoring", "debugpy"})

Call = tuple[int, int, float, float]
"""Which call it is that holds the loop. It keeps nothing of it."""


class Watched:
    """A loop, and what was found there. It keeps neither the host nor the balancer."""

    def __init__(self, host: Host, core: Core) -> None:
        self._host = weakref.ref(host)
        self._core = weakref.ref(core)
        self._asked: float | None = None  # when it was asked for a sign of life; None: it has given one since
        self._used = 0.0  # the CPU time of the process then
        self._call: Call | None = None

    def stir(self) -> None:
        """A request begins where none did for long. From anywhere, also from a finaliser or a signal handler."""
        global _dog  # noqa: PLW0603 - one per process, as long as it is needed
        dog = None
        with _lock:
            _awake.add(self)
            if _dog is None:
                _dog = dog = Watchdog()
        if dog is not None:  # not under the lock: the new thread may run a finaliser that comes here
            dog.start()

    def close(self) -> None:
        """Watch it no more; if it was the last one, wait for the end of the thread."""
        global _dog
        dog = None
        with _lock:
            _awake.discard(self)
            if not _awake:
                dog, _dog = _dog, None
        if dog is not None:
            dog.end()

    def busy(self) -> bool:
        """Whether requests run there."""
        core = self._core()
        return core is not None and core.queue.running > 0

    def gone(self) -> bool:
        """Whether nothing will run there any more."""
        core = self._core()
        return core is None or self._host() is None or (core.closed and not core.queue.running)

    def rest(self) -> None:
        """Let the next request that begins tell us."""
        core = self._core()
        if core is not None:
            core.stir = self.stir

    def forget(self) -> None:
        """The loop is alive, or what was found says nothing any more."""
        self._asked = self._call = None

    def held(self, frames: dict[int, FrameType], now: float) -> FrameType | None:
        """Look. Gives where the thread is, when the same call has been there for ``HELD`` without a sign of life."""
        host = self._host()
        top = None if host is None else frames.get(host.loop_thread or 0)
        place = _interpreter(top)
        if host is None or top is None or place is None or _stopped(top):
            self.forget()
            return None
        asked = self._asked
        if asked is None:
            self._ask(host, now)
            return None
        before, call = self._call, _call_in(place)
        if before is not None and before != call:
            self._ask(host, now)
        self._call = call
        return top if before == call and self._is_long(now - asked) else None

    def _is_long(self, seconds: float) -> bool:
        """Whether it is the call that takes so long: it computes, or it waits. In between, it lacks a processor."""
        used = time.process_time() - self._used
        return seconds >= HELD and (used >= HELD or used < WAITS * seconds)

    def _ask(self, host: Host, now: float) -> None:
        self._asked, self._used, self._call = now, time.process_time(), None
        with contextlib.suppress(HostGone):
            host.soon(self.forget)


class Watchdog:
    """The thread. It looks as long as it is the one of the process."""

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._gate = threading.Lock()  # locked: go on; no Event, whose lock a signal handler may find taken
        self._gate.acquire()

    def start(self) -> None:
        """Start to look; where the system has no more threads, nobody looks until a later request."""
        try:
            self._thread = start_daemon(self._run, "rio_chain-shared-watchdog")
        except RuntimeError:
            self._rest(whatever=True)

    def end(self) -> None:
        """End the thread and wait for that. From anywhere."""
        self._gate.release()
        thread = self._thread
        # a thread may be told to end in a finaliser that it runs itself; at the exit of the interpreter all stand still
        if thread is not None and thread is not threading.current_thread() and not sys.is_finalizing():
            thread.join(_LEAVE)

    def _run(self) -> None:
        quiet, before = 0.0, time.monotonic()
        while not self._gate.acquire(timeout=LOOK):
            now = time.monotonic()
            busy = self._busy()
            quiet = 0.0 if busy else quiet + LOOK
            if now - before > 2 * LOOK:  # the machine is busy, and it is not known with what
                for watched in busy:
                    watched.forget()
            elif busy:
                self._look(busy, now)
            elif (quiet >= REST or not _awake) and self._rest():
                return
            before = time.monotonic()

    def _busy(self) -> list[Watched]:
        for watched in list(_awake):
            if watched.gone():
                _awake.discard(watched)
        return [watched for watched in list(_awake) if watched.busy()]

    def _rest(self, *, whatever: bool = False) -> bool:
        """Leave it to the next request to start another thread. False, unless ``whatever``: one begins just now."""
        global _dog  # noqa: PLW0603
        with _lock:
            if _dog is not self:
                return True
            for watched in list(_awake):
                watched.rest()
            if not whatever and any(watched.busy() for watched in list(_awake)):
                return False
            _awake.clear()
            _dog = None
            return True

    def _look(self, busy: list[Watched], now: float) -> None:
        frames = sys._current_frames()  # noqa: SLF001
        del frames[threading.get_ident()]  # else this frame would keep itself, and all the others
        for watched in busy:
            top = watched.held(frames, now)
            if top is not None:
                try:
                    _tell(top)
                except Exception as error:  # noqa: BLE001 - a warning that is an error, in a thread without a caller
                    report(error.with_traceback(None))


def _tell(top: FrameType) -> None:
    """Warn, once for each name."""
    place, users = _interpreter(top), _users(top)
    if place is None:
        return
    op, strand = place.f_locals["op"], place.f_locals["strand"]
    plan = getattr(strand.run, "plan", None)
    if plan is None:  # it has ended just now
        return
    who = f"bridge {name_of(op[2])}" if op[0] == BRIDGE else f"task {plan.tasks[strand.at].name}"
    if who in _told or len(_told) >= MOST:
        return
    _told.add(who)
    text = f"{who} has held the loop for more than {span(HELD)}; nothing else can run there meanwhile"
    warnings.warn_explicit(text, RuntimeWarning, users.f_code.co_filename, users.f_lineno)


def _interpreter(frame: FrameType | None) -> FrameType | None:
    """The innermost frame of the interpreter, if the thread is in one."""
    while frame is not None and frame.f_code is not walk.__code__:
        frame = frame.f_back
    return frame


def _stopped(top: FrameType) -> bool:
    """Whether a debugger has stopped it there. A tracer alone is no sign of one: coverage is measured with it."""
    frame: FrameType | None = top
    while frame is not None and frame.f_code is not walk.__code__:
        if str(frame.f_globals.get("__name__")).partition(".")[0] in _DEBUGGERS:
            return True
        frame = frame.f_back
    return False


def _users(top: FrameType) -> FrameType:
    """Of the frames that the interpreter has called, the first that is the user's; the innermost, if none is."""
    frame: FrameType | None = top
    found = top
    while frame is not None and frame.f_code is not walk.__code__:
        if not frame.f_code.co_filename.startswith(_HERE):
            found = frame
        frame = frame.f_back
    return found


def _call_in(place: FrameType) -> Call | None:
    """Which call it is; no other one of the same strand begins at the same time."""
    names = place.f_locals
    strand = names.get("strand")
    return None if strand is None else (id(strand), strand.at, names.get("began", 0.0), names.get("t", 0.0))


_lock = threading.RLock()
_awake: set[Watched] = set()  # where requests run, or ran not long ago
_dog: Watchdog | None = None
_told: set[str] = set()


def _after_fork() -> None:
    """A forked child has none of its parent's threads."""
    global _lock, _awake, _dog
    _lock, _awake, _dog = threading.RLock(), set[Watched](), None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
