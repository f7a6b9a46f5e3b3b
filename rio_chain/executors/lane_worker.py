"""What runs in a process of a lane, and how values go there and come back.

A frame is eight bytes that give its length, and as many bytes. The process is ready when it has sent an empty one; then
each frame it gets is a call, and it sends one frame for each. Its input ends when whoever started it has gone.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import pickle
import traceback
from collections.abc import Callable
from functools import partial
from queue import SimpleQueue
from types import FunctionType
from typing import IO, Any, cast

from rio_chain.engine.runtime import Raised
from rio_chain.errors import NotPicklable
from rio_chain.executors.thread import start_daemon

VALUE, ERROR, UNFIT = b"V", b"E", b"U"
"""How an answer begins: a value, an error with its traceback, or what could not be pickled and why."""
_LENGTH = 8


# --- pickling ---------------------------------------------------------------------------------------------------


class _Plain(pickle.Pickler):
    """Refuses what pickle would take by a name that means something else in the other process."""

    def reducer_override(self, obj: Any) -> Any:
        """Called for what is not a plain value."""
        if isinstance(obj, (type, FunctionType)) and obj.__module__ == "__main__":
            raise pickle.PicklingError(f"{obj.__qualname__} is defined in __main__, which is another there")
        return NotImplemented


def dumps(value: object) -> bytes:
    """Pickle by name what has a name that holds everywhere, the rest with cloudpickle.

    Raises:
        Exception: whatever pickling raises.
    """
    stream = io.BytesIO()
    try:
        _Plain(stream, pickle.HIGHEST_PROTOCOL).dump(value)
    except Exception as error:  # noqa: BLE001 - a user's own way of pickling may raise anything
        try:
            by_value = importlib.import_module("cloudpickle")
        except ImportError:
            hint = "; `pip install rio-chain[lanes]` brings cloudpickle, which carries functions of notebooks and more"
            raise pickle.PicklingError(f"{error}{hint}") from error
        return cast("bytes", by_value.dumps(value))
    return stream.getvalue()


def send(stream: IO[bytes], frame: bytes) -> None:
    """Write a frame."""
    stream.write(len(frame).to_bytes(_LENGTH, "big"))
    stream.write(frame)
    stream.flush()


def receive(stream: IO[bytes]) -> bytes | None:
    """Read a frame; None at the end of the stream, also where that comes in the middle of one."""
    head = stream.read(_LENGTH)
    if len(head) < _LENGTH:
        return None
    length = int.from_bytes(head, "big")
    frame = stream.read(length)
    return frame if len(frame) == length else None


# --- the process ------------------------------------------------------------------------------------------------


def serve() -> None:
    """Answer calls until the input ends. What a body prints goes to stderr, as stdout carries the answers."""
    calls, answers = _take_over()
    inbox: SimpleQueue[bytes] = SimpleQueue()
    start_daemon(partial(_read, calls, inbox.put), "rio_chain-lane")
    for function in pickle.loads(inbox.get()):  # noqa: S301 - from the process that started this one
        with contextlib.suppress(BaseException):  # it is told when the function is called
            pickle.loads(function)  # noqa: S301
    send(answers, b"")
    while True:
        send(answers, _answer(inbox.get()))


def _take_over() -> tuple[IO[bytes], IO[bytes]]:
    """Standard input and output for our own use, out of the way of what bodies read, print and fork."""
    calls, answers = os.dup(0), os.dup(1)
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(null, 1)
    os.close(null)
    with contextlib.suppress(OSError):  # there may be no stderr
        os.dup2(2, 1)

    def forked() -> None:  # a child that held them would hide the end of this process
        os.close(calls)
        os.close(answers)

    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=forked)
    return os.fdopen(calls, "rb"), os.fdopen(answers, "wb")


def _read(calls: IO[bytes], put: Callable[[bytes], None]) -> None:
    """Hand on what comes in. When nobody is left to answer, the process ends at once, also in the midst of a call."""
    while (frame := receive(calls)) is not None:
        put(frame)
    os._exit(0)


def _answer(frame: bytes) -> bytes:
    """Make a call, and give the frame that tells how it ended."""
    what = "function"
    try:
        function, arguments = pickle.loads(frame)  # noqa: S301
        fn = pickle.loads(function)  # noqa: S301
        what = "argument"
        args = pickle.loads(arguments)  # noqa: S301
    except BaseException as error:  # noqa: BLE001 - importing a module may raise anything
        return _unfit(what, error)
    try:
        value = fn(*args)
    except BaseException as error:  # noqa: BLE001 - whatever it is, it belongs to the run and not to this process
        what, code = "error", ERROR
        told = partial(_told, error)
    else:
        what, code = "answer", VALUE
        told = partial(dumps, value)
    try:
        return code + told()
    except Exception as error:  # noqa: BLE001
        return _unfit(what, error)


def _told(error: BaseException) -> bytes:
    lines = "".join(traceback.format_exception(error)).rstrip()
    try:
        packed = dumps(error)
    except Exception as unfit:
        raise pickle.PicklingError(f"{_words(unfit)}\n{lines}") from unfit
    return pickle.dumps((packed, lines))


def _unfit(what: str, error: BaseException) -> bytes:
    return UNFIT + pickle.dumps((what, _words(error)))


def _words(error: BaseException) -> str:
    return str(error) if isinstance(error, pickle.PicklingError) else f"{type(error).__name__}: {error}"


def opened(frame: bytes, name: str, lane: str) -> Any:
    """What an answer says, in the process that asked: the value, or ``Raised``."""
    code, rest = frame[:1], frame[1:]
    what = "answer"
    try:
        if code == UNFIT:
            what, reason = pickle.loads(rest)  # noqa: S301 - from a process of our own
            return Raised(NotPicklable(name, what, reason))
        if code == VALUE:
            return pickle.loads(rest)  # noqa: S301
        what = "error"
        packed, lines = pickle.loads(rest)  # noqa: S301
        raised: BaseException = pickle.loads(packed)  # noqa: S301
        raised.add_note(f"in a process of lane {lane!r}:\n{lines}")
    except BaseException as error:  # noqa: BLE001 - a user's own way of unpickling may raise anything
        return Raised(NotPicklable(name, what, _words(error)))
    return Raised(raised)
