"""Sheet: what a view shows, as data; also as plain text and as HTML. It does not depend on the screen."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from attrs import frozen

from rio_chain._core.units import escape_nonprintable
from rio_chain.inspect._html import escape

Tone = str
"""One of ``TONES``, or "" for the default."""

# for a terminal, as rich names it; for a notebook, by the variables of JupyterLab's theme
TONES: dict[Tone, tuple[str, str]] = {
    "quiet": ("dim", "color:var(--jp-ui-font-color2,#888)"),
    "busy": ("cyan", "color:var(--jp-info-color1,#0288d1)"),
    "warn": ("yellow", "color:var(--jp-warn-color1,#c77700)"),
    "good": ("green", "color:var(--jp-success-color1,#2e7d32)"),
    "bad": ("red", "color:var(--jp-error-color1,#d32f2f)"),
}


@frozen
class Cell:
    """A text and its tone."""

    text: str
    tone: Tone = ""


@frozen
class Sheet:
    """What a view shows.

    Attributes:
        title: the first line.
        head: the names of the columns, if there are rows.
        rows: the rows of the table.
        left: what there was no room for, in words.
        share: how much is done, between 0 and 1; None: unknown, or there is nothing to do.
        note: the last line.
        picture: makes HTML that shows the same, for a screen with HTML; None: there is none.
    """

    title: Cell
    head: tuple[str, ...] = ()
    rows: Sequence[tuple[Cell, ...]] = ()
    left: str = ""
    share: float | None = None
    note: Cell = Cell("")
    picture: Callable[[], str] | None = None


class View(Protocol):
    """An object that a Screen can show."""

    def sheet(self, rows: int) -> Sheet:
        """Its present state, with at most ``rows`` rows."""
        ...

    def news(self) -> Iterable[str]:
        """A line for each part that has changed since the last call."""
        ...


def text(sheet: Sheet) -> str:
    """The Sheet as plain text of several lines."""
    rows = (
        [sheet.head, *(tuple(escape_nonprintable(cell.text) for cell in row) for row in sheet.rows)]
        if sheet.rows
        else []
    )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join(
        filter(None, (escape_nonprintable(sheet.title.text), *lines, sheet.left, escape_nonprintable(sheet.note.text)))
    )


def html(sheet: Sheet) -> str:
    """The Sheet as HTML: no script, nothing is loaded, colours of the notebook's theme."""
    if sheet.picture is not None:
        return sheet.picture()
    parts = [_block("div", sheet.title, "font-weight:600")]
    if sheet.share is not None:
        parts.append(f'<progress max="1" value="{sheet.share:.4f}" style="width:min(100%,24em)"></progress>')
    if sheet.rows:
        head = "".join(f'<th style="text-align:left">{escape(name)}</th>' for name in sheet.head)
        body = "".join(
            f"<tr>{''.join(_block('td', cell, 'text-align:left') for cell in row)}</tr>" for row in sheet.rows
        )
        parts.append(f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>")
    parts.append(_block("div", Cell(sheet.left, "quiet"), ""))
    parts.append(_block("div", sheet.note, "font-variant-numeric:tabular-nums"))
    return f'<div class="rio-live">{"".join(parts)}</div>'


def _block(tag: str, cell: Cell, style: str) -> str:
    if not cell.text and tag == "div":
        return ""
    colour = f";{TONES[cell.tone][1]}" if cell.tone else ""
    return f'<{tag} style="{style}{colour}">{escape(escape_nonprintable(cell.text))}</{tag}>'
