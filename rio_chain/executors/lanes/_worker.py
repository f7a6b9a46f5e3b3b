"""The main program of a process of a lane.

The first message has the largest size of messages and the functions to load. The process answers it with an empty
message when it is ready. Then each message is a call, and it sends one answer for each. Its input ends when the process
that started it has gone.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from functools import partial
from io import FileIO
from queue import SimpleQueue
from typing import Any, NamedTuple, cast

from returns.result import Failure

from rio_chain._core.lane_wrapper import CallInLane
from rio_chain._core.pickling import TooLarge, dumps, loads, plain_dumps, reason_of
from rio_chain.engine._runtime_protocol import Raised, kind_of
from rio_chain.errors import LaneMessageTooLarge, NotPicklable
from rio_chain.executors._start_thread import start_daemon
from rio_chain.executors.lanes._error_transfer import pack_error, unpack_error
from rio_chain.executors.lanes._pipe import MARGIN, receive, send

VALUE, FAILURE, ERROR, UNFIT, LARGE = b"V", b"F", b"E", b"U", b"L"
"""The first byte of an answer: a value; the error of a ``Failure``; an error that was raised; something that could not
be pickled, and why; something that was too large."""
START = 1 << 22
"""The most bytes of the first message."""
_SIZE = 8


class Start(NamedTuple):
    """The first message."""

    most: int
    """The most bytes of a pickled call or answer."""
    warm: tuple[bytes, ...]
    """The functions to load, pickled."""


# --- calls and answers --------------------------------------------------------------------------------------------


def question(
    name: str, fn: Callable[..., Any], value: Any, most: int, wrapper: CallInLane | None = None
) -> tuple[bytes, bytes, bytes, bytes]:
    """The parts of a message that calls ``fn(value)``, or ``wrapper(fn, value)``. The second part is the function.

    Raises:
        NotPicklable: one of them can't be pickled.
        LaneMessageTooLarge: they take more than ``most`` bytes.
        MemoryError: there is no memory to pickle them.
    """
    what = "function"
    try:
        function = dumps(fn, most)
        what = "argument"
        argument = dumps(value, most - len(function))
        wrapped = b"" if wrapper is None else plain_dumps(wrapper)
    except TooLarge:
        raise LaneMessageTooLarge(name, what, most) from None
    except MemoryError:
        raise
    except Exception as error:
        raise NotPicklable(name, what, reason_of(error)) from error
    sizes = len(function).to_bytes(_SIZE, "big") + len(wrapped).to_bytes(_SIZE, "big")
    return sizes, function, wrapped, argument


def _answer(body: bytearray, most: int) -> tuple[bytes, bytes]:
    """Make a call. Gives the parts of the answer."""
    what = "function"
    try:
        view = memoryview(body)
        end = 2 * _SIZE + int.from_bytes(view[:_SIZE], "big")
        after = end + int.from_bytes(view[_SIZE : 2 * _SIZE], "big")
        fn = loads(view[2 * _SIZE : end])
        if after > end:
            fn = partial(loads(view[end:after]), fn)
        what = "argument"
        value = loads(view[after:])
    except BaseException as error:  # noqa: BLE001 - importing a module may raise anything
        return UNFIT, plain_dumps((what, reason_of(error)))
    code, got = _called(fn, value)
    what = "answer" if code == VALUE else "error"
    try:
        if code == VALUE:
            return code, dumps(got, most)
        return code, pack_error(got, most, raised=code == ERROR)
    except TooLarge:
        return LARGE, plain_dumps(what)
    except MemoryError as error:
        return ERROR, pack_error(error, most)
    except BaseException as error:  # noqa: BLE001 - a user's own way of pickling may raise anything
        return UNFIT, plain_dumps((what, reason_of(error)))


def _called(fn: Callable[[Any], Any], value: Any) -> tuple[bytes, Any]:
    """Call the function. Gives the code and the content of the answer."""
    try:
        got = fn(value)
        error: object = got.failure() if issubclass(kind_of(got), Failure) else None
    except BaseException as raised:  # noqa: BLE001 - it belongs to the run, not to this process
        return ERROR, raised
    return (FAILURE, error) if isinstance(error, BaseException) else (VALUE, got)


def opened(body: bytearray, name: str, lane: str, most: int) -> Any:
    """Read an answer, in the process that sent the call: the value, or ``Raised``.

    Raises:
        NotPicklable: it can't be unpickled here.
        MemoryError: there is no memory for it.
    """
    code, rest = bytes(body[:1]), memoryview(body)[1:]
    try:
        if code == UNFIT:
            what, reason = loads(rest)
            return Raised(NotPicklable(name, what, reason))
        if code == LARGE:
            return Raised(LaneMessageTooLarge(name, loads(rest), most))
        if code == VALUE:
            return loads(rest)
        error = unpack_error(rest, lane)
        return Raised(error) if code == ERROR else Failure(error)
    except MemoryError:
        raise
    except BaseException as error:  # noqa: BLE001 - a user's own way of unpickling may raise anything
        unfit = NotPicklable(name, "answer", reason_of(error))
    raise unfit


# --- the process --------------------------------------------------------------------------------------------------


def serve() -> None:
    """Answer calls until the input ends. Prints of functions go to stderr, as stdout is for the answers."""
    calls, answers = _take_over()
    me = os.getpid()
    inbox: SimpleQueue[tuple[bytes, bytearray]] = SimpleQueue()
    first = receive(calls, START)
    if first is None:
        return
    mark, start = first[0], cast("Start", loads(first[1]))
    start_daemon(partial(_read, calls, start.most + MARGIN, inbox.put), "rio_chain-lane")
    for function in start.warm:
        with contextlib.suppress(BaseException):  # the call of the function reports it
            loads(function)
    send(answers, mark)
    while True:
        mark, body = inbox.get()
        parts = _answer(body, start.most)
        if os.getpid() != me:  # the function forked, and the child has returned from it
            return
        send(answers, mark, *parts)


def _take_over() -> tuple[FileIO, FileIO]:
    """Take standard input and output for our own use, so that functions can't read, print or fork into them."""
    calls, answers = os.dup(0), os.dup(1)
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(null, 1)
    with contextlib.suppress(OSError):  # there may be no stderr
        os.dup2(2, 1)

    def forked() -> None:  # a child with these descriptors would hide the end of this process, or write to them
        os.dup2(null, calls, inheritable=False)
        os.dup2(null, answers, inheritable=False)

    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=forked)
    return FileIO(calls, "rb"), FileIO(answers, "wb")


def _read(calls: FileIO, most: int, put: Callable[[tuple[bytes, bytearray]], None]) -> None:
    """Read messages. When the other end is gone, the process ends at once, even in the middle of a call."""
    code = 1
    try:
        while (message := receive(calls, most)) is not None:
            put(message)
            del message  # it may hold much memory, and the next one may take long to come
        code = 0
    finally:
        os._exit(code)
