"""Charts of distributions: latency over percentiles, with a stretched tail as in HdrHistogram.

The SVG uses the width that is available, and its text keeps its size: only the curves are stretched. It has no script
and no ids, and loads nothing. So a notebook or page may contain any number of them.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from itertools import product

from rio_chain._core.quantiles import quantile
from rio_chain._core.units import escape_nonprintable
from rio_chain.inspect._html import escape
from rio_chain.simulation._distribution import PERCENTILES, Distribution
from rio_chain.simulation._estimate import Estimate, short

HEIGHT = 240
WIDE = 1000  # the width in which curves are drawn before they are stretched
POINTS = 160
BEGIN = -math.log10(0.95)
"""The fastest 5 % are left out: they are of no interest, and would take much room."""
BAND = 24
MOST_ROWS = 8
LONGEST = 4  # 99.99 %
AXIS = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p99.9": 0.999, "p99.99": 0.9999}
LINES = ("", "7 3", "2 3")
COLOURS = 4

# Text has the colour of its surroundings. The curves have tones (Okabe and Ito, also for colour-blind readers) that are
# visible on white and on black. So a dark notebook on a light system works too. A page may set its own tones.
STYLE = """<style>
.rio-sim{--rio-1:#0072b2;--rio-2:#d55e00;--rio-3:#009e73;--rio-4:#b86b9b;
 --rio-ink:var(--jp-content-font-color1,var(--vscode-foreground,currentColor));
 --rio-line:color-mix(in srgb,var(--rio-ink) 16%,transparent);
 max-width:52rem;margin:.4rem 0;color:var(--rio-ink);
 font:13px/1.45 system-ui,-apple-system,"Segoe UI",sans-serif;font-variant-numeric:tabular-nums}
@media (prefers-color-scheme:dark){.rio-sim{--rio-1:#3d9bd6;--rio-2:#e8742c;--rio-3:#22b488;--rio-4:#cc79a7}}
.rio-sim p{margin:0 0 .35rem}
.rio-sim .rio-what{font-size:14px;font-weight:600;overflow-wrap:anywhere}
.rio-sim .rio-how{opacity:.72}
.rio-sim .rio-key{display:flex;flex-wrap:wrap;gap:.1rem 1.1rem;margin:.3rem 0 0}
.rio-sim .rio-key svg{width:22px;height:8px;margin-right:.4em;vertical-align:middle}
.rio-sim svg{display:block;overflow:visible;font:inherit}
.rio-sim .rio-plot{width:calc(100% - 92px);margin:22px 38px 34px 54px}
.rio-sim .rio-key svg{display:inline-block}
.rio-sim text{fill:var(--rio-ink);font-size:12px}
.rio-sim .rio-faint{opacity:.68}
.rio-sim .rio-value{font-weight:600}
.rio-sim .rio-grid{stroke:var(--rio-line);stroke-width:1}
.rio-sim .rio-curve{fill:none;stroke-width:2;stroke-linejoin:round}
.rio-sim .rio-band{opacity:.16;stroke:none}
.rio-sim .rio-tables{display:flex;flex-wrap:wrap;gap:.8rem 2.4rem;align-items:flex-start;margin:.6rem 0}
.rio-sim .rio-wide{overflow-x:auto;max-width:100%}
.rio-sim table{border-collapse:collapse;font-size:13px;margin:0}
.rio-sim th,.rio-sim td{padding:.18rem .8rem .18rem 0;text-align:right;white-space:nowrap;border:0;background:none}
.rio-sim th:first-child,.rio-sim td:first-child{text-align:left}
.rio-sim thead th{font-weight:600;border-bottom:1px solid var(--rio-line)}
.rio-sim tbody th{font-weight:400}
.rio-sim .rio-sure{opacity:.62}
</style>"""


def card(what: str, how: str, *parts: str) -> str:
    """A heading and the parts below it, for a notebook."""
    head = f'<p class="rio-what">{text(what)}</p><p class="rio-how">{text(how)}</p>'
    return f'<div class="rio-sim">{STYLE}{head}{"".join(parts)}</div>'


def time(value: float) -> str:
    """Milliseconds as text."""
    return "never" if value == math.inf else f"{short(value)} ms"


def text(value: object) -> str:
    """Any value as escaped text."""
    return escape(escape_nonprintable(str(value)))


def table(heads: Sequence[str], rows: Sequence[Sequence[str | Estimate]], unit: str = "") -> str:
    """A table. The first column has the names of the rows."""
    head = "".join(f"<th scope='col'>{text(name)}</th>" for name in heads)
    body = "".join(
        f"<tr><th scope='row'>{text(row[0])}</th>"
        + "".join(f"<td>{_cell(each, unit)}</td>" for each in row[1:])
        + "</tr>"
        for row in rows
    )
    return f'<div class="rio-wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def tables(*each: str) -> str:
    """Tables, side by side if there is room."""
    return f'<div class="rio-tables">{"".join(each)}</div>'


def _cell(value: str | Estimate, unit: str) -> str:
    if not isinstance(value, Estimate):
        return text(value)
    return f'{short(value)}{unit} <span class="rio-sure">{value.bounds}</span>'


# --- the curves -------------------------------------------------------------------------------------------------


def curves(named: Sequence[tuple[str, Distribution]]) -> str:
    """The percentiles of one or more distributions. If there is only one, its percentiles are labelled."""
    scale = Scale([each for _, each in named])
    alone = len(named) == 1
    plot = [_curve(each, scale, number, alone=alone) for number, (_, each) in enumerate(named)]
    marks = [_marks(each, scale, number, alone=alone) for number, (_, each) in enumerate(named)]
    words = "; ".join(
        f"{name}: " + ", ".join(f"{p} {time(value)}" for p, value in each.percentiles.items()) for name, each in named
    )
    svg = (
        f'<svg class="rio-plot" role="img" aria-label="{text(f"Latency over percentiles. {words}")}" height="{HEIGHT}">'
        f"{_rows(scale)}{_columns(scale)}"
        f'<svg width="100%" height="{HEIGHT}" viewBox="0 0 {WIDE} {HEIGHT}" preserveAspectRatio="none">'
        f"{''.join(plot)}</svg>{''.join(marks)}{_never(scale)}</svg>"
    )
    return svg if alone else _key([name for name, _ in named]) + svg


class Scale:
    """The axes: the share of slower requests and the latency, both logarithmic."""

    def __init__(self, all_of_them: Sequence[Distribution]) -> None:
        many = min(len(each) for each in all_of_them)
        self.end = min(LONGEST, max(1.0, math.log10(max(many, 1))))
        shown = [self.value(each, u) for each in all_of_them for u in (BEGIN, self.end)]
        shown += [each.ordered[bisect_left(each.ordered, math.inf) - 1] for each in all_of_them]  # the end may be inf
        finite = [value for value in shown if value < math.inf] or [1.0]
        self.never = len(finite) < len(shown)
        self.ticks = ticks(max(*finite, 2e-3), max(min(finite), max(finite) / 1e4, 1e-3))
        self._low, self._high = math.log(self.ticks[0]), math.log(self.ticks[-1])

    @staticmethod
    def value(of: Distribution, u: float) -> float:
        """The latency that a share of ``10 ** -u`` exceeds."""
        return quantile(of.ordered, 1 - 10**-u)

    def x(self, u: float) -> float:
        """The horizontal position, from 0 to 1."""
        return u / self.end

    def y(self, latency: float) -> float:
        """Pixels from the top of the plot. A latency outside of the plot is at its edge."""
        at = (math.log(max(latency, 1e-9)) - self._low) / (self._high - self._low)
        return HEIGHT * (1 - min(1.0, max(0.0, at)))


def ticks(high: float, low: float) -> list[float]:
    """1, 2, 5, 10, ... around the shown values; only powers of ten if these would be too many."""
    exponents = range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 2)
    for steps in ((1, 2, 5), (1,)):
        marks = [step * 10.0**e for e, step in product(exponents, steps)]
        first = max(i for i, mark in enumerate(marks) if mark <= low or i == 0)
        last = min(i for i, mark in enumerate(marks) if mark >= high and i > first)
        found = marks[first : last + 1]
        if len(found) <= MOST_ROWS:
            break
    return found


def _curve(each: Distribution, scale: Scale, number: int, *, alone: bool) -> str:
    colour, dash = _colour(number), LINES[number // COLOURS % len(LINES)]
    steps = [BEGIN + (scale.end - BEGIN) * i / POINTS for i in range(POINTS + 1)]
    line = " ".join(f"{WIDE * scale.x(u):.1f},{scale.y(scale.value(each, u)):.1f}" for u in steps)
    dashed = f' stroke-dasharray="{dash}"' if dash else ""
    curve = (
        f'<polyline class="rio-curve" stroke="{colour}"{dashed} vector-effect="non-scaling-stroke" points="{line}"/>'
    )
    return (_band(each, scale, colour) if alone else "") + curve  # with several curves, the table has the intervals


def _band(each: Distribution, scale: Scale, colour: str) -> str:
    """The confidence band of the percentiles."""
    steps = [scale.end * i / BAND for i in range(1, BAND + 1)]
    all_of_them = [(WIDE * scale.x(u), each.quantile(1 - 10**-u)) for u in steps]
    found = [(x, value) for x, value in all_of_them if math.isfinite(value.high)]
    low = [f"{x:.1f},{scale.y(value.low):.1f}" for x, value in found]
    high = [f"{x:.1f},{scale.y(value.high):.1f}" for x, value in reversed(found)]
    return f'<polygon class="rio-band" fill="{colour}" points="{" ".join(low + high)}"/>'


def _marks(each: Distribution, scale: Scale, number: int, *, alone: bool) -> str:
    found: list[str] = []
    for (name, q), value in zip(PERCENTILES.items(), each.percentiles.values(), strict=True):
        u = -math.log10(1 - q)
        if u > scale.end + 1e-9 or name == "p95" or value == math.inf:  # there is no room for the p95
            continue
        x, y = f"{100 * scale.x(u):.2f}%", scale.y(value)
        tooltip = f"<title>{name} {time(value)} {value.bounds}</title>"
        found.append(f'<circle cx="{x}" cy="{y:.1f}" r="3.5" fill="{_colour(number)}">{tooltip}</circle>')
        if alone:
            found.append(
                f'<text class="rio-value" x="{x}" y="{y - 9:.1f}" text-anchor="{"middle" if u < scale.end else "end"}">'
                f"{short(value)}</text>"
            )
    return "".join(found)


def _never(scale: Scale) -> str:
    """The label for a curve that runs along the upper edge."""
    return '<text class="rio-faint" x="100%" y="-7" text-anchor="end">never</text>' if scale.never else ""


def _rows(scale: Scale) -> str:
    found: list[str] = []
    for mark in scale.ticks:
        y = scale.y(mark)
        found.append(f'<line class="rio-grid" x1="0" x2="100%" y1="{y:.1f}" y2="{y:.1f}"/>')
        unit = " ms" if mark == scale.ticks[-1] else ""
        found.append(f'<text class="rio-faint" x="-8" y="{y + 4:.1f}" text-anchor="end">{mark:.4g}{unit}</text>')
    return "".join(found)


def _columns(scale: Scale) -> str:
    found: list[str] = []
    for name, q in AXIS.items():
        u = -math.log10(1 - q)
        if u <= scale.end + 1e-9:
            x = f"{100 * scale.x(u):.2f}%"
            found.append(f'<line class="rio-grid" x1="{x}" x2="{x}" y1="0" y2="{HEIGHT}"/>')
            found.append(f'<text class="rio-faint" x="{x}" y="{HEIGHT + 18}" text-anchor="middle">{name}</text>')
    return "".join(found)


def _key(names: Sequence[str]) -> str:
    found: list[str] = []
    for number, name in enumerate(names):
        dash = LINES[number // COLOURS % len(LINES)]
        dashed = f' stroke-dasharray="{dash}"' if dash else ""
        line = f'<line x1="0" x2="22" y1="4" y2="4" stroke="{_colour(number)}" stroke-width="2.5"{dashed}/>'
        found.append(f'<span><svg aria-hidden="true">{line}</svg>{text(name)}</span>')
    return f'<div class="rio-key">{"".join(found)}</div>'


def _colour(number: int) -> str:
    return f"var(--rio-{number % COLOURS + 1})"
