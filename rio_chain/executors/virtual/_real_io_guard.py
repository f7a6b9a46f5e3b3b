"""Reports what needs real time and was used in virtual time, by name, with what to write instead."""

from __future__ import annotations

import contextlib
import functools
import socket
import threading
from collections.abc import Generator
from types import FrameType, TracebackType
from typing import Any

from rio_chain._core.suspended_frames import frames_of
from rio_chain.errors import UsageError

LIBRARIES = frozenset({"asyncio", "trio", "anyio", "curio"})
"""Libraries that need a loop of their own."""
GUARDED: dict[Any, tuple[str, ...]] = {socket: ("getaddrinfo",), socket.socket: ("connect", "connect_ex")}
"""Real I/O begins with one of these calls."""
_HAS_NO_LOOP = (RuntimeError, ImportError, AttributeError, KeyError)
"""The errors of these libraries if their loop does not run."""
INSTEAD = "write `await rio_chain.testing.sleep(20)` for what takes 20 ms"
BACKEND = "replace the backend by a function that needs no I/O"


def foreign_awaitable(coroutine: object) -> UsageError:
    """The error for awaiting what no strand can wait for. It is thrown in at that place."""
    return _error_for(next((frame for frame in frames_of(coroutine) if _library(frame) in LIBRARIES), None))


def usage_error_for(error: BaseException) -> UsageError | None:
    """A clearer error for one that a library raised because its loop does not run; None for other errors."""
    frame = None
    tb: TracebackType | None = error.__traceback__
    while tb is not None and frame is None:
        frame = tb.tb_frame if _library(tb.tb_frame) in LIBRARIES else None
        tb = tb.tb_next
    return None if frame is None or not isinstance(error, _HAS_NO_LOOP) else _error_for(frame)


def explain_real_io(error: BaseException) -> None:
    """Raise a clearer error in place of one of a library whose loop does not run; for other errors do nothing."""
    better = usage_error_for(error)
    if better is not None:
        raise better from error


def _error_for(frame: FrameType | None) -> UsageError:
    name = (
        "an awaitable that is not of rio_chain" if frame is None else f"`{_library(frame)}.{frame.f_code.co_qualname}`"
    )
    return UsageError(f"{name} was used in virtual time, where no other loop runs; {INSTEAD}")


def _library(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", "")).partition(".")[0]


# --- real I/O ---------------------------------------------------------------------------------------------------


class Allowed(threading.local):
    """Whether this thread may do real I/O."""

    real = True


allowed = Allowed()
_guarded: list[None] = []


def _guard(owner: Any, name: str) -> None:
    real = getattr(owner, name)

    @functools.wraps(real)
    def asked(*args: Any, **kwargs: Any) -> Any:
        if not allowed.real:
            raise UsageError(f"`socket.{name}` was called in virtual time, which does no real I/O; {BACKEND}")
        return real(*args, **kwargs)

    setattr(owner, name, asked)


@contextlib.contextmanager
def no_real_io() -> Generator[None]:
    """In this block, real I/O on this thread raises ``UsageError``.

    The functions that begin it are wrapped on first use, and stay wrapped: another thread may call them at any moment.
    ``sys.addaudithook`` is not used. It can't be undone either, and a hook in Python lets other threads run inside of
    ``sys.settrace``; in Python 3.11 two threads that do that at once fail.
    """
    if not _guarded:
        _guarded.append(None)
        for owner, names in GUARDED.items():
            for name in names:
                _guard(owner, name)
    before, allowed.real = allowed.real, False
    try:
        yield
    finally:
        allowed.real = before
