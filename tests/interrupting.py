"""Code that interrupts rio_chain at every place, one after the other, where a signal handler or a finaliser can.

The places are events of ``sys.setprofile`` and ``sys.settrace``, not instructions: those differ between Pythons.
"""

from __future__ import annotations

import ast
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from inspect import CO_ASYNC_GENERATOR, CO_COROUTINE, CO_GENERATOR
from pathlib import Path
from types import FrameType
from typing import Any

import rio_chain

HOMES = str(Path(rio_chain.__file__).parent), threading.__file__
SIGNALS = frozenset({"call", "return", "c_return", "loop"})
"""Python looks for signals when a Python function begins, after a call, and when a loop goes back to its head."""
ALL = SIGNALS | {"allocation"}
"""In Python 3.11 the collector runs as soon as something is allocated; in later ones, where signals are handled."""
_YIELDS = CO_GENERATOR | CO_COROUTINE | CO_ASYNC_GENERATOR
_LOOPS = ast.For | ast.AsyncFor | ast.While
_DISPLAYS = ast.Tuple | ast.List | ast.Set | ast.Dict | ast.Slice | ast.JoinedStr
_COMPREHENSIONS = ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp
_FUNCTIONS = ast.Lambda | ast.FunctionDef | ast.AsyncFunctionDef
_ALLOCATIONS = _DISPLAYS | _COMPREHENSIONS | _FUNCTIONS


@cache
def _lines(filename: str) -> dict[int, str]:
    """What begins on which line: a loop, or something that allocates."""
    nodes = list(ast.walk(ast.parse(Path(filename).read_bytes())))
    found = {node.lineno: "allocation" for node in nodes if isinstance(node, _ALLOCATIONS)}
    return found | {node.lineno: "loop" for node in nodes if isinstance(node, _LOOPS)}


def _ours(frame: FrameType | None) -> bool:
    return frame is not None and frame.f_code.co_filename.startswith(HOMES)


class Interruption:
    """Calls ``comes`` once, on this thread, at the place of that number; the first place has the number 0."""

    def __init__(self, number: int, comes: Callable[[], Any], after: frozenset[str] = ALL) -> None:
        self.number = self.left = number
        self.comes = comes
        self.after = after
        self.came: str | None = None  # where

    @contextmanager
    def here(self) -> Iterator[None]:
        before = sys.getprofile(), sys.gettrace()
        sys.settrace(self._entered)
        sys.setprofile(self._profiled)
        try:
            yield
        finally:
            sys.setprofile(before[0])
            sys.settrace(before[1])

    def _profiled(self, frame: FrameType, event: str, arg: object) -> None:
        """Calls and returns. Those of Python functions of others count where we call them, as those in C do."""
        del arg
        if event == "return" and frame.f_code.co_flags & _YIELDS:
            return  # it may be a yield, where Python does not look for signals
        if _ours(frame) or (event in ("call", "return") and _ours(frame.f_back)):
            self._reached(frame, event)

    def _entered(self, frame: FrameType, event: str, arg: object) -> Any:
        """A trace function for the lines of this call, if the code is ours."""
        del event, arg
        if self.came is not None or not _ours(frame):
            return None
        lines, last = _lines(frame.f_code.co_filename), frame.f_lineno

        def stepped(frame: FrameType, event: str, arg: object) -> Any:
            nonlocal last
            del arg
            if event == "line":
                back, last = frame.f_lineno <= last, frame.f_lineno
                if (begins := lines.get(last)) is not None and back == (begins == "loop"):  # a `with` goes back as well
                    self._reached(frame, begins)
            return stepped

        return stepped

    def _reached(self, frame: FrameType, event: str) -> None:
        if self.came is not None or event not in self.after:
            return
        if self.left:
            self.left -= 1
            return
        self.came = f"{frame.f_code.co_qualname}:{frame.f_lineno} ({event})"
        self.comes()  # nothing is traced in here


def everywhere(
    once: Callable[[Interruption], None], comes: Callable[[], Any], step: int = 1, after: frozenset[str] = ALL
) -> list[str]:
    """Call ``once`` again and again, each time with the next place, until it ends before it gets there.

    Gives the places.
    """
    came: list[str] = []
    while True:
        interruption = Interruption(len(came) * step, comes, after)
        try:
            once(interruption)
        except BaseException as error:
            error.add_note(f"interrupted at {interruption.came}")
            raise
        if interruption.came is None:
            return came
        came.append(interruption.came)


def arrives(error: type[BaseException]) -> Callable[[], None]:
    """A ``comes`` that raises this."""

    def arrive() -> None:
        raise error

    return arrive
