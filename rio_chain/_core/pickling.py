"""Pickling of functions, arguments and answers for the processes of lanes: the one file that imports pickle."""

from __future__ import annotations

import importlib
import io
import pickle
import sys
from types import FunctionType
from typing import Any, cast


class TooLarge(Exception):
    """A pickle grew beyond the size that it may have."""


class _Bounded:
    """What a pickler writes into. It refuses what would make it larger than ``most`` bytes."""

    def __init__(self, most: int) -> None:
        self.stream = io.BytesIO()
        self._left = most

    def write(self, data: Any) -> int:
        """As that of a file."""
        self._left -= memoryview(data).nbytes
        if self._left < 0:
            raise TooLarge
        return self.stream.write(data)


class _Plain(pickle.Pickler):
    """Refuses what pickle would take by a name that means something else in the other process."""

    def reducer_override(self, obj: Any) -> Any:
        """Called for what is not a plain value."""
        if isinstance(obj, (type, FunctionType)) and obj.__module__ == "__main__":
            raise pickle.PicklingError(f"{obj.__qualname__} is defined in __main__, which is another there")
        return NotImplemented


def dumps(value: object, most: int = sys.maxsize) -> bytes:
    """Pickle by name what has a name that holds everywhere, the rest with cloudpickle; ``most`` bytes at most.

    Raises:
        TooLarge: it takes more bytes than that. Nothing beyond them is kept.
        Exception: whatever pickling raises.
    """
    stream = _Bounded(most)
    try:
        _Plain(cast("Any", stream), pickle.HIGHEST_PROTOCOL).dump(value)
    except (TooLarge, MemoryError):
        raise
    except Exception as error:  # noqa: BLE001 - a user's own way of pickling may raise anything
        try:
            by_value = importlib.import_module("cloudpickle")
        except ImportError:
            hint = "; `pip install rio-chain[lanes]` brings cloudpickle, which carries functions of notebooks and more"
            raise pickle.PicklingError(f"{error}{hint}") from error
        stream = _Bounded(most)
        by_value.dump(value, stream)
    return stream.stream.getvalue()


def plain_dumps(value: object) -> bytes:
    """Pickle what is made of bytes, strings, numbers and containers of these alone."""
    return pickle.dumps(value, pickle.HIGHEST_PROTOCOL)


def loads(data: bytes | bytearray | memoryview) -> Any:
    """Unpickle what a process of a lane, or whoever started it, has sent. Raises whatever unpickling raises."""
    return pickle.loads(data)  # noqa: S301 - a whole message of the other end, see lane_pipe


def reason_of(error: BaseException) -> str:
    """Why something could not be pickled or unpickled, as text. Never raises."""
    try:
        return str(error) if isinstance(error, pickle.PicklingError) else f"{type(error).__name__}: {error}"
    except BaseException:  # noqa: BLE001 - an error that can't be shown still has a type
        return type(error).__name__
