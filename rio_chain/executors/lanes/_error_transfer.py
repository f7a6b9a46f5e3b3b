"""How an error goes from a process of a lane to the process that sent the call.

Not every exception survives pickling. If the ``__init__`` takes other arguments than those it passes on, the exception
can't be made again; a frozen one refuses its attributes; another holds a lock. Users need its text, its traceback, and
that ``on=`` matches it. So there are three ways, and each is used only if the one before fails:

1. It is pickled as a whole. The sending process unpickles it first, and checks that the text is the same.
2. Its class, its ``args`` and its attributes are pickled one by one, and put together without ``__init__``.
3. It is replaced by a *stand-in*: an error of a new class with the same name and text, derived from those of its
classes
   that the other process has.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from operator import is_
from types import BuiltinFunctionType, GetSetDescriptorType, MemberDescriptorType
from typing import Any, cast

from attrs import evolve, frozen

from rio_chain._core.pickling import TooLarge, dumps, loads, plain_dumps, reason_of
from rio_chain.executors.lanes._pipe import MARGIN

_SHORT = 10_000
"""Characters of a text, if the message would else be too large."""
_SPARE = MARGIN // 4
"""Bytes for the classes of an error, however small a message must be."""
_OURS = {"args", "__dict__", "__traceback__", "__context__", "__cause__", "__suppress_context__"}
"""What every exception has. The traceback and contexts are sent only as text."""

Group = BaseExceptionGroup[BaseException]


@frozen
class ErrorParts:
    """The parts of an error, in a form that can always be unpickled.

    Attributes:
        name: of its class; so are ``module`` and ``qualname``.
        text: the result of ``str``.
        classes: its class and its base classes, in order, each pickled; None if that fails.
        whole: the error, pickled; None if that fails. Only then the following are set.
        args: its ``args``, pickled; of a group its message; None if that fails.
        attributes: its other attributes, each pickled.
        missing: the names of attributes that could not be pickled, and why.
        errors: the errors in a group; None if it is not a group.
    """

    name: str
    module: str
    qualname: str
    text: str
    classes: tuple[bytes | None, ...] = ()
    whole: bytes | None = None
    args: bytes | None = None
    attributes: tuple[tuple[str, bytes], ...] = ()
    missing: tuple[tuple[str, str], ...] = ()
    errors: tuple[ErrorParts, ...] | None = None


def text_of(error: BaseException, show: Callable[[BaseException], str] = str) -> str:
    """An error as text; its type if that raises. Never raises."""
    try:
        return show(error)
    except BaseException:  # noqa: BLE001 - the error must be sent, whatever its __str__ raises
        return f"<{type(error).__name__}>"


def _traceback(error: BaseException) -> str:
    return "".join(traceback.format_exception(error)).rstrip()


# --- in the sending process ---------------------------------------------------------------------------------------


def pack_error(error: BaseException, most: int, *, raised: bool = True) -> bytes:
    """Pack an error for ``unpack_error``, with its traceback as text if it was ``raised``.

    Raises:
        TooLarge: even with cut texts it would take more than ``most`` bytes and the margin of a message.
    """
    parts = _Packer(most + _SPARE).parts_of(error)
    lines = text_of(error, _traceback) if raised else ""
    data = plain_dumps((parts, lines))
    if len(data) > most + MARGIN:
        data = plain_dumps((_cut(parts), lines[-_SHORT:]))
    if len(data) > most + MARGIN:
        raise TooLarge
    return data


def portable(error: BaseException) -> tuple[Callable[..., BaseException], tuple[Any, ...]]:
    """A function and arguments, which can be pickled, that make the error again, or a stand-in for it."""
    notes: Any = getattr(error, "__notes__", ())
    return rebuild, (_Packer(sys.maxsize).parts_of(error), tuple(map(str, notes)))


def _cut(parts: ErrorParts) -> ErrorParts:
    missing = tuple((name, why[:100]) for name, why in parts.missing)
    errors = None if parts.errors is None else tuple(map(_cut, parts.errors))
    return evolve(parts, text=parts.text[:_SHORT], missing=missing, errors=errors)


class _Packer:
    """Pickles parts, for which it has ``left`` bytes in all."""

    def __init__(self, left: int) -> None:
        self._left = left

    def parts_of(self, error: BaseException) -> ErrorParts:
        """The error as a whole if it can be unpickled again, else in parts."""
        cls = type(error)
        parts = ErrorParts(cls.__name__, cls.__module__, cls.__qualname__, text_of(error))
        classes = tuple(self._packed(each, partial(is_, each))[0] for each in _classes_of(cls))
        whole, _ = self._packed(error, partial(_same, error))
        if whole is not None:
            return evolve(parts, whole=whole, classes=classes)
        among: object = error
        group = cast("Group", among) if isinstance(among, BaseExceptionGroup) else None
        args, _ = self._packed(error.args if group is None else (group.message,))
        tried = {name: self._packed(value) for name, value in _attributes_of(error)}
        return evolve(
            parts,
            classes=classes,
            args=args,
            attributes=tuple((name, data) for name, (data, _) in tried.items() if data is not None),
            missing=tuple((name, why) for name, (data, why) in tried.items() if data is None),
            errors=None if group is None else tuple(map(self.parts_of, group.exceptions)),
        )

    def _packed(self, value: Any, right: Callable[[Any], bool] | None = None) -> tuple[bytes | None, str]:
        """The value pickled, if ``right`` accepts the unpickled value; else None, and why."""
        try:
            data = dumps(value, self._left)
            again = loads(data)
            if right is not None and not right(again):
                return None, "it would change"
        except TooLarge:
            return None, "it is too large"
        except BaseException as error:  # noqa: BLE001 - a user's own way of pickling may raise anything
            return None, reason_of(error)
        self._left -= len(data)
        return data, ""


def _same(one: BaseException, other: BaseException) -> bool:
    """Whether two errors have the same class and text."""
    if type(one) is not type(other) or text_of(one) != text_of(other):
        return False
    if isinstance(one, BaseExceptionGroup) and isinstance(other, BaseExceptionGroup):
        pairs = zip(cast("Group", one).exceptions, cast("Group", other).exceptions, strict=True)
        return all(_same(*pair) for pair in pairs)
    return True


def _classes_of(cls: type[BaseException]) -> tuple[type[Any], ...]:
    return cls.__mro__[:-1]  # all but object


def _attributes_of(error: BaseException) -> Iterator[tuple[str, Any]]:
    """The attributes in its dict, and in its slots, which for errors of Python itself are fields in C."""
    yield from vars(error).items()
    for cls in _classes_of(type(error)):
        for name, member in () if cls is BaseExceptionGroup else vars(cls).items():
            if isinstance(member, (MemberDescriptorType, GetSetDescriptorType)) and name not in _OURS:
                with suppress(AttributeError):
                    value: Any = member.__get__(error, type(error))
                    if value is not None:
                        yield name, value


# --- in the receiving process -------------------------------------------------------------------------------------


def unpack_error(data: bytes | bytearray | memoryview, lane: str) -> BaseException:
    """The error or its stand-in, with a note that has its origin and says what is missing."""
    parts, lines = cast("tuple[ErrorParts, str]", loads(data))
    return _crossed(parts, f"in a process of lane {lane!r}:\n{lines}" if lines else "")


def _crossed(parts: ErrorParts, origin: str = "") -> BaseException:
    error = rebuild(parts)
    if origin:
        _note(error, origin)
    for name, why in parts.missing:
        _note(error, f"its attribute {name!r} is missing, because it can't be pickled: {why}")
    return error


def rebuild(parts: ErrorParts, notes: tuple[str, ...] = ()) -> BaseException:
    """Make the error from its parts, with exactly these notes."""
    error = _unpickled(parts.whole)
    if not isinstance(error, BaseException):
        classes = [_unpickled(data) for data in parts.classes]
        known = [cls for cls in classes if isinstance(cls, type)]
        error = _put_together(known[0], parts) if known[0] is classes[0] else None
        if error is None or text_of(error) != parts.text:
            error = _stand_in(known, parts)
    if notes:
        vars(error)["__notes__"] = list(notes)
    return error


def _unpickled(data: bytes | None) -> Any:
    """Unpickle; None if that fails."""
    with suppress(Exception):
        return None if data is None else loads(data)
    return None


def _put_together(cls: type[Any], parts: ErrorParts) -> BaseException | None:
    """Make an exception of this class without its ``__init__``; None if that fails."""
    with suppress(Exception):
        args = _unpickled(parts.args) or ()
        if parts.errors is not None:
            args = (args[0] if args else parts.name, [_crossed(inner) for inner in parts.errors])
        new = next(new for base in cls.__mro__ if isinstance(new := vars(base).get("__new__"), BuiltinFunctionType))
        error: BaseException = new(cls, *args)
        BaseException.args.__set__(error, tuple(args))  # type: ignore[attr-defined]  # not by a `__setattr__` of its own
        for name, data in parts.attributes:
            _set(error, name, _unpickled(data))
        return error
    return None


def _set(error: BaseException, name: str, value: Any) -> None:
    """Set an attribute where it was, even if the class refuses that."""
    for cls in type(error).__mro__:
        member = vars(cls).get(name)
        if isinstance(member, (MemberDescriptorType, GetSetDescriptorType)):
            with suppress(AttributeError, TypeError):  # a read-only one is made from the args
                member.__set__(error, value)
            return
    vars(error)[name] = value


def _stand_in(classes: list[type[Any]], parts: ErrorParts) -> BaseException:
    """An error of a new class that is derived from these classes, or from as many of them as possible."""

    def reduced(error: BaseException) -> tuple[Any, ...]:
        return rebuild, (parts, tuple(getattr(error, "__notes__", ())))

    def text(_: BaseException) -> str:
        return parts.text

    def picture(_: BaseException) -> str:
        return f"{parts.name}({parts.text!r})"

    body: dict[str, Any] = {"__module__": parts.module, "__qualname__": parts.qualname}
    body |= {"__str__": text, "__repr__": picture, "__reduce__": reduced}
    body |= {"__eq__": object.__eq__, "__hash__": object.__hash__}
    for k in range(len(classes)):
        with suppress(Exception):
            made = _put_together(type(parts.name, _nearest(classes[k:]), body.copy()), parts)
            if made is not None:
                return made
    return Exception(parts.text)


def _nearest(classes: list[type[Any]]) -> tuple[type[Any], ...]:
    """The classes of which no other one of them is a subclass."""
    return tuple(cls for k, cls in enumerate(classes) if not any(issubclass(below, cls) for below in classes[:k]))


def _note(error: BaseException, text: str) -> None:
    try:
        error.add_note(text)
    except Exception:  # noqa: BLE001 - a frozen class refuses it
        vars(error)["__notes__"] = [*getattr(error, "__notes__", ()), text]
