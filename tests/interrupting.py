"""Code that comes in everywhere: at each instruction of rio_chain, and of its locks, where a signal handler or a
finaliser can.
"""

from __future__ import annotations

import dis
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from itertools import pairwise
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import rio_chain

HOMES = str(Path(rio_chain.__file__).parent), threading.__file__
SIGNALS = ("CALL", "RESUME", "JUMP_BACKWARD")
"""After these the interpreter looks for signals."""
ALL = (*SIGNALS, "BUILD", "MAKE")
"""An allocation may start the collector."""


@cache
def places(code: CodeType, after: tuple[str, ...]) -> frozenset[int]:
    """The instructions right before which something may come in."""
    steps = list(dis.get_instructions(code))
    return frozenset(step.offset for last, step in pairwise(steps) if last.opname.startswith(after))


class Interruption:
    """Comes in once, on this thread, at the place of that number; counts from there on."""

    def __init__(self, number: int, comes: Callable[[], Any], after: tuple[str, ...] = ALL) -> None:
        self.number = self.left = number
        self.comes = comes
        self.after = after
        self.came: str | None = None  # where

    @contextmanager
    def here(self) -> Iterator[None]:
        before, frame = sys.gettrace(), sys._getframe()
        sys.settrace(self._called)
        try:
            yield
        finally:
            sys.settrace(before)
            del frame

    def _called(self, frame: FrameType, event: str, arg: object) -> Any:
        del event, arg
        if self.came is not None or not frame.f_code.co_filename.startswith(HOMES):
            return None
        frame.f_trace_opcodes = True
        frame.f_trace_lines = False
        return self._step

    def _step(self, frame: FrameType, event: str, arg: object) -> Any:
        del arg
        if event != "opcode" or self.came is not None or frame.f_lasti not in places(frame.f_code, self.after):
            return self._step
        if self.left:
            self.left -= 1
            return self._step
        self.came = f"{frame.f_code.co_qualname}:{frame.f_lineno}"
        self.comes()  # nothing is traced in here
        return self._step


def everywhere(
    once: Callable[[Interruption], None], comes: Callable[[], Any], step: int = 1, after: tuple[str, ...] = ALL
) -> list[str]:
    """Do it again and again, interrupted one place later each time, until it is over before; gives the places."""
    came: list[str] = []
    while True:
        interruption = Interruption(len(came) * step, comes, after)
        try:
            once(interruption)
        except BaseException as error:
            error.add_note(f"something came in at {interruption.came}")
            raise
        if interruption.came is None:
            return came
        came.append(interruption.came)
