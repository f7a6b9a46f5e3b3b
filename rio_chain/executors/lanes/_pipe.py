"""Messages between a lane and one of its processes.

A message is a head and a body. The head has the *mark* of the exchange and the length of the body. Each call has a new
random mark, and its answer repeats it. So other data in a pipe (what a function wrote to the wrong descriptor, the rest
of an answer that was only half read) is never taken for an answer. The length is checked before memory is allocated. If
only half a message was read or written, the pipe is not used again: this code does not search for the next message.
"""

from __future__ import annotations

import os
import select
from io import RawIOBase

MARK = 16
"""Bytes of a mark."""
_LENGTH = 8
MARGIN = 1 << 17
"""Bytes that a message may have besides the pickled data: names, lengths, texts of errors."""


class OutOfStep(Exception):
    """The message in the pipe is not the answer to the call."""


class BodyTooLarge(Exception):
    """The body is larger than allowed, as its head says. Nothing of the body was read."""


def new_mark() -> bytes:
    """The mark of an exchange."""
    return os.urandom(MARK)


def send(pipe: RawIOBase, mark: bytes, *parts: bytes) -> None:
    """Write a message whose body consists of these parts.

    Raises:
        OSError: the other end is closed.
    """
    head = mark + sum(map(len, parts)).to_bytes(_LENGTH, "big")
    for part in (head, *parts):
        left = memoryview(part)
        while left:
            left = left[pipe.write(left) or 0 :]


def receive(pipe: RawIOBase, most: int, mark: bytes | None = None) -> tuple[bytes, bytearray] | None:
    """Read a message: its mark and its body. Returns None if the pipe ended before or in the message.

    Args:
        pipe: the pipe.
        most: the largest body that is allowed.
        mark: the mark that is expected; None: any.

    Raises:
        OutOfStep: it has another mark.
        BodyTooLarge: its body has more than ``most`` bytes.
    """
    head = _read(pipe, MARK + _LENGTH)
    if head is None:
        return None
    got, length = bytes(head[:MARK]), int.from_bytes(head[MARK:], "big")
    if mark is not None and got != mark:
        raise OutOfStep
    if length > most:
        raise BodyTooLarge
    body = _read(pipe, length)
    return None if body is None else (got, body)


def _read(pipe: RawIOBase, length: int) -> bytearray | None:
    data = bytearray(length)
    left = memoryview(data)
    while left:
        size = pipe.readinto(left)
        if not size:
            return None
        left = left[size:]
    return data


def is_silent(pipe: RawIOBase) -> bool:
    """Whether the pipe is open and has nothing to read. True if the system can't tell."""
    if not hasattr(select, "poll"):
        return True
    poll = select.poll()
    poll.register(pipe, select.POLLIN)
    return not poll.poll(0)
