"""Pickles functions, arguments and answers for lanes, and Outcomes. No other file imports pickle."""

from __future__ import annotations

import importlib
import io
import pickle
import sys
from collections.abc import Callable
from types import FunctionType
from typing import Any, cast


class TooLarge(Exception):
    """A pickle is larger than allowed."""


class _Bounded:
    """The stream that a pickler writes to. It raises ``TooLarge`` beyond ``most`` bytes."""

    def __init__(self, most: int) -> None:
        self.stream = io.BytesIO()
        self._left = most

    def write(self, data: Any) -> int:
        """As ``write`` of a file."""
        self._left -= memoryview(data).nbytes
        if self._left < 0:
            raise TooLarge
        return self.stream.write(data)


Replaced = Callable[[object], Any]
"""Gives for an object how else to make it again, as ``__reduce__`` does; None leaves it as it is."""


class _Plain(pickle.Pickler):
    """Refuses functions and classes whose names mean something else in the other process."""

    replaced: Replaced | None = None

    def reducer_override(self, obj: Any) -> Any:
        """Called by pickle for each object that is not a plain value."""
        instead = None if self.replaced is None else self.replaced(obj)
        if instead is not None:
            return instead
        if isinstance(obj, (type, FunctionType)) and obj.__module__ == "__main__":
            raise pickle.PicklingError(f"{obj.__qualname__} is defined in __main__, which is another module there")
        return NotImplemented


def dumps(value: object, most: int = sys.maxsize, replaced: Replaced | None = None) -> bytes:
    """Pickle with pickle if every name in it means the same in each process, else with cloudpickle.

    Raises:
        TooLarge: it needs more than ``most`` bytes.
        Exception: whatever pickling raises.
    """
    stream = _Bounded(most)
    try:
        plain = _Plain(cast("Any", stream), pickle.HIGHEST_PROTOCOL)
        plain.replaced = replaced
        plain.dump(value)
    except (TooLarge, MemoryError):
        raise
    except Exception as error:  # noqa: BLE001 - a user's own way of pickling may raise anything
        try:
            by_value = importlib.import_module("cloudpickle")
        except ImportError:
            hint = "; `pip install rio-chain[lanes]` adds cloudpickle, which can pickle functions of notebooks and more"
            raise pickle.PicklingError(f"{error}{hint}") from error
        stream = _Bounded(most)
        if replaced is None:
            by_value.dump(value, stream)
        else:
            _by_value(by_value.Pickler, replaced)(stream).dump(value)
    return stream.stream.getvalue()


def _by_value(pickler: Any, replaced: Replaced) -> Any:
    """The class of picklers of cloudpickle, with something else in the place of some objects."""

    class Replacing(pickler):  # type: ignore[misc]  # it is imported when it is needed
        def reducer_override(self, obj: Any) -> Any:
            instead = replaced(obj)
            if instead is not None:
                return instead
            by_value: Any = super()
            return by_value.reducer_override(obj)

    return Replacing


def plain_dumps(value: object) -> bytes:
    """Pickle as Python does. For bytes, strings and numbers, and for objects that are known to be picklable."""
    return pickle.dumps(value, pickle.HIGHEST_PROTOCOL)


def loads(data: bytes | bytearray | memoryview) -> Any:
    """Unpickle a message from the process of a lane, or from the process that started it.

    Raises what unpickling does.
    """
    return pickle.loads(data)  # noqa: S301 - a whole message of the other end, see lanes/_pipe.py


class LeftOut:
    """Replaces an object that could not be pickled: a lambda, a lock, an open connection. Its repr names it."""

    def __init__(self, name: str, kind: str) -> None:
        self.__name__ = name
        self._kind = kind

    def __call__(self, *_: object, **__: object) -> Any:
        """Refuse: the function stayed in its process.

        Raises:
            TypeError: always.
        """
        raise TypeError(f"{self!r} can't be called")

    def __repr__(self) -> str:
        return f"<{self._kind} {self.__name__}, which could not be pickled>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, LeftOut) and repr(self) == repr(other)

    def __hash__(self) -> int:
        return hash((self.__name__, self._kind))


class _Tolerant(pickle.Pickler):
    """Replaces objects that can't be pickled. ``incomplete`` is True once it has replaced one."""

    def __init__(self, stream: io.BytesIO, replaced: Callable[[object], Any]) -> None:
        super().__init__(stream, pickle.HIGHEST_PROTOCOL)
        self._replaced = replaced
        self._known: dict[type[Any] | FunctionType, bool] = {}
        self.incomplete = False

    def reducer_override(self, obj: Any) -> Any:
        """Called by pickle for each object that is not a plain value."""
        instead = self._replaced(obj)
        if instead is not None:
            return instead
        if isinstance(obj, (type, FunctionType)):
            return NotImplemented if self._is_known(obj) else self._left_out(obj.__qualname__, "the function or class")
        try:
            made = obj.__reduce_ex__(pickle.HIGHEST_PROTOCOL)
        except Exception:  # noqa: BLE001 - a user's own way of pickling may raise anything
            return self._left_out(type(obj).__qualname__, "an object of")
        named: tuple[Any, ...] = (
            () if isinstance(made, str) else (made[0], *made[1][:1])
        )  # the function that makes it, and the class
        if all(self._is_known(one) for one in named if isinstance(one, (type, FunctionType))):
            return NotImplemented
        return self._left_out(type(obj).__qualname__, "an object of")

    def _is_known(self, named: type[Any] | FunctionType) -> bool:
        """Whether pickle can find it by its name."""
        if named not in self._known:
            try:
                pickle.dumps(named)
            except Exception:  # noqa: BLE001 - it is local to a function, or its module is gone
                self._known[named] = False
            else:
                self._known[named] = True
        return self._known[named]

    def _left_out(self, name: str, kind: str) -> tuple[type[LeftOut], tuple[str, str]]:
        self.incomplete = True
        return LeftOut, (name, kind)


def tolerant_dumps(value: object, replaced: Callable[[object], Any]) -> tuple[bytes, bool]:
    """Pickle a value with ``LeftOut`` in place of what can't be pickled. Also returns whether anything was replaced.

    Args:
        value: what to pickle.
        replaced: returns for an object how to make it again, as ``__reduce__`` does; None leaves it unchanged.
    """
    stream = io.BytesIO()
    pickler = _Tolerant(stream, replaced)
    pickler.dump(value)
    return stream.getvalue(), pickler.incomplete


def survives(value: object) -> bool:
    """Whether a value can be pickled, and unpickled as an object of the same class."""
    try:
        return type(loads(plain_dumps(value))) is type(value)
    except Exception:  # noqa: BLE001 - a user's own way of pickling may raise anything
        return False


def reason_of(error: BaseException) -> str:
    """Why something could not be pickled or unpickled, as text. Never raises."""
    try:
        return str(error) if isinstance(error, pickle.PicklingError) else f"{type(error).__name__}: {error}"
    except BaseException:  # noqa: BLE001 - an error that can't be shown still has a type
        return type(error).__name__
