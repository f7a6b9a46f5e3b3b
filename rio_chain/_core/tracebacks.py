"""Tracebacks of kept errors: they name places in the code, but hold no frames of calls.

A frame holds the arguments and variables of its function, and from Python 3.12 on the frames of its callers. An error
in an Outcome would keep all of them alive. If the caller has the Outcome in a variable, that is a cycle, which only the
garbage collector frees. So each entry of a kept traceback gets a new frame that has the code and nothing else. The
traceback prints the same.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator
from opcode import opmap
from types import CodeType, FrameType, FunctionType, TracebackType
from typing import Any, TypeVar, cast

from rio_chain.errors import BridgeFailed, CallbackFailed

E = TypeVar("E", bound=BaseException)

# importing pathlib would take longer
_OURS = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep  # noqa: PTH100, PTH120
_MOST = 1_000
"""How many frames are cached, one for each function, for the next error that is raised there."""
_ABOUT = ("__name__", "__file__", "__loader__", "__spec__")
"""The globals of a module that printing a traceback needs."""

# An error class may define properties of these names, or be frozen, so use those of BaseException.
_traceback_of: Callable[[BaseException], TracebackType | None] = vars(BaseException)["__traceback__"].__get__
_cause_of: Callable[[BaseException], BaseException | None] = vars(BaseException)["__cause__"].__get__
_context_of: Callable[[BaseException], BaseException | None] = vars(BaseException)["__context__"].__get__


class _Names(dict[str, Any]):
    """The globals of a replacement frame. Their type identifies such frames."""


_known: dict[int, tuple[CodeType, FrameType]] = {}


def drop_frames(error: object) -> None:
    """Replace the traceback of an error, and of all errors that it holds, by one that keeps no frames of calls.

    Leading frames of rio_chain are left out, unless there are no others.
    """
    found = _dropped(error)
    if found is None:
        return
    seen = {id(error)}
    while found:
        one = found.pop()
        if id(one) not in seen:
            seen.add(id(one))
            found += _dropped(one) or ()


def _dropped(error: object) -> list[object] | None:
    """Drop the frames of one error, and return the errors that it holds.

    None: there are none, or this was done before.
    """
    if not isinstance(error, BaseException):
        return None
    traceback = _traceback_of(error)
    if traceback is not None:
        if type(traceback.tb_frame.f_globals) is _Names:
            return None  # it has not been raised again since
        BaseException.with_traceback(error, _without_frames(traceback))
    cause, context = _cause_of(error), _context_of(error)
    if isinstance(error, BaseExceptionGroup):
        return [cause, context, *cast("BaseExceptionGroup[BaseException]", error).exceptions]
    if isinstance(error, (BridgeFailed, CallbackFailed)):
        return [cause, context, error.error]
    return None if context is None and cause is None else [cause, context]


def as_kept(error: E) -> E:
    """A kept error, to be raised again, with the traceback that it had when it was kept.

    Without this it would grow with each time it is raised, and keep the frames of all functions that have caught it.
    """
    traceback = _traceback_of(error)
    while traceback is not None and not _is_kept(traceback):
        traceback = traceback.tb_next
    BaseException.with_traceback(error, traceback)
    return error


def _is_kept(entry: TracebackType) -> bool:
    return type(entry.tb_frame.f_globals) is _Names


def _without_frames(traceback: TracebackType) -> TracebackType | None:
    entries: list[TracebackType] = []
    ours: list[TracebackType] = []
    rest: TracebackType | None = traceback
    while rest is not None and not _is_kept(rest):
        (entries if entries or not _is_ours(rest) else ours).append(rest)
        rest = rest.tb_next
    if rest is not None:
        entries += _others(entries, rest)
    made: TracebackType | None = None
    for entry in reversed(entries or ours):
        made = TracebackType(made, _frame_for(entry.tb_frame), entry.tb_lasti, entry.tb_lineno)
    return made


def _others(entries: list[TracebackType], rest: TracebackType | None) -> list[TracebackType]:
    """Those that an earlier time left; of one that is raised in the same place again and again, only once."""
    places = set(map(_place, entries))
    others: list[TracebackType] = []
    while rest is not None:
        if _place(rest) not in places:
            others.append(rest)
        rest = rest.tb_next
    return others


def _is_ours(entry: TracebackType) -> bool:
    return entry.tb_frame.f_code.co_filename.startswith(_OURS)


def _place(entry: TracebackType) -> tuple[str, str, int]:
    code = entry.tb_frame.f_code
    return code.co_filename, code.co_qualname, entry.tb_lineno


def _template() -> Generator[None]:
    yield  # never reached: a generator that has not begun has a frame, and no caller


_CODE, _NOTHING = _template.__code__.co_code, bytes([opmap["NOP"], 0])


def _padded(length: int) -> bytes:
    """The code of the template, as long as the table of lines needs.

    For a tracer, such as a debugger, Python 3.11 writes the line of each instruction in that table into an array that
    is as long as the code. If the code is shorter, it writes beyond the end of the array.
    """
    return _CODE + _NOTHING * ((length - len(_CODE)) // len(_NOTHING))


def _frame_for(frame: FrameType) -> FrameType:
    """A frame that looks like this one and holds nothing of it."""
    code = frame.f_code
    known = _known.get(id(code))
    if known is not None and known[0] is code:
        return known[1]
    if type(frame.f_globals) is _Names:
        return frame
    same = _template.__code__.replace(
        co_code=_padded(len(code.co_code)),
        co_filename=code.co_filename,
        co_name=code.co_name,
        co_qualname=code.co_qualname,
        co_firstlineno=code.co_firstlineno,
        co_linetable=code.co_linetable,  # gives the line, and the part of it to mark
    )
    names = _Names((name, frame.f_globals[name]) for name in _ABOUT if name in frame.f_globals)
    made: FrameType = FunctionType(same, names)().gi_frame
    if len(_known) >= _MOST:
        _known.clear()
    _known[id(code)] = code, made
    return made
