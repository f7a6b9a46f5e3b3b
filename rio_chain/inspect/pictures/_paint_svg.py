"""Makes SVG from a Picture. All text of the user is escaped, and the SVG runs and loads nothing."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256

from rio_chain.inspect._html import escape
from rio_chain.inspect.pictures._canvas import NAME, PILL, RING, SAMPLE, SMALL, n
from rio_chain.inspect.pictures._picture import BadgeBox, Box, Edge, LegendEntry, Mark, Picture
from rio_chain.inspect.pictures._text_width import width
from rio_chain.inspect.pictures._theme import MONO, SANS, sheet

RULES = f"""
&{{font:{SMALL:g}px {SANS};max-width:100%;height:auto}}
& text{{fill:#1f2328;fill:var(--fg);dominant-baseline:central;white-space:pre}}
& .n{{font:{NAME:g}px {MONO}}}
& .b{{font:{NAME - 1:g}px {MONO}}}
& .k{{font-size:{SMALL + 1:g}px;font-weight:600}}
& .m{{text-anchor:middle}}
& .e{{text-anchor:end}}
& .g{{fill:#fff;fill:var(--bg)}}
& .c{{fill:#fff;fill:color-mix(in srgb,var(--fg) 5%,var(--bg))}}
& .c{{stroke:#57606a;stroke:color-mix(in srgb,var(--fg) 62%,var(--bg))}}
& .c.s{{stroke:var(--t);stroke-width:2}}
& .l{{fill:none;stroke:#57606a;stroke:color-mix(in srgb,var(--fg) 62%,var(--bg));stroke-width:1.4}}
& .f{{fill:none;stroke:#8b949e;stroke:color-mix(in srgb,var(--fg) 45%,var(--bg))}}
& .o{{fill:#fff;fill:color-mix(in srgb,var(--fg) 2%,var(--bg))}}
& .r{{fill:none;stroke:var(--t);stroke-width:1.5}}
& .p{{fill:var(--t);fill-opacity:.16;stroke:var(--t)}}
& .d{{stroke-dasharray:4 3}}
& .u{{stroke:var(--t);stroke-dasharray:2 3}}
& .h{{paint-order:stroke;stroke:#fff;stroke:var(--bg);stroke-width:4px;stroke-linejoin:round}}
& .q{{fill:#57606a;fill:color-mix(in srgb,var(--fg) 62%,var(--bg))}}
& .i{{fill:none;stroke:var(--t);stroke-width:1.8;stroke-linecap:round;stroke-linejoin:round}}
"""

ICONS = {
    "succeeded": "M-4 0L-1 3.5L4.5 -3.5",
    "failed": "M-3.5 -3.5L3.5 3.5M3.5 -3.5L-3.5 3.5",
    "timed_out": "M0 -5A5 5 0 1 1 -.1 -5M0 -2.8V0H2.4",
    "abandoned": "M-3.5 -4.5H3.5L-3.5 4.5H3.5Z",
    "cancelled": "M-3.5 -3.5H3.5V3.5H-3.5Z",
    "skipped": "M-4 -3.5L0 0L-4 3.5M1 -3.5L5 0L1 3.5",
    "running": "M-2.5 -4L4 0L-2.5 4Z",
    "waiting": "M-4 0H-3.9M0 0H.1M4 0H4.1",
}
"""An icon for each status, around its middle, because colour alone must not carry the status."""
FRAMES = ("frame", "items", "named")


def paint(picture: Picture) -> str:
    """The SVG text. Equal pictures give equal text, and different ones have different ids."""
    frames = [box for box in picture.boxes if box.kind in FRAMES]
    boxes = [box for box in picture.boxes if box.kind not in FRAMES]
    body = "".join(
        [
            _head(picture.head) if picture.head is not None else "",
            *(_frame(box) for box in frames),
            *(_edge(edge) for edge in picture.edges),
            *(_box(box) for box in boxes),
            *(_label(edge) for edge in picture.edges if edge.label),
            *map(_legend_entry, picture.legend),
        ]
    )
    return document((picture.width, picture.height), picture.title, picture.about, body, RULES)


def document(size: tuple[float, float], title: str, about: str, body: str, rules: str) -> str:
    """A complete SVG document with a title, a description, its own style and a background."""
    wide, high = map(n, size)
    id_ = "rio-" + sha256(f"{title}\n{about}\n{body}".encode()).hexdigest()[:10]
    view = f'width="{wide}" height="{high}" viewBox="0 0 {wide} {high}"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" id="{id_}" class="rio-chain" {view} role="img" '
        f'aria-labelledby="{id_}-title {id_}-about">\n'
        f'<title id="{id_}-title">{text(title)}</title>\n<desc id="{id_}-about">{text(about)}</desc>\n'
        f"<style>{sheet('#' + id_, rules)}</style>\n"
        f'<rect class="g" width="{wide}" height="{high}" rx="8"/>\n{body}</svg>\n'
    )


def text(words: str) -> str:
    """Text escaped for XML."""
    return escape(words)


def rect(kind: str, where: tuple[float, float, float, float], radius: float) -> str:
    """A box with round corners, at ``x, y, width, height``."""
    x, y, wide, high = where
    return f'<rect class="{kind}" x="{n(x)}" y="{n(y)}" width="{n(wide)}" height="{n(high)}" rx="{n(max(0, radius))}"/>'


def words(kind: str, x: float, y: float, said: str) -> str:
    """A line of text."""
    named = f' class="{kind}"' if kind else ""
    return f'<text{named} x="{n(x)}" y="{n(y)}">{text(said)}</text>'


def titled(full: str) -> str:
    """A tooltip."""
    return f"<title>{text(full)}</title>" if full else ""


def icon(state: str, x: float, y: float) -> str:
    """The icon of a status."""
    return f'<path class="i t-{state}" transform="translate({n(x)} {n(y)})" d="{ICONS[state]}"/>'


# --- the parts --------------------------------------------------------------------------------------------------


def _legend_entry(entry: LegendEntry) -> str:
    sample = rect(f"r t-{entry.tone}", (entry.x, entry.y, 14, 10), 3)
    return f"<g>{sample}{words('', entry.x + SAMPLE, entry.y + 5, entry.text)}</g>\n"


def _frame(box: Box) -> str:
    kind = "f o d" if box.kind == "named" and not box.rings else "f o"
    parts: list[str] = []
    if box.kind == "items":
        parts += [rect(kind, (box.x + off, box.y + off, box.width, box.height), 10) for off in (7, 3.5)]
    parts.append(rect("g" if box.rings else kind, (box.x, box.y, box.width, box.height), 10))
    parts += _rings(box)
    if box.text:
        rim = RING * max(0, len(box.rings) - 1)
        parts.append(words("b" if box.kind == "named" else "", box.x + rim + 12, box.y + rim + 8 + PILL / 2, box.text))
    parts += map(_pill, box.badges)
    return f"<g>{titled(box.full)}{''.join(parts)}</g>\n"


def _rings(box: Box) -> Iterator[str]:
    """The policies as lines around a box, the outermost first."""
    for i, tone in enumerate(reversed(box.rings)):
        inset = i * RING
        where = box.x + inset, box.y + inset, box.width - 2 * inset, box.height - 2 * inset
        yield rect(f"r t-{tone}", where, 10 + RING * len(box.rings) - inset if len(box.rings) > 1 else 10)


def _pill(badge: BadgeBox) -> str:
    inner = rect(f"p t-{badge.tone}", (badge.x, badge.y, badge.width, PILL), PILL / 2)
    said = words("m", badge.x + badge.width / 2, badge.y + PILL / 2, badge.text)
    return f"<g>{titled(badge.full)}{inner}{said}</g>"


def _edge(edge: Edge) -> str:
    kind = {"flow": "l", "else": "l d", "use": "l u t-share"}[edge.line]
    tip = ""
    if edge.tip is not None:
        x, y, way = edge.tip
        tip = f"M{n(x - 5)} {n(y - 4)}L{n(x)} {n(y)}L{n(x - 5)} {n(y + 4)}"
        if way == "up":
            tip = f"M{n(x - 4)} {n(y + 5)}L{n(x)} {n(y)}L{n(x + 4)} {n(y + 5)}"
        tip = f'<path class="{kind.replace(" d", "").replace(" u", "")}" d="{tip}"/>'
    return f'<path class="{kind}" d="{edge.path}"/>{tip}\n'


def _label(edge: Edge) -> str:
    x, y = edge.at
    end = " e" if edge.line == "use" else ""
    return f"<g>{titled(edge.full)}{words('h' + end, x, y - SMALL / 3, edge.label)}</g>\n"


def _head(head: Mark) -> str:
    """The result of the run, above everything."""
    return f"<g>{titled(head.full)}{icon(head.state, 18, 19)}{words('k', 30, 19, head.text)}</g>\n"


def _box(box: Box) -> str:
    if box.kind == "fork":
        return f'<circle class="q" cx="{n(box.x + 1.5)}" cy="{n(box.y + 1.5)}" r="2"/>\n'
    if box.kind == "end":
        return _end(box)
    if box.kind == "choice":
        x, y, r = box.x + box.width / 2, box.y + box.height / 2, box.width / 2
        shape = f"M{n(x - r)} {n(y)}L{n(x)} {n(y - r)}L{n(x + r)} {n(y)}L{n(x)} {n(y + r)}Z"
        inner = words("m", x, y, "?") if box.mark is None else icon(box.mark.state, x, y)
        state = f" s t-{box.mark.state}" if box.mark is not None else ""
        return f'<g>{titled(box.full)}<path class="c{state}" d="{shape}"/>{inner}</g>\n'
    if box.kind == "join":
        inside = rect("c", (box.x, box.y, box.width, box.height), 5)
        said = words("m", box.x + box.width / 2, box.y + box.height / 2, box.text)
        return f"<g>{titled(box.full)}{inside}{said}</g>\n"
    return _card(box)


def _end(box: Box) -> str:
    x, y, r = box.x + box.width / 2, box.y + box.height / 2, box.width / 2
    inner = f'<circle class="q" cx="{n(x)}" cy="{n(y)}" r="{n(r - 3)}"/>'
    ring = f'<circle class="l" cx="{n(x)}" cy="{n(y)}" r="{n(r - 1)}"/>' if box.text else ""
    return f"<g>{titled(box.full)}{ring}{inner}</g>\n"


def _card(box: Box) -> str:
    """A task, a bridge, a constant or a fold."""
    rim = RING * len(box.rings)
    x, y, wide, high = box.x + rim, box.y + rim, box.width - 2 * rim, box.height - 2 * rim
    big = box.kind == "task"
    radius = {"task": 8, "bridge": 13, "constant": 2}.get(box.kind, 8)
    state = f" s t-{box.mark.state}" if box.mark is not None else ""
    dashed = " d" if box.kind == "fold" or (box.mark is not None and box.mark.state == "skipped") else ""
    parts = [*_rings(box), rect(f"c{state}{dashed}", (x, y, wide, high), radius)]
    parts.append(words("n m" if big else "b m", x + wide / 2, y + (18 if big else 13.5), box.text))
    parts += map(_pill, box.badges)
    if box.mark is not None:
        parts.append(_mark(box.mark, x + wide / 2, y + high - 11))
    number = f' data-task="{box.task}"' if box.task is not None else ""
    return f"<g{number}>{titled(box.full)}{''.join(parts)}</g>\n"


def _mark(mark: Mark, x: float, y: float) -> str:
    """The icon of a status and its text, centred."""
    wide = width(mark.text, SMALL)
    return icon(mark.state, x - wide / 2 - 4, y) + words("", x - wide / 2 + 8, y, mark.text)
