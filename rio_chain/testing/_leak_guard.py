"""``leak_guard`` finds what a piece of code leaves behind.

A leftover task, thread or descriptor does no harm in the test that left it. It does harm in the next test, or after a
week in production. So it is a failure of the test that left it, and the error says what it is and where.
"""

# pyright: reportPrivateUsage=false
# ruff: noqa: SLF001
# only leak checks need what a balancer's host holds, so it has no public name

from __future__ import annotations

import gc
import linecache
import sys
import sysconfig
import threading
import time
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from types import FrameType, TracebackType
from typing import Any, Self

from attrs import frozen

from rio_chain._core.suspended_frames import frames_of
from rio_chain._core.units import Duration, escape_nonprintable, seconds, short_repr
from rio_chain.balancer import Balancer
from rio_chain.errors import ChainDefinitionError, RioError
from rio_chain.executors import loop_module_of, running_library, runtime_here
from rio_chain.executors._process_resources import descriptors, is_shared, process_descriptors
from rio_chain.executors._spawned_strands import living
from rio_chain.executors._timers import TimerThread
from rio_chain.executors._worker_pool import WorkerPool

STEP = 0.001
"""Seconds between two checks."""
LOOKS = 5
"""How often threads are checked that may be about to become idle."""
_POOLS = (("asyncio_", "concurrent/futures/thread.py"), ("", "trio/_core/_thread_cache.py"))
"""Idle threads that a loop or trio keeps for the next call: the start of their name, and the file where they wait."""
_LIBRARIES = tuple({sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")})


class Leaked(RioError, AssertionError):
    """Something was left over. ``left`` has one line for each thing: what it is, its name, and where it is.

    Attributes:
        left: these lines.
    """

    def __init__(self, left: tuple[str, ...]) -> None:
        super().__init__(left)
        self.left = left

    def __str__(self) -> str:
        return "\n  ".join(["left over at the end, but not there at the beginning:", *self.left])


@frozen
class _Before:
    """What was there at the beginning. It keeps no frames, as a frame keeps all its variables alive."""

    tasks: AbstractSet[object]
    threads: AbstractSet[threading.Thread]
    descriptors: Mapping[int, str]
    strands: AbstractSet[object]
    held: tuple[Mapping[str, int], ...]


class leak_guard:  # noqa: N801 - written as a statement, like contextlib.suppress
    """Fails if its block leaves something behind: ``with leak_guard():`` or ``async with leak_guard():``.

    It finds and names what was not there at the beginning:

    * tasks of the running loop, asyncio or trio;
    * threads, with the line where they are;
    * file descriptors, with what they refer to, if the system lists them (Linux, macOS);
    * work that no caller waits for, with the name of the task that began it;
    * of the balancers that it is given: requests that run or wait, abandoned calls, threads and permits in use.

    These are no leaks: what rio_chain keeps for the whole process, as for ``request.run()``; and idle threads of
    ``asyncio.to_thread``, of ``trio.to_thread``, and of the given balancers. A call that still runs there is a leak. A
    balancer that is first used in the block and is not closed there leaves its loop behind. So give it a balancer that
    was entered before.

    ``async with`` lets the loop run while it waits for things that are just ending. ``with`` on a loop can't, so use it
    in plain code. On a virtual clock no time passes meanwhile. If the block raises an error, nothing is checked.

    Args:
        balancers: these are checked as well.
        patience: how long the end of something may take, in real milliseconds or as a ``timedelta``. Default 1000.

    Raises:
        Leaked: something is left over. It is an ``AssertionError``.
        ChainDefinitionError: an argument is not a balancer, or not a duration.

    Example:
        >>> from rio_chain import Balancer, Task
        >>> from rio_chain.testing import leak_guard
        >>> with leak_guard():
        ...     with Balancer(workers=2) as balancer:
        ...         balancer.run(Task(len)("four")).unwrap()
        4
    """

    def __init__(self, *balancers: Balancer, patience: Duration = 1000) -> None:
        for balancer in balancers:
            given: Any = balancer
            if not isinstance(given, Balancer):
                raise ChainDefinitionError(
                    f"`leak_guard` takes balancers, as in leak_guard(balancer); got {short_repr(given)}"
                )
        self._balancers = balancers
        self._patience = seconds(patience, "patience", zero=True)
        self._before: _Before | None = None

    def __enter__(self) -> Self:
        gc.collect()  # removes objects that only wait for the collector
        held_now = tuple(map(held, self._balancers))
        self._before = _Before(
            frozenset(_tasks()), self._busy_threads(), descriptors(), frozenset(living.copy()), held_now
        )
        return self

    def _busy_threads(self) -> frozenset[threading.Thread]:
        """All threads but the idle ones. A call on an idle thread at the end was begun in the block."""
        busy = frozenset[threading.Thread]()
        for _ in range(LOOKS):  # a thread that has just answered is about to become idle
            resting = {thread for thread, frames in _threads().items() if _rests(thread, frames, self._balancers)}
            busy = frozenset(threading.enumerate()) - resting
            if not any(is_shared(thread) and "-worker-" in thread.name for thread in busy):
                break
            time.sleep(STEP)
        return busy

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        if exc is None:
            for _ in self._looks():
                pass

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        if exc is not None:
            return
        sleep = runtime_here().sleep
        for _ in range(2):  # trio runs its tasks in random order; after two rounds, those about to end have ended
            await sleep(0)
        for _ in self._looks():
            await sleep(0)

    def _looks(self) -> Iterator[None]:
        """Check again and again, until nothing is left or the patience is over."""
        gc.collect()
        until = time.monotonic() + self._patience
        while left := self._left():
            if time.monotonic() >= until:
                raise Leaked(left)
            time.sleep(STEP)  # real time: the clock of the loop may be a virtual one
            yield

    def _left(self) -> tuple[str, ...]:
        assert self._before is not None  # noqa: S101 - set at the beginning of the block
        before = self._before
        lines = [
            f"task {escape_nonprintable(name)}{_place(frames_of(coroutine)[::-1])}"
            for task, (name, coroutine) in _tasks().items()
            if task not in before.tasks
        ]
        lines += [
            f"thread {escape_nonprintable(thread.name)}{_place(frames)}"
            for thread, frames in _threads().items()
            if thread not in before.threads and not _rests(thread, frames, self._balancers)
        ]
        lines += [
            f"descriptor {fd}: {escape_nonprintable(target)}"
            for fd, target in descriptors().items()
            if before.descriptors.get(fd) != target and fd not in process_descriptors
        ]
        for balancer, old in zip(self._balancers, before.held, strict=True):
            more = [f"{number} {what}" for what, number in held(balancer).items() if number > old[what]]
            lines += [f"{balancer!r}: {', '.join(more)}"] if more else []
        lines += [
            f"strand spawned by task {short_repr(strand.name)}"
            for strand in living.copy()
            if strand not in before.strands
        ]
        return tuple(lines)


def held(balancer: Balancer) -> dict[str, int]:
    """What a balancer waits for before it is idle; all 0 if it is idle."""
    stats, host = balancer.stats(), balancer._host
    return {
        "running": stats.running,
        "queued": stats.queued,
        "abandoned": stats.abandoned,
        "permits in use": 0 if host is None else host.pool.threads - host.pool.permits.free,
        "threads in use": 0 if host is None else host.pool.pending,
    }


def _tasks() -> Mapping[object, tuple[str, object]]:
    library = running_library()
    return {} if library is None else loop_module_of(library).tasks()


def _threads() -> dict[threading.Thread, list[FrameType]]:
    """The other threads that run, and their frames."""
    collects = gc.isenabled()
    gc.disable()  # CPython holds a lock in the call below, and a finaliser that switches threads would deadlock
    try:
        frames = sys._current_frames()
    finally:
        if collects:
            gc.enable()
    del frames[threading.get_ident()]  # otherwise this frame would keep itself and all others alive
    return {thread: _stack(frames[thread.ident]) for thread in threading.enumerate() if thread.ident in frames}


# --- where things are -------------------------------------------------------------------------------------------


def _rests(thread: threading.Thread, frames: list[FrameType], balancers: tuple[Balancer, ...]) -> bool:
    """Whether the thread is kept on purpose and is idle."""
    if is_shared(thread):
        return "-worker-" not in thread.name or frames[0].f_code is WorkerPool._serve.__code__
    file = frames[0].f_code.co_filename.replace("\\", "/")
    if any(thread.name.startswith(name) and file.endswith(path) for name, path in _POOLS):
        return True
    whose = [frame.f_locals.get("self") for frame in frames if frame.f_code is TimerThread._run.__code__]
    whose += [frames[0].f_locals.get("self")] if frames[0].f_code is WorkerPool._serve.__code__ else []
    hosts = [balancer._host for balancer in balancers if balancer._host is not None]
    return any(owner in (host.pool, getattr(host.runtime, "_own", None)) for owner in whose for host in hosts)


def _stack(frame: FrameType | None) -> list[FrameType]:
    """The frame and its callers."""
    frames: list[FrameType] = []
    while frame is not None:
        frames.append(frame)
        frame = frame.f_back
    return frames


def _place(frames: list[FrameType]) -> str:
    """The innermost line outside of libraries; if there is none, the innermost line."""
    if not frames:
        return ""
    own = (frame for frame in frames if not frame.f_code.co_filename.startswith(_LIBRARIES))
    found = next(own, frames[0])
    code, line = found.f_code, found.f_lineno
    source = linecache.getline(code.co_filename, line).strip()
    return (
        f" in {escape_nonprintable(code.co_qualname)}, {escape_nonprintable(code.co_filename)}:{line}: "
        f"{escape_nonprintable(source)}"
    )
