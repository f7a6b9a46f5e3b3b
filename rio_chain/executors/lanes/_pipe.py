"""Messages between a lane and one of its processes.

A message is a head and a body. The head is the *mark* of the exchange and the length of the body. Each question has a
mark of its own, drawn at random, and its answer repeats it. So whatever else gets into a pipe (what a function wrote to
the wrong descriptor, the rest of an answer that was only half read) is never taken for an answer, and the length is
looked at before there is any memory for it. Whoever reads or writes half a message drops the pipe: nothing here looks
for the next one.
"""

from __future__ import annotations

import os
import select
from io import RawIOBase

MARK = 16
"""Bytes of a mark."""
_LENGTH = 8
MARGIN = 1 << 17
"""Bytes that a message may have beyond what was pickled, for what describes that: names, lengths, texts of errors."""


class OutOfStep(Exception):
    """What came through the pipe is no answer to the question."""


class BodyTooLarge(Exception):
    """The head says that the body is larger than it may be. Nothing of it was read."""


def new_mark() -> bytes:
    """The mark of an exchange."""
    return os.urandom(MARK)


def send(pipe: RawIOBase, mark: bytes, *parts: bytes) -> None:
    """Write a message whose body is made of these parts.

    Raises:
        OSError: nobody reads it any more.
    """
    head = mark + sum(map(len, parts)).to_bytes(_LENGTH, "big")
    for part in (head, *parts):
        left = memoryview(part)
        while left:
            left = left[pipe.write(left) or 0 :]


def receive(pipe: RawIOBase, most: int, mark: bytes | None = None) -> tuple[bytes, bytearray] | None:
    """Read a message: its mark and its body. None: the pipe has ended, before it or in the middle of it.

    Args:
        pipe: what to read from.
        most: the largest body.
        mark: what the mark has to be; None: anything.

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
    """Whether the pipe is open and nothing can be read from it. Where the system can't tell, it is taken to be so."""
    if not hasattr(select, "poll"):
        return True
    poll = select.poll()
    poll.register(pipe, select.POLLIN)
    return not poll.poll(0)
