"""``leak_guard`` finds what a piece of code leaves behind.

A task, a thread or a descriptor that is left over does no harm in the test that left it. It does in the one that runs
next, or after a week in production. So it is a failure of the test that left it, which says what it is and where.
"""

# pyright: reportPrivateUsage=false
# ruff: noqa: SLF001
# what a balancer's host holds is for those who look for leaks and for nobody else, so it has no public name

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
"""Seconds between two looks."""
LOOKS = 5
"""For those threads that may be about to rest."""
_POOLS = (("asyncio_", "concurrent/futures/thread.py"), ("", "trio/_core/_thread_cache.py"))
"""Idle threads that their loop or trio itself keeps for the next call: how they are named, and where they wait."""
_LIBRARIES = tuple({sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")})


class Leaked(RioError, AssertionError):
    """Something was left over. ``left`` has one line for each: what it is, its name, where it is.

    Attributes:
        left: these lines.
    """

    def __init__(self, left: tuple[str, ...]) -> None:
        super().__init__(left)
        self.left = left

    def __str__(self) -> str:
        return "\n  ".join(["left over at the end, and not there at the beginning:", *self.left])


@frozen
class _Before:
    """What was there. Not where it was: a frame keeps all that its variables hold."""

    tasks: AbstractSet[object]
    threads: AbstractSet[threading.Thread]
    descriptors: Mapping[int, str]
    strands: AbstractSet[object]
    held: tuple[Mapping[str, int], ...]


class leak_guard:  # noqa: N801 - written as a statement, like contextlib.suppress
    """Fails when its block leaves something behind: ``with leak_guard():`` or ``async with leak_guard():``.

    It finds, and names, what was not there at the beginning:

    * tasks of the loop that is running, asyncio or trio;
    * threads, with the line at which they are;
    * file descriptors, with what they lead to, where the system has a list of them (Linux, macOS);
    * work that no caller waits for, with the name of the task that began it;
    * of balancers that it is given: requests that run or wait, abandoned calls, threads and permits in use.

    What rio_chain keeps for the runs of the whole process, as for ``request.run()``, is no leak; nor are idle threads
    that ``asyncio.to_thread``, ``trio.to_thread`` or a balancer that was given keep. A call that still runs there is
    one. A balancer that binds in the block and is not closed there leaves its loop: give it one that was entered.

    ``async with`` lets the loop go on while it waits for things that are just ending; ``with`` on a loop can't, so it
    is for plain code. On a virtual clock no time passes meanwhile. A block that ends with an error fails with that.

    Args:
        balancers: what they hold is looked at as well.
        patience: how long what is just ending may take, in real milliseconds or as a ``timedelta``. Default 1000.

    Raises:
        Leaked: something is left over. It is an ``AssertionError``.
        ChainDefinitionError: an argument that is no balancer, or no duration.

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
        gc.collect()  # what only waits for the collector is not there
        held_now = tuple(map(held, self._balancers))
        self._before = _Before(
            frozenset(_tasks()), self._busy_threads(), descriptors(), frozenset(living.copy()), held_now
        )
        return self

    def _busy_threads(self) -> frozenset[threading.Thread]:
        """All but those that rest: what is left on one of these at the end was begun in the block."""
        busy = frozenset[threading.Thread]()
        for _ in range(LOOKS):  # one that has just given its answer is about to rest
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
        for _ in range(2):  # trio runs what is due in no order: what is about to end has ended then
            await sleep(0)
        for _ in self._looks():
            await sleep(0)

    def _looks(self) -> Iterator[None]:
        """Look again and again, until nothing is left or patience is over."""
        gc.collect()
        until = time.monotonic() + self._patience
        while left := self._left():
            if time.monotonic() >= until:
                raise Leaked(left)
            time.sleep(STEP)  # real time: the clock of the loop may be a virtual one
            yield

    def _left(self) -> tuple[str, ...]:
        assert self._before is not None  # noqa: S101 - this is the end of the block
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
    """What a balancer has to get back before it is idle; all 0 when it is."""
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
    """The threads that run, and where they are, without the one that asks."""
    collects = gc.isenabled()
    gc.disable()  # CPython holds a lock in that call, and a finaliser that lets others run would be the end of all
    try:
        frames = sys._current_frames()
    finally:
        if collects:
            gc.enable()
    del frames[threading.get_ident()]  # else this frame would keep itself, and all the others
    return {thread: _stack(frames[thread.ident]) for thread in threading.enumerate() if thread.ident in frames}


# --- where things are -------------------------------------------------------------------------------------------


def _rests(thread: threading.Thread, frames: list[FrameType], balancers: tuple[Balancer, ...]) -> bool:
    """Whether the thread is kept on purpose and does nothing."""
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
    """The frame and those that called it."""
    frames: list[FrameType] = []
    while frame is not None:
        frames.append(frame)
        frame = frame.f_back
    return frames


def _place(frames: list[FrameType]) -> str:
    """The innermost line that is no library's; where all are, the innermost one."""
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
