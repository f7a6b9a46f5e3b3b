"""Watchdog: says which task holds a loop. One daemon thread per process looks at the loops on which requests run.

It looks every 50 ms at what a loop's thread does, and only while requests run there; else it sleeps until one does. A
thread that is found in a task is asked for a sign of life, which its loop gives as soon as the task lets it. So there
is no timer on any loop, whose clock may be a virtual one, and a task pays nothing.
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
from collections.abc import Callable
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
"""Seconds without a request after which it sleeps until the next one."""
MOST = 1_000
"""Names that are remembered, so that each is told once."""
_HERE = str(Path(__file__).parents[1])

Call = tuple[int, int, float, float]
"""Which call it is that holds the loop. It keeps nothing of it."""


class _Watched:
    """A loop, and what was found there. It keeps neither the host nor the balancer."""

    def __init__(self, host: Host, core: Core) -> None:
        self._host = weakref.ref(host)
        self._core = weakref.ref(core)
        self._asked: float | None = None  # when it was asked for a sign of life; None: it has given one since
        self._used = 0.0  # the CPU time of the process then
        self._call: Call | None = None

    def busy(self, stir: Callable[[], None] | None = None) -> bool:
        """Whether requests run there. The next one that begins calls ``stir``."""
        core = self._core()
        if core is None:
            return False
        core.stir = stir
        return core.queue.running > 0

    def gone(self) -> bool:
        """Whether nothing will run there any more."""
        core = self._core()
        return core is None or self._host() is None or (core.closed and not core.queue.running)

    def forget(self) -> None:
        """The loop is alive, or what was found says nothing any more."""
        self._asked = self._call = None

    def held(self, frames: dict[int, FrameType], now: float) -> FrameType | None:
        """Look. Gives where the thread is, when the same call has been there for ``HELD`` without a sign of life."""
        host = self._host()
        top = None if host is None else frames.get(host.loop_thread or 0)
        place = _interpreter(top)
        if host is None or place is None:
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
    """The thread, and the loops that it watches."""

    def __init__(self) -> None:
        self._watched: list[_Watched] = []
        self._told: set[str] = set()
        self._gate = threading.Lock()  # locked: nobody has called; no Event, whose lock a signal handler may find taken
        self._gate.acquire()
        start_daemon(self._run, "rio_chain-shared-watchdog")

    def add(self, host: Host, core: Core) -> None:
        """Watch the host's loop while requests of that balancer run."""
        watched = _Watched(host, core)
        watched.busy(self.wake)
        self._watched.append(watched)

    def wake(self) -> None:
        """A request begins. From anywhere."""
        with contextlib.suppress(RuntimeError):  # it was called already
            self._gate.release()

    def _run(self) -> None:
        quiet = 0.0
        while True:
            busy = [watched for watched in self._watched if watched.busy(None if quiet < REST else self.wake)]
            if not busy and quiet >= REST:
                for watched in [watched for watched in self._watched if watched.gone()]:
                    self._watched.remove(watched)
                self._gate.acquire()
                quiet = 0.0
                continue
            before = time.monotonic()
            time.sleep(LOOK)
            now = time.monotonic()
            quiet = 0.0 if busy else quiet + LOOK
            if now - before > 2 * LOOK:  # the machine is busy, and it is not known with what
                for watched in busy:
                    watched.forget()
            elif busy:
                self._look(busy, now)

    def _look(self, busy: list[_Watched], now: float) -> None:
        frames = sys._current_frames()  # noqa: SLF001
        del frames[threading.get_ident()]  # else this frame would keep itself, and all the others
        for watched in busy:
            top = watched.held(frames, now)
            if top is not None:
                try:
                    self._tell(top)
                except Exception as error:  # noqa: BLE001 - a warning that is an error, in a thread without a caller
                    report(error)

    def _tell(self, top: FrameType) -> None:
        """Warn, once for each name."""
        place, users = _interpreter(top), _users(top)
        if place is None:
            return
        op, strand = place.f_locals["op"], place.f_locals["strand"]
        plan = getattr(strand.run, "plan", None)
        if plan is None:  # it has ended just now
            return
        who = f"bridge {name_of(op[2])}" if op[0] == BRIDGE else f"task {plan.tasks[strand.at].name}"
        if who in self._told or len(self._told) >= MOST:
            return
        self._told.add(who)
        text = f"{who} has held the loop for more than {span(HELD)}; nothing else can run there meanwhile"
        warnings.warn_explicit(text, RuntimeWarning, users.f_code.co_filename, users.f_lineno)


def _interpreter(frame: FrameType | None) -> FrameType | None:
    """The innermost frame of the interpreter, if the thread is in one."""
    while frame is not None and frame.f_code is not walk.__code__:
        frame = frame.f_back
    return frame


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


_lock = threading.Lock()
_watchdog: Watchdog | None = None


def _after_fork() -> None:
    """A forked child has none of its parent's threads."""
    global _lock, _watchdog
    _lock, _watchdog = threading.Lock(), None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def watch(host: Host, core: Core) -> None:
    """Watch the loop of a host that a balancer was bound to, if it has one."""
    global _watchdog  # noqa: PLW0603 - one per process, made when first needed
    if host.loop_thread is None:
        return
    with _lock:
        if _watchdog is None:
            _watchdog = Watchdog()
        _watchdog.add(host, core)
