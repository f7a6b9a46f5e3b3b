"""A Sheet in a terminal, drawn with rich, which the extra ``rio-chain[watch]`` installs."""

from __future__ import annotations

import importlib
import sys
import threading
from typing import Any, TextIO

from rio_chain._core.units import escape_nonprintable
from rio_chain.inspect.live._table import TONES, Cell, Sheet, View

BAR = 24
"""The width of a bar, in columns."""
BESIDE = 6
"""Lines of a terminal that are not rows of a table."""
_one = threading.Lock()
"""Held while a view draws: two views would draw over each other."""


def drawn(sheet: Sheet) -> Any:
    """The Sheet as an object that rich prints. Cells are ``Text``, in which rich reads no markup."""
    parts = [_text(sheet.title, bold=True)] if sheet.title.text else []
    if sheet.rows:
        table = _rich("rich.table").Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
        for place, name in enumerate(sheet.head):  # if room is short, the first and the last column shrink
            table.add_column(name, no_wrap=0 < place < len(sheet.head) - 1, overflow="ellipsis")
        for row in sheet.rows:
            table.add_row(*map(_text, row))
        parts.append(table)
    if sheet.left:
        parts.append(_text(Cell(sheet.left, "quiet")))
    if sheet.note.text:
        parts.append(_text(sheet.note) if sheet.share is None else _beside(_bar(sheet.share), _text(sheet.note)))
    return _rich("rich.console").Group(*parts)


def _bar(share: float) -> Any:
    styles = {"complete_style": "cyan", "finished_style": "green"}
    return _rich("rich.progress_bar").ProgressBar(total=1.0, completed=share, width=BAR, **styles)


def _beside(*several: Any) -> Any:
    row = _rich("rich.table").Table.grid(padding=(0, 2, 0, 0))
    row.add_row(*several)
    return row


def _text(cell: Cell, *, bold: bool = False) -> Any:
    style = " ".join(filter(None, ("bold" * bold, TONES[cell.tone][0] if cell.tone else "")))
    return _rich("rich.text").Text(escape_nonprintable(cell.text), style=style, no_wrap=True, overflow="ellipsis")


class Terminal:
    """The lines above the cursor, redrawn at each update. Output printed meanwhile appears above them."""

    every = 0.1

    def __init__(self, stream: TextIO) -> None:
        self._console = _rich("rich.console").Console(file=stream)
        if self._console.is_dumb_terminal or not _one.acquire(blocking=False):
            raise Unfit
        try:
            # no refresh thread; and stdout is not redirected if it goes to a file
            self._live = _rich("rich.live").Live(
                console=self._console,
                auto_refresh=False,
                redirect_stdout=sys.stdout.isatty(),
                vertical_overflow="crop",
            )
            self._live.start()
        except BaseException:
            _one.release()
            raise

    def show(self, view: View) -> None:
        """Redraw the view, as far as there is room."""
        sheet = view.sheet(max(4, self._console.height - BESIDE))
        self._live.update(drawn(sheet), refresh=True)

    def close(self) -> None:
        """Leave the last view on the screen, and show the cursor again."""
        try:
            self._live.stop()
        finally:
            _one.release()


class Unfit(Exception):
    """The terminal can't move its cursor, or another view is drawn there."""


def _rich(module: str) -> Any:
    return importlib.import_module(module)
