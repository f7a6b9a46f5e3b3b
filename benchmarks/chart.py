"""Draws what a guarded step costs with each library: ``python -m benchmarks.chart F.json F.svg``, of the JSON of a run.

The picture takes its colours from the page around it, or else from the reader's light or dark setting. It is one file.
"""

from __future__ import annotations

import argparse
import json
import math
from html import escape
from pathlib import Path
from typing import Any

from benchmarks.ours import STEPS
from benchmarks.rows.peers import BARE, OURS
from benchmarks.rows.peers import TITLE as PEERS

WIDTH, LABEL, ROW, TOP, FOOT, RIGHT = 760, 290, 30, 58, 46, 70
TITLE = "What the guards of one step cost"
SUBTITLE = "microseconds for a limit of 1 s and 3 retries, over the bare call; asyncio"
HEAD = """<svg xmlns="http://www.w3.org/2000/svg" id="rio-costs" width="{width}" height="{height}"
 viewBox="0 0 {width} {height}" role="img" aria-labelledby="rio-costs-title rio-costs-about">
<title id="rio-costs-title">{title}</title>
<desc id="rio-costs-about">{desc}</desc>
<style>
#rio-costs {{ --i: #1f2328; --f: #6e7781; --grid: #d0d7de; --peer: #8c959f; --ours: #0969da;
 max-width: 100%; height: auto;
 --ink: var(--md-default-fg-color, var(--i)); --faint: var(--md-default-fg-color--light, var(--f)); }}
@media (prefers-color-scheme: dark) {{
#rio-costs {{ --i: #e6edf3; --f: #9198a1; --grid: #3d444d; --peer: #7d8590; --ours: #4493f8; }}
}}
[data-md-color-scheme="default"] #rio-costs {{ --grid: #d0d7de; --peer: #8c959f; --ours: #0969da; }}
[data-md-color-scheme="slate"] #rio-costs {{ --grid: #3d444d; --peer: #7d8590; --ours: #4493f8; }}
#rio-costs text {{ fill: var(--ink); font: 13px system-ui, sans-serif; }}
#rio-costs .title {{ font-size: 16px; font-weight: 600; }}
#rio-costs .faint {{ fill: var(--faint); font-size: 12px; }}
#rio-costs .value {{ font-variant-numeric: tabular-nums; }}
#rio-costs .line {{ stroke: var(--grid); }}
#rio-costs .peer {{ fill: var(--peer); }}
#rio-costs .ours {{ fill: var(--ours); }}
</style>"""


def overheads(run: dict[str, Any]) -> dict[str, float]:
    """Microseconds that the guards of one step take, least first. What has no guards is left out."""
    rows = {row["name"]: row["median"] for table in run["tables"] if table["title"] == PEERS for row in table["rows"]}
    if BARE not in rows:
        raise SystemExit("this run has no table of peers; run `python -m benchmarks --only peers --json F.json`")
    found = {
        name: (median - rows[BARE]) / STEPS for name, median in rows.items() if name != BARE and "no guards" not in name
    }
    return dict(sorted(((name, cost) for name, cost in found.items() if cost > 0), key=lambda item: item[1]))


def short(number: float) -> str:
    """Three digits, or all before the point, as people write them."""
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"  # noqa: PLR2004


def bar(number: int, name: str, cost: float, low: float, decade: float) -> str:
    y = TOP + number * ROW
    length = max(2.0, math.log10(cost / low) * decade)
    kind = "ours" if name == OURS else "peer"
    return (
        f'<text x="{LABEL - 10}" y="{y + 19}" text-anchor="end">{escape(name)}</text>'
        f'<rect class="{kind}" x="{LABEL}" y="{y + 5}" width="{length:.1f}" height="{ROW - 10}" rx="3"/>'
        f'<text class="value" x="{LABEL + length + 6:.1f}" y="{y + 19}">{short(cost)}</text>'
    )


def grid(low: float, decades: int, decade: float, bottom: int) -> str:
    """A line for each power of ten, as the scale is logarithmic."""
    lines = []
    for number in range(decades + 1):
        x = LABEL + number * decade
        lines.append(f'<line class="line" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{bottom}"/>')
        lines.append(
            f'<text class="faint" x="{x:.1f}" y="{bottom + 16}" text-anchor="middle">{low * 10**number:g}</text>'
        )
    return "\n".join(lines)


def drawn(run: dict[str, Any]) -> str:
    costs = overheads(run)
    low = 10.0 ** math.floor(math.log10(min(costs.values())))
    decades = math.ceil(math.log10(max(costs.values()) / low))
    decade = (WIDTH - LABEL - RIGHT) / decades
    bottom = TOP + ROW * len(costs)
    desc = "Microseconds for one step with a limit and retries, over the bare call, on a logarithmic scale: "
    desc += "; ".join(f"{name} {short(cost)}" for name, cost in costs.items()) + "."
    parts = [
        HEAD.format(width=WIDTH, height=bottom + FOOT, title=TITLE, desc=escape(desc)),
        f'<text class="title" x="10" y="24">{TITLE}</text>',
        f'<text class="faint" x="10" y="44">{SUBTITLE}</text>',
        grid(low, decades, decade, bottom),
        *(bar(number, name, cost, low, decade) for number, (name, cost) in enumerate(costs.items())),
        f'<text class="faint" x="{LABEL}" y="{bottom + 36}">logarithmic: each line is ten times the one before</text>',
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.chart", description=__doc__)
    parser.add_argument("run", type=Path, help="what `python -m benchmarks --json` wrote")
    parser.add_argument("place", type=Path, help="where to write the picture")
    asked = parser.parse_args()
    asked.place.write_text(drawn(json.loads(asked.run.read_text())))


if __name__ == "__main__":
    main()
