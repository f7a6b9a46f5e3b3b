"""Counts the retries around a race."""

from __future__ import annotations

from collections.abc import Sequence

from rio_chain.engine._frames import Frame
from rio_chain.policies import Retry


def retries_in(frames: Sequence[Frame]) -> int:
    """The number of retries made between here and the next race around."""
    found = 0
    for around in reversed(frames):
        if around.races:
            break
        if type(around.layer) is Retry:
            found += around.retries
    return found
