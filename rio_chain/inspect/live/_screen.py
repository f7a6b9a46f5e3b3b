"""Where and how often a view is shown: in a notebook's cell, in a terminal, or as lines."""

from __future__ import annotations

import importlib
import sys
import time
import warnings
from collections.abc import Callable
from types import TracebackType
from typing import Any, Protocol, TextIO

from rio_chain._core.unhandled_errors import report_unhandled
from rio_chain.executors import in_notebook
from rio_chain.inspect._notebook import text_alone
from rio_chain.inspect.live._rich_terminal import Terminal, Unfit
from rio_chain.inspect.live._table import View, html, text

ROWS = 40
"""The most rows of a table in a notebook."""
BUSY = 0.1
"""The most time that may be spent on drawing, as a share. The run has to wait for it."""
HINT = "rio_chain: with the extra `rio-chain[watch]` this is a table that is drawn in place"
_hinted: set[str] = set()


class Screen(Protocol):
    """Shows a view."""

    @property
    def every(self) -> float:
        """Seconds from one update to the next."""
        ...

    def show(self, view: View) -> None:
        """Show the view in its present state."""

    def close(self) -> None:
        """Called after the last update."""


class Notebook:
    """One output of the cell, updated in place."""

    every = 0.1

    def __init__(self) -> None:
        self._display: Any = None

    def show(self, view: View) -> None:
        """As ``Screen.show``."""
        sheet = view.sheet(ROWS)
        bundle = {"text/plain": text(sheet)} | ({} if text_alone() else {"text/html": html(sheet)})
        if self._display is None:
            self._display = importlib.import_module("IPython.display").display(bundle, raw=True, display_id=True)
        else:
            self._display.update(bundle, raw=True)

    def close(self) -> None:
        """Do nothing."""


class LineOutput:
    """A line for each change: every second, and less often the longer the run takes."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._began = time.monotonic()

    @property
    def every(self) -> float:
        """A tenth of the time so far, and at least a second."""
        return max(1.0, 0.1 * (time.monotonic() - self._began))

    def show(self, view: View) -> None:
        """As ``Screen.show``."""
        for line in view.news():
            self._stream.write(line + "\n")
        self._stream.flush()

    def close(self) -> None:
        """Do nothing."""


def screen_here() -> Screen:
    """The screen for the place where the program runs."""
    if in_notebook():
        return Notebook()
    if sys.stderr.isatty():
        try:
            return Terminal(sys.stderr)
        except Unfit:
            pass
        except ImportError:
            if HINT not in _hinted:
                _hinted.add(HINT)
                sys.stderr.write(HINT + "\n")
    return LineOutput(sys.stderr)


class Shown:
    """A view on a screen, for a block that calls ``look`` as often as it likes.

    If drawing fails, a warning is given and the view stops: a failing view must not end the run.
    """

    def __init__(self, view: View) -> None:
        self._view = view
        self._screen: Screen | None = None
        self._next = 0.0

    def __enter__(self) -> Callable[[], None]:
        self._guarded(self._open)
        return self.look

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        try:
            self._guarded(self._show)
        finally:
            self._guarded(self._close)

    def look(self) -> None:
        """Update the screen, if it is time."""
        if time.monotonic() >= self._next:
            self._guarded(self._show)

    def _open(self) -> None:
        self._screen = screen_here()
        self._show()

    def _show(self) -> None:
        if self._screen is not None:
            began = time.monotonic()
            self._screen.show(self._view)
            ended = time.monotonic()
            self._next = ended + max(self._screen.every, (ended - began) / BUSY)

    def _close(self) -> None:
        screen, self._screen = self._screen, None
        if screen is not None:
            screen.close()

    def _guarded(self, step: Callable[[], None]) -> None:
        try:
            step()
        except Exception as error:  # noqa: BLE001 - a failing view must not end the run
            self._screen = None
            try:
                warnings.warn(f"the live view stopped: {error!r}", RuntimeWarning, stacklevel=3)
            except Exception as warning:  # noqa: BLE001 - warnings may be errors, and a `repr` may raise
                report_unhandled(warning)
