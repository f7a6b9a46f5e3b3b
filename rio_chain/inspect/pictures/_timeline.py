"""The timeline of a run as SVG: rows of bars on an axis of milliseconds."""

from __future__ import annotations

import math
from typing import Any

from rio_chain.inspect.pictures._canvas import NAME, SMALL, n
from rio_chain.inspect.pictures._paint_svg import RULES, document, icon, rect, text, titled, words
from rio_chain.inspect.pictures._status_marks import duration
from rio_chain.inspect.pictures._svg_string import Svg
from rio_chain.inspect.pictures._text_width import cut, width
from rio_chain.inspect.pictures._timeline_rows import Bar, Rest, Timeline, TimelineRow, rest_text, timeline
from rio_chain.results._outcome import Outcome

PLOT = 560.0  # pixels for the whole time
HIGH, LANE, BETWEEN = 14.0, 17.0, 10.0  # the height of a bar, from one lane to the next, between two rows
MARGIN = 12.0
NAMED = 26  # characters of a name
LEGEND = "      critical path"  # to the right of its line
TICKS = 7  # approximately
STEPS = (1, 2, 5, 10)

TIME_RULES = (
    RULES
    + """
& .x{stroke:#d0d7de;stroke:color-mix(in srgb,var(--fg) 14%,var(--bg))}
& .a{fill:var(--t);fill-opacity:.32;stroke:var(--t);stroke-width:1.2}
& .w{fill:none;stroke:var(--t);stroke-dasharray:3 2}
& .z{stroke:#57606a;stroke:color-mix(in srgb,var(--fg) 62%,var(--bg));stroke-dasharray:1 3;stroke-width:1.5}
& .v{fill:none;stroke:#1f2328;stroke:var(--fg);stroke-width:2}
& .vb{font-weight:700}
& .y{fill:#57606a;fill:color-mix(in srgb,var(--fg) 70%,var(--bg))}
"""
)


def timeline_of(outcome: Outcome[Any]) -> Svg:
    """The timeline of a run."""
    shown = timeline(outcome)
    return Svg(_Painter(shown).svg(outcome.summary()), f"the time of {shown.title}")


def step(span: float) -> float:
    """The distance between two ticks: 1, 2 or 5 times a power of ten."""
    least = max(span, 1e-3) / TICKS
    power = 10 ** math.floor(math.log10(least))
    return float(next(power * k for k in STEPS if power * k >= least * (1 - 1e-9)))


class _Painter:
    def __init__(self, shown: Timeline) -> None:
        self.shown = shown
        names = [cut(row.name, NAMED) for row in shown.rows] + (["wait"] if shown.queued else [])
        self.left = MARGIN + max(width(name, NAME - 1, mono=True) for name in names) + 14
        self.scale = PLOT / max(shown.queued + shown.elapsed, 1e-3)
        self.said = max(width(said, SMALL) for said in [*(row.said for row in shown.rows), LEGEND]) + 34
        self.y = MARGIN + 54
        self.parts: list[str] = []
        self.last: tuple[float, float] | None = None  # the end of the critical path so far

    def x(self, ms: float) -> float:
        """The x of an instant."""
        return self.left + (ms + self.shown.queued) * self.scale

    def svg(self, about: str) -> str:
        """The whole document."""
        shown = self.shown
        if shown.queued:
            self.queue()
        for row in shown.rows:
            self.row(row)
        if shown.folded:
            self.parts.append(words("", self.left, self.y + 7, f"and {shown.folded} more tasks"))
            self.y += 20
        end = self.y - BETWEEN + 6
        wide = max(self.left + PLOT + self.said + MARGIN, width(shown.head.text, SMALL + 1) + 60)
        body = self.head() + self.axis(end) + "".join(self.parts)
        return document((wide, end + MARGIN), f"time of {shown.title}: {shown.head.text}", about, body, TIME_RULES)

    def head(self) -> str:
        """The result of the run, and the legend of the critical path."""
        head = self.shown.head
        x, y = self.left + PLOT + 38, MARGIN + 38
        line = f'<path class="v" d="M{n(x)} {n(y)}H{n(x + 14)}"/>'
        legend = line + words("", x + 18, y, LEGEND.strip()) if any(row.critical for row in self.shown.rows) else ""
        return f"<g>{titled(head.full)}{icon(head.state, 18, 19)}{words('k', 30, 19, head.text)}</g>{legend}\n"

    def axis(self, end: float) -> str:
        """Vertical lines with the milliseconds."""
        shown, found = self.shown, list[str]()
        distance = step(shown.queued + shown.elapsed)
        first, last = math.ceil(-shown.queued / distance - 1e-9), math.floor(shown.elapsed / distance + 1e-9)
        for k in range(first, last + 1):
            x = self.x(k * distance)
            found.append(f'<path class="x" d="M{n(x)} {n(MARGIN + 46)}V{n(end)}"/>')
            unit = " ms" if k == last else ""
            found.append(words("m", x + (8 if unit else 0), MARGIN + 38, f"{k * distance:.6g}{unit}"))
        return "".join(found) + "\n"

    def queue(self) -> None:
        """The wait before the run began."""
        x, wide = self.x(-self.shown.queued), self.shown.queued * self.scale
        bar = rect("w t-waiting", (x, self.y, max(2, wide), HIGH), 3)
        name = words("b e", self.left - 12, self.y + HIGH / 2, "wait")
        said = words("", self.left + PLOT + 26, self.y + HIGH / 2, duration(self.shown.queued))
        full = titled(f"waited {duration(self.shown.queued)} before it began")
        self.parts.append(f"<g>{full}{name}{bar}{said}</g>\n")
        self.y += HIGH + BETWEEN

    def row(self, row: TimelineRow) -> None:
        """The row of a task, or of an item of a task."""
        middle = self.y + HIGH / 2
        if row.folded:
            self.parts.append(words("y", self.left, middle, row.said) + "\n")
            self.y += HIGH + BETWEEN
            return
        kind = "b e vb" if row.critical else "b e y" if row.inner else "b e"
        name = words(kind, self.left - 12, middle, cut(row.name, NAMED))
        inner = "".join([*map(self.rest, row.rests), *map(self.bar, row.bars)])
        right = self.left + PLOT
        said = icon(row.status, right + 15, middle) + words("", right + 26, middle, row.said)
        path = self.path(row) if row.critical else ""
        self.parts.append(f"<g><title>{text(f'{row.name}: {row.said}')}</title>{name}{path}{inner}{said}</g>\n")
        self.y += HIGH + LANE * (row.lanes - 1) + BETWEEN

    def path(self, row: TimelineRow) -> str:
        """The critical path: from the task before, and then below the bars of this task."""
        below = self.y + HIGH + LANE * (row.lanes - 1) + 3
        begin, end = self.x(row.began), self.x(row.ended)
        start = (
            f"M{n(self.last[0])} {n(self.last[1])}H{n(begin)}V{n(below)}" if self.last else f"M{n(begin)} {n(below)}"
        )
        self.last = end, below
        return f'<path class="v" d="{start}H{n(max(end, begin + 2))}"/>'

    def bar(self, bar: Bar) -> str:
        """The bar of a call, or of all calls for the items."""
        x, y = self.x(bar.began), self.y + bar.lane * LANE
        wide = max(2.0, (bar.ended - bar.began) * self.scale)
        inside = ""
        if bar.items and wide > width(said := f"{bar.items} items", SMALL) + 24:
            inside = words("m", x + wide / 2, y + HIGH / 2, said)
        elif wide > 18:  # noqa: PLR2004 - the shape has room
            inside = icon(bar.status, x + wide / 2, y + HIGH / 2)
        more = rect(f"w t-{bar.status}", (x + 2, y - 2, wide, HIGH), 3) if bar.items > 1 else ""
        here = rect(f"a t-{bar.status}", (x, y, wide, HIGH), 3)
        return f"<g>{titled(bar.full)}{more}{here}{inside}</g>"

    def rest(self, rest: Rest) -> str:
        """A wait between two calls."""
        y = n(self.y + rest.lane * LANE + HIGH / 2)
        line = f'<path class="z" d="M{n(self.x(rest.began))} {y}H{n(self.x(rest.ended))}"/>'
        return f"<g>{titled(rest_text(rest))}{line}</g>"
